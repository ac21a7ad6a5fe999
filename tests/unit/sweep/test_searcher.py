"""The searcher feeds Tune from the journal alone; no Ray runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher
from search_simulation import PATH, PROBLEM, digits, macs_pruned, smooth, trajectory

from strsweep.config import Experiment, RunSettings, Target
from strsweep.errors import EveryRunFailedError
from strsweep.journal import (
    EpochFinished,
    Journal,
    RunFailed,
    RunFinished,
    RunProposed,
    RunResumed,
    RunStopped,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.storage import storage_of
from strsweep.sweep.early_stop import EarlyStop
from strsweep.sweep.outcome import outcomes_of
from strsweep.sweep.searcher import TargetSearcher

GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")

STEEP = smooth(-3, 7)


def place(settings: RunSettings) -> float:
    return 0.5 if settings.threshold_init is None else PATH.locate(settings)


class Sweep:
    """One sweep on a folder; ``job`` starts a searcher as a new job does."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder, self.overrides, self.places = folder, overrides, 100
        self.journal = Journal(storage_of(self.experiment()))

    def experiment(self, *overrides: str) -> Experiment:
        return digits(f"storage.path={self.folder}", *self.overrides, *overrides)

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def job(self, *overrides: str) -> TargetSearcher:
        experiment = self.experiment(*overrides)
        dumped = experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=dumped, version="0", problem=PROBLEM))
        return TargetSearcher(experiment, self.journal, lambda: self.places)

    def train(self, run_id: str, final: float, last: int = 30) -> None:
        """Write the epochs that are left until ``last``."""
        run = self.record.runs[run_id]
        position = place(run.proposed.settings)
        for snapshot in trajectory(final, last, position=position, curve=STEEP)[len(run.epochs) :]:
            macs = (1 - snapshot.macs_pruned) * PROBLEM.dense_macs
            metrics = {"epoch": snapshot.epoch, "sparsity": snapshot.sparsity, "macs": macs}
            self.journal.append(EpochFinished(run_id=run_id, metrics=metrics))

    def finish(self, searcher: TargetSearcher, trial_id: str, run_id: str, sparsity: float) -> None:
        self.train(run_id, sparsity)
        macs = (1 - macs_pruned(sparsity)) * PROBLEM.dense_macs
        metrics = {"sparsity": sparsity, "accuracy": 0.9, "macs": macs}
        self.journal.append(
            RunFinished(run_id=run_id, metrics=metrics, layers=(), checkpoint="runs/x")
        )
        searcher.on_trial_complete(trial_id)

    def finish_three(self, searcher: TargetSearcher) -> str:
        """Let three runs end where ``STEEP`` has them; return a fourth, which aims at 90 %."""
        for trial in "abc":
            run_id = proposed(searcher.suggest(trial))["run_id"]
            self.finish(searcher, trial, run_id, self.end(run_id))
        return proposed(searcher.suggest("d"))["run_id"]

    def end(self, run_id: str) -> float:
        return STEEP(place(self.record.runs[run_id].proposed.settings))


@pytest.fixture
def gmp(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path, *GMP)


def suggested(run: int, sparsity: float) -> dict[str, Any]:
    return {
        "run_id": f"run-{run:03d}",
        "threshold_init": None,
        "weight_decay": 1e-4,
        "sparsity": sparsity,
        "macs": None,
        "corrections": (),
    }


def test_gmp_takes_one_run_per_target(gmp: Sweep) -> None:
    searcher = gmp.job()
    for number, target in enumerate((0.8, 0.9, 0.95, 0.98), start=1):
        assert not searcher.is_over()
        assert searcher.suggest(f"t{number}") == suggested(number, target)
    assert searcher.suggest("t5") is None
    for number, target in enumerate((0.8, 0.9, 0.95, 0.98), start=1):
        gmp.finish(searcher, f"t{number}", f"run-{number:03d}", target - 1e-4)
    assert searcher.suggest("t5") == Searcher.FINISHED
    assert searcher.stopped == "every target is hit"
    assert searcher.is_over()
    runs = gmp.record.runs.values()
    assert [(run.proposed.target, run.proposed.reason) for run in runs] == [
        (Target(sparsity=share), "told exactly") for share in (0.8, 0.9, 0.95, 0.98)
    ]


