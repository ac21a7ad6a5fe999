"""Print what a project depends on, pinned: ``requirements.py PYPROJECT CONSTRAINTS [MORE...]``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import tomllib


def pinned(project: Path, constraints: Path, more: Sequence[str] = ()) -> list[str]:
    """Return the dependencies of ``project``, and ``more``, with the versions of ``constraints``.

    Raises:
        SystemExit: A dependency has no version there, so the image would not be reproducible.
    """
    versions = dict(line.split("==") for line in constraints.read_text().split() if "==" in line)
    canonical = {_canonical(name): version for name, version in versions.items()}
    lines: list[str] = []
    needed: list[str] = tomllib.loads(project.read_text())["project"]["dependencies"]
    for dependency in [*needed, *more]:
        found = re.match(r"([\w.-]+)(\[[^]]*\])?", dependency)
        assert found is not None, dependency
        name, extras = found.groups(default="")
        if _canonical(name) not in canonical:
            raise SystemExit(f"{name}: {constraints} has no version of it; add one")
        lines.append(f"{name}{extras}=={canonical[_canonical(name)]}")
    return lines


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(pinned(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
