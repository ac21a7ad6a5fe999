"""The decay clock is what weight decay does to a parameter that gets no gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.training.schedule import decay_clock, learning_rate

PAPER = TrainingConfig()


def test_the_papers_clock_by_hand() -> None:
    # Warm-up over 5 epochs sums to 3 peaks; (1 + cos) / 2 over 95 epochs to 95 / 2 + 1 / 2.
    assert decay_clock(PAPER, 5005)[-1] == pytest.approx(0.256 * 5005 * (3 + 48) / 0.125)


def test_a_rate_per_step_has_nearly_the_same_clock() -> None:
    per_step = PAPER.model_copy(update={"schedule_every": "step"})
    assert decay_clock(per_step, 50)[-1] == pytest.approx(decay_clock(PAPER, 50)[-1], rel=0.03)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule_every", ["epoch", "step"])
def test_a_threshold_that_nothing_pulls_at_decays_by_the_clock(
    momentum: float, schedule_every: str
) -> None:
    config = TrainingConfig(
        epochs=40,
        warmup_epochs=3,
        learning_rate=0.1,
        momentum=momentum,
        schedule_every=schedule_every,  # pyright: ignore[reportArgumentType]
    )
    steps, decay, first = 20, 2e-3, -50.0
    threshold = nn.Parameter(torch.tensor(first, dtype=torch.float64))
    optimizer = torch.optim.SGD([threshold], lr=1.0, momentum=momentum, weight_decay=decay)
    for epoch in range(config.epochs):
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch, step, steps)
            threshold.grad = torch.zeros_like(threshold)
            optimizer.step()
    expected = first * math.exp(-decay * decay_clock(config, steps)[-1])
    assert threshold.item() == pytest.approx(expected, rel=0.01)


def test_the_clock_grows_with_every_part() -> None:
    clock = decay_clock(PAPER, 100)[-1]
    for change in ({"epochs": 101}, {"learning_rate": 0.3}, {"momentum": 0.9}):
        assert decay_clock(PAPER.model_copy(update=change), 100)[-1] > clock
    assert decay_clock(PAPER, 200)[-1] == pytest.approx(2 * clock)
