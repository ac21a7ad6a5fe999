"""A disk that fills up while runs train: told at once, and continued when there is room again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_disk import small_disk

from strsweep.config import load_experiment
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.storage import storage_of

Job = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.ray, pytest.mark.long]

DIGITS = "jobs/configs/digits.yaml"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds a journal, but no checkpoint."""
    with small_disk(tmp_path / "disk", "256k", "--lazy") as path:
        yield path


@pytest.mark.parametrize("job_name", ["sweep", "train"])
def test_a_full_disk_ends_the_job_and_keeps_the_run(job: Job, disk: Path, job_name: str) -> None:
    overrides = ["training.epochs=4", "training.checkpoint_every=1", f"storage.path={disk}"]
    if job_name == "sweep":
        overrides += ["sparsity.mode=steered", "search.targets=[0.5]", "search.baseline=false"]
    else:
        overrides += ["search.threshold_decay=1e-3"]
    options = [part for text in overrides for part in ("--set", text)]

    def record() -> SweepRecord:
        return replay(Journal(storage_of(load_experiment(Path(DIGITS), overrides))).read())

    done = job(job_name, "--config", DIGITS, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    [told] = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert "No space left on device). The disk is full: free some space" in told
    assert told.endswith("The same command continues.")
    [run] = record().runs.values()
    assert run.is_open
    assert run.interruptions == [], "nothing is tried in vain"
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    done = job(job_name, "--config", DIGITS, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = record().runs.values()
    assert run.finished is not None
