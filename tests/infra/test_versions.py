"""One version of Ray, MLflow, PostgreSQL and Python wherever it is written down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = ["infra", "docker", "constraints.txt", "pyproject.toml"]
PATTERNS = {
    "ray": [
        r"^ray==([\d.]+)$",
        r'"ray\[[^]]*\]==([\d.]+)"',
        r"strsweep-ray[:}]+([\d.]+)(?=-)",
        r"newName: \S+strsweep-ray, newTag: ([\d.]+)-",
        r"rayVersion: ([\d.]+)$",
        r'ray\.__version__ == "([\d.]+)"',
    ],
    "mlflow": [
        r"^mlflow(?:-skinny|-tracing)?==([\d.]+)$",
        r"strsweep-mlflow[:}]+([\d.]+\d)",
        r"newName: \S+strsweep-mlflow, newTag: ([\d.]+\d)",
    ],
    "postgres": [r"image: postgres:(\S+)$"],
    "python": [r"python:(\d\S+)$"],
}
LEAST = {"ray": 14, "mlflow": 8, "postgres": 2, "python": 2}
"""So many mentions there are at least; fewer mean that a pattern has gone blind."""


def mentions(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield file and version of every mention."""
    files = [path for place in PLACES for path in [root / place, *(root / place).rglob("*")]]
    for path in (path for path in files if path.is_file() and path.suffix != ".pyc"):
        for pattern in PATTERNS[name]:
            for version in re.findall(pattern, path.read_text(), re.MULTILINE):
                yield str(path.relative_to(root)), version


@pytest.mark.parametrize("name", PATTERNS)
def test_a_version_is_the_same_everywhere(name: str, root: Path) -> None:
    found = list(mentions(root, name))
    assert len(found) >= LEAST[name]
    assert len({version for _, version in found}) == 1, found


def test_no_image_floats(root: Path) -> None:
    files = [*(root / "infra").rglob("*.yaml"), *(root / "docker").glob("*ockerfile")]
    images = [
        image
        for path in files
        for image in re.findall(r"^\s*(?:- )?(?:image:|FROM) (\S+)", path.read_text(), re.MULTILINE)
    ]
    assert len(images) >= 10
    bad = [i for i in images if not i.startswith("${") and (":" not in i or i.endswith(":latest"))]
    assert bad == []
