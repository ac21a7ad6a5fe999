"""The experiment: all sections of one file, and the rules between them."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, model_validator

from strsweep.config.search import SearchConfig
from strsweep.config.sections import (
    DataConfig,
    ModelConfig,
    Section,
    SparsityConfig,
    StorageConfig,
    TrackingConfig,
    TrainingConfig,
    WorkersConfig,
)
from strsweep.errors import SettingError

_NO_PART_OF_THE_RECIPE: Any = {
    "storage": True,
    "tracking": True,
    "workers": True,
    "data": {"loader_processes"},
    "training": {"checkpoint_every"},
}


class Experiment(Section):
    """Everything that one sweep or one run needs to know."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    """Name of the sweep: letters, digits, - and _."""
    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()
    sparsity: SparsityConfig = SparsityConfig()
    search: SearchConfig
    workers: WorkersConfig = WorkersConfig()
    storage: StorageConfig = Field(default_factory=StorageConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @model_validator(mode="after")
    def _check(self) -> Experiment:
        training, count = self.training, self.workers.count
        if training.batch_size % count:
            raise SettingError(
                "training.batch_size",
                training.batch_size,
                f"The global batch is shared equally: use a multiple of workers.count ({count}).",
            )
        if training.warmup_epochs >= training.epochs:
            raise SettingError(
                "training.warmup_epochs",
                training.warmup_epochs,
                f"Warm-up must end before training does: use less than training.epochs "
                f"({training.epochs}).",
            )
        if training.precision == "float16" and not self.workers.gpus:
            remedy = "float16 needs GPUs: set workers.gpus or use bfloat16."
            raise SettingError("training.precision", "float16", remedy)
        self._check_mode()
        return self

    def _check_mode(self) -> None:
        mode, search = self.sparsity.mode, self.search
        if mode == "str" and search.threshold_init is None:
            raise SettingError(
                "search.threshold_init",
                None,
                "STR needs a first value of its thresholds: the paper uses -25 to -12800.",
            )
        if mode != "str" and isinstance(search.weight_decay, tuple):
            raise SettingError(
                "search.weight_decay",
                list(search.weight_decay),
                f"With sparsity.mode={mode} nothing is searched: write one number.",
            )

        if mode == "gmp" and self.training.compile:
            remedy = "gmp prunes more in every epoch, and torch compiles anew each time: use false."
            raise SettingError("training.compile", True, remedy)

    @property
    def sweep_id(self) -> str:
        """Name plus a fingerprint of all that makes two runs comparable.

        Targets, budget, resources and what changes no result are left out: the same file with
        another target continues the sweep and uses its finished runs.
        """
        # Without defaults: a later version may add settings, and the same file must stay the same.
        recipe = self.model_dump(mode="json", exclude=_NO_PART_OF_THE_RECIPE, exclude_defaults=True)
        search: dict[str, Any] = recipe.pop("search")
        recipe["search"] = {key: search.get(key) for key in ("threshold_init", "weight_decay")}
        recipe["workers"] = {"count": self.workers.count}
        canonical = json.dumps(recipe, sort_keys=True).encode()
        return f"{self.name}-{hashlib.sha256(canonical).hexdigest()[:8]}"

    @property
    def tracking_experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment or self.name

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.tracking.model_name or self.name
