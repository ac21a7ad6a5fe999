"""Where files are: a folder, or a bucket and a prefix; a sweep's in ``PATH/sweeps/SWEEP_ID``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from strsweep.config import Experiment, StorageConfig
from strsweep.storage.folder import FolderStore
from strsweep.storage.store import Store

_SCHEME, _SWEEPS = "s3://", "sweeps"


class Bucket(NamedTuple):
    """The parts of ``s3://BUCKET/PREFIX``."""

    name: str
    prefix: str
    """Empty, or ending in a slash."""


def is_object_store(location: str) -> bool:
    """Tell ``s3://BUCKET/PREFIX`` from a folder."""
    return location.startswith(_SCHEME)


def bucket_of(location: str) -> Bucket:
    """Take ``s3://BUCKET/PREFIX`` apart."""
    name, _, prefix = location.removeprefix(_SCHEME).partition("/")
    prefix = prefix.strip("/")
    return Bucket(name, f"{prefix}/" if prefix else "")


def below(location: str, name: str) -> str:
    """Return the location of ``name`` below ``location``."""
    return f"{location.rstrip('/')}/{name}"


def storage_of(experiment: Experiment) -> Store:
    """Return the store of the sweep that ``experiment`` belongs to, and of nothing else."""
    sweeps = below(experiment.storage.path, _SWEEPS)
    return store_at(below(sweeps, experiment.sweep_id), experiment.storage)


def store_at(location: str, config: StorageConfig | None = None) -> Store:
    """Return the store of a folder or of ``s3://BUCKET/PREFIX``.

    Args:
        location: Its last part is the sweep's id, if it is that of a sweep.
        config: Endpoint and region of an object store; by default the environment's.
    """
    if not is_object_store(location):
        return FolderStore(Path(location))
    from strsweep.storage.object_store import ObjectStore  # boto3 takes a second to import

    return ObjectStore(location, config or StorageConfig())
