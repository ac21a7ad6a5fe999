"""The searcher feeds Tune from the journal alone; no Ray runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from strsweep.config import Experiment, load_experiment
from strsweep.errors import EveryRunFailedError
from strsweep.journal import Journal, RunFailed, RunFinished, replay
from strsweep.storage import SweepStorage
from strsweep.sweep.search import Goal
from strsweep.sweep.searcher import TargetSearcher

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")


class Sweep:
    """One sweep on a folder; ``job`` starts a searcher as a new job does."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder, self.overrides = folder, overrides
        self.journal = Journal(SweepStorage.of(self.experiment()))

    def experiment(self, *overrides: str) -> Experiment:
        return load_experiment(DIGITS, [f"storage.path={self.folder}", *self.overrides, *overrides])

    def job(self, *overrides: str, slots: int = 2) -> TargetSearcher:
        return TargetSearcher(self.experiment(*overrides), self.journal, slots)

    def finish(self, searcher: TargetSearcher, trial_id: str, run_id: str, sparsity: float) -> None:
        metrics = {"sparsity": sparsity, "accuracy": 0.9}
        self.journal.append(
            RunFinished(run_id=run_id, metrics=metrics, layers=(), checkpoint="runs/x")
        )
        searcher.on_trial_complete(trial_id)


@pytest.fixture
def gmp(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path, *GMP)


def suggested(run: int, sparsity: float) -> dict[str, Any]:
    return {
        "run_id": f"run-{run:03d}",
        "threshold_init": None,
        "weight_decay": 1e-4,
        "sparsity": sparsity,
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
    runs = replay(gmp.journal.read()).runs.values()
    assert [(run.proposed.target, run.proposed.reason) for run in runs] == [
        (target, "told exactly") for target in (0.8, 0.9, 0.95, 0.98)
    ]


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
    failures = [run.failed for run in replay(gmp.journal.read()).runs.values()]
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


def test_str_searches_its_range(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "search.targets=[0.9]")
    searcher = sweep.job()
    one, two = searcher.suggest("a"), searcher.suggest("b")
    assert searcher.suggest("c") is None
    assert isinstance(one, dict)
    assert isinstance(two, dict)
    # A quarter and three quarters of the way from 4e-3 to 2.4e-2, in logarithms.
    assert one["weight_decay"] == pytest.approx(4e-3 * 6**0.25, rel=1e-5)
    assert two["weight_decay"] == pytest.approx(4e-3 * 6**0.75, rel=1e-5)
    assert (one["threshold_init"], one["sparsity"]) == (-10, None)
    sweep.finish(searcher, "a", one["run_id"], 0.7)
    sweep.finish(searcher, "b", two["run_id"], 0.97)
    aimed = searcher.suggest("c")
    assert isinstance(aimed, dict)
    assert one["weight_decay"] < aimed["weight_decay"] < two["weight_decay"]
    proposed = replay(sweep.journal.read()).runs["run-003"].proposed
    assert (proposed.target, proposed.reason) == (
        0.9,
        "between run-001 (70.00%) and run-002 (97.00%)",
    )


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


@pytest.mark.parametrize(
    ("overrides", "searched"),
    [
        ((), "search.weight_decay"),
        (
            ("search.weight_decay=1e-3", "search.threshold_init=[-20, -5]"),
            "search.threshold_init",
        ),
    ],
)
def test_the_goal_names_what_is_searched(
    overrides: tuple[str, ...], searched: str, tmp_path: Path
) -> None:
    assert Goal.of(Sweep(tmp_path, *overrides).experiment()).searched == searched
