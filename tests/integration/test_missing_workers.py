"""Workers that hang, or that are not there: the run goes on without waiting for them for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from local_ray import Jobs

pytestmark = pytest.mark.ray

SHORT = ["training.epochs=3", "training.batch_size=100", "search.threshold_decay=1.2e-2"]


def test_two_workers_train_where_four_are_wanted(jobs: Jobs) -> None:
    overrides = [*SHORT, "workers={count: 4, min_count: 2}"]  # this Ray has two CPUs
    jobs.said("train", overrides)
    assert jobs.only_run(overrides).num_epochs_trained == 3


def test_a_worker_that_hangs_is_told_and_the_run_goes_on(jobs: Jobs, tmp_path: Path) -> None:
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
    said = jobs.said("sweep", overrides)
    assert (tmp_path / "hung").exists()
    assert re.search(r"run-001 restarts  worker 0: .*[Tt]imed out", said), said
    run = jobs.only_run(overrides)
    assert [*run.epochs] == [1, 2, 3]
    assert len(run.interruptions) == 1
    assert run.num_epochs_trained == 3, "the first epoch had a checkpoint"
