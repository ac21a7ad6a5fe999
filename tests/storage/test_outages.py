"""A real S3 server that crashes, refuses, or is not there; and a disk that is full."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from older_service import older_service
from s3_server import S3Server, crash_for
from small_disk import small_disk

from strsweep.config import StorageConfig
from strsweep.errors import SettingError, StorageError
from strsweep.storage import check_storage, check_writable, store_at
from strsweep.storage.object_store import ObjectStore

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")

LARGE = os.urandom(40 * 2**20)
"""Large enough to be put in parts."""
SECRET = "recognisable-secret-in-the-environment"


@pytest.mark.parametrize("away_s", [0.0, 3.0])
def test_a_crash_in_the_middle_of_an_upload_is_ridden_out(
    server: S3Server, s3: StorageConfig, away_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = store_at(f"{s3.path}/sweeps/one", s3)
    storage.write("large", b"old")
    upload = threading.Thread(target=storage.write, args=("large", LARGE))
    upload.start()
    time.sleep(0.15)
    crash_for(server, away_s)
    upload.join()
    assert storage.read("large") == LARGE
    said = capsys.readouterr().out
    assert said.count("does not answer") <= 1
    assert said.count("does not answer") == said.count("answers again after")


def test_every_call_rides_out_a_crash(server: S3Server, s3: StorageConfig) -> None:
    storage = store_at(f"{s3.path}/sweeps/one", s3)
    storage.write("a/b", b"content")
    storage.write("old/c", b"content")
    storage.append_line("journal/sweep.jsonl", "before")
    calls = [
        lambda: storage.read("a/b"),
        lambda: storage.sizes("a"),
        lambda: storage.append_line("journal/sweep.jsonl", "after"),
        lambda: storage.delete("old"),
    ]
    server.crash()
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    time.sleep(1)
    assert all(thread.is_alive() for thread in threads)
    server.start()
    for thread in threads:
        thread.join()
    (name,) = storage.sizes("journal")
    assert storage.read(name) == b"before\nafter\n"
    assert storage.sizes("old") == {}


def test_a_service_that_stays_away_is_an_error_and_no_hang(s3: StorageConfig) -> None:
    config = s3.model_copy(update={"endpoint": "http://127.0.0.1:9", "patience": 0.03})
    with pytest.raises(StorageError, match=r"did not answer for 0\.03 minutes \(Endpoint"):
        store_at(s3.path, config).read("a")


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"AWS_SECRET_ACCESS_KEY": SECRET}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "strsweep:nobody"}, "access key"),
        ({"AWS_ACCESS_KEY_ID": ""}, "there are no credentials"),
    ],
    ids=["secret", "key", "none"],
)
def test_wrong_credentials_are_told_at_once_and_not_repeated(
    s3: StorageConfig,
    changed: dict[str, str],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for key, value in changed.items():
        monkeypatch.setenv(key, value) if value else monkeypatch.delenv(key)
    started = time.monotonic()
    with pytest.raises(SettingError, match=r"^storage\.path: got 's3://sweeps/") as refusal:
        check_storage(s3)
    assert time.monotonic() - started < 10
    assert remedy in str(refusal.value)
    assert "AWS_ACCESS_KEY_ID" in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_a_missing_bucket_is_told(s3: StorageConfig) -> None:
    with pytest.raises(SettingError, match="There is no such bucket"):
        check_storage(s3.model_copy(update={"path": "s3://nowhere/x"}))


def test_a_bucket_that_is_denied_for_a_moment_is_waited_for(
    server: S3Server, s3: StorageConfig
) -> None:
    client = server.client()
    client.create_bucket(Bucket="momentary")
    store = ObjectStore("s3://momentary/x", s3)
    assert store.sizes("") == {}
    client.delete_bucket(Bucket="momentary")
    back = threading.Timer(2, client.create_bucket, kwargs={"Bucket": "momentary"})
    back.start()
    store.write("b", b"2")
    back.join()
    assert store.read("b") == b"2"


def test_checking_leaves_nothing_behind(s3: StorageConfig) -> None:
    check_storage(s3)
    assert ObjectStore(s3.path, s3).sizes("") == {}


def test_rests_of_uploads_are_removed_by_age(server: S3Server, s3: StorageConfig) -> None:
    prefix = s3.path.removeprefix("s3://sweeps/")
    client = server.client()
    for key in (f"{prefix}/a", "elsewhere/b"):
        client.create_multipart_upload(Bucket="sweeps", Key=key)
    store = ObjectStore(s3.path, s3)
    assert store.remove_partial_writes(older_than=timedelta(hours=1)) == 0
    assert store.remove_partial_writes(older_than=timedelta(seconds=-60)) == 1
    left = [upload["Key"] for upload in client.list_multipart_uploads(Bucket="sweeps")["Uploads"]]
    assert "elsewhere/b" in left
    assert f"{prefix}/a" not in left


def test_rests_of_files_are_removed_by_age(tmp_path: Path) -> None:
    storage = store_at(str(tmp_path))
    storage.write("a/whole", b"")
    (tmp_path / "a/other.partial").write_bytes(b"half")
    assert storage.remove_partial_writes(older_than=timedelta(hours=1)) == 0
    assert storage.remove_partial_writes(older_than=timedelta(seconds=-60)) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    with small_disk(tmp_path / "disk", "1m") as path:
        yield path


def test_a_full_disk_is_told_and_harms_nothing(disk: Path) -> None:
    storage = store_at(str(disk / "sweep"))
    storage.write("a", b"old")
    storage.append_line("journal/sweep.jsonl", "old")
    with pytest.raises(StorageError, match=r"No space left on device\). The disk is full: free"):
        storage.write("a", bytes(2**21))
    assert storage.read("a") == b"old"
    filler = disk / "filler"
    with contextlib.suppress(OSError):  # ends when not a byte more is left
        filler.write_bytes(bytes(2**21))
    with pytest.raises(StorageError, match="The disk is full"):
        storage.append_line("journal/sweep.jsonl", "x" * 8192)
    with pytest.raises(SettingError, match=r"\. The disk is full: free .* that every node can"):
        check_storage(StorageConfig(path=str(disk)))
    with pytest.raises(SettingError, match=r"^--out: .* full: free some space, or name a folder"):
        check_writable(disk / "sweep", "--out")
    assert {path.name for path in disk.iterdir()} == {"sweep", "filler"}
    filler.unlink()
    storage.append_line("journal/sweep.jsonl", "new")
    lines = storage.read("journal/sweep.jsonl").splitlines()
    assert lines[0] == b"old"
    assert lines[-1] == b"new"


def of_nobody(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> StorageConfig:
    """Return the settings of a bucket on a service that looks at no credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    known = {"region": "us-east-1", "path_style": True, "patience": 0.1}
    return StorageConfig.model_validate({"path": "s3://bucket/p", "endpoint": endpoint, **known})


