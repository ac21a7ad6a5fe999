"""Why thresholds stay with SGD, and that they do under any optimizer of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from equal_runs import new_run
from samples import load
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.errors import SettingError
from strsweep.settings import RunSettings
from strsweep.sparsity.convert import sparsify, threshold_parameters
from strsweep.training.optimizer import RunOptimizer

Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SETTINGS = RunSettings(threshold_init=-8, weight_decay=1e-3, threshold_decay=0.03)


def settled(make: Make, pressure: float, *, first: float = -20.0, steps: int = 4000) -> float:
    """Return where a threshold parameter comes to rest; the loss pushes it down by ``pressure``.

    The gradient is g'(s) times the pressure, as of equation 5, for g the sigmoid.
    """
    s = nn.Parameter(torch.tensor(first, dtype=torch.float64))
    optimizer = make([s])
    for _ in range(steps):
        g = torch.sigmoid(s.detach())
        s.grad = g * (1 - g) * pressure
        optimizer.step()
    return s.item()


def test_under_sgd_a_layer_that_resists_more_keeps_a_lower_threshold() -> None:
    make: Make = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    weak, strong = settled(make, 0.01), settled(make, 1.0)
    assert strong < weak - 3
    for s, pressure in ((weak, 0.01), (strong, 1.0)):  # decay and resistance are in balance
        g = 1 / (1 + math.exp(-s))
        assert 0.01 * -s == pytest.approx(g * (1 - g) * pressure, rel=1e-3)


@pytest.mark.parametrize(("decay", "rest"), [(1.0, -1.0), (2.0, -0.5)])
def test_under_adamw_every_layer_comes_to_the_same_rest(decay: float, rest: float) -> None:
    make: Make = partial(torch.optim.AdamW, lr=5e-3, weight_decay=decay)
    weak, strong = (settled(make, p, first=-10.0) for p in (0.001, 1.0))
    assert weak == pytest.approx(strong, rel=0.01), "a thousand times the pressure changes nothing"
    assert strong == pytest.approx(rest, rel=0.1)


def test_with_an_ordinary_decay_adamw_never_prunes() -> None:
    make: Make = partial(torch.optim.AdamW, lr=4e-3, weight_decay=0.05)
    s = settled(make, 1.0, first=-100.0, steps=1000)
    assert s == pytest.approx(-100 * math.exp(-0.05 * 4), rel=0.01)


def test_with_l2_in_the_gradient_adam_moves_by_the_learning_rate_whatever_the_decay() -> None:
    ends = [
        settled(
            partial(torch.optim.Adam, lr=4e-3, weight_decay=decay), 0.0, first=-90.0, steps=1000
        )
        for decay in (1e-5, 1e-2)
    ]
    assert ends == pytest.approx([-86.0, -86.0], abs=0.1)


@pytest.mark.parametrize("name", ["sgd", "adamw", "torch.optim:RMSprop"])
def test_thresholds_move_alike_under_any_optimizer_of_the_weights(name: str) -> None:
    config = TrainingConfig(optimizer=name, learning_rate=0.1, threshold_learning_rate=0.1)
    model = sparsify(nn.Sequential(nn.Linear(4, 4)), threshold_init=-6.0)
    optimizer = RunOptimizer(model, config)
    optimizer.set_decays(weights=0.0, thresholds=0.05, norms=0.0)
    optimizer.set_learning_rate(0.1)
    for _ in range(3):
        nothing = torch.stack([parameter.sum() * 0 for parameter in model.parameters()]).sum()
        optimizer.step(nothing, torch.amp.GradScaler("cpu", enabled=False))
    velocity, s = 0.0, -6.0
    for _ in range(3):
        velocity = config.momentum * velocity + 0.05 * s
        s -= 0.1 * velocity
    (parameter,) = threshold_parameters(model)
    assert parameter.item() == pytest.approx(s, rel=1e-6)


def test_clipping_leaves_thresholds_alone() -> None:
    config = TrainingConfig(clip_gradients=1e-6, momentum=0, learning_rate=1.0)
    model: Any = sparsify(nn.Sequential(nn.Linear(2, 1, bias=False)), threshold_init=-1.0)
    with torch.no_grad():
        model[0].parametrizations.weight.original.fill_(2.0)
    optimizer = RunOptimizer(model, config)
    optimizer.set_decays(weights=0, thresholds=0, norms=0)
    optimizer.set_learning_rate(1.0)
    before = threshold_parameters(model)[0].item()
    loss = 100 * model(torch.ones(1, 2)).sum()
    optimizer.step(loss, torch.amp.GradScaler("cpu", enabled=False))
    moved = model[0].parametrizations.weight.original.detach() - 2.0
    assert moved.norm().item() == pytest.approx(1e-6, rel=0.3)
    assert abs(threshold_parameters(model)[0].item() - before) > 1


@pytest.mark.parametrize(
    ("override", "setting", "message"),
    [
        ("training.optimizer=adam", "training.optimizer", "Use one of sgd, adamw, or package"),
        ("training.schedule=cos", "training.schedule", "Use one of cosine, linear, constant, step"),
        ("training.optimizer_options={beta: 1}", "training.optimizer_options", "sgd refuses them"),
        ("training.optimizer='builtins:print'", "training.optimizer_options", "refuses them"),
        ("training.optimizer='nowhere:x'", "training.optimizer", "No module named 'nowhere'"),
    ],
)
def test_what_is_no_optimizer_is_told(override: str, setting: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        new_run(SETTINGS, override)
    assert caught.value.setting == setting


def test_only_sgd_can_share_its_decay() -> None:
    with pytest.raises(SettingError, match=r"search\.decay: got 'shared'\. Weights under adamw"):
        load("training.optimizer=adamw", "search.decay=shared")