def test_runs_at_a_time_follow_the_cluster(gmp: Sweep) -> None:
    searcher = gmp.job()
    gmp.places = 2
    assert searcher.suggest("t1") == suggested(1, 0.8)
    assert searcher.suggest("t2") == suggested(2, 0.9)
    assert searcher.suggest("t3") is None
    gmp.places = 3  # a node came
    assert searcher.suggest("t3") == suggested(3, 0.95)
    gmp.places = 1  # two nodes went
    gmp.finish(searcher, "t1", "run-001", 0.8)
    gmp.finish(searcher, "t2", "run-002", 0.9)
    assert searcher.suggest("t4") is None
    gmp.places = 0  # all went: Ray starts the next run when there is a node again
    gmp.finish(searcher, "t3", "run-003", 0.95)
    assert searcher.suggest("t4") == suggested(4, 0.98)


def test_a_new_job_continues_open_runs_and_adds_what_is_new(gmp: Sweep) -> None:
    first = gmp.job("search.targets=[0.8, 0.9]")
    first.suggest("a")
    first.suggest("b")
    gmp.finish(first, "a", "run-001", 0.8)

    second = gmp.job("search.targets=[0.8, 0.9, 0.99]")  # run-002 was killed with the first job
    assert not second.is_over()
    assert second.suggest("c") == suggested(2, 0.9)
    assert second.suggest("d") == suggested(3, 0.99)
    assert second.suggest("e") is None
    gmp.finish(second, "c", "run-002", 0.9)
    gmp.finish(second, "d", "run-003", 0.99)
    assert gmp.job("search.targets=[0.8, 0.9, 0.99]").is_over()


def test_a_run_that_missed_is_not_repeated(gmp: Sweep) -> None:
    searcher = gmp.job("search.targets=[0.8]")
    searcher.suggest("a")
    gmp.finish(searcher, "a", "run-001", 0.7)
    assert searcher.is_over()
    assert searcher.stopped == "every target had its run"
    assert searcher.failure is None


def test_a_run_that_failed_is_repeated_until_three_in_a_row(gmp: Sweep) -> None:
    searcher = gmp.job("search.targets=[0.8]")
    for number in (1, 2, 3):
        assert searcher.failure is None
        assert searcher.suggest(f"t{number}") == suggested(number, 0.8)
        searcher.on_trial_complete(f"t{number}", error=number < 3)
    assert isinstance(searcher.failure, EveryRunFailedError)
    assert "the last 3 runs failed; the last one: it left no result" in str(searcher.failure)
    assert searcher.suggest("t4") == Searcher.FINISHED
    failures = [run.failed for run in gmp.record.runs.values()]
    assert [
        failed is not None and failed.reason.split(":")[0].split(";")[0] for failed in failures
    ] == [
        "its processes died",
        "its processes died",
        "it left no result",
    ]


def test_a_run_that_would_fail_again_is_not_repeated(gmp: Sweep) -> None:
    searcher = gmp.job("search.targets=[0.8, 0.9]")
    assert searcher.suggest("t1") == suggested(1, 0.8)
    reason = "TrainingDivergedError: the loss became nan"
    gmp.journal.append(RunFailed(run_id="run-001", reason=reason))
    searcher.on_trial_complete("t1")
    assert searcher.suggest("t2") == suggested(2, 0.9)
    gmp.finish(searcher, "t2", "run-002", 0.9)
    assert searcher.suggest("t3") == Searcher.FINISHED
    assert searcher.stopped == "the runs of the targets left failed, and would fail again"


