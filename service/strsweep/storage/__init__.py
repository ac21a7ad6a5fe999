"""The only place that touches a sweep's files, in a folder or in an object store."""

from strsweep.storage.location import is_object_store
from strsweep.storage.sweep import SweepStorage, other_sweeps
from strsweep.storage.writable import check_storage, check_writable

__all__ = ["SweepStorage", "check_storage", "check_writable", "is_object_store", "other_sweeps"]
