"""A finished run lands on what was asked, with the batch statistics of the network it became."""

from __future__ import annotations

import pytest
import torch
from samples import load
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.config.sections import WorkersConfig
from strsweep.errors import CheckpointError, SettingError
from strsweep.journal import LayerRow
from strsweep.preflight import check_sweep
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.convert import bake
from strsweep.sparsity.measure import measure
from strsweep.tasks import task_of
from strsweep.training.batch_norm import recalibrated
from strsweep.training.checkpoints import State
from strsweep.training.controlled import EpochMetrics
from strsweep.training.landing import LandedRun, is_on_target, land_run
from strsweep.training.loop import InputPipeline
from strsweep.training.network import sparse_model
from strsweep.training.run import TrainingRun

pytestmark = pytest.mark.slow

SETTINGS = RunSettings(threshold_init=-5.0, weight_decay=0.02)
CPU = torch.device("cpu")


def experiment(*overrides: str) -> Experiment:
    return load("training.epochs=2", "training.batch_size=300", *overrides)


@pytest.fixture(scope="module")
def finished() -> tuple[State, EpochMetrics]:
    run = TrainingRun(experiment(), SETTINGS, device=CPU)
    metrics = [*run.epochs()][-1]
    assert 0.1 < metrics.sparsity < 0.9
    return run.state(), metrics


def landed(state: State, **target: float) -> LandedRun:
    return land_run(experiment(), SETTINGS, state, Target.model_validate(target))


@pytest.mark.parametrize("change", [-0.05, 0.05], ids=["down", "up"])
def test_the_landed_state_bakes_to_exactly_the_target(
    finished: tuple[State, EpochMetrics], change: float
) -> None:
    state, metrics = finished
    run = landed(state, sparsity=metrics.sparsity + change)
    assert (run.shift > 0) == (change > 0)
    model = sparse_model(experiment(), SETTINGS, task_of(experiment()))
    model.load_state_dict(run.state["model"])
    assert measure(model, torch.zeros(1, 1, 8, 8)) == run.report
    zeros = measure(bake(model)).zeros
    assert zeros == run.report.zeros == round((metrics.sparsity + change) * run.report.weights)
    assert run.metrics["sparsity"] == run.report.sparsity
    assert run.metrics["macs"] == run.report.macs


def test_multiply_adds_as_a_share_and_as_a_number(finished: tuple[State, EpochMetrics]) -> None:
    dense = landed(finished[0], sparsity=0.5).report.dense_macs
    assert dense is not None
    wanted = finished[1].macs - 1000
    by_number, by_share = (landed(finished[0], macs=macs) for macs in (wanted, wanted / dense))
    assert by_number.metrics == by_share.metrics
    assert wanted - 64 < by_number.metrics["macs"] <= wanted  # no weight is used more than 64 times


def test_landing_is_deterministic_and_landing_again_changes_nothing(
    finished: tuple[State, EpochMetrics],
) -> None:
    first, second = (landed(finished[0], sparsity=0.4) for _ in range(2))
    again = landed(first.state, sparsity=0.4)
    assert (again.shift, again.metrics) == (0, first.metrics)
    for name, value in first.state["model"].items():
        assert torch.equal(second.state["model"][name], value)
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(again.state["model"][name], value)


@pytest.mark.parametrize(
    ("images", "batches"), [(1, 1), (300, 1), (301, 2), (1199, 4), (1201, 5), (8192, 5)]
)
def test_batch_norm_sees_whole_batches_of_the_next_epoch_of_training(
    finished: tuple[State, EpochMetrics], images: int, batches: int
) -> None:
    target = Target(sparsity=0.4)
    run = land_run(experiment(), SETTINGS, finished[0], target, seen=images)
    # The first batch norm by hand, from the images themselves.
    model = sparse_model(experiment(), SETTINGS, task_of(experiment()))
    model.load_state_dict(run.state["model"])
    conv = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    means: list[Tensor] = []
    variances: list[Tensor] = []
    sizes: list[int] = []
    with torch.no_grad():
        for batch, _ in InputPipeline(experiment(), 0, 1).epoch(2):
            outputs = conv(batch).transpose(0, 1).flatten(1)
            means.append(outputs.mean(1))
            variances.append(outputs.var(1))
            sizes.append(len(batch))
    assert sizes == [300, 300, 300, 300, 200]
    del means[batches:], variances[batches:], sizes[batches:]
    shares = torch.tensor(sizes)[:, None] / sum(sizes)
    assert norm.num_batches_tracked == 2 * 5 + batches
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, (torch.stack(means) * shares).sum(0))
    torch.testing.assert_close(norm.running_var, (torch.stack(variances) * shares).sum(0))


@pytest.mark.parametrize(
    ("num_images", "batch_size", "batches"), [(2100, 512, 5), (8192, 512, 16), (9000, 512, 16)]
)
def test_unless_said_batch_norm_sees_at_most_8192_images(
    num_images: int, batch_size: int, batches: int
) -> None:
    noise = experiment(
        "model.name=tiny_models:tiny",
        f"data={{name: synthetic, num_images: {num_images}, num_classes: 10, image_size: 8}}",
        f"training.batch_size={batch_size}",
    )
    state = {"model": sparse_model(noise, SETTINGS, task_of(noise)).state_dict()}
    run = land_run(noise, SETTINGS, state, Target(sparsity=0.4))
    assert run.state["model"]["1.num_batches_tracked"] == batches