def test_a_success_forgives_the_failures_before_it(gmp: Sweep) -> None:
    searcher = gmp.job()
    for number in (1, 2):
        searcher.suggest(f"t{number}")
        searcher.on_trial_complete(f"t{number}", error=True)
    searcher.suggest("t3")
    gmp.finish(searcher, "t3", "run-003", 0.8)
    searcher.suggest("t4")
    searcher.on_trial_complete("t4", error=True)
    assert searcher.failure is None


def test_after_too_many_failures_runs_under_way_may_end(gmp: Sweep) -> None:
    searcher = gmp.job()
    searcher.suggest("slow")
    for number in (1, 2, 3):
        searcher.suggest(f"t{number}")
        searcher.on_trial_complete(f"t{number}", error=True)
    assert searcher.suggest("next") is None
    gmp.finish(searcher, "slow", "run-001", 0.8)
    assert searcher.failure is None


def proposed(config: dict[str, Any] | str | None) -> dict[str, Any]:
    assert isinstance(config, dict)
    return config


def test_str_searches_its_range(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]")
    searcher = sweep.job()
    one = proposed(searcher.suggest("a"))
    assert searcher.suggest("b") is None  # one run at a time aims at a target
    assert 4e-3 <= one["weight_decay"] <= 2.4e-2
    assert (one["threshold_init"], one["sparsity"]) == (-10, None)
    sweep.finish(searcher, "a", one["run_id"], 0.7)
    two = proposed(searcher.suggest("b"))
    assert two["weight_decay"] > one["weight_decay"]
    sweep.finish(searcher, "b", two["run_id"], 0.97)
    three = proposed(searcher.suggest("c"))
    assert one["weight_decay"] < three["weight_decay"] < two["weight_decay"]
    found = sweep.record.runs["run-003"].proposed
    assert found.target == Target(sparsity=0.9)
    assert found.reason.endswith("expected from 2 runs")


