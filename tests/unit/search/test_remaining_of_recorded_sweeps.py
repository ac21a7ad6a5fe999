"""How well the time left is told, over the journals of real sweeps: events and when they came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strsweep.auto import resolve
from strsweep.cluster.remaining import Remaining
from strsweep.config import Experiment
from strsweep.journal import Event, RunFinished, RunProposed, SweepRecord, SweepStarted
from strsweep.journal.events import EVENT
from strsweep.journal.record import add
from strsweep.search.runs import StateReader
from strsweep.search.space import onset_of

RECORDED = sorted((Path(__file__).parent / "recorded_sweeps").glob("*.jsonl"))
"""Written by ``strip_journal.py`` beside this file: rows without thresholds and layers."""
SLOTS = 2
ALLOWED = 0.30


def events_of(path: Path) -> list[Event]:
    return [EVENT.validate_json(line) for line in path.read_text().splitlines()]


def estimates(events: list[Event]) -> Iterator[tuple[float, float]]:
    """Yield the share of the sweep's time that is over, and the error of the end as a share."""
    [started] = [event for event in events if isinstance(event, SweepStarted)]
    experiment = resolve(Experiment.model_validate(started.experiment), started.problem)
    record, reader = SweepRecord(), StateReader(experiment, started.problem)
    remaining, running = Remaining(onset_of(experiment, started.problem), SLOTS), set[str]()
    begin, end = started.time, events[-1].time
    for event in events:
        add([event], record)
        if isinstance(event, RunProposed):
            running.add(event.run_id)
            remaining.begin(event.run_id, event.time)
        elif isinstance(event, RunFinished):
            running.discard(event.run_id)
            remaining.end(event.run_id, event.time)
        left = remaining.seconds(reader.state(record, running), event.time)
        if left is not None:
            whole = end - begin
            yield (event.time - begin) / whole, abs(event.time + left - end) / whole


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_end_is_told_after_a_third_of_the_time(path: Path) -> None:
    told = list(estimates(events_of(path)))
    after = [error for over, error in told if over >= 1 / 3]
    for share in (1 / 3, 1 / 2, 3 / 4):
        error = next(error for over, error in told if over >= share)
        print(f"{path.stem}: after {share:.0%} of the time the end is off by {error:.0%}")
    assert len(after) > 10
    assert after[0] <= ALLOWED
    assert max(after) <= ALLOWED


def test_there_are_recorded_sweeps() -> None:
    assert len(RECORDED) >= 2
