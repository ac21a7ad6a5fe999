"""Led runs: thresholds and ranks go no faster than is planned, and not beyond the target."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from strsweep.auto import resolve
from strsweep.config import load_experiment
from strsweep.plan import first_settings
from strsweep.search.space import space_of
from strsweep.settings import Lead, Quantity, RunSettings
from strsweep.sparsity.convert import sparsify, threshold_parameters
from strsweep.sparsity.cost import RankCost, WeightCost
from strsweep.sparsity.landing import keep_ranks
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.lowrank import factored, factorize
from strsweep.sparsity.measure import measure
from strsweep.sparsity.methods.learned import Onset, Str
from strsweep.sparsity.methods.lowrank import LowRankMethod
from strsweep.sparsity.methods.method import Course, HeldThresholds, Hooks, cubic
from strsweep.tasks import task_of
from strsweep.training.law import Law, ThresholdClock
from strsweep.training.leader import leader_of
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
EXAMPLE = torch.zeros(1, 1, 6, 6)
EPOCHS, STEPS, ONSET = 12, 8, 2


def network() -> nn.Sequential:
    """A convolution of 72 weights, used 16 times, and a linear layer of 1,280."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(128, 10))
    return sparsify(model, threshold_init=-9)


def hooks(model: nn.Module, quantity: Quantity = "sparsity") -> Hooks:
    lead = Lead(quantity=quantity, pruned=0.75, exposure_at_90=1, delay=0)
    run = RunSettings(
        threshold_init=-9, weight_decay=0, threshold_decay=0.1, onset=ONSET, lead=lead
    )
    return Str().hooks(model, run, Course(epochs=EPOCHS, steps_per_epoch=STEPS, example=(EXAMPLE,)))


def kept(model: nn.Module, quantity: Quantity = "sparsity") -> float:
    report = measure(model, (EXAMPLE,))
    assert report.macs is not None
    assert report.dense_macs is not None
    return 1 - report.sparsity if quantity == "sparsity" else report.macs / report.dense_macs


@pytest.mark.parametrize(
    ("passed", "left"), [(0.0, 1.0), (0.5, 0.2 + 0.8 / 8), (1.0, 0.2), (3, 0.2)]
)
def test_a_ramp_is_cubic(passed: float, left: float) -> None:
    assert cubic(0.2, passed) == pytest.approx(left, rel=1e-12)


@pytest.mark.parametrize("quantity", ["sparsity", "macs"])
def test_what_is_left_is_counted_as_it_is_measured(quantity: Quantity) -> None:
    model = network()
    cost = WeightCost.of(model, quantity, (EXAMPLE,))
    for value in (-9.0, -3.5, -2.0):
        for s in threshold_parameters(model):
            s.data.fill_(value)
        assert cost.kept().item() == pytest.approx(kept(model, quantity), rel=1e-12)


@pytest.mark.parametrize("quantity", ["sparsity", "macs"])
def test_a_collapse_leaves_what_is_planned(quantity: Quantity) -> None:
    """Thresholds jump above all weights in every step, as where a layer gets no gradient."""
    model = network()
    held = hooks(model, quantity)
    for epoch in range(EPOCHS):
        held.before_epoch(epoch)
        for step in range(STEPS):
            held.before_step(epoch * STEPS + step)
            if epoch >= ONSET:
                for s in threshold_parameters(model):
                    s.data += 1.5
        held.after_epoch(epoch + 1)
        planned = cubic(0.25, (epoch + 1 - ONSET) / (EPOCHS - ONSET) / 0.4) if epoch >= ONSET else 1
        assert kept(model, quantity) >= planned


def test_thresholds_that_sink_are_let_go() -> None:
    model = network()
    held = hooks(model)
    held.before_epoch(EPOCHS - 1)
    one, other = threshold_parameters(model)
    for s in (one, other):
        s.data.fill_(-2.0)  # prunes all but a few: too much
    held.before_step(0)
    started = [s.item() for s in (one, other)]
    one.data.fill_(-20.0)
    other.data.fill_(5.0)
    held.before_step(4)
    assert one.item() == -20.0
    assert other.item() == started[1]


