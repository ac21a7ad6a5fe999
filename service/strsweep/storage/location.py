"""Where a store is: a folder of this machine, or a bucket and a prefix."""

from __future__ import annotations

from typing import NamedTuple

_SCHEME = "s3://"


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
