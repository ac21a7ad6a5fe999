"""A bad image file in a real run: the journal names it once, and the run is delivered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from local_ray import Jobs
from PIL import Image

from strsweep.journal import ImagesUnreadable

pytestmark = pytest.mark.ray

BAD_FILES = ["train/b/017.png", "val/a/00\udcff.png"]
"""A name need not be UTF-8."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Write 180 training and 20 validation images of two classes, and damage two of them."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 16, 16, 3), dtype=np.uint8)
    for split, count in (("train", 90), ("val", 10)):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(noise[index]).save(tmp_path / split / name / f"{index:03d}.png")
    for name in BAD_FILES:
        (tmp_path / name).write_bytes(b"no image")
    return tmp_path


def test_the_journal_names_a_bad_file_once(jobs: Jobs, images: Path) -> None:
    overrides = [
        f"data={{name: imagefolder, path: '{images}', image_size: 16}}",
        "model.name=resnet20",
        "training.epochs=3",
        "training.batch_size=60",
        "search.threshold_decay=1e-3",
    ]
    jobs.said("train", overrides)
    told = [event for event in jobs.events(overrides) if isinstance(event, ImagesUnreadable)]
    names = [str(images / name).replace("\udcff", r"\xff") for name in BAD_FILES]
    assert [sorted(event.names) for event in told] == [names]
    run = jobs.only_run(overrides)
    assert sorted(run.unreadable) == names
    assert [epoch.metrics["unreadable_images"] for epoch in run.epochs.values()] == [2, 2, 2]
    assert run.finished is not None
