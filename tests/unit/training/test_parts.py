"""Schedule, optimizer groups and checkpoints."""

from __future__ import annotations

import itertools
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.errors import CheckpointError
from strsweep.sparsity.convert import sparsify
from strsweep.storage import store_at
from strsweep.training.checkpoint import load_checkpoint, save_checkpoint
from strsweep.training.optimizer import RunOptimizer
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


def three_kinds() -> nn.Module:
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


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["STRSWEEP_ATTACK"],)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "pickle"])
def test_a_bad_checkpoint_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_ATTACK", str(tmp_path / "attacked"))
    path = tmp_path / "last/state.pt"
    save_checkpoint(store_at(str(tmp_path)), "last", {"model": {"w": torch.ones(100)}})
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "garbage":
        path.write_bytes(b"not a checkpoint")
    else:
        path.write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        load_checkpoint(store_at(str(tmp_path)), "last")
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    save_checkpoint(store_at(str(tmp_path)), "last", {"format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(store_at(str(tmp_path)), "last")
