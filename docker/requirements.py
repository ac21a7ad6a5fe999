"""Print what a project depends on, pinned: ``requirements.py pyproject.toml constraints.txt``."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def pinned(project: Path, constraints: Path) -> list[str]:
    """Return the dependencies of ``project`` with the versions of ``constraints``.

    Raises:
        SystemExit: A dependency has no version there, so the image would not be reproducible.
    """
    versions = dict(line.split("==") for line in constraints.read_text().split() if "==" in line)
    canonical = {_canonical(name): version for name, version in versions.items()}
    lines: list[str] = []
    for dependency in tomllib.loads(project.read_text())["project"]["dependencies"]:
        name, extras = re.match(r"([\w.-]+)(\[[^]]*\])?", dependency).groups(default="")
        if _canonical(name) not in canonical:
            raise SystemExit(f"{name}: {constraints} has no version of it; add one")
        lines.append(f"{name}{extras}=={canonical[_canonical(name)]}")
    return lines


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(pinned(Path(sys.argv[1]), Path(sys.argv[2]))))
