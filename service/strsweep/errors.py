"""The exceptions a user can meet. All of them survive pickling between Ray processes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class StrsweepError(Exception):
    """Base of every error that strsweep raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ would call the constructor with the message alone, which loses the
        # fields of the subclasses and fails for those with several arguments.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class SettingError(StrsweepError):
    """A setting cannot work: carries its dotted key, the value it got and the remedy."""

    def __init__(self, setting: str, value: object, remedy: str) -> None:
        super().__init__(f"{setting}: got {value!r}. {remedy}")
        self.setting = setting
        self.value = repr(value)
        self.remedy = remedy


class InvalidExperimentError(StrsweepError):
    """Several settings of one file are wrong; the message lists them one per line."""

    def __init__(self, errors: list[SettingError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


class SweepRunningError(StrsweepError):
    """The same sweep is already running on this cluster."""


class TrainingDivergedError(StrsweepError):
    """The training loss became NaN or infinite."""


class ImagesUnreadableError(StrsweepError):
    """Too many images could not be read: their storage is away. Trying again later may help."""


class JournalError(StrsweepError):
    """A journal line in the middle of a file cannot be read: the file was edited or damaged."""


class StorageError(StrsweepError):
    """The storage refuses, is full, or stayed away too long. Trying again later may help."""


class CheckpointError(StrsweepError):
    """A checkpoint cannot be used: it is damaged or belongs to another model."""


class ExportError(StrsweepError):
    """A model cannot be exported, or an exported file cannot be read."""


class EveryRunFailedError(StrsweepError):
    """Run after run failed, so going on would only repeat the failure."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``Did you mean 'adamw'? `` for what is written most like ``name``, or nothing."""
    close = get_close_matches(str(name).lower(), list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def _rebuild(kind: type[StrsweepError], args: tuple[Any, ...], state: dict[str, Any]) -> object:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
