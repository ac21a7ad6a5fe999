"""The decay clock is what decay does to a parameter that gets no gradient."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.training.law import ThresholdClock
from strsweep.training.schedule import decay_clock, learning_rate

PAPER = TrainingConfig()
BUILD_UP = 0.256 / 5 * 0.875 / 0.125**2
"""Momentum m lacks m + m^2 + ... of its full 1 / (1 - m) in the first steps, m / (1 - m)^2 in all,
at the rate of the first of five warm-up epochs."""
SMALL = TrainingConfig(epochs=2, warmup_epochs=0, learning_rate=1.0, momentum=0.5)
"""Its rates are 1 and 1/2."""


def test_the_papers_clock_by_hand() -> None:
    # Warm-up over 5 epochs sums to 3 peaks; (1 + cos) / 2 over 95 epochs to 95 / 2 + 1 / 2.
    expected = 0.256 * 5005 * (3 + 48) / 0.125 - BUILD_UP
    assert decay_clock(PAPER, 5005)[-1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("onset", "epochs"),
    [
        # The steps count 1, 3/2, 7/4 and 15/8 times their rate.
        (0, (1 + 3 / 2, 1 + 3 / 2 + (7 / 4 + 15 / 8) / 2)),
        (1, (0, (1 + 3 / 2) / 2)),
    ],
)
def test_momentum_builds_up_from_the_first_step_that_counts(
    onset: int, epochs: tuple[float, ...]
) -> None:
    assert decay_clock(SMALL, 2, onset) == pytest.approx(epochs)


def simulated(config: TrainingConfig, steps: int, decay: float, onset: int) -> list[float]:
    """Return what is left, after every epoch, of a 1 that only decays, from ``onset`` epochs on."""
    parameter = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    momentum = config.momentum
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=momentum, weight_decay=decay)
    left: list[float] = []
    for epoch in range(config.epochs):
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate(config, epoch, step, steps)
            parameter.grad = None if epoch < onset else torch.zeros_like(parameter)
            optimizer.step()
        left.append(parameter.item())
    return left


@pytest.mark.parametrize("onset", [0, 1, 13, 39])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule_every", ["epoch", "step"])
def test_a_parameter_that_nothing_pulls_at_decays_by_the_clock(
    momentum: float, schedule_every: Literal["epoch", "step"], onset: int
) -> None:
    config = TrainingConfig(
        epochs=40,
        warmup_epochs=3,
        learning_rate=0.1,
        momentum=momentum,
        schedule_every=schedule_every,
    )
    clock = decay_clock(config, 20, onset)
    lost = [(1 - left) / 1e-8 for left in simulated(config, 20, 1e-8, onset)]
    assert lost == pytest.approx(clock, rel=1e-5, abs=1e-6)
    for left, time in zip(simulated(config, 20, 2e-3, onset), clock, strict=True):
        assert left == pytest.approx(math.exp(-2e-3 * time), rel=0.02)


def test_exposure_and_what_is_left_by_hand() -> None:
    clock = ThresholdClock(epochs=(0.0, 0.0, 6.0, 9.0, 10.0), onset=2)
    assert clock.total == 10
    assert [clock.of_epoch(epoch) for epoch in range(1, 6)] == [0, 0, 6, 3, 1]
    shares = [clock.remaining(epoch) for epoch in range(6)]
    assert shares == pytest.approx([1, 1, 1, 0.4, 0.1, 0])
    # 6 at 0.1, 3 at 0.2, less a delay of 0.5; what decays before the onset counts for nothing.
    assert clock.exposure([9.0, 9.0, 0.1, 0.2], delay=0.5) == pytest.approx(0.7)
    assert clock.exposure([], delay=0.5) == -0.5
    assert clock.decay_for(0.7, delay=0.5) == pytest.approx(0.12)
    assert clock.decay_for(-0.7, delay=0.5) < 0


@given(
    st.integers(1, 12),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 20),
    st.floats(-1, 4),
    st.floats(0, 2),
)
def test_one_decay_in_all_epochs_leads_where_it_was_computed_for(
    epochs: int, share: float, steps: int, exposure: float, delay: float
) -> None:
    onset = int(share * epochs)
    config = TrainingConfig(epochs=epochs, warmup_epochs=0)
    clock = ThresholdClock(epochs=decay_clock(config, steps, onset), onset=onset)
    decays = [clock.decay_for(exposure, delay)] * epochs
    assert clock.exposure(decays, delay) == pytest.approx(exposure, abs=1e-9)
    assert len(clock.epochs) == epochs
    assert clock.epochs[:onset] == (0.0,) * onset
    assert all(before < after for before, after in pairwise(clock.epochs[max(onset - 1, 0) :]))
    assert clock.remaining(onset) == 1
    assert clock.remaining(epochs) == pytest.approx(0, abs=1e-12)
