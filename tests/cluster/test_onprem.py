"""A sweep on separate hosts: started by ``ray up``, submitted from another host, and disturbed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from cluster_hosts import ROOT, Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

WORKERS = ("w1", "w2", "w3")
EPOCHS = 40
Submit = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def submit(cluster: Hosts) -> Iterator[Submit]:
    """Start a sweep whose every run has two workers of two CPUs: one on each of two hosts."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        settings = [
            f"name={name}",
            "sparsity.mode=steered",
            "search.weight_decay=5e-4",
            "search.targets=[0.9]",
            f"training.epochs={EPOCHS}",
            "training.checkpoint_every=1",
            "workers={count: 2, cpus: 2, wait_minutes: 5}",
            "storage.path=s3://sweeps/results",
            "tracking.uri=sqlite:////root/mlflow.db",
        ]
        arguments = " ".join(f"--set '{setting}'" for setting in settings)
        command = f"jobs/submit.sh sweep --config jobs/configs/digits.yaml {arguments}"
        started.append(cluster.start("client", f"cd {ROOT} && {command}"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


READ = """
import json, sys
from strsweep.journal import Journal, replay
from strsweep.storage import SweepStorage
from strsweep.config import StorageConfig
from strsweep.storage.object_store import ObjectStore
store = ObjectStore("s3://sweeps/results", StorageConfig())
sweeps = [name for name in store.folders("sweeps") if name.startswith(sys.argv[1] + "-")]
epochs, receipts = [], []
if sweeps:
    storage = SweepStorage.at(f"s3://sweeps/results/sweeps/{sweeps[0]}")
    record = replay(Journal(storage).read())
    epochs = [(sorted(run.epochs), run.num_epochs_trained) for run in record.runs.values()]
    names = [name for name in storage.sizes("models") if name.endswith("/receipt.json")]
    receipts = [json.loads(storage.read(name)) for name in names]
print(json.dumps({"epochs": epochs, "receipts": receipts}))
"""


def stored(cluster: Hosts, name: str) -> dict[str, list]:
    """Return what the storage holds of a sweep, as the client sees it."""
    done = cluster.run("client", f"python - {name} <<'PYTHON'\n{READ}\nPYTHON")
    return json.loads(done.stdout)


def hosts_that_train(cluster: Hosts) -> list[str]:
    """Return the hosts on which a worker of a run lives."""
    look = "pgrep -f '[r]ay::RayTrainWorker' >/dev/null"  # but not this very command
    return [host for host in WORKERS if cluster.run(host, look, check=False).returncode == 0]


def await_epochs(cluster: Hosts, name: str, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        epochs = stored(cluster, name)["epochs"]
        if epochs and len(epochs[0][0]) >= count:
            return
        time.sleep(1)
    raise TimeoutError(f"{name} did not get to epoch {count}")


@pytest.fixture(scope="module")
def undisturbed(cluster: Hosts, submit: Submit) -> dict[str, list]:
    """A sweep that nobody disturbs."""
    said = ended(submit("undisturbed"))
    assert "sparsity-90" in said
    return stored(cluster, "undisturbed")


def test_every_run_spans_two_hosts_and_its_model_is_on_s3(undisturbed: dict[str, list]) -> None:
    (receipt,) = undisturbed["receipts"]
    assert receipt["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert undisturbed["epochs"] == [[list(range(1, EPOCHS + 1)), EPOCHS]]


def test_a_host_that_dies_costs_only_the_epochs_since_its_checkpoint(
    cluster: Hosts, submit: Submit, undisturbed: dict[str, list]
) -> None:
    process = submit("host-dies")
    await_epochs(cluster, "host-dies", 5, process)
    trained_on = hosts_that_train(cluster)
    assert len(trained_on) == 2
    cluster.crash(trained_on[0])
    ended(process)
    disturbed = stored(cluster, "host-dies")
    ((epochs, trained),) = disturbed["epochs"]
    assert epochs == list(range(1, EPOCHS + 1))
    assert trained - EPOCHS <= 3
    (one,), (other,) = undisturbed["receipts"], disturbed["receipts"]
    assert other["weights_sha256"] == one["weights_sha256"]
