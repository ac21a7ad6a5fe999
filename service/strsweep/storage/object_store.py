"""A store in a bucket of any S3-compatible service, which rides out its outages."""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import tenacity
from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from strsweep.config import StorageConfig
from strsweep.errors import StorageError

Result = TypeVar("Result")
_LONGEST_WAIT_S = 15.0
_CREDENTIALS = (
    "Credentials come from the AWS chain: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE, or an instance profile, on every node."
)
_REMEDIES = {
    "NoSuchBucket": "There is no such bucket: make it, or mend storage.path.",
    "AccessDenied": f"The credentials do not allow this. {_CREDENTIALS}",
    "InvalidAccessKeyId": f"The service does not know the access key. {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"The secret does not belong to the access key. {_CREDENTIALS}",
    "ExpiredToken": f"The credentials have expired. {_CREDENTIALS}",
    "QuotaExceeded": "The quota is used up: free some space.",
}
_AWAY_CODES = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError"}
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_FIRST_SERVER_ERROR = 500
_FULL = 507
"""Insufficient storage; services call it by names of their own."""
_SEGMENT_BYTES = 256 * 1024
"""A log object is put anew with every line, so it is not allowed to grow much."""
_ATTEMPTS = 3
"""Of one call; what takes longer is an outage, which is ridden out by the store."""
_TIMEOUT_S = 20


class Outage:
    """Repeats calls for ``patience_s`` while the service is unavailable, and says so."""

    def __init__(self, location: str, *, patience_s: float) -> None:
        self._location, self._patience_s = location, patience_s
        self._has_answered = False

    def ride_out(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Return what ``call`` returns, which is repeated until the service answers.

        Raises:
            StorageError: The service refuses, or was unavailable for longer than the patience.
        """
        started = time.monotonic()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_worth_waiting),
            wait=tenacity.wait_exponential_jitter(max=_LONGEST_WAIT_S),
            stop=tenacity.stop_after_delay(self._patience_s),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            result = retrying(call, *args, **kwargs)
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # Its own text may hold what is secret.
            raise StorageError(self._location + self._told(error)) from None
        self._has_answered = True
        if retrying.statistics.get("attempt_number", 1) > 1:
            seconds = time.monotonic() - started
            print(f"{self._location} answers again after {seconds:.0f} s", flush=True)
        return result

    def _is_worth_waiting(self, error: BaseException) -> bool:
        # A bucket that was there is there: services that start again deny it for a moment.
        return _is_away(error) or (self._has_answered and _name(error) == "NoSuchBucket")

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            what = f"{self._location} does not answer ({_name(state.outcome.exception())})"
            minutes = f"{self._patience_s / 60:g} minutes (storage.patience)"
            print(f"{what}; it is tried again for {minutes}", flush=True)

    def _told(self, error: Exception) -> str:
        name = _name(error)
        if _is_away(error):
            return (
                f" did not answer for {self._patience_s / 60:g} minutes ({name}): look after the "
                "service, or mend storage.endpoint."
            )
        if isinstance(error, _NO_CREDENTIALS):
            return f": there are no credentials. {_CREDENTIALS}"
        if isinstance(error, NoRegionError):
            return ": no region is known. Set storage.region, or AWS_DEFAULT_REGION."
        remedy = _REMEDIES.get(name, "Look at storage.path and storage.endpoint.")
        if _status(error) == _FULL:
            remedy = "The store is full: free some space."
        return f": the service refuses ({name}). {remedy}"


def _is_away(error: BaseException) -> bool:
    """Return whether the service is unavailable for a while, and does not refuse."""
    source = _source(error)
    if isinstance(source, ClientError):
        is_server_error = _FIRST_SERVER_ERROR <= _status(source) != _FULL
        return is_server_error or _name(source) in _AWAY_CODES
    if isinstance(source, (*_NO_CREDENTIALS, NoRegionError)):
        return False
    return isinstance(source, (BotoCoreError, ConnectionError, TimeoutError))


def _source(error: BaseException | None) -> BaseException | None:
    return error.__cause__ or error.__context__ if isinstance(error, Boto3Error) else error


def _status(error: BaseException) -> int:
    response = getattr(_source(error), "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _name(error: BaseException | None) -> str:
    source = _source(error)
    if isinstance(source, ClientError):
        return str(source.response.get("Error", {}).get("Code", "unknown"))
    return type(source).__name__


class ObjectStore:
    """Objects below ``s3://BUCKET/PREFIX``; every call rides out an outage of the service.

    The methods are those of ``Store``; ``StorageError`` says that the service refuses, or stayed
    away longer than the patience.

    Objects cannot be appended to. Every instance has log objects of its own and puts the newest
    one again with each line, so that two processes never overwrite each other.

    Credentials come from the AWS chain alone.
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
        """Put the object; large ones in parts, parts of which a killed process may leave behind."""
        place = self._bucket, self._prefix + name
        self._outage.ride_out(lambda: self._client.upload_fileobj(BytesIO(content), *place))

    def append_line(self, name: str, line: str) -> None:
        """Put the log object of this instance with one more line."""
        segment, content = self._logs.get(name, ("", b""))
        if not segment or len(content) > _SEGMENT_BYTES:
            segment, content = self._segment(name), b""
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
        for name in self.sizes(folder):  # one by one: together they would need a newer checksum
            key = self._prefix + name
            self._outage.ride_out(self._client.delete_object, Bucket=self._bucket, Key=key)

    @contextmanager
    def local(self, folder: str) -> Generator[Path]:
        """Yield a temporary copy of the objects below ``folder``."""
        with tempfile.TemporaryDirectory(prefix="strsweep-") as copy:
            for name in self.sizes(folder):
                path = Path(copy) / PurePosixPath(name).relative_to(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.read(name))
            yield Path(copy)

    def remove_partial_writes(self, older_than: timedelta) -> int:
        """Remove the parts of uploads that were begun before then and never ended.

        Younger ones may be under way. Returns how many there were.
        """
        before = datetime.now(timezone.utc) - older_than
        uploads = self._pages("list_multipart_uploads", "Uploads", Prefix=self._prefix)
        old = [upload for upload in uploads if upload["Initiated"] <= before]
        for upload in old:
            named = {"Bucket": self._bucket, **{key: upload[key] for key in ("Key", "UploadId")}}
            self._outage.ride_out(self._client.abort_multipart_upload, **named)
        return len(old)

    def _segment(self, name: str) -> str:
        """Return a new name of our own that sorts after all there are, whatever the clocks said."""
        path = PurePosixPath(name)
        ours = re.compile(rf"{re.escape(f'{path.parent}/{path.stem}')}\.([0-9a-f]{{16}})-.*")
        found = map(ours.fullmatch, self.sizes(f"{path.parent}"))
        number = max([time.time_ns(), *(int(match[1], 16) + 1 for match in found if match)])
        return f"{path.with_suffix('')}.{number:016x}-{secrets.token_hex(4)}{path.suffix}"

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
        # Many services know no newer ones: they refuse uploads, or store the trailer as content.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    # A session of its own: boto3's shared one must not be used by several threads.
    session: Any = Session()
    return session.client(
        "s3", endpoint_url=config.endpoint, region_name=config.region, config=options
    )
