"""Once every target is hit, further runs look for accuracy with other threshold inits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_simulation import (
    LEVEL,
    PATH,
    PROBLEM,
    Simulated,
    a_goal,
    digits,
    finished_run,
    sparsities,
    unfinished_run,
)

from strsweep.config import Target
from strsweep.sweep.outcome import outcomes
from strsweep.sweep.path import SearchPath
from strsweep.sweep.search import decide
from strsweep.sweep.state import (
    Decision,
    FailedRun,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Spent,
    UnfinishedRun,
    Wait,
)

TWO = LEFT, RIGHT = sparsities(0.9, 0.95)
KNOWN = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.2, 0.4, 0.6, 0.8), start=1)]
HITS = [*KNOWN, finished_run(0.525, 0.9, 5), finished_run(0.618, 0.95, 6)]


def decided(
    goal: Goal,
    finished: list[FinishedRun] = HITS,
    unfinished: tuple[UnfinishedRun, ...] = (),
    path: SearchPath = PATH,
) -> Decision:
    spent = Spent(runs=len(finished) + len(unfinished))
    return decide(goal, path, finished, unfinished, spent=spent)


def test_the_first_one_starts_four_times_as_low_with_the_same_drive() -> None:
    proposed = decided(a_goal(TWO, refine=1))
    assert isinstance(proposed, Propose)
    assert (proposed.target, proposed.refines) == (None, LEFT)
    assert proposed.threshold_init == -40.0
    assert proposed.reason == "more accuracy at 90 %"
    assert LEVEL(proposed.position) == pytest.approx(0.9, abs=0.005)
    settings = PATH.off_path(proposed.position, -40.0)
    assert settings is not None
    drive = PATH.clock.drive(-40.0, settings.weight_decay)
    assert drive == pytest.approx(PATH.drives(np.asarray([proposed.position]))[0], abs=1e-3)


def test_targets_take_turns_and_no_init_is_tried_twice() -> None:
    sweep = Simulated(LEVEL, a_goal(TWO, refine=7), slots=1)
    assert sweep.search() == Finish("every target is hit")
    tried = [(run.refines, run.threshold_init) for run in sweep.proposed if run.refines]
    assert [target for target, _ in tried] == [*TWO, *TWO, *TWO, LEFT]
    assert len(set(tried)) == 7
    assert all(first is not None and first < 0 for _, first in tried)


def test_a_run_under_way_counts_and_is_waited_for() -> None:
    goal = a_goal(TWO, refine=1)
    running = unfinished_run(0.525, None, refines=LEFT)
    assert decided(goal, unfinished=(running,)) == Wait()
    resting = replace(running, is_running=False)
    assert decided(goal, unfinished=(resting,)) == Finish("every target is hit")


def test_nothing_is_refined_before_every_target_is_hit() -> None:
    proposed = decided(a_goal(TWO, refine=3), HITS[:5])
    assert isinstance(proposed, Propose)
    assert (proposed.target, proposed.refines) == (RIGHT, None)


def test_refining_keeps_to_the_limits() -> None:
    ended = decided(a_goal(TWO, refine=3, max_runs=6))
    assert ended == Finish("every target is hit; search.max_runs (6) is spent")
    ended = decided(a_goal(TWO, refine=3, max_epochs=20))
    assert isinstance(ended, Finish)
    assert "search.max_epochs (20)" in ended.reason


def test_where_no_other_init_is_possible_it_says_so() -> None:
    apart = SearchPath.of(digits("sparsity.threshold_decay=1e-2"), PROBLEM)
    ended = decided(a_goal(TWO, refine=3), path=apart)
    assert ended == Finish("every target is hit; no other threshold init is left to try")


def test_the_more_accurate_run_is_delivered() -> None:
    better = finished_run(0.53, 0.902, 7, accuracy=0.95, threshold_init=-40.0, refines=LEFT)
    states = outcomes(a_goal(TWO), [*HITS, better])
    assert states[0].run == better
    assert states[1].run == HITS[5]


def test_a_run_off_the_path_tells_less_of_it_and_nothing_of_its_ends() -> None:
    goal = a_goal([Target(sparsity=0.9), Target(sparsity=0.999)])
    off = finished_run(1.0, 0.95, 7, threshold_init=-40.0)
    assert decided(goal, [*HITS, off]) != Finish("the targets left are out of reach of the ranges")
    on = replace(off, threshold_init=None)
    assert decided(goal, [*HITS, on]) == Finish("the targets left are out of reach of the ranges")


def test_an_init_that_is_not_possible_costs_no_turn() -> None:
    half = sparsities(0.5)
    known = [*KNOWN, finished_run(0.25, 0.5, 5)]
    tried: list[float | None] = []
    for number in range(6, 11):
        proposed = decided(a_goal(half, refine=9), known)
        assert isinstance(proposed, Propose)
        tried.append(proposed.threshold_init)
        known.append(
            finished_run(
                proposed.position,
                0.5,
                number,
                threshold_init=proposed.threshold_init,
                refines=half[0],
            )
        )
        if isinstance(decided(a_goal(half, refine=9), known), Finish):
            break
    possible = [
        -10 * factor
        for factor in (4.0, 0.25, 2.0, 0.5, 16.0, 0.0625)
        if PATH.off_path(0.25, -10 * factor) is not None
    ]
    assert tried == possible
    assert len(possible) < 6


def test_a_run_that_failed_had_its_turn() -> None:
    failed = [FailedRun(position=0.525, target=None, threshold_init=-40.0, refines=LEFT)]
    goal = a_goal(sparsities(0.9), refine=2)
    proposed = decide(goal, PATH, HITS, (), spent=Spent(runs=7), failed=failed)
    assert isinstance(proposed, Propose)
    assert proposed.threshold_init not in {None, -40.0}
    ended = decide(goal, PATH, HITS, (), spent=Spent(runs=8), failed=failed * 2)
    assert ended == Finish("every target is hit")


def test_a_target_that_only_another_range_hits_is_refined_at_the_nearer_end() -> None:
    known = [finished_run(place, LEVEL(place), n) for n, place in enumerate((0.2, 0.6), start=1)]
    beyond = finished_run(1.5, LEVEL(1.5), 3)
    goal = a_goal(sparsities(LEVEL(1.5)), tolerance=1e-6, refine=1)
    proposed = decided(goal, [*known, beyond])
    assert isinstance(proposed, Propose)
    assert proposed.position == 1.0
