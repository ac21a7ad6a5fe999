"""What lies directly in a folder of a sweep's storage."""

from __future__ import annotations

from strsweep.storage import Store


def folders(storage: Store, folder: str) -> list[str]:
    """Return the names of the folders directly in ``folder``, sorted."""
    depth = folder.count("/") + 1
    return sorted({name.split("/")[depth] for name in storage.sizes(folder)})
