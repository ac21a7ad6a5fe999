"""Runs of earlier sweeps of the same model, data and training: they need not be trained again."""

from __future__ import annotations

from pydantic import ValidationError

from strsweep.config import Experiment
from strsweep.errors import InvalidExperimentError, JournalError, SettingError
from strsweep.journal import Journal, RunProposed, RunRecord, SweepRecord, replay, run_id_of
from strsweep.storage import Store, other_sweeps

_UNREADABLE = (ValidationError, SettingError, InvalidExperimentError, JournalError)


def adopt_runs(experiment: Experiment, journal: Journal) -> int:
    """Note the finished runs of other sweeps of the same recipe in ``journal``; returns how many.

    Their checkpoints stay where they are. Sweeps differ in name, ranges and targets only if they
    share ``Experiment.recipe_id``.

    Args:
        experiment: An STR sweep.
        journal: Of the sweep, which was started.
    """
    record = replay(journal.read())
    known = {run.proposed.adopted_from for run in record.runs.values()}
    number = record.last_number
    for sweep_id, storage in other_sweeps(experiment).items():
        for run in _finished_runs(storage, experiment):
            source = f"{sweep_id}/{run.run_id}"
            if source in known or run.proposed.adopted_from is not None:
                continue
            number += 1
            _adopt(run, run_id_of(number), source, journal)
    return number - record.last_number


def _finished_runs(storage: Store, experiment: Experiment) -> list[RunRecord]:
    try:
        record = replay(Journal(storage).read())
        same = _recipe_of(record) == experiment.recipe_id
    except _UNREADABLE as error:
        print(f"{storage.location} is not used: {str(error).splitlines()[0]:.200}", flush=True)
        return []
    decay = experiment.search.weight_decay  # where it is shared, only a dense network has it
    return [
        run
        for run in record.finished_runs
        if same and (not run.settings.is_dense or run.settings.weight_decay == decay)
    ]


def _recipe_of(record: SweepRecord) -> str | None:
    if not record.started:
        return None
    return Experiment.model_validate(record.started[-1].experiment).recipe_id


def _adopt(run: RunRecord, run_id: str, source: str, journal: Journal) -> None:
    assert run.finished is not None
    folder, _, _ = source.partition("/")
    new = {"run_id": run_id}
    for epoch in run.epochs.values():
        journal.append(epoch.model_copy(update=new))
    for event in (run.prefix, run.finished):
        if event is not None:
            moved = {"checkpoint": f"../{folder}/{event.checkpoint}"}
            journal.append(event.model_copy(update=new | moved))
    # Last: events of a run that was never proposed count for nothing, should we be killed here,
    # and no other run gets its id.
    journal.append(
        RunProposed(
            run_id=run_id,
            settings=run.settings,
            target=None,
            reason=f"trained as {source}",
            adopted_from=source,
        )
    )
