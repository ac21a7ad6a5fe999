"""A steered run ends exactly on its target, on the ramp before, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strsweep.config import RunSettings, load_experiment
from strsweep.errors import SettingError
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
STEERED = ("sparsity.mode=steered", "search.weight_decay=5e-4", "training.batch_size=200")


def run(*overrides: str, sparsity: float = 0.9) -> TrainingRun:
    return TrainingRun(
        load_experiment(DIGITS, [*STEERED, *overrides]),
        RunSettings(weight_decay=5e-4, sparsity=sparsity),
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("granularity", ["layer", "global", "filter", "weight"])
@pytest.mark.parametrize("sparsity", [0.5, 0.987])
def test_the_target_is_met_to_the_weight(granularity: str, sparsity: float) -> None:
    steered = run("training.epochs=3", f"sparsity.granularity={granularity}", sparsity=sparsity)
    list(steered.epochs())
    report = steered.report()
    assert report.zeros == round(sparsity * report.weights)


def test_the_sparsity_follows_the_ramp_and_stays() -> None:
    steered = run("training.epochs=8", "sparsity.ramp=[0.25, 0.75]")
    found = [metrics.sparsity for metrics in steered.epochs()]
    progress = [0, 0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1]
    expected = [0.9 * (1 - (1 - x) ** 3) for x in progress]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ramp", [[0.0, 1.0], [0.9, 1.0]])
def test_however_late_the_ramp_ends_the_last_epoch_is_on_target(ramp: list[float]) -> None:
    steered = run("training.epochs=2", f"sparsity.ramp={ramp}")
    assert [*steered.epochs()][-1].sparsity == pytest.approx(0.9, abs=1e-5)


def test_resumed_equals_uninterrupted_bit_for_bit() -> None:
    overrides = ("training.epochs=6", "sparsity.steer_every=3")
    whole, first, second = (run(*overrides) for _ in range(3))
    list(whole.epochs())
    epochs = first.epochs()
    for _ in range(2):
        next(epochs)
    second.load_state(first.state())
    list(second.epochs())
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_layers_learn_what_they_give() -> None:
    steered = run("training.epochs=6", "training.batch_size=100", sparsity=0.9)
    list(steered.epochs())
    sparsities = [layer.sparsity for layer in steered.report().layers]
    assert max(sparsities) - min(sparsities) > 0.2


def test_too_many_dense_layers_are_told_before_training() -> None:
    with pytest.raises(SettingError, match=r"sparsity\.skip: .* leave fewer layers dense"):
        run("sparsity.skip=['block[2345].*']", sparsity=0.9)
