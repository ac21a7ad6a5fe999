"""Sweeps whose runs obey a planted law, by import."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "search")]