def test_a_new_job_decides_as_the_old_one_would(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    searcher = sweep.job()
    for trial, final in (("a", 0.97), ("b", 0.7), ("c", 0.85)):
        sweep.finish(searcher, trial, proposed(searcher.suggest(trial))["run_id"], final)
    again = sweep.job()
    decisions = [job._decide(sweep.record) for job in (searcher, again)]  # pyright: ignore
    assert decisions[0] == decisions[1]
    assert again.suggest("d") == {
        "run_id": "run-004",
        **sweep.record.runs["run-004"].proposed.settings.model_dump(),
    }


def stopped_run(sweep: Sweep) -> str:
    """Return the fourth run of a sweep; it aimed at 90 %, and was stopped on its way to 92 %."""
    searcher = sweep.job()
    run_id = sweep.finish_three(searcher)
    sweep.train(run_id, 0.92, last=10)
    sweep.train(run_id, 0.92, last=27)
    assert searcher.stops(run_id, 27)
    searcher.on_trial_complete("d")
    assert searcher.failure is None
    return run_id


def test_a_run_without_hope_is_stopped_and_noted(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    run_id = stopped_run(sweep)
    run = sweep.record.runs[run_id]
    assert run.stopped is not None
    assert (run.stopped.epoch, run.failed, run.finished) == (27, None, None)
    assert "no target is left" in run.stopped.reason
    assert not run.is_open
    # It is not what a new job goes on with, as long as it serves nothing.
    assert proposed(sweep.job().suggest("e"))["run_id"] == "run-005"


def test_a_stopped_run_goes_on_when_its_end_is_asked_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    run_id = stopped_run(sweep)
    more = sweep.job("search.targets=[0.92]")
    assert not more.is_over()
    assert proposed(more.suggest("e"))["run_id"] == run_id
    run = sweep.record.runs[run_id]
    assert (run.stopped, run.is_open, run.target) == (None, True, Target(sparsity=0.92))
    sweep.finish(more, "e", run_id, 0.92)
    assert more.is_over()
    assert more.stopped == "every target is hit"


def test_the_last_epoch_is_never_a_stop(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.max_hours=1e-9")
    searcher = sweep.job()
    sweep.journal.append(
        RunProposed(
            run_id="run-001",
            settings=RunSettings(threshold_init=-10, weight_decay=1e-2),
            target=None,
            reason="",
        )
    )
    assert searcher.stops("run-001", 29)
    assert not searcher.stops("run-001", 30)


@pytest.mark.parametrize("overrides", [(), GMP])
def test_a_run_that_ran_out_of_time_is_continued_by_the_next_job(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, *overrides, "search.targets=[0.9]")
    searcher = sweep.job("search.max_hours=1")
    config = proposed(searcher.suggest("a"))
    sweep.train("run-001", 0.9, last=10)
    assert not searcher.stops("run-001", 10)
    searcher._started -= 3600  # pyright: ignore[reportPrivateUsage] - an hour passes
    assert searcher.stops("run-001", 10)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == Searcher.FINISHED
    assert searcher.stopped == "search.max_hours (1) is over"

    following = sweep.job("search.max_hours=1")
    assert not following.is_over()
    assert following.suggest("a") == config
    events = sweep.journal.read()
    (resumed,) = [event for event in events if isinstance(event, RunResumed)]
    assert resumed.target == Target(sparsity=0.9)
    assert sum(isinstance(event, RunStopped) for event in events) == 1
    sweep.finish(following, "a", "run-001", 0.9)
    assert following.is_over()


def test_epochs_are_counted_over_all_jobs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.max_epochs=75")
    searcher = sweep.job()
    sweep.finish(searcher, "a", proposed(searcher.suggest("a"))["run_id"], 0.5)
    again = sweep.job()
    sweep.finish(again, "b", proposed(again.suggest("b"))["run_id"], 0.7)
    assert again.suggest("c") == Searcher.FINISHED
    assert again.stopped == "search.max_epochs (75) leaves no room for another run"
    (missed,) = outcomes_of(sweep.record, sweep.experiment())
    assert missed.advice.startswith("raise search.max_epochs above 75 and run the same command")


def test_adopted_runs_cost_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.max_runs=1", "search.max_epochs=30")
    searcher = sweep.job()
    sweep.journal.append(
        RunProposed(
            run_id="run-001",
            settings=RunSettings(threshold_init=-10, weight_decay=1e-2),
            target=None,
            reason="",
            adopted_from="other/run-001",
        )
    )
    sweep.train("run-001", 0.95)
    metrics = {"sparsity": 0.95, "accuracy": 0.9, "macs": 1e4}
    sweep.journal.append(RunFinished(run_id="run-001", metrics=metrics, layers=(), checkpoint="x"))
    config = proposed(searcher.suggest("a"))
    assert config["weight_decay"] < 1e-2
    assert searcher.suggest("b") is None
    sweep.finish(searcher, "a", "run-002", 0.8)
    assert searcher.suggest("b") == Searcher.FINISHED
    assert searcher.stopped == "search.max_runs (1) is spent"


def test_refining_starts_other_threshold_inits(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.refine=1")
    searcher = sweep.job()
    first = proposed(searcher.suggest("a"))
    sweep.finish(searcher, "a", "run-001", 0.9)
    second = proposed(searcher.suggest("b"))
    assert second["threshold_init"] == -40
    assert second["weight_decay"] > first["weight_decay"]
    run = sweep.record.runs["run-002"].proposed
    assert (run.target, run.refines) == (None, Target(sparsity=0.9))
    sweep.finish(searcher, "b", "run-002", 0.93)
    assert searcher.suggest("c") == Searcher.FINISHED


class Trial:
    def __init__(self, run_id: str) -> None:
        self.config = {"run_id": run_id}


def test_tune_stops_what_the_searcher_says(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    searcher = sweep.job()
    run_id = sweep.finish_three(searcher)
    scheduler = EarlyStop(searcher)
    sweep.train(run_id, 0.92, last=5)
    assert scheduler.on_trial_result(None, Trial(run_id), {"epoch": 5}) == EarlyStop.CONTINUE
    sweep.train(run_id, 0.92, last=27)
    assert scheduler.on_trial_result(None, Trial(run_id), {"epoch": 27.0}) == EarlyStop.STOP


def test_tune_gets_the_file_it_wants_and_nothing_is_restored_from_it(
    gmp: Sweep, tmp_path: Path
) -> None:
    searcher = gmp.job()
    searcher.suggest("a")
    searcher.on_trial_result("a", {"accuracy": 0.5})
    searcher.save(str(tmp_path / "searcher"))
    assert "journal" in (tmp_path / "searcher").read_text()
    again = gmp.job()
    again.restore(str(tmp_path / "searcher"))
    assert again.suggest("b") == suggested(1, 0.8)


def test_no_run_of_an_earlier_job_starts_when_time_is_over(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    earlier = sweep.job()
    sweep.places = 2
    left = [proposed(earlier.suggest(trial))["run_id"] for trial in "ab"]
    searcher = sweep.job("search.max_hours=1")
    assert proposed(searcher.suggest("c"))["run_id"] == left[0]
    searcher._started -= 3600  # pyright: ignore[reportPrivateUsage] - an hour passes
    assert searcher.suggest("d") is None
    sweep.finish(searcher, "c", left[0], 0.5)
    assert searcher.suggest("e") == Searcher.FINISHED
    assert searcher.stopped == "search.max_hours (1) is over"
    assert proposed(sweep.job("search.max_hours=1").suggest("f"))["run_id"] == left[1]


def test_hours_are_blamed_only_if_they_were_spent(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.max_hours=100")
    searcher = sweep.job()
    sweep.finish(searcher, "a", proposed(searcher.suggest("a"))["run_id"], 0.905 + 1e-3)
    (missed,) = outcomes_of(sweep.record, sweep.experiment())
    assert "max_hours" not in missed.advice
    (missed,) = outcomes_of(sweep.record, sweep.experiment("search.max_hours=1e-9"))
    assert missed.advice.startswith("raise search.max_hours")


def test_refining_runs_that_fail_do_not_end_the_sweep(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.refine=4")
    searcher = sweep.job()
    sweep.finish(searcher, "a", proposed(searcher.suggest("a"))["run_id"], 0.9)
    settings = list[float]()
    for trial in "bcde":
        config = proposed(searcher.suggest(trial))
        settings.append(config["threshold_init"])
        sweep.journal.append(RunFailed(run_id=config["run_id"], reason="it diverged"))
        searcher.on_trial_complete(trial)
    assert len(set(settings)) == 4
    assert searcher.suggest("f") == Searcher.FINISHED
    assert searcher.failure is None
    assert searcher.stopped == "every target is hit"


def test_a_refining_run_that_is_resumed_for_a_target_is_judged_by_it(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]", "search.refine=1")
    searcher = sweep.job()
    sweep.finish(searcher, "a", proposed(searcher.suggest("a"))["run_id"], 0.9)
    refining = proposed(searcher.suggest("b"))["run_id"]
    assert sweep.record.runs[refining].refines == Target(sparsity=0.9)
    sweep.journal.append(RunStopped(run_id=refining, epoch=20, reason="no use"))
    searcher.on_trial_complete("b")
    sweep.journal.append(RunResumed(run_id=refining, target=Target(sparsity=0.93), reason=""))
    run = sweep.record.runs[refining]
    assert (run.target, run.refines) == (Target(sparsity=0.93), None)


def test_a_stopped_run_is_not_resumed_before_it_has_left(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    searcher = sweep.job()
    fourth = sweep.finish_three(searcher)
    sweep.train(fourth, sweep.end(fourth), last=20)
    sweep.journal.append(RunStopped(run_id=fourth, epoch=20, reason="by hand"))
    others = [searcher.suggest(trial) for trial in "efg"]
    assert fourth not in {config["run_id"] for config in others if isinstance(config, dict)}
    searcher.on_trial_complete("d")
    assert proposed(searcher.suggest("h"))["run_id"] == fourth
