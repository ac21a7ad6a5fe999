"""The learning rate over a run: warm-up, then a cosine to zero (section 4.1.1), or another."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from strsweep.config import TrainingConfig
from strsweep.imports import imported


def learning_rate(config: TrainingConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step.

    With ``schedule_every: epoch`` it is constant within an epoch, as published: epoch e of w
    warm-up epochs has ``peak * (e + 1) / w``, a later one ``peak * f(p)`` with p the share of the
    remaining epochs that is over. With ``step``, p and e advance every step.

    Epochs and steps are counted from 0.
    """
    per_step = config.schedule_every == "step"
    now = epoch + step / steps_per_epoch if per_step else float(epoch)
    if now < config.warmup_epochs:
        first = 1 / steps_per_epoch if per_step else 1
        return config.learning_rate * (now + first) / config.warmup_epochs
    over = (now - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    make: Any = _SCHEDULES.get(config.schedule) or imported(config.schedule, "training.schedule")
    return config.learning_rate * float(make(over, **config.schedule_options))


def _step(over: float, milestones: tuple[float, ...] = (1 / 3, 2 / 3), gamma: float = 0.1) -> float:
    return gamma ** sum(over >= milestone for milestone in milestones)


_SCHEDULES: dict[str, Callable[..., float]] = {
    "cosine": lambda over: (1 + math.cos(math.pi * over)) / 2,
    "linear": lambda over: 1 - over,
    "constant": lambda _: 1.0,
    "step": _step,
}
"""Maps the share of the epochs after warm-up that is over to a share of the peak rate."""


def decay_clock(config: TrainingConfig, steps_per_epoch: int, onset: int = 0) -> tuple[float, ...]:
    """Return by how much decay has shrunk a threshold after every epoch, per unit of decay.

    A parameter that only decays is then at ``exp(-decay * clock)`` of its first value. Every step
    adds its learning rate times ``1 + m + m^2 + ...``, with as many terms as there were steps since
    the parameter began to move, as SGD's momentum m needs about ``1 / (1 - m)`` steps to build up.
    Thresholds move this way until they prune, whatever schedule the rates follow.

    It does not move in the first ``onset`` epochs: these are 0.
    """
    return _decay_clock(config.model_dump_json(), steps_per_epoch, onset)


@lru_cache(maxsize=16)
def _decay_clock(config_json: str, steps_per_epoch: int, onset: int) -> tuple[float, ...]:
    config = TrainingConfig.model_validate_json(config_json)
    share = config.threshold_rate / config.learning_rate
    clock, built, epochs = 0.0, 0.0, [0.0] * onset
    for epoch in range(onset, config.epochs):
        for step in range(steps_per_epoch):
            built = config.momentum * built + 1
            clock += share * learning_rate(config, epoch, step, steps_per_epoch) * built
        epochs.append(clock)
    return tuple(epochs)
