"""A run that cannot serve an open target is stopped, one that may is not, and no more than two."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from search_simulation import (
    LEVEL,
    PATH,
    Simulated,
    a_goal,
    finished_run,
    smooth,
    sparsities,
    unfinished_run,
)

from strsweep.config import Target
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.search import decide
from strsweep.sweep.state import (
    Finish,
    FinishedRun,
    Goal,
    Resume,
    Spent,
    UnfinishedRun,
    open_targets,
)
from strsweep.sweep.stopping import Stop, judge

PLACES = (0.2, 0.35, 0.5, 0.65, 0.8)
KNOWN = [finished_run(p, LEVEL(p), n) for n, p in enumerate(PLACES, start=1)]
NINETY, NINETY_EIGHT = sparsities(0.9, 0.98)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judged(
    run: UnfinishedRun,
    targets: tuple[Target, ...] = (NINETY,),
    finished: list[FinishedRun] = KNOWN,
    others: tuple[UnfinishedRun, ...] = (),
    goal: Goal | None = None,
    hours: float = 0.0,
) -> Stop | None:
    spent = Spent(runs=len(finished) + 1, hours=hours)
    return judge(goal or a_goal(targets), PATH, finished, [*others, run], run, spent=spent)


@few
@given(st.floats(0.25, 0.75), st.sampled_from([10, 15, 20, 29]))
def test_a_run_that_would_end_on_an_open_target_goes_on(place: float, epochs: int) -> None:
    end = LEVEL(place)
    goal = a_goal([Target(sparsity=end), NINETY_EIGHT])
    assume(Target(sparsity=end) in open_targets(goal, KNOWN))
    run = unfinished_run(place, NINETY_EIGHT, final=end, epochs=epochs)
    assert judged(run, goal.targets[:1]) is None
    assert judged(run, goal.targets) is None


@few
@given(st.floats(0.25, 0.75), st.sampled_from([15, 20, 29]))
def test_a_run_that_would_end_far_from_every_open_target_is_stopped(
    place: float, epochs: int
) -> None:
    end = LEVEL(place)
    run = unfinished_run(place, NINETY, final=end, epochs=epochs)
    far = tuple(t for t in sparsities(0.3, 0.9, 0.997) if abs(LEVEL(place) - t.sparsity) > 0.1)
    stop = judged(run, far)
    assert stop is not None
    assert "where no target is left" in stop.reason


def test_the_reason_tells_where_it_would_end() -> None:
    stop = judged(unfinished_run(0.4, NINETY_EIGHT, final=LEVEL(0.4), epochs=20), (NINETY_EIGHT,))
    assert stop is not None
    words = stop.reason.split()
    low, high = (float(words[index].rstrip("%,")) / 100 for index in (3, 5))
    assert low < LEVEL(0.4) < high < 0.9


def test_before_a_third_of_the_training_nothing_is_told() -> None:
    run = unfinished_run(0.4, NINETY_EIGHT, final=LEVEL(0.4), epochs=9)
    assert judged(run, (NINETY_EIGHT,)) is None
    assert judged(replace(run, trajectory=()), (NINETY_EIGHT,)) is None


def test_the_first_run_is_stopped_too_if_it_goes_nowhere() -> None:
    lost = unfinished_run(0.1, NINETY, final=0.1, epochs=20)
    assert judged(lost, finished=[]) is not None
    near = unfinished_run(0.5, NINETY, final=0.9, epochs=20)
    assert judged(near, finished=[]) is None


def test_after_two_stops_the_third_run_goes_on() -> None:
    run = unfinished_run(0.4, NINETY_EIGHT, 30, final=LEVEL(0.4), epochs=20)
    stopped = tuple(
        unfinished_run(0.4, NINETY_EIGHT, number, final=0.8, epochs=20, is_running=False)
        for number in (10, 11)
    )
    goal = (NINETY_EIGHT,)
    assert judged(run, goal, others=stopped[:1]) is not None
    assert judged(run, goal, others=stopped) is None
    # Stops of runs aimed elsewhere, or from before a run was seen to its end, do not count.
    elsewhere = tuple(replace(other, target=NINETY) for other in stopped)
    assert judged(run, goal, others=elsewhere) is not None
    seen = finished_run(0.5, LEVEL(0.5), 12, target=NINETY_EIGHT)
    assert judged(run, goal, [*KNOWN, seen], others=stopped) is not None


def test_a_thousand_runs_do_not_confuse_the_count() -> None:
    run = unfinished_run(0.4, NINETY_EIGHT, 1003, final=LEVEL(0.4), epochs=20)
    stopped = tuple(
        unfinished_run(0.4, NINETY_EIGHT, number, final=0.8, epochs=20, is_running=False)
        for number in (1001, 1002)
    )
    seen = finished_run(0.5, LEVEL(0.5), 999, target=NINETY_EIGHT)
    assert judged(run, (NINETY_EIGHT,), [*KNOWN, seen], others=stopped) is None


@pytest.mark.parametrize(("end", "final"), [(0.0, LEVEL(0.0)), (1.0, LEVEL(1.0))])
def test_the_first_run_at_an_end_of_the_path_shows_what_is_in_reach(
    end: float, final: float
) -> None:
    run = unfinished_run(end, NINETY, final=final, epochs=25)
    assert judged(run) is None
    assert judged(run, finished=[*KNOWN, finished_run(end, final, 6)]) is not None


def test_when_every_target_is_hit_runs_under_way_are_stopped() -> None:
    run = unfinished_run(0.4, NINETY, final=0.8, epochs=1)
    hit = finished_run(0.55, 0.9, 7)
    assert judged(run, finished=[*KNOWN, hit]) == Stop("every target is hit")


def test_late_runs_are_stopped_whatever_they_promise_and_can_go_on() -> None:
    goal = a_goal([NINETY], max_hours=2.0)
    run = unfinished_run(0.525, NINETY, final=0.9, epochs=20)
    assert judged(run, goal=goal, hours=1.99) is None
    late = judged(run, goal=goal, hours=2.0)
    assert late == Stop("search.max_hours (2) is over", ran_out_of_time=True)
    told = judge(goal, None, [], [run], run, spent=Spent(runs=1, hours=3.0))
    assert told == late


def test_a_run_that_was_told_what_to_prune_goes_on() -> None:
    run = unfinished_run(0.0, NINETY, final=0.2, epochs=20)
    assert judge(a_goal([NINETY]), None, KNOWN, [run], run, spent=Spent(runs=6)) is None


def test_a_run_for_accuracy_is_judged_by_its_own_target() -> None:
    hits = [finished_run(0.5, 0.9, 8), finished_run(0.7, 0.98, 9)]
    run = unfinished_run(0.525, None, final=LEVEL(0.525), epochs=20, refines=NINETY)
    targets = (NINETY, NINETY_EIGHT)
    assert judged(run, targets, [*KNOWN, *hits]) is None
    astray = unfinished_run(0.3, None, final=LEVEL(0.3), epochs=25, refines=NINETY_EIGHT)
    assert judged(astray, targets, [*KNOWN, *hits]) is not None


def test_forecasts_of_stopped_runs_hold() -> None:
    """Of the runs that a whole sweep stops, none would have hit a target that was open then."""
    wrong: list[str] = []

    class Checked(Simulated):
        def _put(self, old: UnfinishedRun, new: UnfinishedRun) -> None:
            super()._put(old, new)
            if old.is_running and not new.is_running:
                ended = finished_run(new.position, self.finals[new.run_id], 999)
                wrong.extend(new.run_id for t in self.missed if self.goal.hits(ended, t))

    stops = 0
    for low, high, bend in [(-3, 5, 0.5), (-3, 7, -0.5), (0.5, 6, -0.6), (-1, 5, 0.6)]:
        goal = a_goal(corrects=False)
        sweep = Checked(smooth(low, high, bend), goal, slots=4, checkpoint_every=5)
        assert sweep.search() == Finish("every target is hit")
        stops += sweep.stops
    assert stops > 0
    assert len(wrong) <= stops / 10


def test_a_stopped_run_goes_on_once_its_end_is_wanted() -> None:
    resting = unfinished_run(0.575, NINETY, final=LEVEL(0.575), epochs=20, is_running=False)
    wanted = a_goal([Target(sparsity=LEVEL(0.575))])
    spent = Spent(runs=6)
    decision = decide(wanted, PATH, KNOWN, [resting], spent=spent)
    assert isinstance(decision, Resume)
    assert decision.run_id == resting.run_id
    # Unless another run is on its way there.
    other = unfinished_run(0.58, wanted.targets[0], 98)
    assert not isinstance(decide(wanted, PATH, KNOWN, [resting, other], spent=spent), Resume)


def test_a_forecast_gets_surer_and_holds_the_truth() -> None:
    sds: list[float] = []
    for epochs in (0, 10, 20, 29):
        run = unfinished_run(0.45, NINETY, final=LEVEL(0.45), epochs=epochs)
        end = Outlook(a_goal(), PATH, KNOWN, [run]).forecasts([run], "sparsity")
        sds.append(float(end.sd[0]))
        assert abs(float(end.mean[0]) - (-2 + 8 * 0.45)) <= 2 * sds[-1]
    assert sds == sorted(sds, reverse=True)
    assert sds[-1] < sds[0] / 2


def test_stops_for_one_target_do_not_keep_a_run_for_another() -> None:
    left, right = sparsities(0.9, 0.98)
    goal = a_goal([left, right])
    known = [*KNOWN, finished_run(0.525, 0.9, 11), finished_run(0.74, 0.98, 12)]
    stopped = [
        unfinished_run(0.3, None, n, final=0.6, epochs=25, is_running=False, refines=left)
        for n in (20, 21)
    ]
    hopeless = unfinished_run(0.3, None, 22, final=0.6, epochs=25, refines=right)
    spent = Spent(runs=15)
    assert judge(goal, PATH, known, [*stopped, hopeless], hopeless, spent=spent) is not None
    spared = replace(hopeless, refines=left)
    assert judge(goal, PATH, known, [*stopped, spared], spared, spent=spent) is None