def test_weights_that_sank_come_back_before_the_next_epoch() -> None:
    model = network()
    held = hooks(model)
    held.before_epoch(EPOCHS - 2)
    with torch.no_grad():
        for weight in weight_tensors(model):
            weight.original.mul_(1e-4)
    held.after_epoch(EPOCHS - 1)
    assert kept(model) < 0.25
    held.before_epoch(EPOCHS - 1)
    assert kept(model) == pytest.approx(0.25)


def test_a_run_that_is_not_led_is_left_alone() -> None:
    run = RunSettings(threshold_init=-9, weight_decay=0, threshold_decay=0.1, onset=ONSET)
    course = Course(epochs=EPOCHS, steps_per_epoch=STEPS, example=(EXAMPLE,))
    assert type(Str().hooks(network(), run, course)) is Onset


def test_under_adamw_a_run_to_98_percent_ends_there() -> None:
    """Without the plan it prunes everything within four epochs."""
    asked = (
        "training.optimizer=adamw",
        "training.learning_rate=3e-3",
        "search.weight_decay=5e-4",
        "search.targets=[0.98]",
    )
    experiment = load_experiment(DIGITS, asked)
    problem = measure_problem(experiment, task_of(experiment))
    experiment = resolve(experiment, problem)
    (settings,) = first_settings(experiment, problem, space_of(experiment, problem))
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    *_, last = run.epochs()
    assert max(metrics.sparsity for metrics in run.history) < 0.985
    assert last.sparsity == pytest.approx(0.98, abs=0.006)
    assert last.task["accuracy"] > 0.8


# --- Low rank: planned by the epoch, held in every step, followed by its decay.


HELD = HeldThresholds(
    decay_at_90=1, steepness=1, delay=0, start=0.1, most=2, gain=1.2, ramp=0.4, slowest=0.75
)


