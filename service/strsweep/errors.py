"""The exceptions a user can meet. All of them survive pickling between Ray processes."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, cast

_BEFORE_USER = re.compile(r"^(?=[^/]+$)|(?<!models)(?::/*|//)")
"""Where credentials may begin. ``models:/NAME@ALIAS`` has none."""
_BEFORE_QUERY = re.compile(r"[?#;&]")


class StrsweepError(Exception):
    """Base of every error that strsweep raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ would call the constructor with the message alone, which loses the
        # fields of the subclasses and fails for those with several arguments.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class SettingError(StrsweepError):
    """A setting cannot work: carries its dotted key, the value it got and the remedy.

    Addresses lose their credentials and queries in all of them: logs keep what errors say.
    """

    def __init__(self, setting: str, value: object, remedy: str) -> None:
        self.setting = _redacted(setting)
        self.value = _shown(value)
        self.remedy = re.sub(r"\S+", lambda word: _redacted(word[0]), remedy)
        super().__init__(f"{self.setting}: got {self.value}. {self.remedy}")


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


@contextmanager
def blaming(setting: str, value: object, told: str) -> Generator[None]:
    """Raise a ``SettingError`` for whatever code of the user's own raises in the ``with`` block.

    ``told`` says what went wrong; kind and message of the error follow.
    """
    try:
        yield
    except SettingError:
        raise
    except Exception as error:  # such code can raise anything
        raise SettingError(setting, value, f"{told}: {type(error).__name__}: {error}") from error


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``Did you mean 'adamw'? `` for what is written most like ``name``, or nothing."""
    close = get_close_matches(str(name).lower(), list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def _shown(value: object) -> str:
    """Return ``value`` as a file says it, without the secrets of addresses in it."""
    if isinstance(value, str):
        return repr(_redacted(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, cast('Iterable[object]', value)))}]"
    if isinstance(value, dict):
        items = cast("dict[object, object]", value).items()
        return f"{{{', '.join(f'{_shown(key)}: {_shown(one)}' for key, one in items)}}}"
    return _redacted(repr(value))


def _redacted(text: str) -> str:
    """Return ``text`` without what stands before its last @, and without a query."""
    before, at, host = text.rpartition("@")
    if at and (start := _BEFORE_USER.search(before)):
        # With a query before it, this @ may stand in a token, and what follows be the rest of it.
        shown = "" if _BEFORE_QUERY.search(before) else f"@{host}"
        text = f"{before[: start.end()]}...{shown}"
    query = _BEFORE_QUERY.search(text)
    if query and text[query.end() :] and ("//" in text or "=" in text[query.end() :]):
        text = f"{text[: query.end()]}..."
    return text
