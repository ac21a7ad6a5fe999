"""The experiment: all sections of one file, the rules between them, and what is measured of it."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from strsweep.config.addresses import in_upload
from strsweep.config.search import SearchConfig
from strsweep.config.sections import (
    DataConfig,
    ModelConfig,
    StorageConfig,
    TaskConfig,
    TrainingConfig,
    WorkersConfig,
)
from strsweep.config.tracking import TrackingConfig
from strsweep.errors import SettingError
from strsweep.imports import is_import_path
from strsweep.settings import Count, Metric, Positive, Section, Target
from strsweep.sparsity.methods import DEFAULT, AnyMethod

_NO_PART_OF_THE_RECIPE: Any = {
    "storage": True,
    "tracking": True,
    "workers": True,
    "data": {"loader_processes"},
    "training": {"checkpoint_every"},
}


class Problem(Section, frozen=True):
    """What a search needs to know of network and images: measured once, before anything runs."""

    steps_per_epoch: Count
    """Optimizer steps of one epoch."""
    weights: Count
    """Convolution and linear weights of the network."""
    dense_macs: Count
    """Multiply-adds of the dense network for one input."""
    weight_scale: Positive
    """Median magnitude, before training, of what thresholds prune."""
    full_rank: int = 0
    """Sum of the ranks that are learned, at their largest; 0 where none is."""
    metric: Metric
    """What models are judged by; its value is their score."""
    shapes: str = ""
    """Shapes and types of two samples, and of what the network makes of them."""
    model_options: dict[str, Any] = Field(default_factory=dict)
    """What the data gave to the model's factory, such as the number of classes."""
    identity: dict[str, str] = Field(default_factory=dict)
    """What else a sweep is one of: ``data``, ``model`` and ``code``, each with a fingerprint."""

    def pruned(self, target: Target) -> float:
        """Return the share that ``target`` wants pruned, of what it is measured in.

        Raises:
            SettingError: The dense network has no more than is to be kept.
        """
        return target.pruned(self.dense_macs, self.full_rank)


