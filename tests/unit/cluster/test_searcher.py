"""The searcher feeds Tune from the journal alone; no Ray runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from journaled_sweeps import JournaledSweep, Trial, suggested, trials
from planted_sweeps import (
    GMP,
    OWN_RANGE,
    SHARED_RANGE,
    STEERED,
    planted_sweep,
    sparsities,
)
from ray.tune.search import Searcher

from strsweep.cluster.searcher import EarlyStop, TargetSearcher
from strsweep.errors import EveryRunFailedError, StorageError
from strsweep.journal import Journal, RunFailed, RunStopped
from strsweep.search.decide import DONE
from strsweep.search.outcome import outcomes_of
from strsweep.search.runs import DIED, NO_RESULT
from strsweep.settings import Target

NINETY = ("search.targets=[0.9]",)
RUNS = ("run-001", "run-002", "run-003", "run-004")


@pytest.fixture
def gmp(tmp_path: Path) -> JournaledSweep:
    return JournaledSweep(tmp_path, *GMP)


def an_hour_passes(searcher: TargetSearcher) -> None:
    searcher._started -= 3600  # pyright: ignore[reportPrivateUsage]


def given(sweep: JournaledSweep, number: int, share: float) -> dict[str, Any]:
    """Return what Tune is told of a run that is given its sparsity."""
    run = sweep.record.runs[f"run-{number:03d}"]
    assert run.settings.numbers == {"weight_decay": 1e-4, "sparsity": share}
    return {"run_id": run.run_id, "settings": run.settings.model_dump()}


def test_gmp_takes_one_run_per_target(gmp: JournaledSweep) -> None:
    searcher, targets = gmp.job(), (0.8, 0.9, 0.95, 0.98)
    for number, target in enumerate(targets, start=1):
        assert not searcher.is_over()
        assert searcher.suggest(f"t{number}") == given(gmp, number, target)
    assert searcher.suggest("t5") is None
    for number, run_id in enumerate(RUNS, start=1):
        gmp.end(run_id)
        searcher.on_trial_complete(f"t{number}")
    assert searcher.suggest("t5") == Searcher.FINISHED
    assert searcher.stopped == DONE
    assert searcher.is_over()
    runs = [run.proposed for run in gmp.record.runs.values()]
    assert [run.target for run in runs] == [*sparsities(*targets)]
    assert {run.reason for run in runs} == {"the method is given its target"}


def test_runs_at_a_time_follow_the_cluster(gmp: JournaledSweep) -> None:
    def end(number: int) -> None:
        gmp.end(f"run-{number:03d}")
        searcher.on_trial_complete(f"t{number}")

    searcher, gmp.slots = gmp.job(), 2
    suggested(searcher, "t1")
    suggested(searcher, "t2")
    assert searcher.suggest("t3") is None
    gmp.slots = 3  # a node came
    suggested(searcher, "t3")
    gmp.slots = 1  # two nodes went
    end(1)
    end(2)
    assert searcher.suggest("t4") is None
    gmp.slots = 0  # all went: Ray starts the next run when there is a node again
    end(3)
    assert suggested(searcher, "t4")["run_id"] == "run-004"


def test_a_new_job_continues_open_runs_first_and_adds_what_is_new(gmp: JournaledSweep) -> None:
    first = gmp.job("search.targets=[0.8, 0.9]")
    gmp.finish(first, "a")
    left = suggested(first, "b")
    gmp.train("run-002", last=12)

    more = "search.targets=[0.8, 0.9, 0.99]"
    second = gmp.job(more)  # run-002 was killed with the first job
    assert not second.is_over()
    assert second.suggest("c") == left == given(gmp, 2, 0.9)
    assert suggested(second, "d") == given(gmp, 3, 0.99)
    assert second.suggest("e") is None
    for trial, run_id in (("c", "run-002"), ("d", "run-003")):
        gmp.end(run_id)
        second.on_trial_complete(trial)
    assert gmp.record.epochs_trained == 90, "what was trained before counts once"
    assert gmp.job(more).is_over()


def test_an_open_run_is_continued_though_the_runs_are_spent(gmp: JournaledSweep) -> None:
    first = gmp.job("search.max_runs=1")
    left = suggested(first, "a")
    searcher = gmp.job("search.max_runs=1")
    assert not searcher.is_over()
    assert searcher.suggest("b") == left
    gmp.end("run-001")
    searcher.on_trial_complete("b")
    assert searcher.is_over()
    assert searcher.stopped == "search.max_runs (1) is spent"


def test_a_run_that_failed_is_repeated_until_three_in_a_row(gmp: JournaledSweep) -> None:
    searcher = gmp.job("search.targets=[0.8]")
    for number in (1, 2, 3):
        assert searcher.failure is None
        assert searcher.suggest(f"t{number}") == given(gmp, number, 0.8)
        searcher.on_trial_complete(f"t{number}", error=number < 3)
    assert isinstance(searcher.failure, EveryRunFailedError)
    assert str(searcher.failure) == ("the last 3 runs failed; the last one: it left no result")
    assert searcher.suggest("t4") == Searcher.FINISHED
    failures = [run.failed.reason for run in gmp.record.runs.values() if run.failed is not None]
    assert failures == [DIED, DIED, NO_RESULT]


def test_a_run_that_would_fail_again_is_not_repeated(gmp: JournaledSweep) -> None:
    searcher = gmp.job("search.targets=[0.8, 0.9]")
    suggested(searcher, "t1")
    reason = "TrainingDivergedError: the loss became nan"
    gmp.journal.append(RunFailed(run_id="run-001", reason=reason))
    searcher.on_trial_complete("t1")
    assert gmp.finish(searcher, "t2") == "run-002"
    assert searcher.suggest("t3") == Searcher.FINISHED
    assert searcher.stopped == "the targets left would have the same runs again"


def test_a_success_forgives_the_failures_before_it(gmp: JournaledSweep) -> None:
    searcher = gmp.job()
    for trial, fails in (("a", True), ("b", True), ("c", False), ("d", True), ("e", True)):
        if fails:
            suggested(searcher, trial)
            searcher.on_trial_complete(trial, error=True)
        else:
            gmp.finish(searcher, trial)
    assert searcher.failure is None


def test_after_too_many_failures_runs_under_way_may_end(gmp: JournaledSweep) -> None:
    searcher = gmp.job()
    slow = suggested(searcher, "slow")["run_id"]
    for trial in "abc":
        suggested(searcher, trial)
        searcher.on_trial_complete(trial, error=True)
    assert searcher.suggest("next") is None
    gmp.end(slow)
    searcher.on_trial_complete("slow")
    assert searcher.failure is None


def test_str_shares_its_start_and_forks_every_run_from_it(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path)
    searcher = sweep.job()
    start = suggested(searcher, "a")
    assert (start["settings"]["is_dense"], start["settings"]["last_epoch"]) == (True, 10)
    assert searcher.suggest("b") is None, "the others wait for it"
    sweep.train("run-001", last=9)
    assert searcher.suggest("b") is None
    sweep.end("run-001")
    searcher.on_trial_complete("a")
    forks = [suggested(searcher, trial) for trial in "bcde"]
    assert searcher.suggest("f") is None
    fork = {"folder": "runs/run-001/epoch_00010", "epoch": 10}
    assert [config["settings"]["fork"] for config in forks] == [fork] * 4
    for trial, config in zip("bcde", forks, strict=True):
        sweep.end(config["run_id"])
        searcher.on_trial_complete(trial)
    assert searcher.suggest("f") == Searcher.FINISHED
    assert searcher.stopped == DONE
    record = sweep.record
    assert record.epochs_trained == 10 + 4 * 20
    aims = [run.target for run in record.runs.values()]
    assert aims[0] is None
    assert {*aims[1:]} == {*sparsities(0.8, 0.9, 0.95, 0.98)}
    outcomes = outcomes_of(record, sweep.experiment())
    assert [o.run.target for o in outcomes if o.run is not None] == [o.target for o in outcomes]


@pytest.mark.parametrize(
    ("overrides", "law"),
    [
        ((), {"hardness": 1.0}),
        (("search.baseline=true", "search.refine=2"), {"hardness": 0.5}),
        ((), {"hardness": 5.0}),  # some runs are stopped
        (OWN_RANGE, {"hardness": 1.4}),
        (SHARED_RANGE, {"hardness": 0.7}),
        (("search.targets=[0.9, {macs: 0.1}]",), {"late": 0.4, "scatter": 0.1}),
    ],
)
@pytest.mark.parametrize("new_jobs", [False, True])
def test_one_slot_trains_what_the_simulation_says(
    tmp_path: Path, overrides: tuple[str, ...], law: dict[str, float], new_jobs: bool
) -> None:
    sweep = JournaledSweep(tmp_path, *overrides, **law)
    searcher, names, every = sweep.job(), trials(), 5
    scheduler = EarlyStop(searcher)
    while isinstance(config := searcher.suggest(trial := next(names)), dict):
        run_id: str = config["run_id"]
        last = config["settings"]["last_epoch"] or 30
        for epoch in range(every, last + 1, every):
            sweep.train(run_id, epoch)
            choice = scheduler.on_trial_result(None, Trial(config), {"epoch": float(epoch)})
            if choice == EarlyStop.STOP:
                break
        else:
            sweep.end(run_id)
        searcher.on_trial_complete(trial)
        if new_jobs:  # each knows what the one before it knew
            searcher = sweep.job()
            scheduler = EarlyStop(searcher)
    simulated = planted_sweep(*overrides, **law)
    simulated.search()
    expected, found = simulated.state.runs, searcher.state().runs
    assert searcher.stopped == simulated.end
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        dumped = [run.settings.model_dump(exclude={"fork": {"folder"}}) for run in (one, other)]
        assert dumped[0] == dumped[1]
        for key in ("target", "refines", "status", "epoch", "sparsity", "macs_pruned", "score"):
            assert getattr(one, key) == getattr(other, key)
        assert one.decayed == pytest.approx(other.decayed)
    assert searcher.state().usage.epochs == simulated.epochs


def stopped_run(sweep: JournaledSweep) -> str:
    """Return the run of a hard network that is stopped after its 25th epoch."""
    searcher, names = sweep.job(), trials()
    while True:
        run_id = suggested(searcher, trial := next(names))["run_id"]
        sweep.train(run_id, last=25)
        if searcher.stops(run_id, 25):
            searcher.on_trial_complete(trial)
            assert searcher.failure is None
            return run_id
        sweep.end(run_id)
        searcher.on_trial_complete(trial)


def test_a_run_without_hope_is_stopped_and_noted(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path, hardness=16.0)
    run_id = stopped_run(sweep)
    run = sweep.record.runs[run_id]
    assert run.stopped is not None
    assert (run.stopped.epoch, run.failed, run.finished) == (25, None, None)
    assert "where no target is open" in run.stopped.reason
    assert not run.is_open
    # The next job makes another one for its target, with other settings.
    following = suggested(sweep.job(), "next")["run_id"]
    assert following != run_id
    new = sweep.record.runs[following]
    assert new.target == run.target
    assert new.settings.first_decay > run.settings.first_decay


def test_a_report_that_comes_late_stops_nothing(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path)
    searcher = sweep.job("search.max_hours=1")
    start = suggested(searcher, "a")["run_id"]
    an_hour_passes(searcher)
    assert searcher.stops(start, 9)
    assert not searcher.stops(start, 10), "the last of the epochs that are shared"
    assert not searcher.stops("run-002", 9), "nobody knows it"
    sweep.end(start)
    assert not searcher.stops(start, 9)


@pytest.mark.parametrize("overrides", [(), GMP])
def test_a_run_that_ran_out_of_time_is_continued_by_the_next_job(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = JournaledSweep(tmp_path, *overrides, *NINETY)
    searcher = sweep.job("search.max_hours=1")
    if not overrides:
        sweep.finish(searcher, "start")
    config = suggested(searcher, "a")
    run_id = config["run_id"]
    sweep.train(run_id, last=15)
    assert not searcher.stops(run_id, 15)
    an_hour_passes(searcher)
    assert searcher.stops(run_id, 15)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == Searcher.FINISHED
    assert searcher.stopped == "search.max_hours (1) is over"
    assert searcher.failure is None
    assert sweep.record.runs[run_id].is_open

    following = sweep.job("search.max_hours=1")
    assert not following.is_over()
    assert following.suggest("a") == config
    sweep.end(run_id)
    following.on_trial_complete("a")
    assert following.is_over()
    assert not [event for event in sweep.journal.read() if isinstance(event, RunStopped)]


def test_no_run_of_an_earlier_job_starts_when_time_is_over(gmp: JournaledSweep) -> None:
    earlier = gmp.job()
    left = [suggested(earlier, trial)["run_id"] for trial in "ab"]
    searcher = gmp.job("search.max_hours=1")
    assert suggested(searcher, "c")["run_id"] == left[0]
    an_hour_passes(searcher)
    assert searcher.suggest("d") is None
    gmp.end(left[0])
    searcher.on_trial_complete("c")
    assert searcher.suggest("e") == Searcher.FINISHED
    assert searcher.stopped == "search.max_hours (1) is over"
    assert suggested(gmp.job("search.max_hours=1"), "f")["run_id"] == left[1]


def test_hours_are_blamed_only_if_they_were_spent(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path, *STEERED, *NINETY, off=0.2)
    sweep.finish(sweep.job(), "a")
    for hours, is_blamed in (("100", False), ("1e-9", True)):
        (missed,) = outcomes_of(sweep.record, sweep.experiment(f"search.max_hours={hours}"))
        assert missed.advice.startswith("raise search.max_hours") is is_blamed


def test_epochs_are_counted_over_all_jobs(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path, *NINETY, "search.max_epochs=55", hardness=8.0)
    sweep.finish(sweep.job(), "start")
    sweep.finish(sweep.job(), "a")
    again = sweep.job()
    sweep.finish(again, "b")
    assert again.suggest("c") == Searcher.FINISHED
    assert again.stopped == "search.max_epochs (55) leaves no room for another run"
    (missed,) = outcomes_of(sweep.record, sweep.experiment())
    assert missed.advice.startswith("raise search.max_epochs above 55 and run the same command")


def test_refining_runs_that_fail_do_not_end_the_sweep(tmp_path: Path) -> None:
    sweep = JournaledSweep(tmp_path, *NINETY, "search.refine=4")
    searcher = sweep.job()
    sweep.finish(searcher, "start")
    sweep.finish(searcher, "a")
    inits = list[float]()
    for trial in "bcde":
        config = suggested(searcher, trial)
        proposed = sweep.record.runs[config["run_id"]].proposed
        assert (proposed.target, proposed.refines) == (None, Target(sparsity=0.9))
        inits.append(config["settings"]["threshold_init"])
        sweep.journal.append(RunFailed(run_id=config["run_id"], reason="it diverged"))
        searcher.on_trial_complete(trial)
    assert len(set(inits)) == 4
    assert searcher.suggest("f") == Searcher.FINISHED
    assert searcher.failure is None
    assert searcher.stopped == DONE


def test_tune_gets_the_file_it_wants_and_nothing_is_restored_from_it(
    gmp: JournaledSweep, tmp_path: Path
) -> None:
    searcher = gmp.job()
    config = searcher.suggest("a")
    searcher.on_trial_result("a", {"accuracy": 0.5})
    searcher.save(str(tmp_path / "searcher"))
    assert "journal" in (tmp_path / "searcher").read_text()
    again = gmp.job()
    again.restore(str(tmp_path / "searcher"))
    assert again.suggest("b") == config


def test_storage_that_takes_nothing_ends_the_job_and_gives_no_run_up(gmp: JournaledSweep) -> None:
    searcher, gmp.slots = gmp.job(), 2
    for trial in ("a", "b"):
        suggested(searcher, trial)
    gmp.train("run-002", last=12)
    searcher.on_trial_complete("a", {"refused": "the disk is full"})
    assert searcher.suggest("c") is None
    assert searcher.stops("run-002", 12), "it would meet the same"
    searcher.on_trial_complete("b")
    assert searcher.suggest("c") == Searcher.FINISHED
    assert str(searcher.refused) == searcher.stopped == "the disk is full"
    assert [run.is_open for run in gmp.record.runs.values()] == [True, True]
    assert suggested(gmp.job(), "d")["run_id"] == "run-001"


def test_a_journal_that_takes_no_proposal_ends_the_job(
    gmp: JournaledSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("The disk is full.")

    searcher = gmp.job()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", refuse)
        assert searcher.suggest("a") == Searcher.FINISHED
    assert str(searcher.refused) == "The disk is full. The same command continues."
    assert gmp.record.runs == {}
