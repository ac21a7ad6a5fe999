"""A small folder of images, as a user has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

RED = {"ant": 0, "bee": 127, "cat": 255}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with train/ and val/: flat images whose red is their class."""
    for split, per_class in (("train", 4), ("val", 2)):
        for name, red in RED.items():
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(per_class):
                image = Image.new("RGB", (40, 30), (red, 10 * index, 0))
                image.save(tmp_path / split / name / f"{index}.png")
    return tmp_path
