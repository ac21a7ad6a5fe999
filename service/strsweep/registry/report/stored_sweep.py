"""Read what the report needs from a sweep's own storage: no server, no cluster, no data."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from strsweep.config import Experiment
from strsweep.config.sections import results_folder
from strsweep.errors import InvalidExperimentError, JournalError, SettingError
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.registry.receipt import RECEIPT, Receipt
from strsweep.registry.report.contents import SweepContents, contents_of
from strsweep.search.outcome import outcomes_of
from strsweep.storage import Store, is_object_store, store_at

_OPTION = "--sweep"


def read_sweep(reference: str) -> SweepContents:
    """Return what the report tells of a sweep, without links.

    Args:
        reference: Its folder, ``s3://BUCKET/PREFIX`` of it, or its id under the results folder.

    Raises:
        SettingError: There is no such sweep, or this version cannot read it.
        StorageError: The storage refuses, or stayed away too long.
    """
    storage = _storage(reference)
    try:
        record = replay(Journal(storage).read())
        if not record.started:
            remedy = "No sweep lies there: name its id, or its folder with journal/ in it."
            raise SettingError(_OPTION, reference, remedy)
        experiment = Experiment.model_validate(record.started[-1].experiment)
        return contents_of(experiment, record, _receipts(experiment, record, storage))
    except (ValidationError, InvalidExperimentError, JournalError) as error:
        told = str(error).splitlines()[0]
        raise SettingError(_OPTION, reference, f"It cannot be read: {told:.300}") from error


def _storage(reference: str) -> Store:
    if is_object_store(reference) or Path(reference).is_dir():
        return store_at(reference)
    return store_at(str(results_folder() / "sweeps" / reference))


def _receipts(experiment: Experiment, record: SweepRecord, storage: Store) -> list[Receipt]:
    """Return the receipts of the delivered models, registered or not."""
    folders = [published.folder for published in record.published.values()]
    if not experiment.is_single:
        states = outcomes_of(record, experiment)
        folders += [f"models/{s.target.label}/{s.run.run_id}" for s in states if s.run is not None]
    found: dict[str, Receipt] = {}
    for folder in dict.fromkeys(folders):
        try:
            receipt = Receipt.model_validate_json(storage.read(f"{folder}/{RECEIPT}"))
        except FileNotFoundError:
            continue  # hit, but not packaged yet
        found[str(receipt.target)] = receipt
    return list(found.values())
