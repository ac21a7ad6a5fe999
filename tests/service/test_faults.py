"""What happens to the server while a sweep runs or is published, and what is left of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_service import Service, shown
from recorded_sweep import EPOCHS, RecordedSweep

from strsweep import registry
from strsweep.errors import SettingError
from strsweep.packages.receipt import read_receipt
from strsweep.registry import Tracking, publish_journal
from strsweep.registry.registered_model import make_version

pytestmark = pytest.mark.timeout(240, func_only=True)
Recorded = Callable[..., RecordedSweep]


def weights_hash(sweep: RecordedSweep, run_id: str = "run-001") -> str:
    with sweep.storage.local(f"models/sparsity-50/{run_id}") as files:
        return read_receipt(files).weights_sha256


def assert_whole(service: Service, sweep: RecordedSweep) -> None:
    """One sweep, one run, one model, all of their values, and nothing twice."""
    result = shown(service, sweep.experiment)
    assert result.statuses == {"sweep": ["FINISHED"], "run-001": ["FINISHED"]}
    assert set(map(tuple, result.steps["run-001"].values())) == {tuple(range(1, EPOCHS + 1))}
    assert result.versions == [("sparsity-50", weights_hash(sweep), "1")]
    assert result.logged_models == [weights_hash(sweep)]
    assert result.aliases == {"sparsity-50": "1"}


def test_mlflow_is_away_for_the_whole_sweep(
    service: Service,
    recorded: Recorded,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # it answers within the test or not
    sweep = recorded("away", runs=0)
    with service.without_mlflow():
        with Tracking(sweep.experiment) as tracking:
            sweep.run("run-001")
            time.sleep(0.5)
        delivery = registry.publish_sweep(sweep.experiment, tracking)
        registry.print_delivery(sweep.experiment, delivery)
    assert not delivery.is_complete
    said = capsys.readouterr().out
    assert said.count("cannot be reached; the journal keeps everything until it can") == 1
    assert "run `strsweep publish` with the same settings when it answers" in said
    assert publish_journal(sweep.experiment).is_complete
    assert_whole(service, sweep)


def test_postgres_restarts_in_the_middle_of_a_delivery(
    service: Service, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strsweep.registry.tracking.INTERVAL_S", 0.5)
    sweep = recorded("restarted")
    for number in range(2, 32):
        sweep.fake_run(number, epochs=3)
    count = "SELECT count(*) FROM runs WHERE name LIKE '%run-0%' AND name LIKE 'target%'"
    before = service.sql(count)[0][0]
    with Tracking(sweep.experiment) as tracking:
        while service.sql(count)[0][0] < before + 3:
            time.sleep(0.05)
        service.stop("postgres")
        assert service.run_fails("status")
        time.sleep(1)
        service.start()
    assert not tracking.is_behind
    assert service.sql(count)[0][0] == before + 31
    result = shown(service, sweep.experiment, has_model=False)
    for run_id, run in sweep.record.runs.items():
        assert result.steps[run_id]["sparsity"] == sorted(run.epochs)
        assert result.statuses[run_id] == ["KILLED" if run.stopped else "FINISHED"]


def test_postgres_restarts_while_a_model_is_published(
    service: Service, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strsweep.registry import publish as module

    sweep, make = recorded("published-meanwhile"), make_version
    back = threading.Thread(target=lambda: (time.sleep(2), service.start()))

    def make_without_database(*arguments: Any, **named: Any) -> Any:
        if not back.ident:
            service.stop("postgres")
            back.start()
        return make(*arguments, **named)

    monkeypatch.setattr(module, "make_version", make_without_database)
    assert publish_journal(sweep.experiment).is_complete
    back.join()
    assert_whole(service, sweep)


def test_wrong_credentials_are_told_before_anything_runs(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = recorded("refused")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-wrong-password")
    with (
        pytest.raises(
            SettingError, match=r"refuses the user admin.*MLFLOW_TRACKING_USERNAME"
        ) as told,
        Tracking(sweep.experiment),
    ):
        pass
    assert "planted" not in str(told.value)
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    with pytest.raises(SettingError, match="refuses a job without a user"):
        publish_journal(sweep.experiment)


def test_a_deleted_experiment_is_named_and_nothing_is_lost(
    service: Service, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, client = recorded("deleted"), service.client()
    tracking = Tracking(sweep.experiment)
    assert tracking.try_deliver()
    place = tracking.runs.place
    client.delete_experiment(place)
    sweep.fake_run(2, epochs=2)
    assert not tracking.try_deliver()
    assert not tracking.try_deliver()
    with pytest.raises(SettingError, match="restore it there, or choose another name"):
        publish_journal(sweep.experiment)
    assert "tracking.experiment" not in capsys.readouterr().err
    client.restore_experiment(place)
    assert tracking.try_deliver()
    result = shown(service, sweep.experiment, has_model=False)
    assert {run_id: len(each) for run_id, each in result.statuses.items()} == {
        "": 1,
        "run-001": 1,
        "run-002": 1,
    }
    assert result.steps["run-002"]["macs"] == [1, 2]


def test_deleted_runs_come_back_once(service: Service, recorded: Recorded) -> None:
    sweep, client = recorded("deleted-runs"), service.client()
    assert publish_journal(sweep.experiment).is_complete
    tracking = Tracking(sweep.experiment)
    tracking.deliver()
    for run_id in (None, "run-001"):
        client.delete_run(tracking.mlflow_id(run_id))
    assert publish_journal(sweep.experiment).is_complete
    assert_whole(service, sweep)


def test_a_registered_model_of_somebody_else_is_left_alone(
    service: Service, recorded: Recorded
) -> None:
    client = service.client()
    client.create_registered_model("taken")
    with pytest.raises(SettingError, match=r"tracking\.model_name: got 'taken'.*did not make"):
        publish_journal(recorded("taken").experiment)
    client.create_registered_model("other-data", tags={"strsweep.data": "cifar10"})
    with pytest.raises(SettingError, match="holds models of cifar10, not of digits"):
        publish_journal(recorded("other-data").experiment)
    assert client.search_model_versions("name = 'taken'") == []


def test_an_alias_moves_only_to_a_better_model(
    service: Service, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    def alias() -> str:
        return dict(service.client().get_registered_model("better").aliases)["sparsity-50"]

    places: list[str] = []
    for seed, accuracy in enumerate([0.6, 0.5, 0.7]):
        sweep = recorded("better", f"training.seed={seed}", runs=0)  # another sweep, the same model
        sweep.run("run-001", seed=seed, accuracy=accuracy)
        delivery = publish_journal(sweep.experiment)
        registry.print_delivery(sweep.experiment, delivery)
        places.append(alias())
    assert places == ["1", "1", "3"]
    told = "@sparsity-50 stays at better v1: v1 has 60.00 % accuracy, v2 50.00 %"
    assert capsys.readouterr().out.count(told) == 1


def test_a_sweep_in_object_storage_is_published(service: Service, recorded: Recorded) -> None:
    sweep = recorded("on-s3", "storage.path=s3://mlflow/results")
    assert publish_journal(sweep.experiment).is_complete
    assert_whole(service, sweep)


def test_it_is_published_where_the_data_is_not(
    service: Service, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = recorded("no-data")
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        elsewhere = sweep.experiment.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})
        offline = sweep.experiment.model_copy(update={"tracking": elsewhere})
        assert not publish_journal(offline).is_complete

    def gone(_: object) -> object:
        raise SettingError("data.path", Path("/gone"), "It is not there.")

    monkeypatch.setattr("strsweep.packages.package.task_of", gone)
    assert publish_journal(sweep.experiment).is_complete
    assert_whole(service, sweep)
