"""The size of the package, and no thought that is cut into splinters."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "service" / "strsweep"
SPLINTER = 40
"""Lines below which a file that only one other file uses belongs into that file."""
SOURCES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
}
"""Name -> source of every file; that of a package ends in ``.__init__``."""


def imported(source: str) -> set[tuple[str, str]]:
    """Return the module and the name in it of everything that is imported."""
    nodes = [*ast.walk(ast.parse(source))]
    plain = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    found = {(name, "") for name in plain}
    return found | {
        (node.module or "", alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def users(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the files that use each file; a package that passes a name on does not use it."""
    origins = {
        (package.removesuffix(".__init__"), name): module
        for package, source in sources.items()
        if package.endswith(".__init__")
        for module, name in imported(source)
    }
    found: dict[str, set[str]] = {name: set() for name in sources}
    for user, source in sources.items():
        if user.endswith(".__init__"):
            continue
        for module, name in imported(source):
            for used in (f"{module}.{name}", origins.get((module, name), module)):
                if used in found and used != user:
                    found[used].add(user)
    return found


def splinters(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the short files that no more than one other file uses, and which that is."""
    return {
        name: sorted(by)
        for name, by in users(sources).items()
        if len(by) <= 1
        and not name.endswith((".__init__", ".__main__"))
        and len(sources[name].splitlines()) < SPLINTER
    }


def lines(*parts: str) -> int:
    """Return the lines of all files of the package, or of some of its parts."""
    folders = [PACKAGE / part for part in parts] or [PACKAGE]
    return sum(len(p.read_text().splitlines()) for f in folders for p in f.rglob("*.py"))


def test_no_short_file_has_a_single_user() -> None:
    assert splinters(SOURCES) == {}


@pytest.mark.parametrize(
    ("parts", "most"), [((), 19_937), (("search",), 910), (("search", "cluster"), 2_300)]
)
def test_the_package_stays_small(parts: tuple[str, ...], most: int) -> None:
    assert 0 < lines(*parts) <= most


def test_planted_splinters_are_found() -> None:
    long = "x = 1\n" * SPLINTER
    planted = {
        "p.__init__": "from p.passed_on import A\nfrom p.shared import B\n",
        "p.passed_on": "A = 1\n",
        "p.shared": "B = 1\n",
        "p.long": long,
        "p.first": f"from p import A, B, lonely\nimport p.long\n{long}",
        "p.second": f"def f():\n    from p.shared import B\n{long}",
        "p.lonely": "C = 1\n",
        "p.unused": long[:-6],
    }
    assert splinters(planted) == {
        "p.passed_on": ["p.first"],
        "p.lonely": ["p.first"],
        "p.unused": [],
    }
