"""Ride out an outage of an object store, and tell people what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import tenacity
from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

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
    "InsufficientStorage": "The store is full: free some space.",
    "QuotaExceeded": "The quota is used up: free some space.",
}
_AWAY_CODES = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError"}
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
_FIRST_SERVER_ERROR = 500


class Outage:
    """Repeats calls while the service is away, and says when it goes and comes back.

    Args:
        location: Of the store, for messages.
        patience_s: How long to go on, in seconds.
    """

    def __init__(self, location: str, *, patience_s: float) -> None:
        self._location, self._patience_s = location, patience_s
        self._has_answered = False

    def ride_out(self, call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
        """Return what ``call`` returns, which is repeated until the service answers.

        Raises:
            StorageError: The service refuses, or stayed away for longer than the patience.
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
                "service, or mend storage.endpoint; the same command continues then."
            )
        if isinstance(error, _NO_CREDENTIALS):
            return f": there are no credentials. {_CREDENTIALS}"
        if isinstance(error, NoRegionError):
            return ": no region is known. Set storage.region, or AWS_DEFAULT_REGION."
        remedy = _REMEDIES.get(name, "Look at storage.path and storage.endpoint.")
        return f": the service refuses ({name}). {remedy}"


def _is_away(error: BaseException) -> bool:
    """Return whether the service is away for a while, and does not refuse."""
    source = _source(error)
    if isinstance(source, ClientError):
        status = int(source.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= _FIRST_SERVER_ERROR or _name(source) in _AWAY_CODES
    if isinstance(source, (*_NO_CREDENTIALS, NoRegionError)):
        return False
    return isinstance(source, (BotoCoreError, ConnectionError, TimeoutError))


def _source(error: BaseException | None) -> BaseException | None:
    return error.__cause__ or error.__context__ if isinstance(error, Boto3Error) else error


def _name(error: BaseException | None) -> str:
    source = _source(error)
    if isinstance(source, ClientError):
        return str(source.response.get("Error", {}).get("Code", "unknown"))
    return type(source).__name__
