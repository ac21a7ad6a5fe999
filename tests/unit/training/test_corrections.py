"""A run whose weight decay changes on its way: the same as if it had been known from the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from strsweep.config import Correction, RunSettings, load_experiment
from strsweep.sparsity import sparsify, threshold_parameters
from strsweep.storage import store_at
from strsweep.training.checkpoints import RunCheckpoints, resume
from strsweep.training.optimizer import set_weight_decay, sgd
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
EPOCHS, AFTER = 5, 2
SETTINGS = RunSettings(threshold_init=-6, weight_decay=1e-2)
CORRECTED = SETTINGS.corrected(Correction(after_epoch=AFTER, weight_decay=3e-2))


def new_run(settings: RunSettings) -> TrainingRun:
    experiment = load_experiment(DIGITS, [f"training.epochs={EPOCHS}"])
    return TrainingRun(experiment, settings, device=torch.device("cpu"))


def checkpoints_of(folder: Path, run: TrainingRun, last: int, kept: int = 2) -> RunCheckpoints:
    checkpoints = RunCheckpoints(store_at(str(folder)), "run-001", kept)
    for metrics in run.epochs():
        checkpoints.save(metrics.epoch, run.state())
        if metrics.epoch == last:
            break
    return checkpoints


@pytest.fixture(scope="module")
def known_before() -> TrainingRun:
    run = new_run(CORRECTED)
    list(run.epochs())
    return run


@pytest.mark.parametrize("stopped_after", [1, 2, 3, 4])
def test_a_corrected_run_equals_one_that_knew_before(
    known_before: TrainingRun, tmp_path: Path, stopped_after: int
) -> None:
    """Whether it had not come to the change yet, or ran on with the old weight decay after it."""
    checkpoints = checkpoints_of(tmp_path, new_run(SETTINGS), stopped_after, kept=3)
    run = new_run(CORRECTED)
    resume(run, checkpoints, rank=0)
    assert len(run.history) == min(stopped_after, AFTER)
    list(run.epochs())
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, known_before.model.state_dict()[name]), name
    sparsities = [[epoch.sparsity for epoch in each.history] for each in (run, known_before)]
    assert sparsities[0] == sparsities[1]
    assert [epoch.weight_decay for epoch in run.history] == [1e-2, 1e-2, 3e-2, 3e-2, 3e-2]


def test_the_correction_changes_what_is_pruned(known_before: TrainingRun) -> None:
    run = new_run(SETTINGS)
    list(run.epochs())
    assert known_before.history[AFTER - 1].sparsity == run.history[AFTER - 1].sparsity
    assert known_before.history[-1].sparsity > run.history[-1].sparsity + 0.01


def test_checkpoints_of_the_old_course_are_removed_and_new_ones_kept(tmp_path: Path) -> None:
    checkpoints = checkpoints_of(tmp_path, new_run(SETTINGS), 4, kept=3)
    run = new_run(CORRECTED)
    resume(run, checkpoints, rank=0)
    assert store_at(str(tmp_path)).folders("runs/run-001") == ["epoch_00002"]
    checkpoints_of(tmp_path, run, 3)
    again = new_run(CORRECTED)
    resume(again, checkpoints, rank=0)
    assert len(again.history) == 3


def test_where_no_checkpoint_is_left_the_run_begins_anew(tmp_path: Path) -> None:
    checkpoints = checkpoints_of(tmp_path, new_run(SETTINGS), 4, kept=1)
    run = new_run(CORRECTED)
    resume(run, checkpoints, rank=0)
    assert run.history == []


def test_checkpoints_of_version_0_1_name_no_weight_decay_and_are_used() -> None:
    run = new_run(SETTINGS)
    next(run.epochs())
    state = run.state()
    del state["history"][0]["weight_decay"]
    again = new_run(SETTINGS)
    assert again.has_passed(state)
    again.load_state(state)
    assert len(again.history) == 1


def test_a_weight_decay_of_their_own_stays() -> None:
    model = sparsify(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), threshold_init=-6)
    optimizer = sgd(
        model, momentum=0.9, weight_decay=1e-2, threshold_decay=5e-3, batch_norm_decay=False
    )
    set_weight_decay(optimizer, 3e-2)
    thresholds = {id(parameter) for parameter in threshold_parameters(model)}
    decays = {
        "thresholds" if id(parameter) in thresholds else tuple(parameter.shape): group[
            "weight_decay"
        ]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {(2, 1, 3, 3): 3e-2, "thresholds": 5e-3, (2,): 0.0}
