"""What the curve is told of runs: their ends, and some epochs of their way there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_simulation import LEVEL, PATH, finished_run, sparsities, unfinished_run

from strsweep.config import Correction
from strsweep.sweep.clock import level_at
from strsweep.sweep.curve import logit
from strsweep.sweep.evidence import Evidence
from strsweep.sweep.state import FinishedRun, Snapshot, UnfinishedRun

(NINETY,) = sparsities(0.9)


def evidence(finished: list[FinishedRun], *unfinished: UnfinishedRun) -> Evidence:
    return Evidence(PATH, "sparsity", finished, unfinished)


def test_an_end_is_certain_and_the_way_there_the_less_the_more_is_to_come() -> None:
    run = finished_run(0.6, LEVEL(0.6))
    seen = evidence([run]).observations
    assert (seen.x[0], seen.y[0]) == (0.6, logit(run.sparsity))
    assert seen.error[0, 0] == 0
    order = np.argsort(-seen.x)
    assert len(order) == 4
    assert (np.diff(seen.y[order]) < 0).all()
    assert (np.diff(seen.error.diagonal()[order]) > 0).all()
    assert (np.linalg.eigvalsh(seen.error) > -1e-12).all()


def test_an_epoch_counts_where_a_whole_run_has_the_drive_of_then() -> None:
    run = unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=15)
    seen = evidence([], run).observations
    clock, settings = PATH.clock, PATH.at(0.6)
    assert settings.threshold_init == -10
    decayed = settings.weight_decay * clock.epochs[14]
    drive = decayed - clock.delay(-10)
    assert PATH.drives(seen.x[:1])[0] == pytest.approx(drive, abs=1e-3)
    assert seen.y[0] == logit(run.trajectory[-1].sparsity)


def test_another_threshold_init_is_later_by_its_own_delay_and_less_sure() -> None:
    on = unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=15)
    off = unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=15, threshold_init=-40.0)
    seen = [evidence([], run).observations for run in (on, off)]
    assert seen[1].x[0] < seen[0].x[0], "more of its decay is still to come"
    assert [observed.run_sd[0] for observed in seen] == [0.0, 0.3]


def test_observations_of_one_run_have_its_number() -> None:
    known = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.4, 0.6, 0.8), start=1)]
    now = unfinished_run(0.7, NINETY, final=LEVEL(0.7), epochs=20)
    fresh = unfinished_run(0.5, NINETY, 98)
    told = evidence(known, fresh, now)
    assert told.number(fresh) == -1
    number = told.number(now)
    assert number >= 0
    mine = told.observations.run == number
    assert logit(now.trajectory[-1].sparsity) in told.observations.y[mine]
    assert set(told.observations.y[mine]) <= {logit(s.sparsity) for s in now.trajectory}
    assert len(set(told.observations.run)) == 4


def test_a_thousand_runs_are_as_good_as_their_means() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 1, 1000)
    runs = [finished_run(float(p), LEVEL(p), n) for n, p in enumerate(places, start=1)]
    seen = evidence(runs).observations
    assert len(seen.x) <= 61 + 16 * 4
    ends = seen.error.diagonal() == 0
    assert seen.y[ends] == pytest.approx([logit(LEVEL(x)) for x in seen.x[ends]], abs=1e-3)
    assert len(set(seen.run[ends])) == ends.sum()


def test_equal_places_do_no_harm() -> None:
    runs = [finished_run(0.5, LEVEL(0.5), n) for n in range(1, 151)]
    seen = evidence(runs).observations
    assert set(seen.x[seen.error.diagonal() == 0]) == {0.5}


def test_what_a_correction_did_is_known_to_a_third_from_then_on() -> None:
    began = PATH.at(0.5)
    settings = began.corrected(Correction(after_epoch=15, weight_decay=2 * began.weight_decay))
    drives = {epoch: PATH.clock.drive_after(settings, epoch) for epoch in (11, 15, 20)}
    trajectory = [
        Snapshot(epoch=epoch, drive=drive, sparsity=0.9, macs_pruned=0.9)
        for epoch, drive in drives.items()
    ]
    plain = replace(finished_run(PATH.locate(settings), 0.95), trajectory=tuple(trajectory))
    corrected = replace(plain, began_at=0.5)
    more = evidence([corrected]).observations.error - evidence([plain]).observations.error
    ends = np.asarray([PATH.clock.drive_after(each, 30) for each in (began, settings)])
    was, now = level_at(ends, PATH.clock.hardness)
    assert more[0, 0] == pytest.approx((0.3 * (now - was)) ** 2)
    places = evidence([corrected]).observations.x.tolist()
    looked = [
        places.index(pytest.approx(at)) for at in PATH.reached(np.asarray([*drives.values()]))
    ]
    assert more.diagonal()[looked[:2]] == pytest.approx([0, 0], abs=1e-12)
    assert 0 < more.diagonal()[looked[2]] < more[0, 0]