@pytest.mark.parametrize("how", ["train", "eval", "momentum", "gradient"])
def test_a_frozen_batch_norm_stays_frozen(how: str) -> None:
    half = experiment(
        f"model={{name: tiny_models:half_frozen, options: {{how: {how}}}}}", "training.epochs=1"
    )
    trained = TrainingRun(half, SETTINGS, device=CPU)
    list(trained.epochs())
    state = trained.state()
    run = land_run(half, SETTINGS, state, Target(sparsity=0.4))
    before, after = state["model"], run.state["model"]
    # torch itself lets one without gradient learn its statistics while it trains.
    assert torch.equal(before["1.running_mean"], torch.full((8,), 0.25)) == (how != "gradient")
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(after[f"1.{name}"], before[f"1.{name}"]), name
        assert not torch.equal(after[f"2.{name}"], before[f"2.{name}"]), name


def test_recalibration_by_hand() -> None:
    norm = nn.BatchNorm1d(1)
    unused = nn.BatchNorm1d(1)
    dropout = nn.Dropout(0.5)
    model = nn.ModuleList([nn.Sequential(dropout, norm), unused]).eval()
    with recalibrated(model):
        for batch in ([0.0, 2.0, 4.0], [7.0, 9.0]):
            model[0](torch.tensor(batch)[:, None])
        assert not norm.training
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx((3 * 2 + 2 * 8) / 5)
    assert norm.running_var.item() == pytest.approx((3 * 4 + 2 * 2) / 5)
    assert (norm.momentum, unused.momentum) == (0.1, 0.1)
    assert unused.running_var is not None
    assert torch.equal(unused.running_var, torch.ones(1))
    model[0](torch.tensor([[100.0], [300.0]]))  # it learns no longer
    assert norm.running_mean.item() == pytest.approx(4.4)


def test_recalibration_ends_with_an_error_too_and_needs_no_batch_norm() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=None), nn.Linear(3, 1)).eval()
    with pytest.raises(RuntimeError), recalibrated(model):
        model(torch.zeros(3, 2))
    assert model[0].momentum is None
    with recalibrated(model[1]):
        model[1](torch.zeros(3, 3))


def test_a_batch_norm_with_a_formula_of_its_own_is_named_before_it_is_shared() -> None:
    own = experiment("model.name=tiny_models:own_norm", "workers.count=2", "search.targets=[0.5]")
    with pytest.raises(SettingError, match="OwnNorm has a forward of its own"):
        check_sweep(own)
    check_sweep(own.model_copy(update={"workers": WorkersConfig(count=1)}))


def test_the_batches_do_not_depend_on_the_number_of_workers(
    finished: tuple[State, EpochMetrics],
) -> None:
    target = Target(sparsity=0.4)
    one, three = (
        land_run(experiment(f"workers.count={count}"), SETTINGS, finished[0], target)
        for count in (1, 3)
    )
    assert one.metrics == three.metrics


def test_a_checkpoint_of_another_model_is_told(finished: tuple[State, EpochMetrics]) -> None:
    state = {"model": {**finished[0]["model"], "more": torch.zeros(1)}}
    with pytest.raises(CheckpointError, match="belongs to another model"):
        landed(state, sparsity=0.4)


def test_without_batch_norm_landing_costs_next_to_nothing() -> None:
    overrides = ("model.options={norm: group}", "training.learning_rate=0.05", "training.epochs=6")
    whole = experiment(*overrides, "training.batch_size=100")
    settings = RunSettings(threshold_init=-5, weight_decay=5e-4, threshold_decay=0.04)
    run = TrainingRun(whole, settings, device=CPU)
    last = [*run.epochs()][-1]
    assert 0.5 < last.sparsity < 0.97
    kept = 1 - last.sparsity
    for wanted in (1 - 0.92 * kept, 1 - 1.1 * kept):
        landed = land_run(whole, settings, run.state(), Target(sparsity=wanted))
        assert landed.metrics["accuracy"] > last.task["accuracy"] - 0.02


def layer(*, weights: int, zeros: int, positions: int) -> LayerRow:
    return LayerRow(
        name="conv",
        parameter="conv.weight",
        weights=weights,
        zeros=zeros,
        sparsity=zeros / weights,
        dense_macs=weights * positions,
        macs=(weights - zeros) * positions,
        threshold=0.1,
    )


LAYERS = [
    layer(weights=100, zeros=95, positions=1),
    layer(weights=10, zeros=9, positions=5),
    layer(weights=10, zeros=10, positions=5),
]
"""114 of 120 weights are zeros; 10 of 200 multiply-adds are left."""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"sparsity": 0.95}, True),
        ({"sparsity": 0.954}, True),  # 114.48
        ({"sparsity": 0.955}, False),  # 114.6
        ({"sparsity": 0.945}, False),  # 113.4
        ({"macs": 0.05}, True),
        ({"macs": 0.0549}, True),  # 10.98: no more than 10
        ({"macs": 0.055}, False),  # 11
        ({"macs": 0.0499}, False),
        ({"macs": 10}, True),
        ({"macs": 11}, False),
    ],
)
def test_on_target_to_the_weight(target: dict[str, float], expected: bool) -> None:
    assert is_on_target(Target.model_validate(target), LAYERS) is expected
