"""A store in a bucket of any S3-compatible service."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from strsweep.config import StorageConfig
from strsweep.storage.outage import Outage

_SEGMENT_BYTES = 256 * 1024
"""A log object is put anew with every line, so it is not allowed to grow much."""
_DELETED_AT_ONCE = 1000
"""S3's limit for one call."""
_ATTEMPTS = 3
"""Of one call; what takes longer is an outage, which is ridden out by the store."""
_TIMEOUT_S = 20


class ObjectStore:
    """Objects below ``s3://BUCKET/PREFIX``; every call rides out an outage of the service.

    The methods are those of ``Store``; ``StorageError`` says that the service refuses, or stayed
    away longer than the patience.

    Objects cannot be appended to. Every instance has log objects of its own and puts the newest
    one again with each line, so that two processes never overwrite each other.

    Args:
        location: ``s3://BUCKET/PREFIX``.
        config: Endpoint, region and patience. Credentials come from the AWS chain alone.
    """

    def __init__(self, location: str, config: StorageConfig) -> None:
        self.location = location.rstrip("/")
        self._bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        """Empty, or ending in a slash."""
        self._config = config
        self._client = _client(config)
        self._outage = Outage(self.location, patience_s=config.patience * 60)
        self._logs: dict[str, tuple[str, bytes]] = {}
        """Log name -> the object that this instance writes, and what is in it."""

    def __reduce__(self) -> tuple[type[ObjectStore], tuple[str, StorageConfig]]:
        """Make a store anew in another process: clients and log objects cannot be shared."""
        return ObjectStore, (self.location, self._config)

    def uri(self, name: str) -> str:
        """Return the URI of ``name``."""
        return f"{self.location}/{name}"

    def read(self, name: str) -> bytes:
        """Return the content of the object; raises ``FileNotFoundError``."""
        return self._outage.ride_out(self._read, name)

    def write(self, name: str, content: bytes) -> None:
        """Put the object; large ones in parts, whose rests a killed process may leave behind."""
        place = self._bucket, self._prefix + name
        self._outage.ride_out(lambda: self._client.upload_fileobj(BytesIO(content), *place))

    def append_line(self, name: str, line: str) -> None:
        """Put the log object of this instance with one more line."""
        segment, content = self._logs.get(name) or (_segment(name), b"")
        if len(content) > _SEGMENT_BYTES:
            segment, content = _segment(name), b""
        content += line.encode() + b"\n"
        self.write(segment, content)
        self._logs[name] = segment, content

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of all objects below ``folder``."""
        found = self._pages("list_objects_v2", "Contents", Prefix=f"{self._prefix}{folder}/")
        start = len(self._prefix)
        return dict(sorted((entry["Key"][start:], entry["Size"]) for entry in found))

    def delete(self, folder: str) -> None:
        """Delete all objects below ``folder``."""
        keys = [{"Key": self._prefix + name} for name in self.sizes(folder)]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            part = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            self._outage.ride_out(self._client.delete_objects, Bucket=self._bucket, Delete=part)

    @contextmanager
    def local(self, folder: str) -> Generator[Path]:
        """Yield a temporary copy of the objects below ``folder``."""
        with tempfile.TemporaryDirectory(prefix="strsweep-") as copy:
            for name in self.sizes(folder):
                path = Path(copy) / PurePosixPath(name).relative_to(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(name))
            yield Path(copy)

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove the rests of uploads that were begun before then and never ended.

        Younger ones may be under way. Returns how many there were.
        """
        before = datetime.now(timezone.utc) - older_than
        uploads = self._pages("list_multipart_uploads", "Uploads", Prefix=self._prefix)
        old = [upload for upload in uploads if upload["Initiated"] <= before]
        for upload in old:
            named = {"Bucket": self._bucket, **{key: upload[key] for key in ("Key", "UploadId")}}
            self._outage.ride_out(self._client.abort_multipart_upload, **named)
        return len(old)

    def _read(self, name: str) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                raise FileNotFoundError(f"{self.uri(name)} does not exist") from None
            raise
        content: bytes = answer["Body"].read()
        return content

    def _pages(self, operation: str, field: str, **arguments: str) -> list[dict[str, Any]]:
        paginator = self._client.get_paginator(operation)

        def found() -> list[dict[str, Any]]:
            pages = paginator.paginate(Bucket=self._bucket, **arguments)
            return [entry for page in pages for entry in page.get(field, ())]

        return self._outage.ride_out(found)


def _client(config: StorageConfig) -> Any:
    """Return a boto3 client; it asks the service nothing yet.

    What the settings leave out follows from the AWS environment, as credentials always do.
    """
    style = {None: "auto", True: "path", False: "virtual"}[config.path_style]
    options = Config(
        retries={"mode": "standard", "max_attempts": _ATTEMPTS},
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        s3={"addressing_style": style},
    )
    # A session of its own: boto3's shared one must not be used by several threads.
    session: Any = Session()
    return session.client(
        "s3", endpoint_url=config.endpoint, region_name=config.region, config=options
    )


def _segment(name: str) -> str:
    """Return a new name beside ``name`` that sorts by time and that nobody else has."""
    path = PurePosixPath(name)
    unique = f"{time.time_ns():016x}-{secrets.token_hex(4)}"
    return str(path.with_name(f"{path.stem}.{unique}{path.suffix}"))
