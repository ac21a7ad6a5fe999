"""Storage in a folder and on a real S3 server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3Server, running_server

from strsweep.config import StorageConfig
from strsweep.storage import Store, store_at


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server with the bucket ``sweeps``."""
    with running_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> StorageConfig:
    """The settings of an empty place on the server; credentials are in the environment."""
    for key, value in server.environment.items():
        monkeypatch.setenv(key, value)
    return StorageConfig(path=f"s3://sweeps/{secrets.token_hex(4)}", patience=1)


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The storage of one sweep, on each kind of store."""
    if request.param == "folder":
        return store_at(str(tmp_path / "sweeps/one"))
    config: StorageConfig = request.getfixturevalue("s3")
    return store_at(f"{config.path}/sweeps/one", config)
