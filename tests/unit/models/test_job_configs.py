"""Every experiment that ships names a network and data that exist; its arithmetic is right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from strsweep.config import Experiment, load_experiment
from strsweep.data import TrainingBatches, check_data
from strsweep.errors import SettingError
from strsweep.models import build, check_options
from strsweep.sparsity import measure
from strsweep.training.schedule import learning_rate

CONFIGS = Path(__file__).parents[3] / "jobs" / "configs"
NUM_IMAGES = {"imagenet": 1_281_167, "cifar10": 50_000, "cifar100": 50_000}
PAPERS_CLOCK = 522_762
"""Sum of the learning rates of all steps over (1 - momentum), in the paper's recipe."""


def load(name: str) -> Experiment:
    return load_experiment(CONFIGS / f"{name}.yaml")


def clock(experiment: Experiment) -> float:
    training = experiment.training
    steps = len(
        TrainingBatches(
            num_images=NUM_IMAGES[experiment.data.name],
            batch_size=training.batch_size,
            seed=0,
            epoch=0,
            world_size=experiment.workers.count,
        )
    )
    rates = [learning_rate(training, epoch, 0, steps) for epoch in range(training.epochs)]
    return steps * math.fsum(rates) / (1 - training.momentum)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_model_and_data_exist(path: Path) -> None:
    experiment = load_experiment(path)
    check_options(experiment.model.name, experiment.model.options)
    if experiment.data.path is None:
        check_data(experiment.data)
        return
    with pytest.raises(SettingError, match="There is no such folder") as caught:
        check_data(experiment.data)
    assert caught.value.setting == "data.path"


IMAGENET = [
    f"imagenet_{model}{kind}" for model in ("resnet50", "mobilenet_v1") for kind in ("", "_dense")
]


@pytest.mark.parametrize("name", IMAGENET)
def test_the_recipe_on_imagenet_is_the_papers(name: str) -> None:
    experiment = load(name)
    assert clock(experiment) == pytest.approx(PAPERS_CLOCK, abs=1)
    assert experiment.training.schedule_every == "epoch"
    assert experiment.training.label_smoothing == 0.1


@pytest.mark.parametrize("name", ["cifar10_resnet18", "cifar100_resnet20"])
def test_the_clock_in_the_comment_is_that_of_the_recipe(name: str) -> None:
    experiment = load(name)
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert f"{clock(experiment):,.0f}" in text
    assert f"{PAPERS_CLOCK / clock(experiment):.1f} times" in text


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        # Weight decay of the paper's runs at the outermost targets, all with about -3200.
        ("imagenet_resnet50", 1.7e-5, 9.05e-5),
        ("imagenet_mobilenet_v1", 1.95e-5, 3.75e-5),
        ("cifar10_resnet18", 2.25e-5, 8.55e-5),
        ("cifar100_resnet20", 1.7e-5, 3.05e-5),
    ],
)
def test_the_range_holds_the_papers_runs_at_the_same_clock(
    name: str, least: float, most: float
) -> None:
    experiment = load(name)
    decay = experiment.search.weight_decay
    assert isinstance(decay, tuple)
    low, high = (value * clock(experiment) for value in decay)
    assert low < least * PAPERS_CLOCK < most * PAPERS_CLOCK < high
    assert experiment.search.threshold_init == -3200
    # Even the most sparse run is dense for a while, and the least sparse prunes before the end.
    onset = math.log(3200 / 9)
    assert onset / high > 0.05
    assert onset / low < 1


def test_the_size_in_the_comment_is_that_of_the_network() -> None:
    experiment = load("cifar100_resnet20")
    weights = measure(build(experiment.model.name, num_classes=100)).weights
    assert f"{weights:,} weights" in (CONFIGS / "cifar100_resnet20.yaml").read_text()
