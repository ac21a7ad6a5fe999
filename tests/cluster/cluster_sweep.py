"""A sweep on the hosts of a cluster: submitted from the client, looked at through its storage."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cluster_hosts import ROOT, Hosts

WORKERS = ("w1", "w2", "w3")
EPOCHS = 40
TWO_HOSTS = ("search.targets=[0.9]", "workers={count: 2, cpus: 2, wait_minutes: 5}")
"""One run with two workers of two CPUs: one on each of two hosts."""

_READ = """
import json, sys
from strsweep.journal import EpochFinished, Journal, replay
from strsweep.storage import store_at
from strsweep.config import StorageConfig
from strsweep.storage.object_store import ObjectStore
store = ObjectStore("s3://sweeps/results", StorageConfig())
found = sorted({name.split("/")[1] for name in store.sizes("sweeps")})
sweeps = [name for name in found if name.startswith(sys.argv[1] + "-")]
epochs, times, receipts = [], [], []
if sweeps:
    storage = store_at(f"s3://sweeps/results/sweeps/{sweeps[0]}")
    events = list(Journal(storage).read())
    runs = replay(events).runs.values()
    epochs = [(sorted(run.epochs), run.num_epochs_trained) for run in runs]
    times = sorted(event.time for event in events if isinstance(event, EpochFinished))
    names = [name for name in storage.sizes("models") if name.endswith("/receipt.json")]
    receipts = [json.loads(storage.read(name)) for name in names]
print(json.dumps({"epochs": epochs, "times": times, "receipts": receipts}))
"""


@dataclass(frozen=True)
class Stored:
    """What the storage holds of a sweep."""

    epochs: list[tuple[list[int], int]]
    """Per run its epochs, and how many were trained, repeated ones included."""
    times: list[float]
    """When epochs were finished."""
    receipts: list[dict[str, Any]]

    @property
    def repeated(self) -> int:
        """Epochs that were trained twice."""
        return sum(trained - len(epochs) for epochs, trained in self.epochs)

    def longest_pause(self, after: float) -> float:
        """Return the longest time without a finished epoch, in seconds, from ``after`` on."""
        times = [after, *(t for t in self.times if t > after)]
        return max(later - earlier for earlier, later in pairwise(times))


@dataclass
class ClusterSweep:
    """One sweep, which can be submitted again and again."""

    hosts: Hosts
    name: str
    overrides: tuple[str, ...] = TWO_HOSTS
    jobs: list[subprocess.Popen[str]] = field(default_factory=list)

    def submit(self) -> ClusterSweep:
        """Submit it from the client, and follow it."""
        settings = [
            f"name={self.name}",
            "sparsity.mode=steered",
            f"training.epochs={EPOCHS}",
            "training.checkpoint_every=1",
            "storage.path=s3://sweeps/results",
            "tracking.uri=sqlite:////root/mlflow.db",
            *self.overrides,
        ]
        arguments = " ".join(f"--set '{setting}'" for setting in settings)
        command = f"jobs/submit.sh sweep --config jobs/configs/digits.yaml {arguments}"
        self.jobs.append(self.hosts.start("client", f"cd {ROOT} && {command}"))
        return self

    def ended(self) -> str:
        """Return what the newest job said; it must succeed."""
        said, code = self.died()
        assert code == 0, said
        return said

    def died(self) -> tuple[str, int]:
        """Return what the newest job said, and how it ended."""
        job = self.jobs[-1]
        said, _ = job.communicate(timeout=600)
        return said, job.returncode

    def stored(self) -> Stored:
        """Return what the storage holds, as the client sees it."""
        done = self.hosts.run("client", f"python - {self.name} <<'PYTHON'\n{_READ}\nPYTHON")
        return Stored(**json.loads(done.stdout))

    def until(self, epochs: int, runs: int = 1) -> ClusterSweep:
        """Wait until so many runs have so many epochs."""

        def there() -> bool:
            return sum(len(done) >= epochs for done, _ in self.stored().epochs) >= runs

        return self._until(there, f"did not get to epoch {epochs}")

    def until_trains_on(self, *names: str) -> ClusterSweep:
        """Wait until workers live on all these hosts at one time."""
        problem = f"never trained on {names} at one time"
        return self._until(lambda: set(names) <= set(self.trains_on()), problem)

    def _until(self, ready: Callable[[], bool], problem: str) -> ClusterSweep:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            job = self.jobs[-1]
            assert job.poll() is None, job.communicate()[0]
            if ready():
                return self
            time.sleep(0.5)
        raise TimeoutError(f"{self.name} {problem}")

    def trains_on(self) -> list[str]:
        """Return the hosts on which a worker of a run lives."""
        look = "pgrep -f '[r]ay::RayTrainWorker' >/dev/null"  # but not this very command
        return [h for h in WORKERS if self.hosts.run(h, look, check=False).returncode == 0]
