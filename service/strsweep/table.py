"""A table once: its columns are what page, terminal, notes and files show."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from textwrap import shorten
from typing import Any, Generic, NamedTuple, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.settings import percent

_Item = TypeVar("_Item")
number, whole, share = "{:.4g}".format, "{:,.0f}".format, partial(percent, digits=2)
"""Texts of a number in four digits, of a count, and of a share in percent."""
_WIDTH = 1000
"""The log of a submitted job is no terminal: rich would assume 80 columns, and wrap."""


@dataclass(frozen=True)
class Column(Generic[_Item]):
    """One column of a table."""

    name: str
    """In files; empty if only people read it."""
    value: Callable[[_Item], Any]
    """Number or text; None for what is not known."""
    heading: str = ""
    """For people; empty if only the files hold it."""
    shown: Callable[[Any], str] = str
    """Returns what a person reads instead of the value."""
    style: str = ""
    """On the page: ``long`` for sentences, ``code``, ``strong``."""
    link: Callable[[_Item], str] = lambda _: ""
    """Returns the address that the cell links to; empty for none."""


class Cell(NamedTuple):
    """What a person reads of one value."""

    heading: str
    text: str
    style: str
    """That of the column, after ``text`` if its values are."""
    link: str


class Row(NamedTuple):
    """One row: for files, and for people."""

    values: dict[str, Any]
    """Column -> value."""
    cells: list[Cell]
    note: str
    """A sentence in place of the cells without text; empty for none."""

    @property
    def link(self) -> str:
        """The address of what the row is about; empty for none."""
        return next((cell.link for cell in self.cells if cell.link), "")

    @property
    def hover(self) -> str:
        """The cells as a mark shows them, in plotly's markup."""
        known = [f"{cell.heading}: {shorten(cell.text, 90)}" for cell in self.cells if cell.text]
        lines = [*map(escape, known), *["<i>click for its page in MLflow</i>"] * bool(self.link)]
        return "<br>".join(lines)


def rows_of(
    columns: Sequence[Column[_Item]],
    items: Iterable[_Item],
    note: Callable[[_Item], str] = lambda _: "",
) -> list[Row]:
    """Return a table of ``items``, one row each; people see no column that is empty throughout."""
    items = list(items)
    table = [(column, [column.value(item) for item in items]) for column in columns]
    shown = [
        (column, "text " * any(isinstance(value, str) for value in values) + column.style, values)
        for column, values in table
        if column.heading and any(value not in (None, "") for value in values)
    ]
    return [
        Row(
            {column.name: values[index] for column, values in table if column.name},
            [_cell(column, style.strip(), item, values[index]) for column, style, values in shown],
            note(item),
        )
        for index, item in enumerate(items)
    ]


def _cell(column: Column[_Item], style: str, item: _Item, value: Any) -> Cell:
    text = "" if value is None else column.shown(value)
    return Cell(column.heading, text, style, column.link(item) if text else "")


def only(rows: Iterable[Row], *headings: str) -> list[Row]:
    """Return the rows with these of their columns."""
    return [row._replace(cells=[c for c in row.cells if c.heading in headings]) for row in rows]


def as_terminal(rows: Sequence[Row], title: str) -> str:
    """Return aligned lines under a title; notes are left out."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for cell in rows[0].cells if rows else ():
        table.add_column(cell.heading, justify="left" if "text" in cell.style else "right")
    for row in rows:
        table.add_row(*(cell.text for cell in row.cells))
    console = Console(width=_WIDTH, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def as_markdown(rows: Sequence[Row]) -> str:
    """Return a table with links; a note stands in the first cell without text."""
    head = rows[0].cells if rows else []
    rules = ["---" if "text" in cell.style else "--:" for cell in head]
    lines = [[cell.heading for cell in head]]
    for row in rows:
        texts = [f"[{c.text}]({c.link})" if c.link else c.text for c in row.cells]
        if row.note and "" in texts:
            texts[texts.index("")] = row.note
        lines.append([text.replace("|", "\\|") for text in texts])
    # MLflow draws tables without any room between columns.
    first, *more = ("&ensp; | ".join(line) for line in lines)
    return "\n".join(f"| {line} |" for line in (first, " | ".join(rules), *more))


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
