"""Faults of a user's model or settings end a run with an error of ours, not a foreign one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strsweep.config import load_experiment
from strsweep.errors import SettingError, TrainingDivergedError
from strsweep.settings import RunSettings
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
ODD_MODELS = """
from torch import nn

class Odd(nn.Module):
    def __init__(self, odd):
        super().__init__()
        self.fc, self.odd = nn.Linear(64, 10), odd

    def forward(self, x):
        if self.odd == "assertion":
            assert x.shape[-1] == 224, "wrong image height"
        if self.odd == "value":
            raise ValueError("expected another size")
        y = self.fc(x.flatten(1))
        return {"out": y} if self.odd == "dict" else y[:, :9]

def odd(num_classes, *, how):
    return Odd(how)
"""


def new_run(*overrides: str) -> TrainingRun:
    torch.set_num_threads(1)
    return TrainingRun(
        load_experiment(DIGITS, overrides),
        RunSettings(threshold_init=-10, weight_decay=1e-2),
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("how", ["assertion", "value", "dict", "nine_classes"])
def test_a_model_that_does_not_fit_the_images_is_told(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_models_for_run.py").write_text(ODD_MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    odd = ('model.name="odd_models_for_run:odd"', f"model.options={{how: {how}}}")
    experiment = load_experiment(DIGITS, odd)
    task = task_of(experiment)
    with pytest.raises(SettingError) as caught:
        measure_problem(experiment, task)
    assert caught.value.setting == "model.name"


def test_a_last_step_that_breaks_the_weights_is_noticed() -> None:
    # One step per epoch: its loss is finite, and the weights after it are not.
    run = new_run("training.epochs=1", "training.batch_size=1400", "training.learning_rate=1e30")
    with pytest.raises(TrainingDivergedError, match=r"lower training\.learning_rate"):
        list(run.epochs())


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = new_run("training.epochs=1"), new_run("training.epochs=1")
    list(first.epochs())
    list(second.epochs())
    assert first.step_losses == second.step_losses
    other = new_run("training.epochs=1", "training.seed=1")
    list(other.epochs())
    assert other.step_losses[0] != first.step_losses[0]
