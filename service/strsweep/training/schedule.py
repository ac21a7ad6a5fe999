"""The learning rate over a run (section 4.1.1): linear warm-up, then a cosine to zero."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate

from strsweep.config import TrainingConfig


def learning_rate(config: TrainingConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of one step.

    With ``schedule_every: epoch`` it is constant within an epoch, as published: epoch e of w
    warm-up epochs has ``peak * (e + 1) / w``, a later one ``peak * (1 + cos(pi * p)) / 2`` with p
    the share of the remaining epochs that is over. With ``step``, p and e advance every step.

    Args:
        config: Peak rate, epochs, warm-up and how often the rate changes.
        epoch: 0 to ``config.epochs - 1``.
        step: 0 to ``steps_per_epoch - 1``.
        steps_per_epoch: Steps in an epoch.
    """
    per_step = config.schedule_every == "step"
    now = epoch + step / steps_per_epoch if per_step else float(epoch)
    if now < config.warmup_epochs:
        first = 1 / steps_per_epoch if per_step else 1
        return config.learning_rate * (now + first) / config.warmup_epochs
    over = (now - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return config.learning_rate * (1 + math.cos(math.pi * over)) / 2


@lru_cache(maxsize=16)
def decay_clock(config: TrainingConfig, steps_per_epoch: int) -> tuple[float, ...]:
    """Return by how much weight decay has shrunk a parameter after every epoch, per unit of it.

    A parameter that only decays is then at ``exp(-weight_decay * clock)`` of its first value, with
    ``clock = sum of the learning rates of all steps so far / (1 - momentum)``. Thresholds start
    this way.
    """
    steps = range(steps_per_epoch)
    epochs = (
        math.fsum(learning_rate(config, epoch, step, steps_per_epoch) for step in steps)
        for epoch in range(config.epochs)
    )
    return tuple(total / (1 - config.momentum) for total in accumulate(epochs))
