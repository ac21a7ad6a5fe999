"""``auto`` gives settings that a paper's reader would choose; what cannot prune is refused."""

from __future__ import annotations

import math

import pytest
from search_simulation import IMAGENET, IMAGENET_PROBLEM, PROBLEM, Noisy, Simulated, digits

from strsweep.config import Experiment, Problem, Target, load_experiment
from strsweep.config.presets import PRESETS
from strsweep.errors import SettingError
from strsweep.sweep.auto import first_guess, resolve
from strsweep.sweep.clock import DecayClock, level_at
from strsweep.sweep.curve import expit
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import Finish, Goal

AUTO = ("search.threshold_init=auto", "search.weight_decay=auto")
NINETY = Target(sparsity=0.9)
CIFAR = Problem(
    steps_per_epoch=196, weights=23_467_712, dense_macs=1_297_000_000, weight_scale=0.0229
)
"""ResNet50 on CIFAR-10, with batches of 256."""


def imagenet(*overrides: str) -> Experiment:
    return load_experiment(IMAGENET, overrides)


@pytest.mark.parametrize("row", ["resnet50-90.23", "resnet50-90.55"])
def test_the_first_guess_is_near_the_papers_weight_decay(row: str) -> None:
    published = PRESETS[row]
    experiment = imagenet(f"search.threshold_init={published.threshold_init}")
    guess = first_guess(experiment, IMAGENET_PROBLEM, NINETY)
    assert guess.threshold_init == published.threshold_init
    assert abs(math.log(guess.weight_decay / published.weight_decay)) < math.log(2)


def test_guesses_rise_with_the_targets() -> None:
    targets = [Target(sparsity=share) for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
    decays = [first_guess(digits(), PROBLEM, target).weight_decay for target in targets]
    assert decays == sorted(decays)
    assert len(set(decays)) == 5
    assert first_guess(digits(), PROBLEM, Target(macs=0.1)).weight_decay == decays[2]


def test_imagenet_settings_on_cifar_are_refused_with_what_is_needed() -> None:
    low, high = (PRESETS[f"resnet50-{share}"].weight_decay for share in ("79.55", "99.10"))
    papers = imagenet(f"search.weight_decay=[{low}, {high}]")
    assert resolve(papers, IMAGENET_PROBLEM) == papers
    with pytest.raises(SettingError, match="Nothing would be pruned") as caught:
        resolve(papers, CIFAR)
    message = str(caught.value)
    assert "search.weight_decay" in message
    assert str(high) in message
    assert "start at -3200" in message
    assert "or write auto" in message
    # The decay that it names is not refused.
    needed = message.split("About ")[1].split()[0]
    resolve(imagenet(f"search.weight_decay=[{low}, {needed}]"), CIFAR)


def test_one_run_that_prunes_nothing_is_noted_and_allowed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    single = imagenet("sparsity.preset=resnet50-90.23")
    assert resolve(single, IMAGENET_PROBLEM) == single
    assert not capsys.readouterr().out
    assert resolve(single, CIFAR) == single
    assert "note: search.weight_decay" in capsys.readouterr().out


def test_a_range_is_judged_by_its_sparsest_corner() -> None:
    low = "search.threshold_init=-3200"
    with pytest.raises(SettingError, match="Nothing would be pruned"):
        resolve(imagenet(low, "search.weight_decay=[1e-5, 3e-5]"), CIFAR)
    resolve(imagenet(low, "search.weight_decay=[1e-5, 3e-3]"), CIFAR)


@pytest.mark.parametrize("problem", [CIFAR, IMAGENET_PROBLEM, PROBLEM])
def test_auto_gives_settings_around_90_percent(problem: Problem) -> None:
    source = digits if problem is PROBLEM else imagenet
    settled = resolve(source(*AUTO), problem)
    search = settled.search
    assert isinstance(search.threshold_init, float)
    assert isinstance(search.weight_decay, tuple)
    low, high = search.weight_decay
    assert 0 < low < first_guess(settled, problem, NINETY).weight_decay < high
    assert set(search.resolved) == {"threshold_init", "weight_decay"}
    clock = DecayClock.of(settled, problem)
    # Even if the network is four times harder or easier than expected, 50 to 98 % are inside.
    for factor in (0.25, 4.0):
        ends = level_at(SearchPath.of(settled, problem).drives([0.0, 1.0]), clock.hardness * factor)
        assert expit(ends[0]) < 0.5
        assert expit(ends[1]) > 0.98


def test_the_papers_own_threshold_init_is_not_far_from_auto() -> None:
    first = resolve(imagenet(*AUTO), IMAGENET_PROBLEM).search.threshold_init
    assert isinstance(first, float)
    assert -12800 <= first <= -100  # table 10


def test_what_auto_chooses_depends_on_no_target_and_is_stable() -> None:
    one, two = (
        resolve(digits(*AUTO, f"search.targets={targets}"), PROBLEM)
        for targets in ("[0.9]", "[0.8, {macs: 0.05}]")
    )
    assert one.search.weight_decay == two.search.weight_decay
    assert one.sweep_id == two.sweep_id == digits(*AUTO).sweep_id
    assert resolve(one, PROBLEM) == one


def test_one_of_the_two_can_be_auto() -> None:
    settled = resolve(digits("search.weight_decay=auto"), PROBLEM)
    assert settled.search.threshold_init == -10
    assert settled.search.resolved == ("weight_decay",)
    settled = resolve(digits("search.threshold_init=auto"), PROBLEM)
    assert settled.search.weight_decay == (4e-3, 2.4e-2)
    assert settled.search.resolved == ("threshold_init",)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("sparsity.mode=dense", "search.weight_decay=0"),
        ("sparsity.mode=steered", "search.weight_decay=0"),
    ],
)
def test_what_has_numbers_is_left_alone(overrides: tuple[str, ...]) -> None:
    assert resolve(digits(*overrides), PROBLEM) == digits(*overrides)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_sweep_with_auto_hits_its_targets(factor: float) -> None:
    settled = resolve(digits(*AUTO), PROBLEM)
    path = SearchPath.of(settled, PROBLEM)

    def curve(position: float) -> float:
        return expit(float(level_at(path.drives([position]), path.clock.hardness * factor)[0]))

    goal = Goal.of(settled, PROBLEM)
    sweep = Simulated(Noisy(curve, 0.03, 0), goal, path)
    assert sweep.search() == Finish("every target is hit")
    assert len(sweep.proposed) <= 12


def test_guesses_keep_to_the_ranges() -> None:
    box = digits("search.threshold_init=[-100, -5]", "search.weight_decay=1.2e-2")
    guess = first_guess(box, PROBLEM, NINETY)
    assert guess.weight_decay == 1.2e-2
    assert -100 <= guess.threshold_init <= -5
    low = first_guess(digits("search.threshold_init=-3"), PROBLEM, Target(sparsity=0.01))
    assert low.weight_decay == 4e-3


def test_thresholds_that_prune_from_the_start_are_refused() -> None:
    easy = Problem(
        steps_per_epoch=11, weights=10**9, dense_macs=10**9, weight_scale=PROBLEM.weight_scale
    )
    first = ("search.threshold_init=-1e-3", "search.weight_decay=auto")
    with pytest.raises(SettingError, match=r"search.threshold_init: got -0.001\. .* write auto"):
        resolve(digits(*first), easy)
