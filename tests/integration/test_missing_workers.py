"""Workers that hang, or that are not there: the run goes on without waiting for them for ever."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from strsweep.config import load_experiment
from strsweep.journal import Journal, RunRecord, replay
from strsweep.storage import storage_of

Job = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.ray

DIGITS = "jobs/configs/digits.yaml"
SHORT = ["training.epochs=3", "training.batch_size=100", "search.threshold_decay=1.2e-2"]


def arguments(overrides: list[str]) -> list[str]:
    return ["--config", DIGITS, *(part for text in overrides for part in ("--set", text))]


def only_run(overrides: list[str]) -> RunRecord:
    experiment = load_experiment(Path(DIGITS), overrides)
    (run,) = replay(Journal(storage_of(experiment)).read()).runs.values()
    return run


def test_two_workers_train_where_four_are_wanted(
    job: Job, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(results))
    overrides = [*SHORT, "workers={count: 4, min_count: 2}"]  # this Ray has two CPUs
    done = job("train", *arguments(overrides))
    assert done.returncode == 0, done.stderr
    assert only_run(overrides).num_epochs_trained == 3


def test_a_worker_that_hangs_is_told_and_the_run_goes_on(
    job: Job, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(results))
    in_second_epoch = {"at_batch": 20, "mark": f"{tmp_path}/hung"}
    overrides = [
        *SHORT,
        "training.checkpoint_every=1",
        "search.targets=[0.8]",
        "sparsity.mode=steered",
        "model.name=tests.integration.faulty_models:hangs_once",
        f"model.options={in_second_epoch}",
        "workers={count: 2, timeout_minutes: 0.4}",
    ]
    done = job("sweep", *arguments(overrides))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "hung").exists()
    assert re.search(r"run-001 restarts  worker 0: .*[Tt]imed out", done.stdout), done.stdout
    run = only_run(overrides)
    assert [*run.epochs] == [1, 2, 3]
    assert len(run.interruptions) == 1
    assert run.num_epochs_trained == 3, "the first epoch had a checkpoint"
