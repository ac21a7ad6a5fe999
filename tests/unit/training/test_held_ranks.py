"""A led run of low rank: planned by the epoch, held in every step, followed by its decay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from strsweep.settings import Lead, RunSettings
from strsweep.sparsity.cost import RankCost
from strsweep.sparsity.landing import keep_ranks
from strsweep.sparsity.lowrank import factored, factorize
from strsweep.sparsity.measure import measure
from strsweep.sparsity.methods.lowrank import LowRankMethod
from strsweep.sparsity.methods.method import Course, HeldThresholds
from strsweep.training.law import Law, Leader, ThresholdClock

HELD = HeldThresholds(
    decay_at_90=1, steepness=1, delay=0, start=0.1, most=2, gain=1.2, ramp=0.4, slowest=0.75
)
EXAMPLE = torch.zeros(1, 12)


def network() -> nn.Sequential:
    """Two layers of full rank 12, 192 and 192 weights; from rank 7 on they are one matrix."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 12))
    return factorize(model, threshold_init=-6, scale=8, start="svd")


def ranks(model: nn.Module) -> list[int]:
    return [int(layer.kept.sum()) for layer in factored(model)]


def cost(model: nn.Module, quantity: str = "rank") -> RankCost:
    return RankCost.of(factored(model), measure(model, (EXAMPLE,)), quantity)  # pyright: ignore[reportArgumentType]


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
    leader = Leader(lead=lead, law=Law(steepness=1, held=HELD), clock=clock, first_decay=0.1)
    assert leader.next_held_decay(1, 0.0, 1.0, 0.0) == 0.1  # thresholds begin
    cubic = 0.2 + 0.8 * (1 - 0.3 / 0.4) ** 3  # two of ten epochs are done, the third is planned
    assert leader.next_held_decay(3, 0.2, 0.26, 0.0) == pytest.approx(
        0.2 * (0.26 / cubic) ** 1.2, rel=1e-12
    )
    with_excess = 0.2 * ((0.26 + 0.1) / (cubic + 0.1)) ** 1.2
    assert leader.next_held_decay(3, 0.2, 0.26, 0.1) == pytest.approx(with_excess, rel=1e-12)
    assert leader.next_held_decay(8, 1.9, 0.36, 0.0) == 2.0  # too far off for one epoch
    assert leader.next_held_decay(8, 1.9, 0.26, 0.0) == 0.1  # this one reaches the target
    assert leader.next_held_decay(4, 0.5, 0.16, 0.0) == pytest.approx(0.5 * 0.8**1.2)


@pytest.mark.parametrize(("share", "kept"), [(0.5, 12), (0.1, 2), (1.0, 24)])
def test_ranks_go_in_order_and_the_last_of_a_layer_stays(share: float, kept: int) -> None:
    model = network()
    keep_ranks(cost(model), share, trains_on=True)
    assert sum(ranks(model)) == kept
    assert min(ranks(model)) >= 1
    assert keep_ranks(cost(model), share, trains_on=True) == 0.0


@pytest.mark.parametrize("trains_on", [True, False])
def test_ranks_that_come_back_after_training_change_no_output(trains_on: bool) -> None:
    model, x = network(), torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    keep_ranks(cost(model), 0.5, trains_on=True)
    before = model(x)
    keep_ranks(cost(model), 0.75, trains_on=trains_on)
    assert sum(ranks(model)) == 18
    changed = (model(x) - before).abs().max().item()
    assert changed > 1e-3 if trains_on else changed < 1e-5


def test_less_than_a_rank_for_each_layer_is_refused() -> None:
    model = network()
    before = ranks(model)
    with pytest.raises(ValueError, match="ranks of 1"):
        keep_ranks(cost(model), 1.9 / 24, trains_on=True)
    assert ranks(model) == before


def test_multiply_adds_are_those_of_what_would_be_delivered() -> None:
    model = network()
    counted = cost(model, "macs")
    assert counted.kept() == 1.0
    keep_ranks(counted, 0.5, trains_on=True)
    delivered = sum(min(28 * rank, 192) for rank in ranks(model)) / 384
    assert counted.kept() == delivered == pytest.approx(measure(model, (EXAMPLE,)).macs / 384)  # pyright: ignore
    assert 0.5 - 28 / 384 < delivered <= 0.5


@pytest.mark.parametrize("rises", [True, False])
def test_a_led_run_keeps_what_is_planned_whatever_its_thresholds_do(rises: bool) -> None:
    """They jump above everything in every step, or do not move at all."""
    model, epochs = network(), 10
    lead = Lead(quantity="rank", pruned=0.75, exposure_at_90=1, delay=0)
    run = RunSettings(threshold_init=-6, weight_decay=0, threshold_decay=0.1, onset=2, lead=lead)
    course = Course(epochs=epochs, steps_per_epoch=3, example=(EXAMPLE,))
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
