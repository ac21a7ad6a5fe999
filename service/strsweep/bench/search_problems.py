"""What the searches are compared on: two small problems, five targets, one tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strsweep.config import Experiment, Range, load_experiment

TARGETS = (0.80, 0.90, 0.95, 0.98, 0.99)
TOLERANCE = 0.005
TOLERANCES = (TOLERANCE, 0.01, 0.02)
"""That are compared with each other."""
STEERED_WEIGHT_DECAY = 5e-4
"""Of steered runs, which do not prune by it: the usual one for networks this small."""


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """A sweep of digits, and how it differs from the configuration file."""

    name: str
    weight_decay: Range
    """Reaches from far below the lowest target to above the highest."""
    overrides: tuple[str, ...]

    def experiment(self, config: Path, seed: int, tolerance: float = TOLERANCE) -> Experiment:
        """Return the sweep of this problem with one seed.

        Args:
            config: The file of digits.
            seed: Of initialization and order of the images.
            tolerance: Of the search, as a fraction.
        """
        asked = (
            f"name={self.name}",
            f"training.seed={seed}",
            f"search.targets={list(TARGETS)}",
            f"search.tolerance={tolerance}",
            f"search.weight_decay={list(self.weight_decay)}",
            "search.max_runs=60",
        )
        return load_experiment(config, [*self.overrides, *asked])


PROBLEMS = {
    problem.name: problem
    for problem in (
        SearchProblem(
            name="digits",
            weight_decay=(4e-3, 3.4e-2),
            overrides=("training.checkpoint_every=3",),
        ),
        SearchProblem(
            name="digits-deep",
            weight_decay=(5e-3, 2.5e-2),
            overrides=(
                "model.options={width: 20, blocks: 4}",
                "training.epochs=24",
                "training.checkpoint_every=2",
            ),
        ),
    )
}
