"""Simulated sweeps, by import."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # tests of one folder share search_simulation.py
