"""Sweeps whose runs obey a planted law, by import."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # the tests of this folder share planted_sweeps.py
