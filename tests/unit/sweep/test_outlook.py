"""Curves and forecasts, from simulated runs and from recorded ones of digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search_simulation import (
    LEVEL,
    PATH,
    PROBLEM,
    TARGETS,
    Simulated,
    a_goal,
    digits,
    finished_run,
    smooth,
    sparsities,
    trajectory,
    unfinished_run,
)

from strsweep.bench.search_forecast import snapshots
from strsweep.bench.search_replay import read_recorded
from strsweep.bench.search_runs import RecordedRun
from strsweep.config import RunSettings
from strsweep.sweep.clock import level_at
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, UnfinishedRun

KNOWN = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.2, 0.35, 0.5, 0.65, 0.8), start=1)]
RECORDED = read_recorded(Path(__file__).parents[1] / "bench/search_recorded.jsonl")
WIDE = SearchPath.of(digits("search.weight_decay=[4e-3, 3.4e-2]"), PROBLEM)
(NINETY,) = sparsities(0.9)
GOAL = a_goal()


def outlook(finished: list[FinishedRun], *unfinished: UnfinishedRun) -> Outlook:
    return Outlook(GOAL, PATH, finished, unfinished)


def digits_runs(seed: int) -> list[RecordedRun]:
    return [run for run in RECORDED["digits", seed] if run.told is None]


def known(run: RecordedRun, number: int) -> FinishedRun:
    settings = RunSettings(threshold_init=-10, weight_decay=run.weight_decay)
    seen = snapshots(run, settings, WIDE.clock, PROBLEM.dense_macs, 30)
    return FinishedRun(
        run_id=f"run-{number:03d}",
        position=WIDE.locate(settings),
        sparsity=run.final,
        accuracy=run.accuracy[-1],
        macs_pruned=seen[-1].macs_pruned,
        trajectory=seen,
    )


def test_before_anything_ran_the_law_of_the_clock_speaks() -> None:
    curve = outlook([]).curve("sparsity")
    assert (np.diff(curve.mean) >= 0).all()
    assert curve.sd.min() > 0.3, "how hard the network is nobody knows"
    assert curve.mean[0] < logit(0.9) < curve.mean[-1]


def test_the_curve_goes_through_what_has_finished() -> None:
    curve = outlook(KNOWN).curve("sparsity")
    for run in KNOWN:
        index = round(run.position * 400)
        assert curve.mean[index] == pytest.approx(logit(run.sparsity), abs=0.1)
    assert curve.sd[80:320].max() < 0.3


def test_a_run_under_way_tells_of_its_place_but_less_than_one_that_ended() -> None:
    two = [KNOWN[0], KNOWN[1]]
    index = round(0.7 * 400)
    final = LEVEL(0.7)
    errors = [
        outlook(two).curve("sparsity").sd[index],
        outlook(two, unfinished_run(0.7, NINETY, final=final, epochs=15))
        .curve("sparsity")
        .sd[index],
        outlook(two, unfinished_run(0.7, NINETY, final=final, epochs=25))
        .curve("sparsity")
        .sd[index],
        outlook([*two, finished_run(0.7, final, 3)]).curve("sparsity").sd[index],
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_a_run_without_an_epoch_tells_nothing() -> None:
    fresh = unfinished_run(0.7, NINETY)
    with_it, without = outlook(KNOWN, fresh), outlook(KNOWN)
    assert (with_it.curve("sparsity").mean == without.curve("sparsity").mean).all()
    assert with_it.known == [*without.known, 0.7]


def test_weights_and_multiply_adds_have_curves_of_their_own() -> None:
    both = outlook(KNOWN)
    index = round(0.5 * 400)
    levels = [both.curve(quantity).mean[index] for quantity in ("sparsity", "macs")]  # pyright: ignore
    assert levels == pytest.approx([2.0, 1.5], abs=0.1)  # half a unit behind, as simulated


def test_a_run_off_the_path_is_trusted_less() -> None:
    odd = finished_run(0.5, LEVEL(0.6), 9)
    index = round(0.5 * 400)
    few = [KNOWN[0], KNOWN[4]]
    on, off = (
        outlook([*few, replace(odd, threshold_init=first)]).curve("sparsity")
        for first in (None, -40.0)
    )
    assert abs(off.mean[index] - 2.0) < abs(on.mean[index] - 2.0)
    assert off.sd[index] > on.sd[index]


@pytest.mark.parametrize(("epoch", "within"), [(10, 0.15), (15, 0.12), (20, 0.06), (27, 0.02)])
def test_recorded_runs_end_where_the_forecast_says(epoch: int, within: float) -> None:
    hits: list[bool] = []
    errors: list[float] = []
    for seed in {seed for problem, seed in RECORDED if problem == "digits"}:
        runs = digits_runs(seed)
        for index, run in enumerate(runs):
            if not 0.7 <= run.final <= 0.995:
                continue
            others = [known(o, n) for n, o in enumerate(runs[::6], start=1) if o is not run]
            now = UnfinishedRun(
                run_id=f"run-{index + 100}",
                position=known(run, 0).position,
                target=NINETY,
                trajectory=known(run, 0).trajectory[:epoch],
            )
            end = Outlook(GOAL, WIDE, others, [now]).forecasts([now], "sparsity")
            error = abs(float(end.mean[0]) - logit(run.final))
            hits.append(error <= 2 * float(end.sd[0]))
            errors.append(error)
    assert len(hits) >= 20
    assert np.mean(hits) >= 0.9
    assert np.sqrt(np.mean(np.square(errors))) <= within


def test_a_journal_that_lacks_an_epoch_is_no_harm() -> None:
    gap = replace(KNOWN[2], trajectory=KNOWN[2].trajectory[:5] + KNOWN[2].trajectory[6:])
    now = unfinished_run(0.55, NINETY, final=LEVEL(0.55), epochs=20)
    whole = outlook(KNOWN, now).forecasts([now], "sparsity")
    found = outlook([*KNOWN[:2], gap, *KNOWN[3:]], now).forecasts([now], "sparsity")
    assert found.mean == pytest.approx(whole.mean)
    lost = [replace(run, trajectory=()) for run in KNOWN]
    alone = outlook(lost, now).forecasts([now], "sparsity")
    assert alone.mean[0] == pytest.approx(-2 + 8 * 0.55, abs=0.3)


@pytest.mark.parametrize("decays", ["[8e-3, 1e-2]", "[8e-3, 1.6e-2]"])
def test_runs_of_wider_ranges_tell_of_a_narrow_one(decays: str) -> None:
    narrow = SearchPath.of(digits(f"search.weight_decay={decays}"), PROBLEM)

    def law(position: float) -> float:
        drives = np.asarray([narrow.drive_at(position)])
        return float(level_at(drives, narrow.clock.hardness)[0])

    known = [
        replace(finished_run(place, share, number), trajectory=followed)
        for number, decay in enumerate(np.geomspace(5e-3, 5e-2, 8), start=1)
        for place in [narrow.locate(RunSettings(threshold_init=-10, weight_decay=float(decay)))]
        for share in [expit(law(place))]
        for followed in [
            trajectory(share, 30, position=place, curve=lambda p: expit(law(p)), path=narrow)
        ]
    ]
    outlook = Outlook(a_goal(), narrow, known, [])
    curve = outlook.curve("sparsity")
    truth = np.asarray([law(float(place)) for place in outlook.positions])
    assert np.abs(curve.mean - truth).max() < 0.1
    assert curve.sd.max() < 0.2


def test_where_nothing_searched_changes_the_drive_ways_tell_nothing() -> None:
    apart = SearchPath.of(digits("sparsity.threshold_decay=1e-2"), PROBLEM)
    assert np.isnan(apart.reached(np.asarray([0.5]))).all()
    sweep = Simulated(smooth(0.5, 4.5), path=apart, slots=1)
    assert sweep.search().reason == "every target is hit"
    assert len(sweep.proposed) <= 12


def test_of_very_many_stopped_runs_the_longest_of_each_place_is_looked_at() -> None:
    few = [unfinished_run(n / 32, TARGETS[0], n, epochs=10, is_running=False) for n in range(32)]
    assert Outlook(a_goal(), PATH, [], few).resting == few
    longer = [
        unfinished_run(n / 32 + 1e-3, TARGETS[0], 50 + n, epochs=11, is_running=False)
        for n in range(32)
    ]
    running = unfinished_run(0.5, TARGETS[1], 99, epochs=9)
    outlook = Outlook(a_goal(), PATH, [], [*few, running, *longer])
    assert outlook.resting == longer
    assert len(outlook.known) == 65
