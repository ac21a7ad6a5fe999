"""A steered or scheduled run ends on its target, on the ramp before, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError, TrainingDivergedError
from strsweep.models import build
from strsweep.settings import RunSettings
from strsweep.sparsity.convert import bake, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.methods import Course, Hooks
from strsweep.training.checkpoints import copied
from strsweep.training.run import TrainingRun

pytestmark = pytest.mark.slow

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
STEERED = ("sparsity.mode=steered", "search.weight_decay=5e-4", "training.batch_size=200")
SCHEDULED = ("sparsity.mode=scheduled",)
ST3 = ("sparsity.mode=st3", "training.clip_gradients=3.0")
SHAPE = (1, 8, 8)
EXAMPLE = torch.zeros(1, *SHAPE)


def run(*overrides: str, sparsity: float = 0.9) -> TrainingRun:
    return TrainingRun(
        load_experiment(DIGITS, [*STEERED, *overrides]),
        RunSettings(weight_decay=5e-4, sparsity=sparsity),
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("granularity", ["layer", "global", "filter", "weight"])
@pytest.mark.parametrize("sparsity", [0.5, 0.987])
def test_the_target_is_met_to_the_weight(granularity: str, sparsity: float) -> None:
    steered = run("training.epochs=1", f"sparsity.granularity={granularity}", sparsity=sparsity)
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


@pytest.mark.parametrize("overrides", [(), SCHEDULED], ids=["steered", "scheduled"])
@pytest.mark.parametrize("stop", [1, 3], ids=["on the ramp", "after it"])
def test_resumed_equals_uninterrupted_bit_for_bit(overrides: tuple[str, ...], stop: int) -> None:
    every = () if overrides else ("sparsity.steer_every=3",)
    overrides = (*overrides, "training.epochs=4", *every)
    whole, second = run(*overrides), run(*overrides)
    states = [copied(whole.state()) for _ in whole.epochs()]
    second.load_state(states[stop - 1])
    assert len(list(second.epochs())) == 4 - stop
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_layers_learn_what_they_give() -> None:
    steered = run("training.epochs=6", "training.batch_size=100", sparsity=0.9)
    list(steered.epochs())
    sparsities = [layer.sparsity for layer in steered.report().layers]
    assert max(sparsities) - min(sparsities) > 0.2


def test_no_layer_takes_all_that_is_left() -> None:
    # It ended at chance, with more than 300 of 342 weights in one layer, while gradients of
    # thresholds were not bounded.
    steered = run("training.batch_size=128", "training.seed=6", sparsity=0.995)
    accuracy = [metrics.task["accuracy"] for metrics in steered.epochs()][-1]
    kept = [layer.weights - layer.zeros for layer in steered.report().layers]
    assert max(kept) < sum(kept) / 2
    assert accuracy > 0.8


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [("auto", 9, 1), ("auto", 50, 5), ("auto", 2000, 10), (7, 9, 7)],
)
def test_thresholds_are_shifted_a_thousand_times_or_every_ten_steps(
    every: str | int, epochs: int, expected: int
) -> None:
    settings = RunSettings(weight_decay=0, sparsity=0.5)
    experiment, model = macs_model(
        settings, f"training.epochs={epochs}", f"sparsity.steer_every={every}"
    )
    steering = hooks(model, experiment, settings, 100)
    offset = next(module.offset for module in model.modules() if hasattr(module, "offset"))
    shifted: list[int] = []
    for step in range(35):
        before = offset.item()
        steering.before_step(
            100 * (epochs - 1) + step
        )  # the ramp is over: only other weights change it
        if offset.item() != before:
            shifted.append(step)
        with torch.no_grad():
            for weight in weight_tensors(model):
                weight.original.mul_(1.01)
    assert shifted == [step for step in range(35) if (step + 100 * (epochs - 1)) % expected == 0]


def test_too_many_dense_layers_are_told_before_training() -> None:
    with pytest.raises(SettingError, match=r"sparsity\.skip: .* leave fewer layers dense"):
        run("sparsity.skip=['block[2345].*']", sparsity=0.9)


@pytest.mark.parametrize("overrides", [SCHEDULED, ST3], ids=["scheduled", "st3"])
@pytest.mark.parametrize("sparsity", [0.5, 0.987])
def test_a_scheduled_run_meets_its_target_to_the_weight_and_bakes(
    overrides: tuple[str, ...], sparsity: float
) -> None:
    scheduled = run(*overrides, "training.epochs=3", sparsity=sparsity)
    list(scheduled.epochs())
    report = scheduled.report()
    assert report.zeros == round(sparsity * report.weights)
    assert threshold_parameters(scheduled.model) == []
    images = torch.randn(4, *SHAPE)
    outputs = scheduled.model(images)
    assert torch.equal(bake(scheduled.model)(images), outputs)
    assert measure(scheduled.model).zeros == report.zeros


def test_a_scheduled_run_prunes_from_a_twentieth_to_half_of_training() -> None:
    scheduled = run(*SCHEDULED, "training.epochs=10")
    found = [metrics.sparsity for metrics in scheduled.epochs()]
    progress = [(epoch - 0.5) / 4.5 for epoch in range(1, 6)] + [1] * 5
    expected = [0.9 * (1 - (1 - x) ** 3) for x in progress]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("overrides", [(), SCHEDULED], ids=["steered", "scheduled"])
def test_autocast_and_compiled_steps_train(overrides: tuple[str, ...], tiny_models: None) -> None:
    losses: list[list[float]] = []
    for extra in ("training.compile=false", "training.compile=true", "training.precision=bfloat16"):
        tiny = 'model={name: "tiny_models:tiny", options: {channels: 1}}'
        trained = run(*overrides, tiny, "training.epochs=2", extra)
        list(trained.epochs())
        losses.append(trained.step_losses)
        assert trained.report().zeros == round(0.9 * trained.report().weights)
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=0.1)


def macs_model(settings: RunSettings, *overrides: str) -> tuple[Experiment, nn.Module]:
    experiment = load_experiment(DIGITS, [*STEERED, "training.epochs=10", *overrides])
    torch.manual_seed(0)
    model = build("digits_cnn", num_classes=10)
    try:
        experiment.sparsity.attach(model, settings, EXAMPLE)
    except ValueError as error:
        raise SettingError("sparsity.skip", (), str(error)) from error
    return experiment, model


def hooks(
    model: nn.Module, experiment: Experiment, settings: RunSettings, steps_per_epoch: int
) -> Hooks:
    epochs = experiment.training.epochs
    course = Course(epochs=epochs, steps_per_epoch=steps_per_epoch, example=EXAMPLE)
    return experiment.sparsity.hooks(model, settings, course)


@pytest.mark.parametrize("overrides", [(), SCHEDULED], ids=["steered", "scheduled"])
def test_the_macs_follow_the_ramp_and_stay(overrides: tuple[str, ...]) -> None:
    settings = RunSettings(weight_decay=0, macs=0.05)
    experiment, model = macs_model(settings, "sparsity.ramp=[0.2, 0.6]", *overrides)
    steering = hooks(model, experiment, settings, 10)
    for epoch in range(10):
        for step in range(10):
            steering.before_step(10 * epoch + step)
        with torch.no_grad():
            for weight in weight_tensors(model):
                weight.original.add_(torch.randn_like(weight.original), alpha=0.01)
        steering.after_epoch(epoch + 1)
        report = measure(model, torch.zeros(1, *SHAPE))
        assert report.macs is not None
        assert report.dense_macs is not None
        progress = min(max((epoch + 1 - 2) / 4, 0), 1)
        wanted = report.dense_macs * (1 - 0.95 * (1 - (1 - progress) ** 3))
        assert wanted - 64 <= report.macs <= wanted  # a weight takes 64 at most


@pytest.mark.parametrize("rule", ["uniform", "erk"])
@pytest.mark.parametrize("macs", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("dense", [(), ("sparsity.dense_last=true",)], ids=["all", "last_dense"])
def test_a_rule_meets_the_macs(rule: str, macs: float, dense: tuple[str, ...]) -> None:
    settings = RunSettings(weight_decay=0, macs=macs)
    told = ("sparsity.mode=dnw", f"sparsity.budget={rule}", *dense)
    _, model = macs_model(settings, *told)
    report = measure(model, torch.zeros(1, *SHAPE))
    assert report.macs is not None
    assert report.dense_macs is not None
    # Each of six layers rounds its own weights, of 64, 16 and 4 multiply-adds.
    assert report.macs / report.dense_macs == pytest.approx(macs, abs=300 / report.dense_macs)


def test_a_uniform_rule_has_the_density_of_its_macs() -> None:
    experiment = load_experiment(
        DIGITS, ["sparsity.mode=gmp", *STEERED[1:], "sparsity.budget=uniform"]
    )
    settings = RunSettings(weight_decay=0, macs=0.3)
    model = build("digits_cnn", num_classes=10)
    experiment.sparsity.attach(model, settings, EXAMPLE)
    found = [1 - layer.sparsity for layer in measure(model).layers]
    assert found == pytest.approx([0.3] * 6, abs=0.01)


@pytest.mark.parametrize(
    ("overrides", "setting", "message"),
    [
        ((), "sparsity.skip", "leave fewer layers dense"),
        (SCHEDULED, "sparsity.skip", "leave fewer layers dense"),
        (("sparsity.mode=gmp", "sparsity.budget=erk"), "sparsity.budget", "1.00% of the mult"),
    ],
)
def test_macs_out_of_reach_are_told(overrides: tuple[str, ...], setting: str, message: str) -> None:
    settings = RunSettings(weight_decay=0, macs=0.01)
    with pytest.raises(SettingError, match=message) as caught:
        macs_model(settings, "sparsity.skip=['block[12].*']", *overrides)
    assert caught.value.setting == setting


def test_weights_that_outgrow_the_sigmoid_end_the_run() -> None:
    steered = run("training.epochs=1", "sparsity.scale=1e-3", sparsity=0.99)
    with pytest.raises(TrainingDivergedError, match=r"epoch 1, .* use sparsity\.function=exp"):
        list(steered.epochs())
