"""What was seen of a curve: levels at places, by runs that stray from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy.linalg import block_diag

from strsweep.sweep.clock import FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What was seen of a curve."""

    x: FloatArray
    """Where, shape [n]."""
    y: FloatArray
    """Levels, shape [n]."""
    run: IntArray
    """Number of the run each is of, shape [n]; those of one run share its noise."""
    run_sd: FloatArray
    """Standard deviation of that run beyond the noise of others, shape [n]."""
    error: FloatArray
    """Covariance of what else they are off by, shape [n, n]."""

    @classmethod
    def of_runs(cls, x: ArrayLike, y: ArrayLike, run_sd: ArrayLike = 0.0) -> Observations:
        """Return ends of whole runs, one of each."""
        places = np.asarray(x, dtype=np.float64)
        return cls(
            x=places,
            y=np.asarray(y, dtype=np.float64),
            run=np.arange(len(places)),
            run_sd=np.broadcast_to(np.asarray(run_sd, dtype=np.float64), places.shape),
            error=np.zeros((len(places), len(places))),
        )

    def joined(self, other: Observations) -> Observations:
        """Return both; their errors have nothing to do with each other."""
        return Observations(
            x=np.concatenate([self.x, other.x]),
            y=np.concatenate([self.y, other.y]),
            run=np.concatenate([self.run, other.run]),
            run_sd=np.concatenate([self.run_sd, other.run_sd]),
            error=np.asarray(block_diag(self.error, other.error), dtype=np.float64),
        )
