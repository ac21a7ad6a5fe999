"""Every error reaches another process with its message and its fields."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import pytest

from strsweep import errors
from strsweep.errors import InvalidExperimentError, SettingError, StrsweepError

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
]


def made(kind: type[StrsweepError]) -> StrsweepError:
    if kind is SettingError:
        return SettingError("training.epochs", "ten", "Write a number.")
    if kind is InvalidExperimentError:
        wrong = [SettingError("a.b", 1, "Mend it."), SettingError("c", None, "Set.")]
        return InvalidExperimentError(wrong)
    assert kind.__init__ is StrsweepError.__init__, f"teach this test how {kind.__name__} is made"
    return kind(f"message of {kind.__name__}")


def shape(value: object) -> object:
    """Exceptions compare by identity: compare what they hold."""
    if isinstance(value, BaseException):
        fields = {key: shape(item) for key, item in vars(value).items()}
        return type(value), str(value), fields
    if isinstance(value, tuple):
        return tuple(shape(item) for item in value)
    return value


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_pickle_keeps_class_message_and_fields(kind: type[StrsweepError]) -> None:
    error = made(kind)
    assert str(error)
    assert isinstance(error, StrsweepError)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is kind
        assert shape(copy) == shape(error)


def test_pickle_takes_values_that_cannot_be_pickled() -> None:
    error = SettingError("model.name", lambda: None, "Write a name.")
    assert "lambda" in pickle.loads(pickle.dumps(error)).value


def test_errors_name_key_value_and_remedy_one_a_line() -> None:
    error = made(SettingError)
    assert isinstance(error, SettingError)
    assert str(error) == "training.epochs: got 'ten'. Write a number."
    assert [error.setting, error.value] == ["training.epochs", "'ten'"]
    lines = str(made(InvalidExperimentError)).split("\n")
    assert lines == ["a.b: got 1. Mend it.", "c: got None. Set."]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:cret@host/a", "'http://...@host/a'"),
        ("see http://me:cr?et@cret@host", "'see http://...'"),
        ("cret@host", "'...@host'"),
        ("host?token=cret", "'host?...'"),
        (
            {"a": ["http://cret@h", 1], "http://cret@i": None},
            "{'a': ['http://...@h', 1], 'http://...@i': None}",
        ),
        (Path("http://me:cret@host"), "PosixPath('http:/...@host')"),
        (("http://cret@h",), "['http://...@h']"),
        ("models:/digits@sparsity-95", "'models:/digits@sparsity-95'"),
        ("TABLE.csv#90.23", "'TABLE.csv#90.23'"),
        ("/data/me@org/a", "'/data/me@org/a'"),
        ({"macs": 9.0}, "{'macs': 9.0}"),
    ],
)
def test_no_secret_of_an_address_is_shown(value: object, shown: str) -> None:
    error = SettingError("a.b", value, "Mend it.")
    assert (error.value, str(error)) == (shown, f"a.b: got {shown}. Mend it.")


def test_no_secret_is_shown_in_a_key_or_a_remedy() -> None:
    error = SettingError("a.http://me:cret@h", 1, "'http://h/?t=cret' says: 'ftp://me:cret@h'.")
    assert str(error) == "a.http://...@h: got 1. 'http://h/?... says: 'ftp://...@h'."


@pytest.mark.timeout(10)
@pytest.mark.parametrize("part", [":", "//", "a", "?", "@/", ":@", "a/"])
def test_a_long_value_is_shown_soon(part: str) -> None:
    SettingError("a.b", part * 100_000, part * 100_000)
