"""MLflow follows the journal: states that change, landings, and nothing twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunTag

from strsweep.config import Experiment, RunSettings, Target, load_experiment
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    ModelLanded,
    RunFailed,
    RunFinished,
    RunProposed,
    RunResumed,
    RunStopped,
    SweepStarted,
)
from strsweep.registry import tracking as module
from strsweep.registry.shown import recipe
from strsweep.registry.tracking import Tracking
from strsweep.storage import SweepStorage

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
TARGET = Target(sparsity=0.95)


class FakeMlflow:
    """What of ``MlflowClient`` is used, in memory; counts the writes."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.calls: Counter[str] = Counter()

    def search_runs(self, _: list[str], query: str, max_results: int) -> list[Any]:
        wanted = dict(re.findall(r"tags\.`(\S+)` = '(\S*)'", query))
        found = [run for run in self.runs.values() if wanted.items() <= run.data.tags.items()]
        return found[:max_results]

    def create_run(self, _: str, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(run_id=f"m{len(self.runs)}", status="RUNNING", name=run_name)
        data = SimpleNamespace(tags=dict(tags), metrics={}, params={})
        run = SimpleNamespace(info=info, data=data, history=[], files={})
        self.runs[info.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.calls["update_run"] += 1
        self.runs[run_id].info.status = status

    set_terminated = update_run

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        return [metric for metric in self.runs[run_id].history if metric.key == key]

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        run = self.runs[run_id]
        run.history += metrics
        run.data.metrics |= {metric.key: metric.value for metric in metrics}
        run.data.params |= {param.key: param.value for param in params}
        run.data.tags |= {tag.key: tag.value for tag in tags}

    def log_metric(self, run_id: str, key: str, value: float) -> None:
        self.runs[run_id].data.metrics[key] = value

    def log_text(self, run_id: str, text: str, file: str) -> None:
        self.calls[file] += 1
        self.runs[run_id].files[file] = text

    def log_dict(self, run_id: str, content: Any, file: str) -> None:
        self.runs[run_id].files[file] = content

    def of(self, run_id: str) -> Any:
        (run,) = [r for r in self.runs.values() if r.data.tags["strsweep.run_id"] == run_id]
        return run


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    monkeypatch.setattr(module, "connect", lambda _: fake)
    monkeypatch.setattr(module, "experiment_id", lambda *_: "7")
    return fake


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    overrides = ["search.targets=[0.95, {macs: 0.05}]", f"storage.path={tmp_path}"]
    return load_experiment(DIGITS, overrides)


@pytest.fixture
def journal(experiment: Experiment) -> Journal:
    journal = Journal(SweepStorage.of(experiment))
    journal.append(SweepStarted(experiment={}, version="0"))
    journal.append(proposed("run-001"))
    return journal


def proposed(run_id: str) -> RunProposed:
    settings = RunSettings(threshold_init=-10.0, weight_decay=0.0123)
    return RunProposed(run_id=run_id, settings=settings, target=TARGET, reason="a test")


def epoch(run_id: str, number: int) -> EpochFinished:
    keys = ("sparsity", "accuracy", "train_loss", "val_loss", "learning_rate", "macs")
    return EpochFinished(run_id=run_id, metrics={"epoch": number, **dict.fromkeys(keys, number)})


def landed(run_id: str, target: Target = TARGET) -> ModelLanded:
    metrics = {"sparsity": 0.95, "macs": 25_000.0, "accuracy": 0.98, "val_loss": 0.2}
    return ModelLanded(
        target=target, run_id=run_id, checkpoint="x", metrics=metrics, layers=(), shift=-0.03
    )


def finished(run_id: str) -> RunFinished:
    return RunFinished(run_id=run_id, metrics={"epoch": 3.0}, layers=(), checkpoint="x")


def told(experiment: Experiment, journal: Journal, *events: Event) -> Tracking:
    for event in events:
        journal.append(event)
    tracking = Tracking(experiment)
    tracking.deliver()
    return tracking


def test_names_and_totals(experiment: Experiment, journal: Journal, mlflow: FakeMlflow) -> None:
    told(experiment, journal, epoch("run-001", 1), epoch("run-001", 2), epoch("run-001", 2))
    assert mlflow.of("run-001").info.name == "target 95 % · run-001 · decay 1.23e-02"
    assert mlflow.of("run-001").data.params == {"threshold_init": "-10", "weight_decay": "0.0123"}
    totals = mlflow.of("").data
    assert (totals.metrics["runs"], totals.metrics["epochs_trained"]) == (1, 3)
    assert totals.tags["strsweep.targets"] == "95 %, 5 % MACs"
    assert [
        m.step for m in mlflow.get_metric_history(mlflow.of("run-001").info.run_id, "macs")
    ] == [
        1,
        2,
    ]


@pytest.mark.parametrize("is_new_job", [False, True])
def test_a_stopped_run_is_killed_and_comes_back(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow, is_new_job: bool
) -> None:
    stopped = RunStopped(run_id="run-001", epoch=1, reason="it ends at 12 %")
    tracking = told(experiment, journal, epoch("run-001", 1), stopped)
    run = mlflow.of("run-001")
    assert (run.info.status, run.data.tags["strsweep.stopped"]) == ("KILLED", "it ends at 12 %")
    journal.append(RunResumed(run_id="run-001", target=TARGET, reason="close after all"))
    journal.append(epoch("run-001", 2))
    tracking = Tracking(experiment) if is_new_job else tracking
    tracking.deliver()
    assert (run.info.status, run.data.tags["strsweep.stopped"]) == ("RUNNING", "")
    journal.append(finished("run-001"))
    tracking.deliver()
    assert (run.info.status, "layers.csv" in run.files) == ("FINISHED", True)
    assert [m.step for m in mlflow.get_metric_history(run.info.run_id, "sparsity")] == [1, 2]


def test_nothing_is_told_twice(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    failed = RunFailed(run_id="run-002", reason="the loss became nan")
    tracking = told(
        experiment, journal, finished("run-001"), landed("run-001"), proposed("run-002"), failed
    )
    calls, history = mlflow.calls.copy(), len(mlflow.of("run-001").history)
    tracking.deliver()
    assert mlflow.calls == calls
    Tracking(experiment).deliver()
    assert len(mlflow.of("run-001").history) == history == 4
    run = mlflow.of("run-002")
    assert (run.info.status, run.data.tags["strsweep.failure"]) == ("FAILED", failed.reason)


def test_landings_are_metrics_and_tags_of_the_run(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    other = landed("run-001", Target(macs=0.05))
    told(experiment, journal, finished("run-001"), landed("run-001"), other)
    run = mlflow.of("run-001")
    assert run.data.tags["strsweep.landed.sparsity-95"] == "95 %: accuracy 98.00 %, shift -0.03"
    assert "strsweep.landed.macs-5" in run.data.tags
    history = mlflow.get_metric_history(run.info.run_id, "landed_accuracy")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.98), (1, 0.98)]
    assert {key for key in run.data.metrics if key.startswith("landed")} == {
        "landed_sparsity",
        "landed_macs",
        "landed_accuracy",
        "landed_val_loss",
    }


def test_what_was_chosen_for_auto_is_no_parameter(experiment: Experiment) -> None:
    search = experiment.search.model_copy(update={"resolved": ("weight_decay",)})
    shown = recipe(experiment.model_copy(update={"search": search}))
    assert (shown["search.weight_decay"], shown["search.threshold_init"]) == ("auto", "-10.0")
