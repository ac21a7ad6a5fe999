"""A method, a data set, an optimizer, a schedule and a detector of one's own, each in this file."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from samples import load
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.errors import InvalidExperimentError
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.convert import bake, parametrized
from strsweep.sparsity.layers import weight_tensors, without
from strsweep.sparsity.methods import Course, Hooks, Method
from strsweep.sparsity.threshold import Pruning
from strsweep.tasks import task_of
from strsweep.training.landing import land_run
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

HERE = __name__


class Random(Pruning):
    """Keeps entries that were drawn once."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.is_on = False

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask if self.is_on else weight


class RandomMask(Method, frozen=True):
    """Prunes at random, from a given epoch on: a method that nobody would choose."""

    mode: str = f"{HERE}:RandomMask"
    from_epoch: int = 1

    about: ClassVar[str] = "random mask"

    @property
    def label(self) -> str:
        return "random mask"

    @property
    def takes_target(self) -> bool:
        return True

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        draw = torch.Generator().manual_seed(0)
        for weight in without(weight_tensors(model), self.dense_layers(model)):
            kept = torch.rand(weight.original.shape, generator=draw) >= run.pruned_share
            parametrized(weight, Random(kept.float()))

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        return SwitchOn(model, self.from_epoch)


class SwitchOn(Hooks):
    def __init__(self, model: nn.Module, epoch: int) -> None:
        self._model, self._epoch = model, epoch

    def before_epoch(self, epoch: int) -> None:
        for module in self._model.modules():
            if isinstance(module, Random):
                module.is_on = epoch >= self._epoch


def noise(images: int = 64) -> tuple[torch.utils.data.TensorDataset, ...]:
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(images + 32, 1, 8, 8, generator=draw), torch.arange(images + 32) % 10
    parts = [[tensor[part] for tensor in data] for part in (slice(images), slice(images, None))]
    return tuple(torch.utils.data.TensorDataset(*part) for part in parts)


def lion(groups: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99)) -> Any:
    return torch.optim.NAdam(groups, lr=lr, betas=betas)


def dropping(over: float, floor: float = 0.1) -> float:
    return 1.0 if over < 0.5 else floor


def own(*overrides: str) -> Experiment:
    base = ("training.epochs=3", "training.batch_size=32", "training.warmup_epochs=1")
    data = f"data={{name: '{HERE}:noise', options: {{images: 64}}, num_classes: 10}}"
    return load(*base, data, *overrides)


def test_a_method_and_a_data_set_of_one_file() -> None:
    experiment = own(
        f"sparsity={{mode: '{HERE}:RandomMask', from_epoch: 2}}", "search.weight_decay=0"
    )
    assert (experiment.method, experiment.has_fixed_target) == ("random mask", True)
    again = Experiment.model_validate(experiment.model_dump(mode="json"))
    assert again == experiment
    assert type(again.sparsity) is type(experiment.sparsity)
    run = TrainingRun(
        experiment, RunSettings(weight_decay=0, sparsity=0.7), device=torch.device("cpu")
    )
    sparsities = [metrics.sparsity for metrics in run.epochs()]
    assert sparsities[:2] == [0.0, 0.0]
    assert sparsities[2] == pytest.approx(0.7, abs=0.01)
    zeros = run.report().zeros
    assert sum(int((w.value == 0).sum()) for w in weight_tensors(bake(run.model))) == zeros


def test_a_setting_of_an_own_method_is_checked() -> None:
    with pytest.raises(InvalidExperimentError, match=r"sparsity\.from_epoch: got 'x'"):
        own(f"sparsity={{mode: '{HERE}:RandomMask', from_epoch: x}}")


def test_an_optimizer_and_a_schedule_of_ones_own() -> None:
    experiment = own(
        f"training.optimizer='{HERE}:lion'",
        "training.optimizer_options={betas: [0.8, 0.9]}",
        f"training.schedule='{HERE}:dropping'",
        "training.schedule_options={floor: 0.25}",
        "training.learning_rate=0.01",
        "training.epochs=5",
    )
    settings = RunSettings(threshold_init=-5, weight_decay=0, threshold_decay=0.1)
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    rates = [metrics.learning_rate for metrics in run.epochs()]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.0025, 0.0025])
    assert run.history[-1].sparsity > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torchvision's own
def test_a_detector_trains_lands_and_is_judged() -> None:
    overrides = (
        "model={name: 'torchvision:ssdlite320_mobilenet_v3_large',"
        " options: {weights: null, weights_backbone: null}}",
        "task={name: 'integration.own_tasks:Boxes', options: {images: 8}}",
        "data={}",
        "training={epochs: 2, batch_size: 4, warmup_epochs: 0, learning_rate: 0.01}",
    )
    experiment = load(*overrides)
    problem = measure_problem(experiment, task_of(experiment))
    assert problem.metric.name == "overlap"
    assert problem.dense_macs > 10**8
    settings = RunSettings(threshold_init=-6, weight_decay=0, threshold_decay=0.5)
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    last = [*run.epochs()][-1]
    assert 0 <= last.task["overlap"] <= 1
    landed = land_run(experiment, settings, run.state(), Target(sparsity=0.5), seen=4)
    assert landed.report.zeros == round(0.5 * landed.report.weights)
    assert "overlap" in landed.metrics


VIT = (
    "model={name: 'integration.own_tasks:vit'}",
    "data={name: 'integration.own_tasks:colored_digits', num_classes: 10}",
    "training={epochs: 15, batch_size: 64, warmup_epochs: 2, learning_rate: 3e-3}",
    "training.optimizer=adamw",
    "search.weight_decay=0.05",
)


@pytest.mark.long
def test_a_vision_transformer_with_half_of_its_weights_is_as_good_as_dense() -> None:
    def accuracy(*overrides: str, **settings: Any) -> float:
        experiment = load(*VIT, *overrides)
        run = RunSettings(weight_decay=0.05, **settings)
        *_, last = TrainingRun(experiment, run, device=torch.device("cpu")).epochs()
        assert last.sparsity == pytest.approx(settings.get("sparsity", last.sparsity), abs=1e-4)
        assert last.sparsity > 0.4 or "sparsity.mode=dense" in overrides
        return last.task["accuracy"]

    dense = accuracy("sparsity.mode=dense")
    assert dense > 0.85
    # Its classifier starts at zero: in 0.1 it stayed there, at chance, whatever pruned.
    assert accuracy("sparsity.mode=steered", sparsity=0.5) > dense - 0.02
    assert accuracy(threshold_init=-6.8, threshold_decay=0.012) > dense - 0.02
