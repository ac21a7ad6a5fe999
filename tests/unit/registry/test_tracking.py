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
from samples import LATE, LEAN, METRICS, NINETY_FIVE, finished, landed, load, proposed, started
from samples import epoch as bare_epoch

from strsweep.errors import SettingError, StorageError
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    ModelPublished,
    RunFailed,
    RunStopped,
    replay,
)
from strsweep.registry import tracking as module
from strsweep.registry.run_page import note
from strsweep.registry.server import NOTE_TAG
from strsweep.registry.sweep_page import recipe
from strsweep.registry.tracking import Tracking
from strsweep.settings import Fork
from strsweep.storage import storage_of


class FakeMlflow:
    """What of ``MlflowClient`` is used, in memory; counts the writes."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.experiment_tags: dict[str, str] = {}
        self.calls: Counter[str] = Counter()

    def search_runs(self, _: list[str], query: str, *__: Any) -> PagedList[Any]:
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

    def set_experiment_tag(self, _: str, key: str, value: str) -> None:
        self.experiment_tags[key] = value

    def log_inputs(self, run_id: str, datasets: Sequence[Any]) -> None:
        self.runs[run_id].datasets = [each.dataset for each in datasets]

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


class Followed:
    """The journal of a sweep with one run, and the MLflow that follows it."""

    def __init__(self, folder: Path, mlflow: FakeMlflow) -> None:
        places = [f"storage.path={folder}", f"tracking.uri=sqlite:///{folder}/mlflow.db"]
        self.experiment = load("search.targets=[0.95, {macs: 0.05}]", *places)
        self.mlflow, self.journal = mlflow, Journal(storage_of(self.experiment))
        self.append(started(), proposed())

    def append(self, *events: Event) -> None:
        for event in events:
            self.journal.append(event)

    def told(self, *events: Event) -> Tracking:
        """Deliver as a new job does."""
        self.append(*events)
        tracking = Tracking(self.experiment)
        tracking.deliver()
        return tracking

    @property
    def run(self) -> Any:
        return self.mlflow.of("run-001")

    def history(self, key: str) -> list[tuple[int, float]]:
        """Return steps and values of the run."""
        return [(m.step, m.value) for m in self.run.history if m.key == key]


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Followed:
    fake = FakeMlflow()
    monkeypatch.setattr(module, "connect", lambda _: fake)
    monkeypatch.setattr(module, "experiment_id", lambda *_: "7")
    return Followed(tmp_path, fake)


def epoch(number: int, run_id: str = "run-001", **metrics: float) -> EpochFinished:
    return bare_epoch(number, run_id, **{**dict.fromkeys(METRICS, number), **metrics})


def test_names_totals_and_decays(sweep: Followed) -> None:
    decays = [(5e-4, 0.0), (5e-4, 0.0123), (5e-4, 0.02)]
    epochs = [
        epoch(number, weight_decay=weights, threshold_decay=thresholds)
        for number, (weights, thresholds) in enumerate(decays, start=1)
    ]
    sweep.told(*epochs, epochs[-1])
    assert sweep.run.data.tags["mlflow.runName"] == "run-001"
    assert (sweep.run.data.tags["target"], sweep.run.data.tags["state"]) == ("95 %", "training")
    assert sweep.run.data.params == {
        "threshold_init": "-10",
        "weight_decay": "0.0005",
        "threshold_decay": "0.02",
        "onset": "10",
    }
    totals = sweep.mlflow.of("sweep").data
    assert (totals.metrics["runs"], totals.metrics["epochs_trained"]) == (1, 4)
    assert (totals.tags["target"], totals.tags["state"]) == ("95 %, 5 % MACs", "0 of 2 delivered")
    for index, key in enumerate(("weight_decay", "threshold_decay")):
        assert sweep.history(key) == [(step, d[index]) for step, d in enumerate(decays, start=1)]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"is_dense": True}, "run-002 · dense"),
        ({"is_dense": True, "last_epoch": 10}, "run-002 · shared start"),
        ({}, "run-002"),
    ],
)
def test_runs_without_a_target_are_named_by_what_they_are(
    changes: dict[str, Any], name: str, sweep: Followed
) -> None:
    sweep.told(proposed("run-002", None, settings=LATE.model_copy(update=changes)))
    assert sweep.mlflow.of("run-002").info.name == name


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Aims at 95 %, by the law alone."),
        ({"target": None, "refines": NINETY_FIVE}, "Trained for by the law alone."),
        (
            {"settings": LATE.model_copy(update={"fork": Fork(folder="x", epoch=10)})},
            "Aims at 95 %, by the law alone. Its first 10 epochs are those of another run.",
        ),
        (
            {
                "target": None,
                "reason": "the dense network",
                "settings": LATE.model_copy(update={"is_dense": True}),
            },
            "Trained for the dense network.",
        ),
    ],
)
def test_the_note_of_a_run_says_why_it_was_tried(changes: dict[str, Any], text: str) -> None:
    event = proposed().model_copy(update={"reason": "by the law alone", **changes})
    record = replay([event])
    assert note(record.runs["run-001"], record) == text


@pytest.mark.parametrize("is_new_job", [False, True])
def test_a_stopped_run_is_killed_for_good(sweep: Followed, is_new_job: bool) -> None:
    row, stopped = epoch(1), RunStopped(run_id="run-001", epoch=1, reason="it ends at 12 %")
    tracking, run = sweep.told(row, stopped), sweep.run
    tags = run.data.tags
    assert (run.info.status, tags["mlflow.runName"]) == ("KILLED", "run-001 · stopped")
    assert tags["state"] == "stopped: it ends at 12 %"
    assert "It was stopped after epoch 1: it ends at 12 %." in run.data.tags["mlflow.note.content"]
    assert run.info.end_time == int(stopped.time * 1000)
    tracking = Tracking(sweep.experiment) if is_new_job else tracking
    tracking.deliver()
    assert (run.info.status, "layers.csv" in run.files) == ("KILLED", False)


@pytest.mark.parametrize("is_new_job", [False, True])
def test_a_paused_run_goes_on_and_has_the_times_of_the_journal(
    sweep: Followed, is_new_job: bool
) -> None:
    tracking, run = sweep.told(epoch(1)), sweep.run
    assert run.info.status == "RUNNING"
    second, end = epoch(2), finished()
    sweep.append(second, end)
    tracking = Tracking(sweep.experiment) if is_new_job else tracking
    tracking.deliver()
    assert (run.info.status, "layers.csv" in run.files) == ("FINISHED", True)
    assert [step for step, _ in sweep.history("sparsity")] == [1, 2]
    assert run.info.start_time == int(sweep.journal.read()[1].time * 1000)
    assert run.info.end_time == int(end.time * 1000)


@pytest.mark.parametrize("is_away", [False, True])
def test_a_job_that_ends_with_an_error_shows_its_runs_as_killed(
    sweep: Followed, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    def away(*_: object, **__: object) -> None:
        raise MlflowException("away")

    def fail() -> None:
        with Tracking(sweep.experiment) as tracking:
            tracking.deliver()
            if is_away:
                monkeypatch.setattr(sweep.mlflow, "set_terminated", away)
            raise StorageError("the disk is full")

    monkeypatch.setattr(module, "check_registered_model", lambda *_: False)
    monkeypatch.setattr(module, "check_server", lambda *_, **__: None)
    sweep.told()
    with pytest.raises(StorageError, match="full"):
        fail()
    shown = "RUNNING" if is_away else "KILLED"
    assert (sweep.run.info.status, sweep.mlflow.of("sweep").info.status) == (shown, shown)
    sweep.told(epoch(1))
    assert (sweep.run.info.status, sweep.mlflow.of("sweep").info.status) == ("RUNNING", "RUNNING")


def test_nothing_is_told_twice(sweep: Followed) -> None:
    failed = RunFailed(run_id="run-002", reason="the loss became nan")
    end = finished(metrics={"epoch": 3.0})
    tracking = sweep.told(end, landed(), proposed("run-002"), failed)
    calls, history = sweep.mlflow.calls.copy(), len(sweep.run.history)
    tracking.deliver()
    assert sweep.mlflow.calls == calls  # not even a question
    Tracking(sweep.experiment).deliver()
    assert len(sweep.run.history) == history == 4
    run = sweep.mlflow.of("run-002")
    assert (run.info.status, run.data.tags["state"]) == ("FAILED", f"failed: {failed.reason}")


def test_a_run_is_named_by_what_it_became(sweep: Followed) -> None:
    end = finished(metrics={"sparsity": 0.9531, "accuracy": 0.983})
    published = ModelPublished(
        target=NINETY_FIVE, run_id="run-001", folder="x", model_uri="y", version="3"
    )
    names: list[tuple[str, str]] = []
    for events in ([epoch(1), end], [landed()], [published, landed(LEAN)]):
        sweep.told(*events)
        names.append((sweep.run.data.tags["mlflow.runName"], sweep.run.data.tags["state"]))
    assert names == [
        ("run-001 · 95.31 % · 98.3 %", "finished"),
        ("run-001 · 95 % · 98.0 %", "landed: 95 %"),
        ("run-001 · 95 %, 5 % MACs · 98.0 %", "delivered: 95 %"),
    ]
    assert sweep.history("accuracy") == [(1, 1), (2, 0.98), (3, 0.98)]
    assert (
        "Landed on 5 % MACs: 95.00 % zeros, thresholds shifted by -0.03"
        in sweep.run.data.tags[NOTE_TAG]
    )
    assert all(sweep.run.data.tags.values())
    page = sweep.mlflow.of("sweep").data
    assert page.tags["state"] == "1 of 2 delivered, best 98.0 %"
    shown = {key: page.metrics[key] for key in ("targets_delivered", "best_accuracy")}
    assert shown == {"targets_delivered": 1, "best_accuracy": 0.98}
    points = [m for m in sweep.mlflow.of("sweep").history if m.key == "delivered_accuracy"]
    assert [(m.value, m.timestamp) for m in points] == [(0.98, int(published.time * 1000))]


def test_what_was_chosen_for_auto_is_no_parameter() -> None:
    experiment = load()
    chosen = {"resolved": ("threshold_init",), "threshold_init": -7.3}
    search = experiment.search.model_copy(update=chosen)
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
    shown = recipe(load(*overrides))
    assert {key: text for key, text in shown.items() if key.startswith("search.")} == searched


def test_parameters_are_few_and_can_be_sent_again() -> None:
    experiment = load()
    shown = recipe(experiment)
    training = "epochs batch_size learning_rate momentum warmup_epochs schedule_every seed"
    search = "threshold_init weight_decay threshold_decay decay led"
    assert set(shown) == {
        *("model.name", "data.name", "sparsity.mode", "workers.count"),
        *(f"training.{key}" for key in training.split()),
        *(f"search.{key}" for key in search.split()),
    }
    changed = {"training": experiment.training.model_copy(update={"checkpoint_every": 7})}
    assert recipe(experiment.model_copy(update=changed)) == shown


def test_the_page_of_the_sweep(sweep: Followed) -> None:
    sweep.told(finished())
    page = sweep.mlflow.of("sweep")
    assert "Asked for 95 %, 5 % MACs" in page.data.tags["mlflow.note.content"]
    assert page.data.tags["mlflow.user"]
    assert [(each.name, len(each.digest)) for each in page.datasets] == [("digits", 12)]
    assert "experiment.yaml" in page.files


def test_an_epoch_that_was_trained_again_is_told_once(sweep: Followed) -> None:
    sweep.told(epoch(1), epoch(2))
    sweep.told(epoch(2), epoch(3))
    assert [step for step, _ in sweep.history("sparsity")] == [1, 2, 3]


def test_a_run_takes_few_calls(sweep: Followed) -> None:
    for run_id in (f"run-{number:03d}" for number in range(2, 12)):
        epochs = [epoch(number, run_id) for number in range(1, 31)]
        sweep.append(proposed(run_id), *epochs, finished(run_id))
    sweep.told()
    # Two for the page of the sweep (settings, then totals), one for each run.
    assert sweep.mlflow.calls["log_batch"] == 2 + 11
    assert sweep.mlflow.calls["search_runs"] == 2
    assert len(sweep.mlflow.runs) == 12


def test_of_two_writers_at_once_one_run_is_kept(
    sweep: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = sweep.mlflow
    create, others = mlflow.create_run, Tracking(sweep.experiment)

    def create_after_the_other(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(mlflow, "create_run", create)
        others.deliver()
        return create(*arguments, **named)

    monkeypatch.setattr(mlflow, "create_run", create_after_the_other)
    sweep.told(epoch(1), finished())
    active = [run for run in mlflow.runs.values() if run.info.lifecycle_stage == "active"]
    assert sorted(run.data.tags["strsweep.run_id"] for run in active) == ["run-001", "sweep"]
    (page,) = [run for run in active if run.data.tags["strsweep.run_id"] == "sweep"]
    (child,) = [run for run in active if run is not page]
    assert child.data.tags["mlflow.parentRunId"] == page.info.run_id
    assert [metric.step for metric in child.history if metric.key == "sparsity"] == [1]
    assert child.info.status == "FINISHED"


@pytest.mark.parametrize(("collisions", "is_delivered"), [(1, True), (3, True), (4, False)])
def test_a_row_that_another_writer_was_first_with_is_looked_for(
    collisions: int,
    is_delivered: bool,
    sweep: Followed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_batch, left = sweep.mlflow.log_batch, [*range(collisions)]

    def log_what_is_there(*arguments: Any, **named: Any) -> None:
        log_batch(*arguments, **named)  # as the other writer does
        if left:
            left.pop()
            answer = {"error_code": "BAD_REQUEST", "message": "(UniqueViolation) duplicate key"}
            raise RestException(answer)

    monkeypatch.setattr(sweep.mlflow, "log_batch", log_what_is_there)
    sweep.append(epoch(1), finished())
    assert (Tracking(sweep.experiment).try_deliver() is not None) is is_delivered
    states = [run.info.status for run in sweep.mlflow.runs.values()]
    assert ("FINISHED" in states) is is_delivered
    said = capsys.readouterr().out
    assert ("answers with an error" in said) is not is_delivered
    assert "cannot be reached" not in said


def test_children_of_a_page_that_is_not_kept_come_home(sweep: Followed) -> None:
    sweep.told(epoch(1))
    page = sweep.mlflow.of("sweep")
    tags = page.data.tags
    earlier = sweep.mlflow.create_run("7", start_time=0, tags=tags, run_name="made elsewhere")
    sweep.told(epoch(2))
    assert page.info.lifecycle_stage == "deleted"
    assert sweep.run.data.tags["mlflow.parentRunId"] == earlier.info.run_id
    assert sweep.run.info.lifecycle_stage == "active"


def test_a_deleted_run_comes_back_and_is_not_doubled(sweep: Followed) -> None:
    sweep.told(epoch(1))
    sweep.mlflow.delete_run(sweep.run.info.run_id)
    sweep.told(epoch(2))
    assert sweep.run.info.lifecycle_stage == "active"
    assert [step for step, _ in sweep.history("macs")] == [1, 2]


def test_the_backlog_is_in_the_journal_not_in_memory(
    sweep: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise MlflowException("away")

    tracking = Tracking(sweep.experiment)
    monkeypatch.setattr(sweep.mlflow, "log_batch", away)
    sweep.append(*map(epoch, range(1, 2001)))
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
    sweep: Followed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deleted(*_: Any) -> str:
        raise SettingError("tracking.experiment", "digits", "It was deleted in MLflow.")

    tracking = Tracking(sweep.experiment)
    with monkeypatch.context() as patched:
        patched.setattr(module, "experiment_id", deleted)
        assert not tracking.try_deliver()
        assert not tracking.try_deliver()
    assert capsys.readouterr().out.count("It was deleted in MLflow") == 1
    assert tracking.try_deliver()
    assert len(sweep.mlflow.runs) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*noload.*")  # in MLflow's own tables
@pytest.mark.parametrize("asked", ["true", "false"])
def test_mlflow_watches_the_machine_only_if_its_own_switch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """On a real database: MLflow's own monitor takes a sample every tenth of a second."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", asked)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    experiment = load(f"storage.path={tmp_path}", f"tracking.uri={uri}")
    journal = Journal(storage_of(experiment))
    for event in (started(), proposed()):
        journal.append(event)
    with Tracking(experiment) as tracking:
        until = time.monotonic() + (60 if asked == "true" else 2)
        while not (found := system_metrics(tracking)) and time.monotonic() < until:
            time.sleep(0.1)
        journal.append(finished())
    tracking.close_sweep(replay(journal.read()))
    assert bool(found) == (asked == "true")


def system_metrics(tracking: Tracking) -> set[str]:
    """Return what MLflow has of the machine; nothing before the first delivery."""
    pages = tracking.client.search_experiments()
    runs = tracking.client.search_runs([page.experiment_id for page in pages])
    return {key for run in runs for key in run.data.metrics if key.startswith("system/")}
