"""What a task of one's own does wrong is named before anything trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from samples import load
from torch import nn

import strsweep
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem


class Tones(strsweep.Task):
    """Four numbers, and a fifth to be found."""

    score = strsweep.Metric(name="mae", higher_is_better=False, is_share=False)

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        samples = [(x[:4], x[4:]) for x in torch.randn(60, 5, generator=draw)]
        self.train, self.val = samples[:40], samples[40:]

    def loss(self, outputs: Any, batch: Any) -> Any:
        return (outputs - batch[1]).abs().sum(), len(outputs)

    def sums(self, outputs: Any, batch: Any) -> Any:
        return {"error": (outputs - batch[1]).abs().sum(), "count": len(outputs)}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"mae": sums["error"] / sums["count"]}


class MeanAlone(Tones):
    def loss(self, outputs: Any, batch: Any) -> Any:
        return (outputs - batch[1]).abs().mean()


class Spread(Tones):
    def loss(self, outputs: Any, batch: Any) -> Any:
        return F.l1_loss(outputs, batch[1][:, 0], reduction="sum"), len(outputs)


class Forgetful(Tones):
    def __init__(self) -> None:
        super().__init__()
        self.samples = self.train
        del self.train


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))


def experiment(task: str) -> Experiment:
    own = (f"model={{name: '{__name__}:network'}}", f"task={{name: '{__name__}:{task}'}}")
    return load(*own, "data={}")


def test_shapes_and_score_are_known_beforehand() -> None:
    asked = experiment("Tones")
    problem = measure_problem(asked, task_of(asked))
    batch = "(float32 [2, 4], float32 [2, 1])"
    assert problem.shapes == f"two samples {batch} give float32 [2, 1]"
    assert problem.metric == Tones.score


@pytest.mark.parametrize(
    ("task", "setting", "message"),
    [
        ("MeanAlone", "task.loss", r"must return two values: .*; not float32 \[\]\."),
        ("Spread", "task.loss", r"Using a target size \(torch.Size\(\[2\]\)\)"),
        ("Forgetful", "task.name", r"Forgetful has no data 'train': set self.train"),
    ],
)
def test_a_slip_is_named(task: str, setting: str, message: str) -> None:
    asked = experiment(task)
    with pytest.raises(SettingError, match=message) as caught:
        measure_problem(asked, task_of(asked))
    assert caught.value.setting == setting
