"""Places are read as a shell reads them; an address that may hold a secret is refused, unseen."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import load, refusal
from sqlalchemy import create_engine

from strsweep.config import Experiment, load_experiment
from strsweep.config.addresses import storage_location, tracking_address
from strsweep.errors import InvalidExperimentError, SettingError


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://me:cret@host:5000/a", "http://...@host:5000/a"),
        ("https://cret@host", "https://...@host"),
        ("HTTP://cret:@host", "HTTP://...@host"),
        ("http:/me:cret@host", "http:/...@host"),
        ("me:cret@host:5000", "...@host:5000"),
        ("postgresql://me:cret@host/mlflow", "postgresql://...@host/mlflow"),
        ("postgresql://me:cr#cret@host/db", "postgresql://..."),
        ("mysql+pymysql://me:cr?cret@host/db", "mysql+pymysql://..."),
        ("postgresql://me%3Acret@host/db", "postgresql://...@host/db"),
        ("postgresql://me:c@cret@host/db", "postgresql://...@host/db"),
        ("postgresql://me@host/mlflow?password=cret", "postgresql://...@host/mlflow?..."),
        ("postgresql://host/db?options=-c%20x%3Dcret", "postgresql://host/db?..."),
        ("postgresql://host/db?sslmode=a%26password%3Dcret", "postgresql://host/db?..."),
        ("mysql://host/db?ssl_key=a&PASSWD=cret", "mysql://host/db?..."),
        ("sqlite:////m.db?password=cret", "sqlite:////m.db?..."),
        ("http://host:5000?token=cret", "http://host:5000?..."),
        ("http://host/?auth=cr@cret", "http://..."),
        ("http://host/?cret", "http://host/?..."),
        ("http://host/#token=cret", "http://host/#..."),
        ("http://host/;token=cret", "http://host/;..."),
    ],
)
def test_no_secret_in_the_address_of_mlflow_is_taken_or_shown(uri: str, shown: str) -> None:
    said = refusal(f"tracking.uri={json.dumps(uri)}")
    assert said.startswith(f"tracking.uri: got '{shown}'. Leave passwords, tokens and queries out")
    assert "PGPASSFILE" in said
    assert "cret" not in said


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:5000/a",
        "https://mlflow.example.org/team/mlflow/",
        "http://[::1]:5000",
        "postgresql+psycopg2://me@host/mlflow?sslmode=require",
        "postgresql://me%40server@host:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "mysql://me@host/db",
    ],
)
def test_an_address_without_secrets_is_taken(uri: str) -> None:
    assert load(f"tracking.uri={uri}").tracking.uri == uri


@pytest.mark.parametrize("uri", ["http://", "http://:5000", "host:5000", "sqlite://m.db", "mlruns"])
def test_what_mlflow_cannot_be_asked_at_is_refused(uri: str) -> None:
    assert f"tracking.uri: got {uri!r}. Use http://HOST:PORT" in refusal(f"tracking.uri={uri}")


ENDPOINTS = ("http://k:cret@h", "http://h?token=cret", "http://k:cret@[h", "k:cret@h")
BUCKETS = (
    "s3://k:cret@b/p",
    "s3://b/p?secret=cret",
    "s3:/k:cret@b",
    "s3://b#cret",
    "s3://k:cr/cret@b",
)


@pytest.mark.parametrize(
    ("address", "begins"),
    [
        *((endpoint, "storage.endpoint: got '") for endpoint in ENDPOINTS),
        *((bucket, "storage.path: got 's3:/") for bucket in BUCKETS),
    ],
)
def test_endpoint_and_bucket_have_no_credentials(address: str, begins: str) -> None:
    said = refusal(f"{begins.partition(':')[0]}='{address}'")
    assert said.startswith(begins)
    assert "the AWS chain has them" in said
    assert "cret" not in said


@given(st.text(), st.sampled_from(["http", "postgresql", "mysql+pymysql", "s3"]))
def test_whatever_a_password_holds_it_is_refused_and_not_shown(password: str, kind: str) -> None:
    address = f"{kind}://me:cret{password}cret@host/db"
    with pytest.raises(SettingError) as caught:
        (storage_location if kind == "s3" else tracking_address)(address)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://me:cret@host", "me:cr/cret@host", "http://h/?t=cret"])
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tracking.url={}", "tracking.url: got '{}'. There is no such setting. Did you mean "),
        ("trackng.uri={}", "trackng: got {{'uri': '{}'}}. There is no such setting. Did you "),
        ("tracking={}", "tracking: got '{}'. Input should be an object."),
        ("tracking.uri=[a, '{}']", "tracking.uri: got ['a', '{}']. Input should be a valid"),
        ("tracking.uri={{a: [{{b: '{}'}}]}}", "tracking.uri: got {{'a': [{{'b': '{}'}}]}}."),
        ("tracking={{'{}': 1}}", "tracking.{}: got 1. There is no such setting."),
        ("training.epochs={}", "training.epochs: got '{}'."),
        ("tracking.uri {}", "--set: got 'tracking.uri {}'. Write section.key=value"),
        ("tracking.uri:'{}'=1", '--set: got "tracking.uri:'),
        ("tracking.uri='{}", '--set: got "tracking.uri='),
    ],
)
def test_no_mistake_around_an_address_shows_its_secret(
    address: str, override: str, told: str
) -> None:
    said = refusal(override.format(address))
    assert "cret" not in said
    if address.startswith("http://me"):
        assert said.startswith(told.format("http://...@host"))


@pytest.mark.parametrize(
    "text",
    [
        "tracking: {uri: http://me:cret cret@host",
        "tracking:\n  uri: 'http://me:cret cret@host\n",
        "uri: http://me:cret cret@host\nuri: http://me:cret cret@other\n",
        "tracking: {http://me:cret.cret@host: 1}\n",
    ],
)
def test_no_mistake_in_a_file_shows_a_secret(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises((SettingError, InvalidExperimentError)) as caught:
        load_experiment(path)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("~/x", "/home/me/x"), ("$HOME/x", "/home/me/x"), ("${PLACE}/y z", "/big/y z")],
)
def test_places_are_written_as_in_a_shell(
    written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PLACE", "/big")
    given = [f"{key}={written}" for key in ("storage.path", "data.path", "model.checkpoint")]
    experiment = load(*given, f"tracking.uri=sqlite:///{written}/m.db")
    assert experiment.storage.path == meant
    assert str(experiment.data.path) == str(experiment.model.checkpoint) == meant
    assert str(experiment.tracking.database) == f"{meant}/m.db"
    monkeypatch.setenv("STRSWEEP_RESULTS", written)
    assert load().storage.path == meant
    assert str(load().tracking.database) == f"{meant}/mlflow.db"


@pytest.mark.parametrize("place", ["$NOWHERE/x", "~nobodyhere/x"])
@pytest.mark.parametrize(
    "written",
    ["storage.path={}", "data.path={}", "model.checkpoint={}", "tracking.uri=sqlite:///{}"],
)
def test_a_place_with_an_unknown_name_is_refused(
    written: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _, value = written.format(place).partition("=")
    assert f"{key}: got {value!r}." in refusal(written.format(place))
    monkeypatch.setenv("STRSWEEP_RESULTS", place)
    assert refusal().startswith(f"STRSWEEP_RESULTS: got {place!r}.")


@pytest.mark.parametrize("key", ["storage.path", "data.path", "model.checkpoint"])
def test_a_place_that_is_no_utf8_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD", os.fsdecode(b"/data/b\xff"))
    said = refusal(f"{key}=$ODD/x")
    assert f"{key}: got" in said
    assert "/data/b\\xff/x is no UTF-8, as journal and MLflow have it: rename" in said
    said.encode()


@pytest.mark.parametrize(
    "name", ["my results", "my res%20x", "100%25", "100% %", "a?b", "a#b", "a&b=c;d", "me@org", "ü"]
)
def test_a_database_is_where_its_address_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path / name))
    experiment = load()
    written = load("tracking.uri=sqlite:///$STRSWEEP_RESULTS/mlflow.db")
    read = Experiment.model_validate(experiment.model_dump(mode="json"))
    assert experiment.tracking == written.tracking == read.tracking
    assert experiment.tracking.database == tmp_path / name / "mlflow.db"
    (tmp_path / name).mkdir()
    with create_engine(experiment.tracking.uri).begin() as opened:
        opened.exec_driver_sql("CREATE TABLE made (here INTEGER)")
    with closing(sqlite3.connect(tmp_path / name / "mlflow.db")) as database:
        assert database.execute("SELECT * FROM made").fetchall() == []


@pytest.mark.parametrize("written", ["/tmp/my%20results/m.db", "/tmp/my results/m.db", "m.db"])
def test_an_address_may_be_encoded_and_is_the_same_wherever_workers_stand(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/tmp")
    tracking = load(f"tracking.uri=sqlite:///{written}").tracking
    place = "/tmp/m.db" if written == "m.db" else "/tmp/my results/m.db"
    assert (tracking.uri, str(tracking.database)) == (f"sqlite:///{place}", place)


def test_results_lie_where_the_file_the_environment_or_else_we_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRSWEEP_RESULTS", raising=False)
    assert load().storage.path == str(tmp_path / "results")
    monkeypatch.setenv("STRSWEEP_RESULTS", "/elsewhere")
    assert load().storage.path == "/elsewhere"
    assert load().tracking.uri == "sqlite:////elsewhere/mlflow.db"
    assert load("storage.path=/here").storage.path == "/here"