def low_rank_network() -> nn.Sequential:
    """Two layers of full rank 12, 192 and 192 weights; from rank 7 on they are one matrix."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 12))
    return factorize(model, threshold_init=-6, scale=8, start="svd")


def ranks(model: nn.Module) -> list[int]:
    return [int(layer.kept.sum()) for layer in factored(model)]


def cost(model: nn.Module, quantity: Quantity = "rank") -> RankCost:
    return RankCost.of(factored(model), measure(model, (torch.zeros(1, 12),)), quantity)


@pytest.mark.parametrize(
    ("passed", "kept", "left"),
    [
        (0.2, 0.3, 0.2 + 0.8 * 0.5**3),  # half of the ramp
        (0.2, 0.5, 0.375),  # no more than a quarter of what is left goes in an epoch
        (0.4, 0.2, 0.2),
        (0.9, 0.24, 0.2),
        (0.0, 1.0, 1.0),
    ],
)
def test_what_an_epoch_is_to_leave(passed: float, kept: float, left: float) -> None:
    assert HELD.planned(0.2, passed, kept) == pytest.approx(left)


def test_decay_follows_what_is_left_beyond_the_plan() -> None:
    lead = Lead(quantity="macs", pruned=0.8, exposure_at_90=1, delay=0)
    clock = ThresholdClock(epochs=(0.0, *map(float, range(1, 11))), onset=1)
    leader = leader_of(Law(steepness=1, held=HELD), lead, clock, first_decay=0.1)
    assert leader.next_decay([0.0] * 1, 1 - 1.0, 0.0) == 0.1  # thresholds begin
    cubic = 0.2 + 0.8 * (1 - 0.3 / 0.4) ** 3  # two of ten epochs are done, the third is planned
    assert leader.next_decay([0.2] * 3, 1 - 0.26, 0.0) == pytest.approx(
        0.2 * (0.26 / cubic) ** 1.2, rel=1e-12
    )
    with_excess = 0.2 * ((0.26 + 0.1) / (cubic + 0.1)) ** 1.2
    assert leader.next_decay([0.2] * 3, 1 - 0.26, 0.1) == pytest.approx(with_excess, rel=1e-12)
    assert leader.next_decay([1.9] * 8, 1 - 0.36, 0.0) == 2.0  # too far off for one epoch
    assert leader.next_decay([1.9] * 8, 1 - 0.26, 0.0) == 0.1  # this one reaches the target
    assert leader.next_decay([0.5] * 4, 1 - 0.16, 0.0) == pytest.approx(0.5 * 0.8**1.2)


@pytest.mark.parametrize(("share", "kept"), [(0.5, 12), (0.1, 2), (1.0, 24)])
def test_ranks_go_in_order_and_the_last_of_a_layer_stays(share: float, kept: int) -> None:
    model = low_rank_network()
    keep_ranks(cost(model), share, trains_on=True)
    assert sum(ranks(model)) == kept
    assert min(ranks(model)) >= 1
    assert keep_ranks(cost(model), share, trains_on=True) == 0.0


@pytest.mark.parametrize("trains_on", [True, False])
def test_ranks_that_come_back_after_training_change_no_output(trains_on: bool) -> None:
    model, x = low_rank_network(), torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    keep_ranks(cost(model), 0.5, trains_on=True)
    before = model(x)
    keep_ranks(cost(model), 0.75, trains_on=trains_on)
    assert sum(ranks(model)) == 18
    changed = (model(x) - before).abs().max().item()
    assert changed > 1e-3 if trains_on else changed < 1e-5


def test_less_than_a_rank_for_each_layer_is_refused() -> None:
    model = low_rank_network()
    before = ranks(model)
    with pytest.raises(ValueError, match="ranks of 1"):
        keep_ranks(cost(model), 1.9 / 24, trains_on=True)
    assert ranks(model) == before


def test_multiply_adds_are_those_of_what_would_be_delivered() -> None:
    model = low_rank_network()
    counted = cost(model, "macs")
    assert counted.kept() == 1.0
    keep_ranks(counted, 0.5, trains_on=True)
    delivered = sum(min(28 * rank, 192) for rank in ranks(model)) / 384
    measured = measure(model, (torch.zeros(1, 12),)).macs
    assert measured is not None
    assert counted.kept() == delivered == pytest.approx(measured / 384)
    assert 0.5 - 28 / 384 < delivered <= 0.5


@pytest.mark.parametrize("rises", [True, False])
def test_a_led_run_keeps_what_is_planned_whatever_its_thresholds_do(rises: bool) -> None:
    """They jump above everything in every step, or do not move at all."""
    model, epochs = low_rank_network(), 10
    lead = Lead(quantity="rank", pruned=0.75, exposure_at_90=1, delay=0)
    run = RunSettings(threshold_init=-6, weight_decay=0, threshold_decay=0.1, onset=2, lead=lead)
    course = Course(epochs=epochs, steps_per_epoch=3, example=(torch.zeros(1, 12),))
    hooks, held = LowRankMethod().hooks(model, run, course), LowRankMethod.held
    shares: list[float] = []
    for epoch in range(epochs):
        before = sum(ranks(model)) / 24
        hooks.before_epoch(epoch)
        for step in range(3):
            hooks.before_step(3 * epoch + step)
            for layer in factored(model) if rises and epoch >= 2 else ():
                layer.step.s.data += 3
        hooks.after_epoch(epoch + 1)
        shares.append(sum(ranks(model)) / 24)
        if epoch >= 2 and rises:
            planned = held.planned(0.25, (epoch - 1) / 8, before)
            assert planned * 0.97 - 1 / 24 < shares[-1] <= planned
    assert shares[:2] == [1.0, 1.0]
    assert math.isclose(shares[-1], 0.25, abs_tol=1 / 24 + 1e-9)
