"""``auto`` gives settings that a paper's reader would choose; what cannot prune is refused."""

from __future__ import annotations

import json
import math

import pytest
from benchmarks.planted import PlantedRuns
from benchmarks.simulator import SimulatedSweep
from planted_sweeps import (
    CONFIGS,
    IMAGENET_PROBLEM,
    OWN_RANGE,
    PROBLEM,
    SHARED_RANGE,
    STEERED,
    digits,
    state_of,
)
from samples import ACCURACY, LATE, NINETY

from strsweep.auto import fixed_settings, resolve
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.errors import SettingError
from strsweep.search.decide import DONE
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings, Target
from strsweep.training.law import expit

IMAGENET = CONFIGS / "imagenet_resnet50.yaml"
CIFAR = Problem(
    steps_per_epoch=196,
    weights=23_467_712,
    dense_macs=1_297_000_000,
    weight_scale=0.0229,
    metric=ACCURACY,
)
"""ResNet50 on CIFAR-10, with batches of 256."""
PAPERS = [1.7e-5, 9.051757813e-5]
"""Weight decays of the paper's ResNet50 with 79.55 and with 99.10 %."""


def imagenet(**search: object) -> Experiment:
    """Return the paper's recipe with these settings of the search, as published unless said."""
    asked = {
        "targets": [0.9],
        "decay": "shared",
        "led": False,
        "threshold_init": -3200,
        "weight_decay": "auto",
        **search,
    }
    return load_experiment(IMAGENET, [f"search={json.dumps(asked)}"])


def first_guess(experiment: Experiment, problem: Problem, target: Target) -> RunSettings:
    return LawSpace(experiment, problem).settings(target, state_of(experiment))


@pytest.mark.parametrize(
    ("threshold_init", "weight_decay"), [(-3200, 2.251757813e-5), (-800, 2.051757813e-5)]
)
def test_the_first_guess_is_near_the_papers_weight_decay(
    threshold_init: float, weight_decay: float
) -> None:
    guess = first_guess(imagenet(threshold_init=threshold_init), IMAGENET_PROBLEM, NINETY)
    assert guess.threshold_init == threshold_init
    assert abs(math.log(guess.weight_decay / weight_decay)) < math.log(2)


def test_imagenet_settings_on_cifar_are_refused_with_what_is_needed() -> None:
    papers = imagenet(weight_decay=PAPERS)
    assert resolve(papers, IMAGENET_PROBLEM) == papers
    with pytest.raises(SettingError, match="Nothing would be pruned") as caught:
        resolve(papers, CIFAR)
    message = str(caught.value)
    for part in ("search.weight_decay", str(PAPERS[1]), "start at -3200", "or write auto"):
        assert part in message
    # The decay that it names is not refused.
    needed = float(message.split("About ")[1].split()[0])
    resolve(imagenet(weight_decay=[PAPERS[0], needed]), CIFAR)


def test_thresholds_of_their_own_are_named_by_their_own_decay() -> None:
    with pytest.raises(SettingError, match=r"^search\.threshold_decay: got \[0\.001, 0\.002\]"):
        resolve(digits("search.threshold_decay=[1e-3, 2e-3]", "search.threshold_init=-50"), PROBLEM)


def test_one_run_that_prunes_nothing_is_noted_and_allowed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    single = imagenet(targets=[], weight_decay=2.251757813e-5)
    assert single.is_single
    assert resolve(single, IMAGENET_PROBLEM) == single
    assert not capsys.readouterr().out
    assert resolve(single, CIFAR) == single
    assert "note: search.weight_decay: got 2.251757813e-05. " in capsys.readouterr().out


@pytest.mark.parametrize(("decays", "refused"), [([1e-5, 3e-5], True), ([1e-5, 3e-3], False)])
def test_a_range_is_judged_by_its_sparsest_corner(decays: list[float], refused: bool) -> None:
    experiment = imagenet(weight_decay=decays)
    if refused:
        with pytest.raises(SettingError, match="Nothing would be pruned"):
            resolve(experiment, CIFAR)
    else:
        assert resolve(experiment, CIFAR) == experiment


OWN_AUTO = {"decay": "own", "weight_decay": 1e-4, "threshold_init": "auto"}


@pytest.mark.parametrize(
    ("experiment", "problem"),
    [
        (digits("search.led=false"), PROBLEM),
        (imagenet(threshold_init="auto"), IMAGENET_PROBLEM),
        (imagenet(threshold_init="auto"), CIFAR),
        (imagenet(**OWN_AUTO), IMAGENET_PROBLEM),
        (imagenet(**OWN_AUTO), CIFAR),
    ],
)
def test_auto_ranges_reach_around_90_percent(experiment: Experiment, problem: Problem) -> None:
    settled = resolve(experiment, problem)
    search, space = settled.search, LawSpace(settled, problem)
    assert set(search.resolved) == {"threshold_init", search.knob}
    assert isinstance(search.threshold_init, float)
    assert isinstance(search.knob_value, tuple)
    low, high = search.knob_value
    assert 0 < low < first_guess(settled, problem, NINETY).first_decay < high
    delay = space.delay(search.threshold_init)
    for factor in (0.5, 2.0):  # a network that is twice as easy or hard as expected
        least, most = (
            expit(space.law.level(decay * space.clock.total - delay, space.expected * factor))
            for decay in search.knob_value
        )
        assert least < 0.4
        assert most > 0.98


