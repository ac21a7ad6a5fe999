"""Schedule and optimizer groups."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.sparsity.convert import activate_thresholds, sparsify, threshold_parameters
from strsweep.tasks import Task
from strsweep.training.loop import Stepper
from strsweep.training.optimizer import ApartThresholds, RunOptimizer
from strsweep.training.schedule import learning_rate

PAPER = TrainingConfig()


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 0.256 / 5),
        (4, 0.256),
        (5, 0.256),
        (52, 0.128 * (1 + math.cos(math.pi * 47 / 95))),
        (99, 6.998e-5),
    ],
)
def test_the_papers_schedule(epoch: int, expected: float) -> None:
    rates = {learning_rate(PAPER, epoch, step, 5005) for step in (0, 2500, 5004)}
    assert len(rates) == 1
    assert rates.pop() == pytest.approx(expected, rel=1e-4)


def test_per_step_the_rate_rises_then_falls_without_a_jump() -> None:
    config = TrainingConfig(schedule_every="step", epochs=10, warmup_epochs=2)
    rates = [learning_rate(config, epoch, step, 50) for epoch in range(10) for step in range(50)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[99:] == sorted(rates[99:], reverse=True)
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.256 / 50
    assert rates[0] == pytest.approx(0.256 / 100)


@pytest.mark.parametrize("tf32", [True, False])
def test_convolutions_are_rounded_as_torch_does_or_not_at_all(tf32: bool) -> None:
    backends: Any = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        Stepper(Task(), TrainingConfig(tf32=tf32), torch.device("cpu"))
        assert [backend.allow_tf32 for backend in backends] == [tf32, tf32]
    finally:
        for backend, was in zip(backends, before, strict=True):
            backend.allow_tf32 = was


def three_kinds() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    return sparsify(model, threshold_init=-5.0)


def groups_of(optimizer: RunOptimizer) -> dict[str, dict[str, Any]]:
    both = [optimizer.weights, *([optimizer.thresholds] if optimizer.thresholds else [])]
    return {group["role"]: group for one in both for group in one.param_groups}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_thresholds_and_batch_norm_have_groups_of_their_own(name: str) -> None:
    config = TrainingConfig(optimizer=name)
    optimizer = RunOptimizer(three_kinds(), config)
    optimizer.set_decays(weights=1e-3, thresholds=2e-3, norms=3e-3)
    optimizer.set_learning_rate(0.128)
    groups = groups_of(optimizer)
    assert {role: len(group["params"]) for role, group in groups.items()} == {
        "weights": 4,  # two weights, two biases
        "thresholds": 2,
        "norms": 2,
    }
    assert isinstance(optimizer.thresholds, torch.optim.SGD)
    decays = {"weights": 1e-3, "thresholds": 2e-3, "norms": 3e-3}
    assert {role: group["weight_decay"] for role, group in groups.items()} == decays
    rates = {role: group["lr"] for role, group in groups.items()}
    of_thresholds = 0.128 if name == "sgd" else 0.05  # half of their own peak
    assert rates == {"weights": 0.128, "norms": 0.128, "thresholds": of_thresholds}
    loaded = RunOptimizer(three_kinds(), config)
    loaded.load_state_dict(optimizer.state_dict())
    assert {role: group["lr"] for role, group in groups_of(loaded).items()} == rates


def test_a_network_without_thresholds_or_batch_norm_has_one_group() -> None:
    optimizer = RunOptimizer(nn.Linear(2, 2), PAPER)
    assert optimizer.thresholds is None
    assert list(groups_of(optimizer)) == ["weights"]


@pytest.mark.parametrize("acts", [False, True])
def test_a_scaler_takes_thresholds_that_do_not_act(acts: bool) -> None:
    scaler, loops = (torch.amp.GradScaler("cpu", init_scale=8.0) for _ in range(2))
    model, own = three_kinds(), sparsify(nn.Linear(2, 2), threshold_init=-5.0)
    optimizer, apart = RunOptimizer(model, PAPER), ApartThresholds(own, momentum=0.9)
    weights = torch.optim.SGD([own.bias], lr=0.1)
    for network in (model, own):
        activate_thresholds(network, acts)
    optimizer.set_learning_rate(0.1)
    before = [s.item() for network in (model, own) for s in threshold_parameters(network)]
    optimizer.set_decays(weights=0.0, thresholds=0.1, norms=0.0)
    apart.decay = 0.1
    optimizer.step(model[2](model[0](torch.ones(1, 1, 3, 3)).flatten(1)).sum(), scaler)
    loops.scale(own(torch.ones(1, 2)).sum()).backward()
    loops.step(weights)
    apart.step(0.1, loops)
    after = [s.item() for network in (model, own) for s in threshold_parameters(network)]
    assert [one != other for one, other in zip(before, after, strict=True)] == [acts] * 3
