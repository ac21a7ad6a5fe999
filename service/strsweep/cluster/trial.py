"""What Tune schedules: a trial that follows a run. Its process is small, and trains nothing."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray import tune

from strsweep.settings import RunSettings
from strsweep.training.desk import Told, Train


def work_of(config: dict[str, Any]) -> Train:
    """Return the run of a trial."""
    return Train(config["run_id"], RunSettings.model_validate(config["settings"]))


class LaneTrial(tune.Trainable):
    """What Tune schedules: it follows one run after the other, and trains nothing itself."""

    def setup(self, config: dict[str, Any], desk: Any = None) -> None:
        """Begin with the first run; Tune hands over the ``desk``."""
        self._desk = desk
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with the next run."""
        self._work = work_of(new_config)
        self._read = 0
        self._last: dict[str, Any] = {}
        return True

    def step(self) -> dict[str, Any]:
        """Return the next epoch whose checkpoint is on its way, or the last one with the end."""
        told = cast("Told", ray.get(self._desk.follow.remote(self._work, self._read)))
        self._read = told.number
        self._last |= told.metrics or {}
        end = {"done": told.is_over, "failure": told.failure, "refused": told.refused}
        return {**self._last, **end}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Workers store their own."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Workers find their own."""
