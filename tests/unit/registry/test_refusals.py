"""What an MLflow server refuses for good is told before training, and is not waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from samples import load
from typing_extensions import override

from strsweep.errors import SettingError
from strsweep.registry.server import may_pass, refusals
from strsweep.registry.tracking import Tracking

TAGS = [{"key": "strsweep.data", "value": "digits"}]
ANSWERS: dict[str, Any] = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}},
    "experiments/set-experiment-tag": {},
    "logged-models/search": {"models": []},
    "registered-models/get": {"registered_model": {"name": "digits", "tags": TAGS}},
    "registered-models/set-tag": {},
}
"""What a server of ours says to what is asked at the start."""


class FakeServer(ThreadingHTTPServer):
    """Answers as MLflow does, but for one call, which it refuses."""

    refused, status, body = "", 200, b""

    def start(self) -> str:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.path.partition("?")[0].partition("/mlflow/")[2]
        status, body = 200, json.dumps(ANSWERS.get(call, {})).encode()
        server = self.server
        assert isinstance(server, FakeServer)
        if call == server.refused:
            status, body = server.status, server.body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(("127.0.0.1", 0), Handler) as server:
        yield server
        server.shutdown()


def coded(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": f"<{code}>"}).encode()


def asked(server: FakeServer, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Tracking:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Tracking, "_loop", lambda _: None)
    with Tracking(load(f"storage.path={folder}", f"tracking.uri={server.start()}")) as tracking:
        return tracking


@pytest.mark.parametrize(
    ("call", "status", "body", "told"),
    [
        ("logged-models/search", 404, b"", "does not know a call: it must be MLflow 3"),
        ("logged-models/search", 404, b"<html>nginx</html>", "must be MLflow 3"),
        ("experiments/set-experiment-tag", 403, coded("PERMISSION_DENIED"), "who may write there"),
        ("experiments/set-experiment-tag", 403, b"Forbidden", "who may write there"),
        ("registered-models/set-tag", 403, coded("PERMISSION_DENIED"), "who may write there"),
        ("registered-models/get", 401, b"", "MLFLOW_TRACKING_USERNAME"),
        ("experiments/get-by-name", 400, b"<html>nginx</html>", "refuses .*error code 400 != 200"),
        ("logged-models/search", 400, b"", "refuses .*error code 400 != 200"),
        ("logged-models/search", 405, b"", "refuses .*error code 405 != 200"),
        ("experiments/get-by-name", 410, b"", "refuses .*error code 410 != 200"),
        ("logged-models/search", 501, b"", "refuses .*error code 501 != 200"),
        (
            "experiments/get-by-name",
            400,
            coded("INVALID_PARAMETER_VALUE"),
            r"refuses \(400\): INVALID_PARAMETER_VALUE: <INV",
        ),
    ],
)
def test_a_lasting_refusal_is_told_at_the_start(
    call: str,
    status: int,
    body: bytes,
    told: str,
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.refused, server.status, server.body = call, status, body
    with pytest.raises(SettingError, match=f"^tracking.uri: got 'http://127.*{told}"):
        asked(server, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (503, b""),
        (502, b"<html>nginx</html>"),
        (408, b""),
        (429, coded("REQUEST_LIMIT_EXCEEDED")),
        (500, coded("INTERNAL_ERROR")),
    ],
)
def test_an_outage_is_none(
    status: int,
    body: bytes,
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.refused, server.status, server.body = "logged-models/search", status, body
    asked(server, monkeypatch, tmp_path)
    assert ("the journal keeps everything" in capsys.readouterr().out) is (status != 200)


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("INTERNAL_ERROR", True),
        ("TEMPORARILY_UNAVAILABLE", True),
        ("RESOURCE_DOES_NOT_EXIST", True),  # somebody removed a run: it is made again
        ("BAD_REQUEST", True),  # of a row that another writer was first with
        ("ENDPOINT_NOT_FOUND", False),
        ("INVALID_PARAMETER_VALUE", False),
        ("PERMISSION_DENIED", False),
    ],
)
def test_only_what_may_pass_is_tried_again(code: str, passes: bool) -> None:
    from mlflow.protos.databricks_pb2 import ErrorCode

    error = MlflowException("x", error_code=ErrorCode.Value(code))
    assert may_pass(error) is passes
    kind = MlflowException if passes else SettingError
    with pytest.raises(kind), refusals(load()):
        raise error
