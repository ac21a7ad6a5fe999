"""The picture of the front: a mark per model where its sparsity and score are."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from samples import receipt
from scipy import ndimage

from strsweep.registry.front import front_picture
from strsweep.settings import Metric

MODELS = [(0.8, 0.985), (0.9, 0.981), (0.95, 0.979), (0.98, 0.961)]
MAE = Metric(name="mae", higher_is_better=False, is_share=False)


def marks(metric: Metric, points: list[tuple[float, float]]) -> np.ndarray:
    """Return where the orange marks are, in pixels from the top left, from left to right."""
    receipts = [receipt(sparsity=x, score=y, metric=metric, dense_score=0.99) for x, y in points]
    pixels = np.asarray(front_picture(receipts)).astype(int)
    orange = (pixels[..., 0] > 200) & (pixels[..., 2] < 60)
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(orange))
    centres = [(x, y) for y, x in ndimage.center_of_mass(orange, labels, range(1, count + 1))]
    return np.array(sorted(centres))


@pytest.mark.parametrize("metric", [Metric(name="accuracy"), MAE])
def test_every_model_has_a_mark_at_its_sparsity_and_score(metric: Metric) -> None:
    found = marks(metric, MODELS[::-1])
    left = np.log10([1 - x for x, _ in MODELS])
    scores = [y for _, y in MODELS]
    assert len(found) == len(MODELS)
    for pixels, values in ((found[:, 0], left), (found[:, 1], scores)):
        slope, start = np.polyfit(values, pixels, 1)
        assert slope < 0, "sparser is further right, larger is higher"
        assert np.allclose(start + slope * np.asarray(values), pixels, atol=1.5)


def test_one_model_is_a_front() -> None:
    assert len(marks(Metric(name="accuracy"), MODELS[:1])) == 1
