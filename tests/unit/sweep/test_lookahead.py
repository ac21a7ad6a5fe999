"""The next run is the one that leaves the least to be done, not the one most likely to hit."""

from __future__ import annotations

from collections.abc import Sequence

from search_simulation import LEVEL, PATH, a_goal, finished_run, sparsities

from strsweep.config import Target
from strsweep.sweep.lookahead import best_aim, most_likely
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.state import FinishedRun

FIVE = sparsities(0.8, 0.9, 0.95, 0.98, 0.99)


def run_at(position: float, number: int = 1) -> FinishedRun:
    return finished_run(position, LEVEL(position), number)


def place_of(share: float) -> float:
    """Return where runs end with ``share``."""
    return min((abs(LEVEL(p / 400) - share), p / 400) for p in range(401))[1]


def aim(targets: Sequence[Target], *finished: FinishedRun) -> tuple[Target, float]:
    goal = a_goal(targets)
    outlook = Outlook(goal, PATH, finished, [])
    target, index = best_aim(targets, goal, outlook)
    return target, float(outlook.positions[index])


def test_what_tells_of_the_others_comes_before_what_is_likely_to_hit() -> None:
    known = run_at(place_of(0.99))
    outlook = Outlook(a_goal(FIVE[:4]), PATH, [known], [])
    assert max(FIVE[:4], key=lambda target: outlook.chances(target).max()) == FIVE[3]
    target, position = aim(FIVE[:4], known)
    assert target in FIVE[:3]
    assert place_of(0.75) < position < place_of(0.96)


def test_once_both_ends_are_known_all_between_is_near() -> None:
    known = [run_at(place_of(0.99)), run_at(place_of(0.8), 2)]
    goal = a_goal(FIVE[1:4])
    after = Outlook(goal, PATH, known, [])
    before = Outlook(goal, PATH, known[:1], [])
    for target in FIVE[1:4]:
        assert after.chances(target).max() > before.chances(target).max()


def test_one_run_for_two_targets_if_it_may_hit_both() -> None:
    both = sparsities(0.9, 0.904)
    known = [run_at(place_of(share), n) for n, share in enumerate((0.86, 0.88, 0.93), start=1)]
    _, position = aim(both, *known)
    goal = a_goal(both)
    assert all(LEVEL(position) in goal.window(target) for target in both)


def test_one_target_is_aimed_at_where_it_is_most_likely_hit() -> None:
    goal = a_goal(FIVE[:1])
    outlook = Outlook(goal, PATH, [run_at(0.5)], [])
    assert best_aim(FIVE[:1], goal, outlook) == (FIVE[0], most_likely(FIVE[0], goal, outlook))


def test_what_cannot_be_hit_is_approached() -> None:
    goal = a_goal(FIVE, tolerance=1e-12)
    outlook = Outlook(goal, PATH, [], [])
    index = most_likely(FIVE[0], goal, outlook)
    assert abs(outlook.curve("sparsity").mean[index] - 1.386) < 0.1


def test_a_run_that_can_hit_nothing_is_for_the_target_that_it_is_near() -> None:
    goal = a_goal(sparsities(0.5, 0.99), tolerance=1e-4)
    known = [finished_run(place / 10, 0.84 + place / 500, place + 1) for place in range(11)]
    outlook = Outlook(goal, PATH, known, [])
    target, index = best_aim(goal.targets, goal, outlook)
    assert (target, index) in [
        (target, most_likely(target, goal, outlook)) for target in goal.targets
    ]
