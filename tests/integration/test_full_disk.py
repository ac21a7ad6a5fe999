"""A disk that fills up while runs train: told at once, and continued when there is room again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_ray import Jobs
from small_disk import small_disk

pytestmark = [pytest.mark.ray, pytest.mark.long]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds a journal, but no checkpoint."""
    with small_disk(tmp_path / "disk", "256k", "--lazy") as path:
        yield path


@pytest.mark.parametrize("job", ["sweep", "train"])
def test_a_full_disk_ends_the_job_and_keeps_the_run(jobs: Jobs, disk: Path, job: str) -> None:
    overrides = ["training.epochs=4", "training.checkpoint_every=1", f"storage.path={disk}"]
    if job == "sweep":
        overrides += ["sparsity.mode=steered", "search.targets=[0.5]", "search.baseline=false"]
    else:
        overrides += ["search.threshold_decay=1e-3"]
    done = jobs.run(job, overrides)
    assert done.returncode == 1, done.stdout + done.stderr
    [told] = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert "No space left on device). The disk is full: free some space" in told
    assert told.endswith("The same command continues.")
    run = jobs.only_run(overrides)
    assert run.is_open
    assert run.interruptions == [], "nothing is tried in vain"
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    jobs.said(job, overrides)
    assert jobs.only_run(overrides).finished is not None
