"""A run: reproducible, and clear about what it cannot do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from equal_runs import new_run
from samples import load
from torch import Tensor, nn

from strsweep.errors import SettingError, TrainingDivergedError
from strsweep.settings import RunSettings
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

pytestmark = pytest.mark.slow

SETTINGS = RunSettings(threshold_init=-6, weight_decay=2e-2)


class Odd(nn.Module):
    """Does not fit the images, in one of the ways that happen."""

    def __init__(self, num_classes: int, *, how: str) -> None:
        super().__init__()
        self.fc, self.how = nn.Linear(64, num_classes), how

    def forward(self, x: Tensor) -> Any:
        if self.how == "assertion":
            assert x.shape[-1] == 224, "wrong image height"
        if self.how == "value":
            raise ValueError("expected another size")
        y = self.fc(x.flatten(1))
        return {"out": y} if self.how == "dict" else y[:, :9]


def trained(*overrides: str, settings: RunSettings = SETTINGS) -> TrainingRun:
    run = new_run(settings, *overrides)
    list(run.epochs())
    return run


@pytest.fixture(scope="module")
def finished() -> TrainingRun:
    return trained("training.epochs=4")


def test_threshold_decay_can_be_set_apart(finished: TrainingRun) -> None:
    apart = SETTINGS.model_copy(update={"threshold_decay": 0.0})
    held = trained("training.epochs=4", settings=apart)
    assert held.history[-1].sparsity < finished.history[-1].sparsity
    assert held.report().layers[0].threshold == pytest.approx(1 / (1 + 2.718281828**6), rel=0.2)


def test_autocast_leaves_weights_and_thresholds_in_float32() -> None:
    precision = ("training.precision=bfloat16", "training.channels_last=true")
    run = trained("training.epochs=1", *precision)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    loss = run.history[0].train_loss
    assert loss is not None
    assert loss < 2.0  # it learns: chance is ln(10)


@pytest.mark.parametrize(
    "overrides",
    [
        ("training.learning_rate=1e20",),
        # One step per epoch: its loss is finite, and the weights after it are not.
        ("training.epochs=1", "training.batch_size=1400", "training.learning_rate=1e30"),
    ],
)
def test_what_is_not_finite_ends_the_run_with_the_remedy(overrides: tuple[str, ...]) -> None:
    with pytest.raises(TrainingDivergedError, match=r"lower training\.learning_rate"):
        trained(*overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size=2048", r"training\.batch_size: got 2048.*1400 training samples"),
        ("model.options={width: 0}", r"model\.options: .*width"),
        ("sparsity.skip=[nothing]", r"sparsity\.skip: .*matches no layer"),
    ],
)
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        new_run(SETTINGS, override)


def test_every_layer_learns_a_threshold_of_its_own(finished: TrainingRun) -> None:
    report = finished.report()
    assert len({layer.threshold for layer in report.layers}) == len(report.layers) == 6
    assert report.sparsity == finished.history[-1].sparsity


@pytest.mark.parametrize("how", ["assertion", "value", "dict", "nine_classes"])
def test_a_model_that_does_not_fit_the_images_is_told(how: str) -> None:
    experiment = load(f'model.name="{__name__}:Odd"', f"model.options={{how: {how}}}")
    with pytest.raises(SettingError) as caught:
        measure_problem(experiment, task_of(experiment))
    assert caught.value.setting == "model.name"


def test_the_same_seed_gives_the_same_run() -> None:
    first, second, other = (trained("training.epochs=1", f"training.seed={n}") for n in (0, 0, 1))
    assert first.step_losses == second.step_losses
    assert other.step_losses[0] != first.step_losses[0]
