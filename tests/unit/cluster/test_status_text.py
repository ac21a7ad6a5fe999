"""Status lines read as a person expects."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from journaled_sweeps import JournaledSweep, Trial, suggested
from planted_sweeps import STORED, ended
from samples import ACCURACY, LEAN, NINETY

from strsweep.cluster.status import StatusLines
from strsweep.journal import ImagesUnreadable, RunFailed, RunInterrupted, RunStopped
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import RunSettings, Target, count
from strsweep.status import clock, describe, describe_metrics, describe_target

OWN = RunSettings(threshold_init=-7.654321, weight_decay=5e-4, threshold_decay=0.0185228, onset=10)
TOLD = "weight decay 0.0005, threshold decay 0.0185, threshold init -7.654"
TENTH = "weight decay 0.0098, threshold init -10"
RUN = ended(4, OWN, 0.89876, accuracy=0.97)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00"),
        (0.01, "00:01"),
        (59, "00:59"),
        (59.99, "01:00"),
        (3599, "59:59"),
        (3599.5, "1:00:00"),
        (3661.5, "1:01:02"),
        (360000, "100:00:00"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_count() -> None:
    texts = [count(number, "image") for number in (0, 1, 2, 1234)]
    assert texts == ["0 images", "1 image", "2 images", "1,234 images"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (OWN, TOLD),
        (OWN.model_copy(update={"fork": STORED}), f"{TOLD}, from epoch 10"),
        (RunSettings(weight_decay=0.00979796, threshold_init=-10.0), TENTH),
        (RunSettings(weight_decay=1e-4, sparsity=0.9), "weight decay 0.0001"),
        (OWN.model_copy(update={"is_dense": True}), "dense, weight decay 0.0005"),
    ],
)
def test_settings_there_are(settings: RunSettings, text: str) -> None:
    assert describe(settings) == text


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (None, "sparsity 89.88 %  accuracy 97.1 %"),
        (NINETY, "sparsity 89.88 %  accuracy 97.1 %"),
        (LEAN, "sparsity 89.88 %  MACs 5.12 % (23,154)  accuracy 97.1 %"),
    ],
)
def test_multiply_adds_are_told_where_they_are_the_target(target: Target | None, text: str) -> None:
    metrics = {"sparsity": 0.89876, "macs": 23_154.0, "dense_macs": 452_224.0, "accuracy": 0.9712}
    assert describe_metrics(metrics, target, ACCURACY) == text


@pytest.mark.parametrize(
    ("target", "run", "closest", "text"),
    [
        (NINETY, RUN, RUN, "     90 %  hit   run-004  sparsity 89.88 %  accuracy 97.0 %"),
        (NINETY, None, RUN, "     90 %  open  closest sparsity 89.88 % (run-004)"),
        (NINETY, None, None, "     90 %  open"),
        (LEAN, RUN, RUN, " 5 % MACs  hit   run-004  MACs 15.66 %  accuracy 97.0 %"),
        (LEAN, None, RUN, " 5 % MACs  open  closest MACs 15.66 % (run-004)"),
    ],
)
def test_targets(target: Target, run: Any, closest: Any, text: str) -> None:
    state = TargetOutcome(target=target, run=run, closest=closest, miss=None, advice="")
    assert describe_target(state, ACCURACY) == text


def test_the_lines_of_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = JournaledSweep(tmp_path, "search.targets=[0.9, {macs: 0.05}]")
    searcher = sweep.job()
    lines = StatusLines(searcher, 1)
    trials = [Trial(suggested(searcher, "a"))]

    def told() -> list[str]:
        return [line.partition("] ")[2] or line for line in capsys.readouterr().out.splitlines()]

    def ends(name: str) -> list[str]:
        searcher.on_trial_complete(name)
        lines.on_trial_complete(0, trials, trials[-1])
        return told()

    lines.on_trial_start(0, trials, trials[0])
    assert told() == [
        "run-001 starts    dense, weight decay 0.0005  (the epochs before thresholds act)"
    ]
    sweep.end("run-001")
    start = ends("a")
    assert start[0] == "run-001 finished  sparsity 0.00 %  accuracy 99.0 %"
    (so_far,) = start[1:]
    assert so_far.startswith("          0 of 2 targets hit, 1 of 40 runs used  ETA ")

    trials.append(Trial(suggested(searcher, "b")))
    lines.on_trial_start(0, trials, trials[1])
    target = sweep.record.runs["run-002"].target
    (line,) = told()
    assert line.startswith("run-002 starts    weight decay 0.0005, threshold decay ")
    assert line.endswith(f"from epoch 10  (target {target}; by the law alone)")
    monkeypatch.setattr("strsweep.progress._voice._said", time.monotonic() - 60)
    sweep.train("run-002", last=15)
    metrics = sweep.record.runs["run-002"].epochs[15].metrics
    lines.on_trial_result(0, trials, trials[1], {**metrics, "epoch": 15})
    sweep.journal.append(RunInterrupted(run_id="run-002", reason="worker 0: it was lost"))
    lines.on_step_end(0, trials)
    interrupted, progress = told()
    assert interrupted == "run-002 restarts  worker 0: it was lost"
    assert progress.startswith(
        f"run-002 epoch 15/30  {describe_metrics(metrics, target, ACCURACY)}  0.25 s/"
    )
    assert "  ETA " in progress
    names = tuple(f"image-{number}.png" for number in range(7))
    sweep.journal.append(ImagesUnreadable(run_id="run-002", names=names))
    sweep.end("run-002")
    finished = ends("b")
    assert finished[1] == f"run-002 left out 7 unreadable images: {', '.join(names[:5])}"
    assert sum("  hit   run-002" in line for line in finished) == len(finished) - 3 == 1
    assert finished[-1].startswith("          1 of 2 targets hit, 2 of 40 runs used")

    trials.append(Trial(suggested(searcher, "c")))
    ends_of = {
        "paused    the next job continues it": None,
        "failed    the loss": RunFailed(run_id="run-003", reason="the loss"),
        "stopped   after epoch 15: why": RunStopped(run_id="run-003", epoch=15, reason="why"),
    }
    for text, event in ends_of.items():
        if event is not None:
            sweep.journal.append(event)
        lines.on_trial_complete(0, trials, trials[2])
        assert told() == [f"run-003 {text}"]
    lines.on_trial_error(0, trials, trials[2])
    assert told() == ["run-003 failed    its processes died more often than allowed"]
