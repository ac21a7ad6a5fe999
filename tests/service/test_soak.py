"""Sweeps back to back while anything may die at any moment: make soak."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow_service import Service, shown
from submitted_sweep import STEERED, Submitted, cluster, told

from strsweep.config import Experiment
from strsweep.storage import storage_of

MINUTES = float(os.environ.get("STRSWEEP_SOAK_MINUTES", "2"))
SEED = int(os.environ.get("STRSWEEP_SOAK_SEED", "0"))
_PAUSE_S = (15.0, 75.0)
_AWAY_S = (1.0, 8.0)
_MOST_SUBMISSIONS = 20
_STAYS = re.compile(
    r"journal/[\w.-]+\.jsonl|"
    r"runs/run-\d+/epoch_\d+/\w+(\.\w+)*|"
    r"models/sparsity-\d+/run-\d+/\w+\.\w+|"
    r"(report\.(html|json)|\w+\.csv)"
)
"""What the README says is left of a sweep."""

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60 * MINUTES + 1200, func_only=True)]


class Faults:
    """What can be done to a service and to the Ray below ``home``; strikes at random.

    Args:
        service: To strike.
        home: Of the Ray.
        dice: Decides what dies when.
    """

    def __init__(self, service: Service, home: Path, dice: random.Random) -> None:
        self._service, self._home, self._dice = service, home, dice
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        """Let something die, and bring back what does not come back by itself."""
        name, fault = self._dice.choice(list(self._faults().items()))
        if fault():
            self.done[name] += 1

    def _faults(self) -> dict[str, Callable[[], bool]]:
        names = {
            "worker": "ray::RayTrainWorker",
            "controller": "ray::TrainController",
            "trial driver": "ray::ImplicitFunc",
            "sweep driver": "jobs/sweep.py",
        }
        kills = {name: self._killer(text) for name, text in names.items()}
        return kills | {"S3": self._storage, "MLflow": self._mlflow, "PostgreSQL": self._postgres}

    def _killer(self, text: str) -> Callable[[], bool]:
        def kill() -> bool:
            found = [process for process in processes(self._home) if text in title(process)]
            if found:
                self._dice.choice(found).kill()
            return bool(found)

        return kill

    def _storage(self) -> bool:
        self._service.s3.crash()
        time.sleep(self._dice.uniform(*_AWAY_S))
        self._service.s3.start()
        return True

    def _mlflow(self) -> bool:
        with self._service.without_mlflow():
            time.sleep(self._dice.uniform(*_AWAY_S))
        return True

    def _postgres(self) -> bool:
        self._service.stop("postgres")
        time.sleep(self._dice.uniform(*_AWAY_S))
        self._service.start()
        return True


def processes(home: Path) -> list[psutil.Process]:
    """Return all processes of the Ray below ``home``, in the order of their start."""
    leader = psutil.Process(int((home / "ray/pid").read_text().split()[0]))
    return sorted([leader, *leader.children(recursive=True)], key=lambda process: process.pid)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def memory(home: Path) -> dict[str, float]:
    """Return MiB of the processes that live as long as the cluster."""
    long_lived = {
        "gcs_server": "gcs_server",
        "raylet": "raylet/raylet",
        "dashboard": "dashboard.py",
    }
    return {
        name: process.memory_info().rss / 2**20
        for name, text in long_lived.items()
        for process in processes(home)
        if text in title(process).split("--")[0]
    }


def to_its_end(sweep: Submitted, faults: Faults, dice: random.Random) -> int:
    """Submit until the job succeeds, with faults in between; returns the submissions it took."""
    for submissions in range(1, _MOST_SUBMISSIONS + 1):
        job = sweep.submit("sweep")
        while job.poll() is None:
            time.sleep(dice.uniform(*_PAUSE_S))
            if job.poll() is None:
                faults.strike()
        told = job.communicate()[0]
        if job.returncode == 0:
            return submissions
        print(f"submission {submissions} of {sweep.experiment.name}: {told.strip()[-300:]}")
    raise AssertionError(f"{_MOST_SUBMISSIONS} submissions did not finish the sweep")


def test_everything_is_registered_whatever_dies(service: Service, tmp_path: Path) -> None:
    dice = random.Random(SEED)
    faults = Faults(service, tmp_path, dice)
    experiments: list[Experiment] = []
    used: list[dict[str, float]] = []
    end = time.monotonic() + 60 * MINUTES
    with cluster(service, tmp_path) as environment:
        while time.monotonic() < end:
            sweep = Submitted(*told(service, f"soak-{len(experiments)}", *STEERED), environment)
            submissions = to_its_end(sweep, faults, dice)
            experiments.append(sweep.experiment)
            used.append(memory(tmp_path))
            print(f"{sweep.experiment.name}: {submissions} submissions, MiB {used[-1]}")
    print(f"{len(experiments)} sweeps; killed: {dict(faults.done)}")
    for experiment in experiments:
        assert_whole(service, experiment)
    for name, before in used[0].items():
        assert used[-1][name] < 1.25 * before + 20, f"{name} grows: {used}"


def assert_whole(service: Service, experiment: Experiment) -> None:
    """Every target is registered once, no step is missing, and no file is left that should not."""
    result = shown(service, experiment)
    labels = [target.label for target in experiment.search.targets]
    assert [label for label, *_ in result.versions] == labels
    assert sorted(result.aliases) == labels
    for run_id, statuses in result.statuses.items():
        assert statuses == ["FINISHED"], run_id
    for steps in result.steps.values():
        assert steps["sparsity"] == list(range(1, experiment.training.epochs + 1))
    stored = storage_of(experiment).sizes("")
    assert [name for name in stored if not _STAYS.fullmatch(name)] == []
    kept = Counter(name.rpartition("/")[0] for name in stored if name.startswith("runs/"))
    per_run = Counter(folder.rpartition("/")[0] for folder in kept)
    assert all(count <= experiment.storage.checkpoints_kept for count in per_run.values())
