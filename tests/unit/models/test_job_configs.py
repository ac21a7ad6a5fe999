"""Every experiment that ships names a network and data that exist; its arithmetic is right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.data import TrainingBatches, check_data
from strsweep.errors import SettingError
from strsweep.models import build, check_options
from strsweep.plan import first_settings
from strsweep.search.space import LawSpace
from strsweep.settings import Metric
from strsweep.sparsity.measure import measure
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
            num_samples=NUM_IMAGES[experiment.data_name],
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


def test_weights_decay_as_in_the_published_recipe() -> None:
    decays = {path.stem: load(path.stem).search.weight_decay for path in CONFIGS.glob("*.yaml")}
    assert decays.pop("imagenet_mobilenet_v1") == (1.5e-5, 4.5e-5)  # it is searched, see below
    assert {name: decay for name, decay in decays.items() if "imagenet" in name} == {
        "imagenet_resnet50": 2**-15,
        "imagenet_resnet50_dense": 2**-15,
        "imagenet_mobilenet_v1_dense": 2**-15,
    }
    assert decays["digits"] == decays["digits_2workers"] == 5e-4


def test_what_reproduces_the_paper_searches_as_published() -> None:
    experiment = load("imagenet_mobilenet_v1")
    assert experiment.method == "str, shared weight decay, one decay a run"
    assert "as it was published" in (CONFIGS / "imagenet_mobilenet_v1.yaml").read_text()
    assert not experiment.shares_prefix
    # Weight decay of the paper's runs at the outermost targets, all with about -3200.
    decay = experiment.search.weight_decay
    assert isinstance(decay, tuple)
    assert decay[0] < 1.95e-5 < 3.75e-5 < decay[1]
    assert experiment.search.threshold_init == -3200
    # Even the most sparse run is dense for a while, and the least sparse prunes before the end.
    onset = math.log(3200 / 9)
    assert onset / (decay[1] * clock(experiment)) > 0.05
    assert onset / (decay[0] * clock(experiment)) < 1


OWN_DECAY = ["cifar10_resnet18", "cifar100_resnet20", "imagenet_resnet50"]


def problem_of(experiment: Experiment) -> Problem:
    """What preflight measures, without the images."""
    classes = {"imagenet": 1000, "cifar10": 10, "cifar100": 100}[experiment.data_name]
    torch.manual_seed(0)
    network = build(experiment.model.name, num_classes=classes, **experiment.model.options)
    side = 224 if experiment.data.name == "imagenet" else 32
    report = measure(network, torch.zeros(1, 3, side, side))
    assert report.dense_macs is not None
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    magnitudes = torch.cat([layer.weight.detach().abs().flatten() for layer in layers])
    return Problem(
        steps_per_epoch=math.ceil(
            NUM_IMAGES[experiment.data_name] / experiment.training.batch_size
        ),
        weights=report.weights,
        dense_macs=report.dense_macs,
        weight_scale=magnitudes.median().item(),
        metric=Metric(name="accuracy"),
    )


@pytest.mark.parametrize("name", OWN_DECAY)
def test_first_runs_lead_themselves_and_prune_in_time(name: str) -> None:
    experiment = load(name)
    assert experiment.method == "str, own threshold decay, led to the target"
    problem = problem_of(experiment)
    space = LawSpace(experiment, problem)
    assert f"The first {space.onset} epochs are" in (CONFIGS / f"{name}.yaml").read_text()
    first = first_settings(experiment, problem, space)
    decays = [settings.first_decay for settings in first]
    assert decays == sorted(set(decays)), "more decay for more sparsity"
    for settings in first:
        assert settings.weight_decay == experiment.search.weight_decay
        assert settings.lead is not None
        # Thresholds prune some time after they began to act, and long before the end.
        passed = settings.lead.delay / (settings.first_decay * space.clock.total)
        assert 0.05 < passed < 0.6


@pytest.mark.parametrize(
    ("name", "model", "found"),
    [("imagenet_resnet50", "resnet50", 5.5), ("imagenet_mobilenet_v1", "mobilenet_v1", 12.0)],
)
def test_the_law_expects_about_what_the_papers_runs_show(
    name: str, model: str, found: float
) -> None:
    experiment = load(name)
    assert experiment.model.name == model
    expected = LawSpace(experiment, problem_of(experiment)).expected
    assert expected == pytest.approx(found, rel=0.15)


def test_the_size_in_the_comment_is_that_of_the_network() -> None:
    experiment = load("cifar100_resnet20")
    weights = measure(build(experiment.model.name, num_classes=100)).weights
    assert f"{weights:,} weights" in (CONFIGS / "cifar100_resnet20.yaml").read_text()
