"""Draw the picture of README: a terminal that shows the real output of ``make quickstart``.

python docs/picture.py results/quickstart.log docs/images/quickstart.svg
"""

from __future__ import annotations

import re
import sys
from io import StringIO
from itertools import takewhile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

_WIDTH = 100
_EVENTS = 3
"""Lines about runs that are shown from the beginning, and from the end."""


def shown(log: str) -> list[str]:
    """Return what a picture has room for; ``...`` stands for the lines that are left out."""
    lines = log.splitlines()
    (asked,) = (line for line in lines if line.startswith("sweep "))
    events = [line for line in lines if re.match(r"\[[\d:]+\] run-\d+ (starts|finished)", line)]
    table = next(number for number, line in enumerate(lines) if line.startswith("delivered"))
    end = takewhile(lambda line: not line.startswith("models, budgets"), lines[table:])
    return [
        "$ make quickstart",
        asked,
        *events[:_EVENTS],
        "...",
        *events[-_EVENTS:],
        "",
        *filter(str.strip, end),
    ]


def main(log: Path, picture: Path) -> None:
    """Write the picture of the sweep whose output is ``log``."""
    console = Console(record=True, width=_WIDTH, file=StringIO(), highlight=False)
    for line in shown(log.read_text(encoding="utf-8")):
        text = line.rstrip() if len(line.rstrip()) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
        style = "bold" if line.startswith(("$", "delivered")) else ""
        console.print(text, style=style, soft_wrap=True, markup=False)
    svg = console.export_svg(title="strsweep", theme=MONOKAI, unique_id="quickstart")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # a picture loads nothing
    picture.write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
