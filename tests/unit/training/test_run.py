"""A run: reproducible, resumable bit for bit, and clear about what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from equal_runs import assert_same_state

from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError, TrainingDivergedError
from strsweep.settings import RunSettings
from strsweep.storage import store_at
from strsweep.tasks import task_of
from strsweep.training.checkpoints import load_checkpoint, save_checkpoint
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

pytestmark = pytest.mark.slow

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
EPOCHS = 4
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
SETTINGS = RunSettings(threshold_init=-6, weight_decay=2e-2)


def experiment(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, [f"training.epochs={EPOCHS}", *overrides])


def trained(run: TrainingRun, num_epochs: int = EPOCHS) -> TrainingRun:
    epochs = run.epochs()
    for _ in range(num_epochs - len(run.history)):
        next(epochs)
    return run


def new_run(*overrides: str, settings: RunSettings = SETTINGS) -> TrainingRun:
    return TrainingRun(experiment(*overrides), settings, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def uninterrupted() -> TrainingRun:
    torch.set_num_threads(1)
    return trained(new_run())


@pytest.mark.parametrize("interrupted_after", [1, EPOCHS])
def test_resumed_equals_uninterrupted_bit_for_bit(
    uninterrupted: TrainingRun, interrupted_after: int, tmp_path: Path
) -> None:
    save_checkpoint(store_at(str(tmp_path)), "last", trained(new_run(), interrupted_after).state())
    torch.rand(17)  # another process would have another random state
    resumed = new_run()
    resumed.load_state(load_checkpoint(store_at(str(tmp_path)), "last"))
    assert_same_state(trained(resumed).state(), uninterrupted.state())
    assert [m.sparsity for m in resumed.history] == [m.sparsity for m in uninterrupted.history]
    assert 0.01 < resumed.history[-1].sparsity < 1


def test_threshold_decay_can_be_set_apart(uninterrupted: TrainingRun) -> None:
    held = trained(new_run(settings=SETTINGS.model_copy(update={"threshold_decay": 0.0})))
    assert held.history[-1].sparsity < uninterrupted.history[-1].sparsity
    assert held.report().layers[0].threshold == pytest.approx(1 / (1 + 2.718281828**6), rel=0.2)


def test_autocast_leaves_weights_and_thresholds_in_float32() -> None:
    run = trained(new_run("training.precision=bfloat16", "training.channels_last=true"), 1)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert run.history[0].train_loss < 2.0  # it learns: chance is ln(10)


def test_a_loss_of_nan_ends_the_run_with_the_remedy() -> None:
    with pytest.raises(TrainingDivergedError, match=r"lower training\.learning_rate"):
        trained(new_run("training.learning_rate=1e20"))


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
        new_run(override)


def test_every_layer_learns_a_threshold_of_its_own(uninterrupted: TrainingRun) -> None:
    report = uninterrupted.report()
    assert len({layer.threshold for layer in report.layers}) == len(report.layers) == 6
    assert report.sparsity == uninterrupted.history[-1].sparsity


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
