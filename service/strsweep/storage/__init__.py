"""The only place that touches a sweep's files, in a folder or in an object store."""

from strsweep.storage.store import (
    Store,
    check_storage,
    check_writable,
    is_object_store,
    storage_of,
    store_at,
    store_of_sweep,
)

__all__ = [
    "Store",
    "check_storage",
    "check_writable",
    "is_object_store",
    "storage_of",
    "store_at",
    "store_of_sweep",
]
