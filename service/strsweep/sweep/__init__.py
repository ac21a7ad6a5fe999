"""Many runs: where to try next, on which workers, until every target is hit."""

from strsweep.sweep.cluster import connected
from strsweep.sweep.run import check_searchable, check_single, run_single, run_sweep

__all__ = ["check_searchable", "check_single", "connected", "run_single", "run_sweep"]
