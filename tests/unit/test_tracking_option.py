"""Where the jobs look for registered models, and what they say where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from strsweep.cli import tracking_uri_of
from strsweep.errors import SettingError
from strsweep.packages import evaluate_model

MODEL = "models:/digits@sparsity-95"


def test_the_option_comes_first_then_mlflows_variable_then_the_results_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri_of(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri_of(None) == "http://mlflow:5000"
    assert tracking_uri_of("https://other") == "https://other"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("foo", "Use http://HOST:PORT"),
        ("http://me:mar[marzipan@h", "MLFLOW_TRACKING_PASSWORD"),
        ("mysql://me:mar/marzipan@h/db", "MLFLOW_TRACKING_PASSWORD"),
        ("sqlite:///$NOWHERE/m.db", "not set in the environment"),
        ("sqlite:///~nobodyhere/m.db", "a user that is not known"),
    ],
)
def test_what_is_no_address_is_told_by_the_name_it_was_given_with(
    uri: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for option, name in ((None, "MLFLOW_TRACKING_URI"), (uri, "--tracking-uri")):
        with pytest.raises(SettingError, match=f"^{name}: got ") as caught:
            tracking_uri_of(option)
        assert told in caught.value.remedy
        assert "marzipan" not in str(caught.value)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "mlflow.db"
    with pytest.raises(SettingError, match=r"^--model: got .*There is no sqlite:///.*mlflow.db"):
        evaluate_model(MODEL, f"sqlite:///{missing}")
    assert not missing.exists()


@pytest.mark.timeout(60)
def test_a_server_that_is_away_is_named_soon() -> None:
    with pytest.raises(SettingError, match=r"http://127\.0\.0\.1:9 says: .*Connection refused"):
        evaluate_model(MODEL, "http://127.0.0.1:9")
