"""The experiment: every setting, its meaning, its default and the rules between settings."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from strsweep.errors import SettingError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Folder = Annotated[Path, AfterValidator(Path.absolute)]  # workers stand elsewhere
Range = tuple[Finite, Finite]
"""Lowest and highest value that the search may use."""


class Section(BaseModel):
    """A frozen section of the file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RunSettings(Section):
    """The two settings that the search chooses for one run."""

    threshold_init: Annotated[float, Field(lt=0, allow_inf_nan=False)]
    """First value of every threshold parameter (the paper's s_init)."""
    weight_decay: NonNegative
    """Weight decay of weights, batch norm and, unless set apart, thresholds."""


class ModelConfig(Section):
    """The network."""

    name: str
    """``digits_cnn``, ``torchvision:NAME``, or ``package.module:factory``."""
    options: dict[str, bool | int | float | str] = {}
    """Keyword arguments of the model's factory."""


class DataConfig(Section):
    """The images."""

    name: str
    """``digits`` (ships with scikit-learn), ``cifar10``, or ``imagefolder`` (train/ and val/)."""
    path: Folder | None = None
    """Folder of the data, the same on every node; not needed for ``digits``."""
    image_size: Annotated[int, Field(ge=8)] = 224
    """Side of the square crop in pixels; used by ``imagefolder``."""
    loader_processes: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images, per worker; 0 decodes in the worker itself."""


class TrainingConfig(Section):
    """One training run. The defaults are the paper's (section 4.1.1)."""

    epochs: Count = 100
    """Passes over the training images."""
    batch_size: Count = 256
    """Images per step over all workers together."""
    learning_rate: Positive = 0.256
    """Peak learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.875
    """Momentum of SGD."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs of linear warm-up before the cosine."""
    schedule_every: Literal["epoch", "step"] = "epoch"
    """How often the learning rate changes; the paper changes it per epoch."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the target spread evenly over the classes."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type of the forward pass; weights and thresholds stay float32."""
    channels_last: bool = False
    """Memory layout of images and weights; faster convolutions on recent GPUs."""
    sync_batchnorm: bool = True
    """Batch statistics over the global batch: results do not depend on ``workers.count``."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initialization, the order of the images and the augmentation."""
    checkpoint_every: Count = 1
    """Epochs between checkpoints; a killed run repeats at most this many."""


class SparsityConfig(Section):
    """How weights are thresholded."""

    function: Literal["sigmoid", "exp"] = "sigmoid"
    """Maps the threshold parameter to the threshold; sigmoid for CNNs (appendix A.1)."""
    granularity: Literal["layer"] = "layer"
    """One learnable threshold per layer."""
    skip: tuple[str, ...] = ()
    """Layers to leave dense, by name or shell pattern."""
    threshold_decay: NonNegative | None = None
    """Weight decay of the threshold parameters; by default the run's, as in the paper."""


class SearchConfig(Section):
    """What to look for and where."""

    targets: tuple[Finite, ...] = ()
    """Wanted sparsities as fractions, e.g. 0.9 for 90 % zeros."""
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 0.005
    """Distance from a target that still counts as hit."""
    threshold_init: Finite | Range
    """First value of the threshold parameters: a number, or a range to search."""
    weight_decay: NonNegative | Range
    """Weight decay: a number, or a range to search."""
    max_runs: Count = 32
    """Runs that may be spent over the life of the sweep, failed ones included."""
    max_concurrent: Count | None = None
    """Runs at the same time; by default as many as the cluster holds."""

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        for target in self.targets:
            if not 0 < target < 1:
                raise SettingError(
                    "search.targets",
                    target,
                    "A target is a fraction in (0, 1): write 0.9 for 90 %.",
                )
        if len(set(self.targets)) < len(self.targets):
            raise SettingError("search.targets", list(self.targets), "Name each target once.")
        _check_range("search.threshold_init", self.threshold_init)
        _check_range("search.weight_decay", self.weight_decay)
        _check_threshold_init(self.threshold_init)
        if isinstance(self.weight_decay, tuple) and self.weight_decay[0] <= 0:
            raise SettingError(
                "search.weight_decay",
                list(self.weight_decay),
                "The search moves in log(weight decay): both ends must be above 0.",
            )
        return self


class WorkersConfig(Section):
    """The Ray Train workers of one run."""

    count: Count = 1
    """Workers per run; each trains on its share of the global batch."""
    cpus: Positive = 1
    """CPUs per worker."""
    gpus: NonNegative = 0
    """GPUs per worker; 0 trains on CPUs."""


class StorageConfig(Section):
    """Where journals, checkpoints and models are written."""

    path: Folder = Field(default_factory=lambda: results_folder())
    """A folder that every node sees under the same path."""


class TrackingConfig(Section):
    """Where results are shown."""

    uri: str = Field(default_factory=lambda: f"sqlite:///{results_folder() / 'mlflow.db'}")
    """MLflow tracking server, or a sqlite file."""
    experiment: str | None = None
    """MLflow experiment; by default the experiment's name."""
    model_name: str | None = None
    """Registered model; by default the experiment's name."""


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
        return self

    @property
    def sweep_id(self) -> str:
        """Name plus a fingerprint of all that makes two runs comparable.

        Targets, budget and resources are left out: they are what is asked of a sweep, not what it
        is. The same file with another target continues the sweep and uses its finished runs.
        """
        recipe = self.model_dump(mode="json", exclude={"storage", "tracking", "workers"})
        search: dict[str, Any] = recipe.pop("search")
        recipe["search"] = {key: search[key] for key in ("threshold_init", "weight_decay")}
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


def results_folder() -> Path:
    """Return the absolute results folder: ``$STRSWEEP_RESULTS``, or ``results`` where we stand."""
    return Path(os.environ.get("STRSWEEP_RESULTS", "results")).absolute()


def _check_range(setting: str, value: float | Range) -> None:
    if isinstance(value, tuple) and not value[0] < value[1]:
        remedy = "The range is empty: write the lower end first, or one number."
        raise SettingError(setting, list(value), remedy)


def _check_threshold_init(value: float | Range) -> None:
    shown, highest = (list(value), value[1]) if isinstance(value, tuple) else (value, value)
    if highest >= 0:
        raise SettingError(
            "search.threshold_init",
            shown,
            "It must be negative, so that training starts dense: the paper uses -25 to -12800.",
        )
