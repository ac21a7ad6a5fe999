"""Images that cannot be read, told by their labels: a bad file must not end a run of days.

Such an image enters its batch as zeros with the label ``-1 - index``. The loop that gets the batch
gives it no loss, counts it, and can name its file: ``images.name(split, index)``.
"""

from __future__ import annotations

from torch import Tensor


def unreadable_label(index: int) -> int:
    """Return the label of image ``index`` if it cannot be read; always negative."""
    return -1 - index


def unreadable_indices(labels: Tensor) -> list[int]:
    """Return the image numbers of the entries of ``labels``, shape [N], that were not read."""
    return (-1 - labels[labels < 0]).tolist()