class Experiment(Section, frozen=True):
    """Everything that one sweep or one run needs to know."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
    """Name of the sweep: letters, digits, - and _."""
    model: ModelConfig
    task: TaskConfig | None = None
    """What the model is for; by default it tells classes apart."""
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    sparsity: AnyMethod = DEFAULT
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
        self._check_task()
        self._check_method()
        return self

    def _check_task(self) -> None:
        if self.task is None and self.data.name is None:
            remedy = (
                "Name a data set such as digits or imagefolder, package.module:function of your "
                "own, or a task."
            )
            raise SettingError("data.name", None, remedy)
        given = self.data.model_dump(exclude_defaults=True, exclude={"loader_processes"})
        if self.task is not None and given:
            remedy = f"The task {self.task.name} brings its own data: give it task.options."
            raise SettingError(f"data.{next(iter(given))}", next(iter(given.values())), remedy)

    def _check_method(self) -> None:
        method, search = self.sparsity, self.search
        if not method.needs_search and not isinstance(search.weight_decay, float | int):
            remedy = f"With sparsity.mode={method.mode} nothing is searched: write one number."
            raise SettingError("search.weight_decay", search.weight_decay, remedy)
        if self.model.checkpoint is not None:
            method.check_start()
        training = self.training
        if search.decay == "shared" and (training.optimizer != "sgd" or training.loop):
            remedy = (
                f"Weights under {training.loop or training.optimizer} cannot share their decay "
                "with thresholds, which have SGD: leave it out."
            )
            raise SettingError("search.decay", "shared", remedy)
        usual = SearchConfig.model_fields["weight_decay"].default
        if training.loop and search.weight_decay != usual:
            remedy = f"It is for the optimizer in {training.loop}: write it there."
            raise SettingError("search.weight_decay", search.weight_decay, remedy)
        if search.knob_value == "auto" and isinstance(search.threshold_init, tuple):
            remedy = f"With {search.knob}=auto write one threshold_init, or auto."
            raise SettingError("search.threshold_init", search.threshold_init, remedy)
        if search.baseline and not isinstance(search.weight_decay, float | int):
            remedy = (
                "With a shared decay the dense network has none of its own: use search.decay=own."
            )
            raise SettingError("search.baseline", True, remedy)
        if method.needs_clipping and training.clip_gradients is None and not training.loop:
            remedy = f"{method.mode} diverges without: write 3.0, as in the code of its authors."
            raise SettingError("training.clip_gradients", None, remedy)
        if self.training.compile and not method.can_compile:
            remedy = (
                f"{method.mode} changes the network in every epoch: torch compiles anew each time."
            )
            raise SettingError("training.compile", True, remedy)

    @property
    def has_fixed_target(self) -> bool:
        """True if every run is given the sparsity it ends with, so that a target takes one run."""
        return self.sparsity.takes_target

    @property
    def is_searched(self) -> bool:
        """True if there is something to search: STR whose decay or threshold init is left open."""
        knob, first = self.search.knob_value, self.search.threshold_init
        is_open = knob == "auto" or isinstance(knob, tuple) or isinstance(first, tuple)
        return self.sparsity.needs_search and is_open

    @property
    def is_single(self) -> bool:
        """True if the settings are those of one run: nothing to search, no target to give."""
        return not self.has_fixed_target and not self.is_searched

    @property
    def shares_prefix(self) -> bool:
        """True if thresholds act late, so that all runs share the epochs before."""
        search = self.search
        is_own = self.sparsity.needs_search and search.decay == "own"
        return is_own and search.share_prefix and self.model.checkpoint is None

    @property
    def method(self) -> str:
        """The method with what sets it apart, for labels, cards and receipts."""
        label = self.sparsity.label
        if not self.sparsity.needs_search:
            return label
        decay = "own threshold decay" if self.search.decay == "own" else "shared weight decay"
        control = "led to the target" if self.search.led else "one decay a run"
        return f"{label}, {decay}" + ("" if self.is_single else f", {control}")

    @property
    def import_paths(self) -> dict[str, str]:
        """Settings that name an object of the user's own, and its import path."""
        training, task = self.training, self.task
        named = {
            "model.name": self.model.name,
            "task.name": task.name if task is not None else "",
            "data.name": self.data.name or "",
            "data.augment": self.data.augment or "",
            "sparsity.mode": self.sparsity.mode,
            "training.optimizer": training.optimizer,
            "training.schedule": training.schedule,
            "training.loop": training.loop or "",
        }
        return {
            setting: path
            for setting, path in named.items()
            if is_import_path(path) and not path.startswith("torchvision:")
        }

    @property
    def recipe_id(self) -> str:
        """Fingerprint of model, data and training: runs of sweeps that share it are comparable.

        Where the data lie is part of it, as other images may lie elsewhere; so is the number of
        workers, as sums of floats differ in their last bits, and batch statistics may.
        """
        recipe = self._recipe(exclude={"name", "search"})
        return _fingerprint(recipe | {"search": self._decay_recipe()})

    @property
    def sweep_id(self) -> str:
        """Name plus a fingerprint of all that makes two runs comparable.

        Targets, limits and what changes no result are left out: the same file with another target
        continues the sweep and uses its finished runs.
        """
        recipe, search = self._recipe(exclude={"search"}), self.search
        searched = {
            key: "auto" if key in search.resolved else getattr(search, key)
            for key in ("threshold_init", search.knob)
        }
        recipe["search"] = self._decay_recipe() | searched | {"led": search.led}
        return f"{self.name}-{_fingerprint(recipe)}"

    def _decay_recipe(self) -> dict[str, Any]:
        """Return what the search section adds to the recipe of every run."""
        search = self.search
        if search.decay == "shared":
            return {"decay": "shared"}
        return {"weight_decay": search.weight_decay, "share_prefix": self.shares_prefix}

    def _recipe(self, exclude: set[str]) -> dict[str, Any]:
        # Without defaults: a later version may add settings, and the same file must stay the same.
        left_out = {**_NO_PART_OF_THE_RECIPE, **dict.fromkeys(exclude, True)}
        recipe = self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
        recipe["sparsity"] = recipe.get("sparsity", {}) | {"mode": self.sparsity.mode}
        if (start := self.model.checkpoint) is not None:
            # Which version of a registered model it is, its content says; see training.identity.
            registered = re.match(r"models:/[^/@]+", str(start))
            recipe["model"]["checkpoint"] = (
                registered[0] if registered else str(in_upload(start) or start)
            )
        return recipe | {"workers": {"count": self.workers.count}}

    @property
    def data_name(self) -> str:
        """Name of the data set, or of the task that brings its own."""
        return self.task.name if self.task is not None else self.data.name or ""

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
