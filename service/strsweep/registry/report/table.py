"""A table once: its columns are what the page shows, what marks tell and what the files hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from textwrap import shorten
from typing import Any, Generic, NamedTuple, TypeVar

from strsweep.settings import percent

_Item = TypeVar("_Item")
number, whole, share = "{:.4g}".format, "{:,.0f}".format, partial(percent, digits=2)
"""Texts of a number in four digits, of a count, and of a share in percent."""


@dataclass(frozen=True)
class Column(Generic[_Item]):
    """One column of a table."""

    name: str
    """In files; empty if only the page shows it."""
    value: Callable[[_Item], Any]
    """Number or text; None for what is not known."""
    heading: str = ""
    """On the page; empty if only the files hold it."""
    shown: Callable[[Any], str] = str
    """Returns what a person reads instead of the value."""
    style: str = ""
    """``long`` for sentences, ``link`` to the page of the row, ``code``, ``strong``."""


class Row(NamedTuple):
    """One row: in files, and on the page."""

    values: dict[str, Any]
    """Column -> value."""
    cells: list[tuple[str, str, str]]
    """Heading, text and style: those of the column, and whether the value is a text."""
    link: str
    """Address of what it is about; empty for no link."""

    @property
    def hover(self) -> str:
        """The cells as a mark tells them, in plotly's markup."""
        told = [(heading, shorten(text, 90)) for heading, text, _ in self.cells if text]
        lines = [f"{escape(heading)}: {escape(text)}" for heading, text in told]
        return "<br>".join(lines + ["<i>click for its page in MLflow</i>"] * bool(self.link))


def rows_of(
    columns: Sequence[Column[_Item]],
    items: Iterable[_Item],
    link: Callable[[_Item], str] = lambda _: "",
) -> list[Row]:
    """Return a table of ``items``, one row each; ``link`` gives addresses."""
    rows: list[Row] = []
    for item in items:
        found = [(column, column.value(item)) for column in columns]
        values = {column.name: value for column, value in found if column.name}
        cells = [
            (
                column.heading,
                "" if value is None else column.shown(value),
                f"text {column.style}".strip() if isinstance(value, str) else column.style,
            )
            for column, value in found
            if column.heading
        ]
        rows.append(Row(values, cells, link(item)))
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return one line per row under a header; what a row does not have is empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def duration(hours: float) -> str:
    """Return hours as a person reads them; number and unit stay on one line."""
    if hours >= 1:
        return f"{hours:,.0f}\u00a0h" if hours >= 100 else f"{hours:.1f}\u00a0h"
    return f"{hours * 60:.0f}\u00a0min" if hours * 60 >= 2 else f"{hours * 3600:.0f}\u00a0s"