def test_the_papers_own_threshold_init_is_not_far_from_auto() -> None:
    search = resolve(imagenet(threshold_init="auto"), IMAGENET_PROBLEM).search
    assert isinstance(search.threshold_init, float)
    assert -12800 <= search.threshold_init <= -100  # table 10


def test_a_led_run_needs_no_range() -> None:
    settled = resolve(digits(), PROBLEM)
    assert settled.search.threshold_decay == "auto"
    assert settled.search.threshold_init == -7.65
    assert settled.search.resolved == ("threshold_init",)


@pytest.mark.parametrize("overrides", [(), ("search.led=false",)])
def test_what_auto_chooses_depends_on_no_target_and_is_stable(overrides: tuple[str, ...]) -> None:
    one, two = (
        resolve(digits(*overrides, f"search.targets={targets}"), PROBLEM)
        for targets in ("[0.9]", "[0.8, {macs: 0.05}]")
    )
    assert one.search.knob_value == two.search.knob_value
    assert one.sweep_id == two.sweep_id == digits(*overrides).sweep_id
    assert resolve(one, PROBLEM) == one
    assert LawSpace(one, PROBLEM).threshold_init == LawSpace(digits(), PROBLEM).threshold_init


@pytest.mark.parametrize(
    ("overrides", "resolved"),
    [
        (("search.led=false", "search.threshold_init=-10"), ("threshold_decay",)),
        (("search.led=false", "search.threshold_decay=[4e-3, 4e-2]"), ("threshold_init",)),
        (OWN_RANGE, ()),
        (SHARED_RANGE, ()),
        (("sparsity.mode=dense",), ()),
        (STEERED, ()),
    ],
)
def test_what_has_numbers_is_left_alone(
    overrides: tuple[str, ...], resolved: tuple[str, ...]
) -> None:
    experiment = digits(*overrides)
    settled = resolve(experiment, PROBLEM)
    assert settled.search.resolved == resolved
    for key in {"threshold_init", "threshold_decay", "weight_decay"} - set(resolved):
        assert getattr(settled.search, key) == getattr(experiment.search, key)


@pytest.mark.parametrize("hardness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("led", ["true", "false"])
def test_a_sweep_with_auto_hits_its_targets(hardness: float, led: str) -> None:
    settled = resolve(digits(f"search.led={led}"), PROBLEM)
    runs = PlantedRuns(experiment=settled, problem=PROBLEM, hardness=hardness, scatter=0.03)
    sweep = SimulatedSweep(settled, PROBLEM, runs)
    sweep.search()
    assert sweep.end == DONE
    assert len(sweep.begun) <= 8


def test_thresholds_that_prune_from_the_start_are_refused() -> None:
    easy = PROBLEM.model_copy(update={"weights": 10**9})
    experiment = digits("search.led=false", "search.threshold_init=-1e-3")
    with pytest.raises(SettingError, match=r"search.threshold_init: got -0.001\. .* write auto"):
        resolve(experiment, easy)


FIXED = ("search.threshold_init=-10", "search.threshold_decay=0.02")
SHARED = ("search.threshold_init=-10", "search.decay=shared", "search.weight_decay=1e-2")


@pytest.mark.parametrize(
    ("overrides", "settings"),
    [
        (FIXED, LATE),
        ((*FIXED, "search.share_prefix=false"), LATE.model_copy(update={"onset": 0})),
        (SHARED, RunSettings(threshold_init=-10, weight_decay=1e-2)),
        (("sparsity.mode=dense",), RunSettings(weight_decay=5e-4)),
        (("sparsity.mode=gmp", "sparsity.budget={fc: 0.5}"), RunSettings(weight_decay=5e-4)),
    ],
)
def test_one_run_has_the_numbers_of_the_file(
    overrides: tuple[str, ...], settings: RunSettings
) -> None:
    experiment = resolve(digits(*overrides), PROBLEM)
    assert experiment.is_single
    assert fixed_settings(experiment, PROBLEM) == settings


def test_a_published_model_is_trained_with_its_published_settings() -> None:
    experiment = load_experiment(IMAGENET, ["sparsity.preset=resnet50-90.23"])
    settled = resolve(experiment, IMAGENET_PROBLEM)
    expected = RunSettings(threshold_init=-3200, weight_decay=2.251757813e-5)
    assert fixed_settings(settled, IMAGENET_PROBLEM) == expected