class FullService(http.server.BaseHTTPRequestHandler):
    """Answers as services do whose disks are full."""

    protocol_version = "HTTP/1.1"
    code = ""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = f"<Error><Code>{self.code}</Code></Error>".encode() if self.code else b""
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("code", ["XMinioStorageFull", "InsufficientStorage", ""])
def test_a_full_service_is_told_at_once_and_not_waited_for(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = type("Handler", (FullService,), {"code": code})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        config = of_nobody(f"http://127.0.0.1:{service.server_address[1]}", monkeypatch)
        full = rf"the service refuses \({code or 507}\)\. The store is full: free some space"
        with pytest.raises(StorageError, match=full):
            store_at(config.path, config).write("a", b"content")
        with pytest.raises(SettingError, match=full):
            check_storage(config)
        service.shutdown()
    assert "does not answer" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["refuses", "keeps", "flips"])
def test_a_service_without_newer_checksums_works_or_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older_service(tmp_path, kind) as (endpoint, certificate):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        config = of_nobody(endpoint, monkeypatch)
        storage = store_at(config.path, config)
        if kind == "flips":
            with pytest.raises(SettingError, match="other bytes than were written"):
                check_storage(config)
        else:
            check_storage(config)
            storage.write("a/b", LARGE[: 2**20])
            assert storage.read("a/b") == LARGE[: 2**20]
            storage.append_line("journal/sweep.jsonl", "line")
            [name] = storage.sizes("journal")
            assert storage.read(name) == b"line\n"
            storage.delete("a")
        assert storage.sizes("a") == store_at("s3://bucket", config).sizes("p/.write-test") == {}
