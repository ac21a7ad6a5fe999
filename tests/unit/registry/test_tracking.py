"""MLflow follows the journal: states that change, landings, and nothing twice."""

from __future__ import annotations

import gc
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.entities import PagedList
from shown_metrics import METRICS

from strsweep import settings
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.errors import SettingError
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    ModelLanded,
    RunFailed,
    RunFinished,
    RunProposed,
    RunStopped,
    SweepStarted,
    replay,
)
from strsweep.registry import tracking as module
from strsweep.registry.run_page import note
from strsweep.registry.sweep_page import recipe
from strsweep.registry.tracking import Tracking
from strsweep.settings import Fork, RunSettings, Target
from strsweep.storage import storage_of

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
TARGET = Target(sparsity=0.95)
SETTINGS = RunSettings(threshold_init=-10.0, weight_decay=5e-4, threshold_decay=0.0123, onset=10)
PROBLEM = Problem(
    steps_per_epoch=11,
    weights=10_000,
    dense_macs=500_000,
    weight_scale=0.02,
    metric=settings.Metric(name="accuracy"),
)


class FakeMlflow:
    """What of ``MlflowClient`` is used, in memory; counts the writes."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.calls: Counter[str] = Counter()

    def search_runs(self, _: list[str], query: str, *__: Any, **___: Any) -> PagedList[Any]:
        self.calls["search_runs"] += 1
        wanted = dict(re.findall(r"tags\.`(\S+)` = '(\S*)'", query))
        found = [run for run in self.runs.values() if wanted.items() <= run.data.tags.items()]
        return PagedList(found, None)

    def create_run(self, _: str, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        info = SimpleNamespace(
            run_id=f"m{len(self.runs)}",
            status="RUNNING",
            name=run_name,
            start_time=start_time,
            lifecycle_stage="active",
        )
        data = SimpleNamespace(tags=dict(tags), metrics={}, params={})
        run = SimpleNamespace(info=info, data=data, history=[], files={})
        self.runs[info.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.calls["update_run"] += 1
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.update_run(run_id, status)
        self.runs[run_id].info.end_time = end_time

    def delete_run(self, run_id: str) -> None:
        self.runs[run_id].info.lifecycle_stage = "deleted"

    def restore_run(self, run_id: str) -> None:
        self.runs[run_id].info.lifecycle_stage = "active"

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self.runs[run_id].data.tags[key] = value

    def log_inputs(self, run_id: str, datasets: Sequence[Any]) -> None:
        self.runs[run_id].datasets = [each.dataset for each in datasets]

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
        self.calls["log_batch"] += 1
        run.history += [metric for metric in metrics if metric not in run.history]
        run.data.metrics |= {metric.key: metric.value for metric in metrics}
        run.data.params |= {param.key: param.value for param in params}
        run.data.tags |= {tag.key: tag.value for tag in tags}

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
    journal = Journal(storage_of(experiment))
    journal.append(SweepStarted(experiment={}, version="0", problem=PROBLEM))
    journal.append(proposed("run-001"))
    return journal


def proposed(run_id: str, target: Target | None = TARGET, **changes: Any) -> RunProposed:
    settings = SETTINGS.model_copy(update=changes)
    return RunProposed(run_id=run_id, settings=settings, target=target, reason="a test")


def epoch(run_id: str, number: int) -> EpochFinished:
    return EpochFinished(run_id=run_id, metrics=dict.fromkeys(METRICS, number))


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
    assert mlflow.of("run-001").info.name == "target 95 % · run-001"
    assert mlflow.of("run-001").data.params == {
        "threshold_init": "-10",
        "weight_decay": "0.0005",
        "threshold_decay": "0.0123",
        "onset": "10",
    }
    totals = mlflow.of("").data
    assert (totals.metrics["runs"], totals.metrics["epochs_trained"]) == (1, 3)
    assert totals.tags["strsweep.targets"] == "95 %, 5 % MACs"
    assert [
        m.step for m in mlflow.get_metric_history(mlflow.of("run-001").info.run_id, "macs")
    ] == [
        1,
        2,
    ]


def test_both_decays_are_metrics_of_every_epoch(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    decays = [(5e-4, 0.0), (5e-4, 0.0123), (5e-4, 0.02)]
    for number, (weights, thresholds) in enumerate(decays, start=1):
        row = epoch("run-001", number)
        own = {"weight_decay": weights, "threshold_decay": thresholds}
        journal.append(row.model_copy(update={"metrics": row.metrics | own}))
    told(experiment, journal)
    run = mlflow.of("run-001").info.run_id
    for index, key in enumerate(("weight_decay", "threshold_decay")):
        history = mlflow.get_metric_history(run, key)
        assert [(metric.step, metric.value) for metric in history] == [
            (step, values[index]) for step, values in enumerate(decays, start=1)
        ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"is_dense": True}, "dense · run-002"),
        ({"is_dense": True, "last_epoch": 10}, "shared start · run-002"),
        ({}, "run-002"),
    ],
)
def test_runs_without_a_target_are_named_by_what_they_are(
    changes: dict[str, Any],
    name: str,
    experiment: Experiment,
    journal: Journal,
    mlflow: FakeMlflow,
) -> None:
    told(experiment, journal, proposed("run-002", None, **changes))
    assert mlflow.of("run-002").info.name == name


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Aims at 95 %, by the law alone."),
        ({"target": None, "refines": TARGET}, "Trained for by the law alone."),
        (
            {"settings": SETTINGS.model_copy(update={"fork": Fork(folder="x", epoch=10)})},
            "Aims at 95 %, by the law alone. Its first 10 epochs are those of another run.",
        ),
        (
            {
                "target": None,
                "reason": "the dense network",
                "settings": SETTINGS.model_copy(update={"is_dense": True}),
            },
            "Trained for the dense network.",
        ),
    ],
)
def test_the_note_of_a_run_says_why_it_was_tried(changes: dict[str, Any], text: str) -> None:
    event = proposed("run-001").model_copy(update={"reason": "by the law alone", **changes})
    assert note(replay([event]).runs["run-001"]) == text


@pytest.mark.parametrize("is_new_job", [False, True])
def test_a_stopped_run_is_killed_for_good(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow, is_new_job: bool
) -> None:
    row = epoch("run-001", 1)
    stopped = RunStopped(run_id="run-001", epoch=1, reason="it ends at 12 %")
    tracking = told(experiment, journal, row, stopped)
    run = mlflow.of("run-001")
    assert (run.info.status, run.data.tags["strsweep.stopped"]) == ("KILLED", "it ends at 12 %")
    assert "It was stopped after epoch 1: it ends at 12 %." in run.data.tags["mlflow.note.content"]
    assert run.info.end_time == int(stopped.time * 1000)
    tracking = Tracking(experiment) if is_new_job else tracking
    tracking.deliver()
    assert (run.info.status, "layers.csv" in run.files) == ("KILLED", False)


@pytest.mark.parametrize("is_new_job", [False, True])
def test_a_paused_run_goes_on(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow, is_new_job: bool
) -> None:
    tracking = told(experiment, journal, epoch("run-001", 1))
    run = mlflow.of("run-001")
    assert run.info.status == "RUNNING"
    journal.append(epoch("run-001", 2))
    journal.append(finished("run-001"))
    tracking = Tracking(experiment) if is_new_job else tracking
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
    assert mlflow.calls == calls  # not even a question
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
    assert run.data.tags["strsweep.landed.sparsity-95"] == "95 %: sparsity 95 %, shift -0.03"
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
    search = experiment.search.model_copy(
        update={"resolved": ("threshold_init",), "threshold_init": -7.3}
    )
    shown = recipe(experiment.model_copy(update={"search": search}))
    assert shown["search.threshold_init"] == shown["search.threshold_decay"] == "auto"
    assert shown["search.weight_decay"] == "0.0005"


@pytest.mark.parametrize(
    ("overrides", "searched"),
    [
        (
            ["search.decay=shared", "search.led=false", "search.weight_decay=[0.01, 0.02]"],
            {
                "search.threshold_init": "auto",
                "search.weight_decay": "(0.01, 0.02)",
                "search.decay": "shared",
                "search.led": "False",
            },
        ),
        (["sparsity.mode=steered"], {"search.weight_decay": "0.0005"}),
    ],
)
def test_parameters_say_only_what_the_method_has(
    overrides: list[str], searched: dict[str, str]
) -> None:
    shown = recipe(load_experiment(DIGITS, overrides))
    assert {key: text for key, text in shown.items() if key.startswith("search.")} == searched


def test_parameters_are_few_and_can_be_sent_again(experiment: Experiment) -> None:
    shown = recipe(experiment)
    assert set(shown) == {
        "model.name",
        "data.name",
        "training.epochs",
        "training.batch_size",
        "training.learning_rate",
        "training.momentum",
        "training.warmup_epochs",
        "training.schedule_every",
        "training.seed",
        "sparsity.mode",
        "search.threshold_init",
        "search.weight_decay",
        "search.threshold_decay",
        "search.decay",
        "search.led",
        "workers.count",
    }
    changed = {"training": experiment.training.model_copy(update={"checkpoint_every": 7})}
    assert recipe(experiment.model_copy(update=changed)) == shown


def test_the_page_of_the_sweep(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    told(experiment, journal, finished("run-001"))
    page = mlflow.of("")
    assert "Asked for 95 %, 5 % MACs" in page.data.tags["mlflow.note.content"]
    assert page.data.tags["mlflow.user"]
    assert [(each.name, len(each.digest)) for each in page.datasets] == [("digits", 12)]
    assert "experiment.yaml" in page.files


def test_times_are_those_of_the_journal(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    first, last = epoch("run-001", 1), finished("run-001")
    told(experiment, journal, first, last)
    info = mlflow.of("run-001").info
    assert info.start_time == int(journal.read()[1].time * 1000)
    assert info.end_time == int(last.time * 1000)


def test_an_epoch_that_was_trained_again_is_told_once(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    told(experiment, journal, epoch("run-001", 1), epoch("run-001", 2))
    told(experiment, journal, epoch("run-001", 2), epoch("run-001", 3))
    history = mlflow.get_metric_history(mlflow.of("run-001").info.run_id, "sparsity")
    assert [metric.step for metric in history] == [1, 2, 3]


def test_a_run_takes_few_calls(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    for number in range(2, 12):
        run_id = f"run-{number:03d}"
        journal.append(proposed(run_id))
        for each in range(1, 31):
            journal.append(epoch(run_id, each))
        journal.append(finished(run_id))
    told(experiment, journal)
    # Two for the page of the sweep, one for each run.
    assert mlflow.calls["log_batch"] == 2 + 11
    assert mlflow.calls["search_runs"] == 2
    assert len(mlflow.runs) == 12


def test_of_two_writers_at_once_one_run_is_kept(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(epoch("run-001", 1))
    journal.append(finished("run-001"))
    create, others = mlflow.create_run, Tracking(experiment)

    def create_after_the_other(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(mlflow, "create_run", create)
        others.deliver()
        return create(*arguments, **named)

    monkeypatch.setattr(mlflow, "create_run", create_after_the_other)
    told(experiment, journal)
    active = [run for run in mlflow.runs.values() if run.info.lifecycle_stage == "active"]
    assert sorted(run.data.tags["strsweep.run_id"] for run in active) == ["", "run-001"]
    (page,) = [run for run in active if not run.data.tags["strsweep.run_id"]]
    (child,) = [run for run in active if run is not page]
    assert child.data.tags["mlflow.parentRunId"] == page.info.run_id
    assert [metric.step for metric in child.history if metric.key == "sparsity"] == [1]
    assert child.info.status == "FINISHED"


@pytest.mark.parametrize(("collisions", "is_delivered"), [(1, True), (3, True), (4, False)])
def test_a_row_that_another_writer_was_first_with_is_looked_for(
    collisions: int,
    is_delivered: bool,
    experiment: Experiment,
    journal: Journal,
    mlflow: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_batch, left = mlflow.log_batch, [*range(collisions)]

    def log_what_is_there(*arguments: Any, **named: Any) -> None:
        log_batch(*arguments, **named)  # as the other writer does
        if left:
            left.pop()
            answer = {"error_code": "BAD_REQUEST", "message": "(UniqueViolation) duplicate key"}
            raise RestException(answer)

    monkeypatch.setattr(mlflow, "log_batch", log_what_is_there)
    journal.append(epoch("run-001", 1))
    journal.append(finished("run-001"))
    assert Tracking(experiment).try_deliver() is is_delivered
    states = [run.info.status for run in mlflow.runs.values()]
    assert ("FINISHED" in states) is is_delivered
    said = capsys.readouterr().out
    assert ("answers with an error" in said) is not is_delivered
    assert "cannot be reached" not in said


def test_children_of_a_page_that_is_not_kept_come_home(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    told(experiment, journal, epoch("run-001", 1))
    page = mlflow.of("")
    earlier = mlflow.create_run("7", start_time=0, tags=page.data.tags, run_name="made elsewhere")
    told(experiment, journal, epoch("run-001", 2))
    assert page.info.lifecycle_stage == "deleted"
    child = mlflow.of("run-001")
    assert child.data.tags["mlflow.parentRunId"] == earlier.info.run_id
    assert child.info.lifecycle_stage == "active"


def test_a_deleted_run_comes_back_and_is_not_doubled(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow
) -> None:
    told(experiment, journal, epoch("run-001", 1))
    mlflow.delete_run(mlflow.of("run-001").info.run_id)
    told(experiment, journal, epoch("run-001", 2))
    run = mlflow.of("run-001")
    assert run.info.lifecycle_stage == "active"
    assert [metric.step for metric in run.history if metric.key == "macs"] == [1, 2]


def test_the_backlog_is_in_the_journal_not_in_memory(
    experiment: Experiment, journal: Journal, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise MlflowException("away")

    tracking = Tracking(experiment)
    monkeypatch.setattr(mlflow, "log_batch", away)
    for number in range(1, 2001):
        journal.append(epoch("run-001", number))
    tracking.try_deliver()
    tracemalloc.start()
    for _ in range(5):
        assert not tracking.try_deliver()
    gc.collect()  # errors and their frames refer to each other
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tracking.is_behind
    assert held < 100_000
    assert peak < 8_000_000


def test_a_refusal_in_the_background_is_told_once_and_ends_nothing(
    experiment: Experiment,
    journal: Journal,
    mlflow: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def deleted(*_: Any) -> str:
        raise SettingError("tracking.experiment", "digits", "It was deleted in MLflow.")

    tracking = Tracking(experiment)
    with monkeypatch.context() as patched:
        patched.setattr(module, "experiment_id", deleted)
        assert not tracking.try_deliver()
        assert not tracking.try_deliver()
    assert capsys.readouterr().out.count("It was deleted in MLflow") == 1
    assert tracking.try_deliver()
    assert len(mlflow.runs) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*noload.*")  # in MLflow's own tables
@pytest.mark.parametrize("asked", ["true", "false"])
def test_mlflow_watches_the_machine_only_if_its_own_switch_says_so(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """On a real database: MLflow's own monitor takes a sample every tenth of a second."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", asked)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    places = [f"storage.path={tmp_path}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]
    experiment = load_experiment(DIGITS, places)
    assert Journal(storage_of(experiment)).read() == journal.read()
    with Tracking(experiment) as tracking:
        until = time.monotonic() + (60 if asked == "true" else 2)
        while not (found := system_metrics(tracking)) and time.monotonic() < until:
            time.sleep(0.1)
        journal.append(finished("run-001"))
    tracking.close_sweep(replay(journal.read()))
    assert bool(found) == (asked == "true")


def system_metrics(tracking: Tracking) -> set[str]:
    """Return what MLflow has of the machine; nothing before the first delivery."""
    pages = tracking.client.search_experiments()
    runs = tracking.client.search_runs([page.experiment_id for page in pages])
    return {key for run in runs for key in run.data.metrics if key.startswith("system/")}
