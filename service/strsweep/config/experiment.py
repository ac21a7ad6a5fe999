"""The experiment: all sections of one file, and the rules between them."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, model_validator

from strsweep.config.run_settings import RunSettings
from strsweep.config.search import SearchConfig
from strsweep.config.section import Section
from strsweep.config.sections import (
    DataConfig,
    ModelConfig,
    SparsityConfig,
    StorageConfig,
    TrainingConfig,
    WorkersConfig,
)
from strsweep.config.tracking import TrackingConfig
from strsweep.errors import SettingError

_NO_PART_OF_THE_RECIPE: Any = {
    "storage": True,
    "tracking": True,
    "workers": True,
    "data": {"loader_processes"},
    "training": {"checkpoint_every"},
}


class Experiment(Section, frozen=True):
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
        decay = search.weight_decay
        if mode != "str" and not isinstance(decay, float | int):
            shown = list(decay) if isinstance(decay, tuple) else decay
            remedy = f"With sparsity.mode={mode} nothing is searched: write one number."
            raise SettingError("search.weight_decay", shown, remedy)
        self._check_auto()
        if mode == "gmp" and self.training.compile:
            remedy = "gmp prunes more in every epoch, and torch compiles anew each time: use false."
            raise SettingError("training.compile", True, remedy)

    def _check_auto(self) -> None:
        search = self.search
        if search.threshold_init == "auto" and self.sparsity.threshold_decay is not None:
            remedy = "auto goes by one weight decay for all: leave out sparsity.threshold_decay."
            raise SettingError("search.threshold_init", "auto", remedy)
        if search.weight_decay == "auto" and self.sparsity.threshold_decay is not None:
            remedy = "auto goes by one weight decay for all: leave out sparsity.threshold_decay."
            raise SettingError("search.weight_decay", "auto", remedy)
        if search.weight_decay == "auto" and isinstance(search.threshold_init, tuple):
            remedy = "With a range of weight decays write one threshold_init, or auto."
            raise SettingError("search.threshold_init", list(search.threshold_init), remedy)

    @property
    def is_told(self) -> bool:
        """True if every run is told what to prune, so that a target takes one run."""
        budget = self.sparsity.budget
        return self.sparsity.mode in {"steered", "scheduled"} or isinstance(budget, str)

    @property
    def is_single(self) -> bool:
        """True if the settings are those of one run: nothing to search, nothing to tell."""
        search = self.search
        settings = (search.threshold_init, search.weight_decay)
        searched = any(value == "auto" or isinstance(value, tuple) for value in settings)
        return not self.is_told and not (self.sparsity.mode == "str" and searched)

    @property
    def fixed_settings(self) -> RunSettings:
        """The settings of the run, or of every run, where nothing is searched."""
        decay, first = self.search.weight_decay, self.search.threshold_init
        assert isinstance(decay, float | int)
        is_str = self.sparsity.mode == "str"
        return RunSettings(
            threshold_init=first if is_str and isinstance(first, float | int) else None,
            weight_decay=decay,
        )

    @property
    def recipe_id(self) -> str:
        """Fingerprint of model, data and training: sweeps that share it can share their runs.

        Where the data lie is part of it, as other images may lie elsewhere; so is the number of
        workers, as sums of floats differ in their last bits, and batch statistics may.
        """
        return _fingerprint(self._recipe(exclude={"name", "search"}))

    @property
    def sweep_id(self) -> str:
        """Name plus a fingerprint of all that makes two runs comparable.

        Targets, limits and what changes no result are left out: the same file with another target
        continues the sweep and uses its finished runs.
        """
        recipe = self._recipe(exclude=set())
        search: dict[str, Any] = recipe.pop("search")
        recipe["search"] = {
            key: "auto" if key in self.search.resolved else search.get(key)
            for key in ("threshold_init", "weight_decay")
        }
        return f"{self.name}-{_fingerprint(recipe)}"

    def _recipe(self, exclude: set[str]) -> dict[str, Any]:
        # Without defaults: a later version may add settings, and the same file must stay the same.
        left_out = {**_NO_PART_OF_THE_RECIPE, **dict.fromkeys(exclude, True)}
        recipe = self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
        return recipe | {"workers": {"count": self.workers.count}}

    @property
    def tracking_experiment(self) -> str:
        """Name of the MLflow experiment."""
        return self.tracking.experiment or self.name

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.tracking.model_name or self.name


def _fingerprint(recipe: dict[str, Any]) -> str:
    canonical = json.dumps(recipe, sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()[:8]
