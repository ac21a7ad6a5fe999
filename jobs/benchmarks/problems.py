"""What is compared on: small problems that train in seconds, and what differs between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strsweep.auto import resolve
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem

DIGITS = Path(__file__).parents[1] / "configs" / "digits.yaml"
TARGETS = (0.80, 0.90, 0.95, 0.98, 0.99)
TOLERANCE = 0.005
_RECIPE = ("search.weight_decay=5e-4", "training.checkpoint_every=3")

PROBLEMS: Mapping[str, tuple[str, ...]] = {
    "digits": (),
    "digits-deep": ("model.options={width: 20, blocks: 4}", "training.epochs=24"),
    "digits-short": ("training.epochs=9",),
    "spoken": (
        "data={name: 'benchmarks.data:spoken_digits', num_classes: 10}",
        "training.epochs=18",
    ),
}
"""What each changes in the file of digits."""
SETUPS: Mapping[str, tuple[str, ...]] = {
    "width 10": ("model.options={width: 10}",),
    "45 epochs": ("training.epochs=45",),
    "batch 48": ("training.batch_size=48",),
    "learning rate 0.04": ("training.learning_rate=0.04",),
    "no batch norm": ("model.options={norm: group}", "training.learning_rate=0.05"),
    "warm-up, low rate": ("training.warmup_epochs=9", "training.learning_rate=0.06"),
    "few noisy images": (
        "data={name: 'benchmarks.data:noisy_digits', num_classes: 10}",
        "training.epochs=60",
    ),
    "adamw": ("training.optimizer=adamw", "training.learning_rate=3e-3"),
    "transformer, adamw": (
        "model={name: 'benchmarks.networks:transformer'}",
        "training.optimizer=adamw",
        "training.learning_rate=2e-3",
        "training.batch_size=64",
        "search.weight_decay=0.05",
    ),
    "residual, wide": ("model.name=benchmarks.networks:residual",),
    "1,000 steps": ("training.epochs=91",),
    "100 steps": ("training.epochs=9",),
}
"""Training that nothing was tuned for; the law was fitted without them."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One sweep of one problem with one seed."""

    name: str
    seed: int
    overrides: tuple[str, ...] = ()
    targets: tuple[float, ...] = TARGETS

    def experiment(self) -> tuple[Experiment, Problem]:
        """Return the sweep with numbers for ``auto``, and what was measured of it."""
        own = {**PROBLEMS, **SETUPS}[self.name]
        asked = (
            f"name={re.sub(r'[^a-z0-9]+', '-', self.name)}",
            f"training.seed={self.seed}",
            f"search.targets={list(self.targets)}",
            "search.max_runs=60",
        )
        experiment = load_experiment(DIGITS, [*_RECIPE, *own, *asked, *self.overrides])
        problem = measure_problem(experiment, task_of(experiment))
        return resolve(experiment, problem), problem
