"""The sections of an experiment's file: every setting, its meaning and its default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlparse

from pydantic import AfterValidator, Field, model_validator

from strsweep.errors import SettingError
from strsweep.settings import Count, NonNegative, Positive, Section, Share

Folder = Annotated[Path, AfterValidator(Path.absolute)]  # workers stand elsewhere


def _location(value: str) -> str:
    if "://" not in value:
        return str(Path(value).absolute())
    address = urlparse(value)
    if address.scheme != "s3" or not address.netloc:
        remedy = "Use a folder, or s3://BUCKET/PREFIX of any S3-compatible service."
        raise SettingError("storage.path", value, remedy)
    if "@" in address.netloc:
        remedy = "Leave credentials out of it: they come from the AWS chain."
        raise SettingError("storage.path", f"s3://...@{address.hostname}", remedy)
    return value.rstrip("/")


class ModelConfig(Section, frozen=True):
    """The network."""

    name: str
    """One of ours, ``torchvision:NAME``, or ``package.module:factory``."""
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Keyword arguments of the model's factory."""
    checkpoint: Folder | None = None
    """A file of the STR authors' own code to start from, thresholds included."""


class DataConfig(Section, frozen=True):
    """The images."""

    name: str
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagenet``,
    ``imagefolder`` (train/ and val/), or ``synthetic`` (noise, to measure throughput)."""
    path: Folder | None = None
    """Folder of the data, the same on every node; not needed for ``digits`` and ``synthetic``."""
    image_size: Annotated[int, Field(ge=8)] = 224
    """Side of the square images in pixels; used by ``imagefolder`` and ``synthetic``."""
    num_images: Count | None = None
    """Training images of ``synthetic``; 12,800 by default. A tenth more are for validation."""
    num_classes: Count | None = None
    """Classes of ``synthetic``; 1000 by default."""
    loader_processes: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images, per worker; 0 decodes in the worker itself. Results do not
    depend on it."""


class TrainingConfig(Section, frozen=True):
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
    batch_norm_decay: bool = True
    """Decay scales and shifts of batch norm too, as the paper does."""
    compile: bool = False
    """Train through ``torch.compile``: faster steps on GPUs after a slow first one."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initialization, the order of the images and the augmentation."""
    checkpoint_every: Count = 1
    """Epochs between checkpoints; a killed run repeats those since the last one that was stored."""


class SparsityConfig(Section, frozen=True):
    """How the network becomes sparse."""

    mode: Literal["str", "steered", "scheduled", "gmp", "dnw", "dense"] = "str"
    """``str`` learns thresholds; ``steered`` also shifts them to the target; ``scheduled`` has one
    threshold on a schedule (ST-3); ``gmp`` and ``dnw`` obey a budget; ``dense`` prunes nothing."""
    function: Literal["sigmoid", "exp"] = "sigmoid"
    """Maps the threshold parameter to the threshold; sigmoid for CNNs (appendix A.1)."""
    scale: Positive = 1.0
    """Factor k of the threshold function (appendix A.1)."""
    granularity: Literal["layer", "global", "filter", "weight"] = "layer"
    """What one learnable threshold is for; the paper's is ``layer``, its STR-GS ``global``."""
    preset: str | None = None
    """A row of the paper's tables 10 and 11: sets threshold init and weight decay, and that
    thresholds share it."""
    budget: Literal["uniform", "erk"] | dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None
    """What ``gmp`` and ``dnw`` obey: a rule for the targets, or layer name -> density."""
    ramp: tuple[Share, Share] | None = None
    """Shares of the epochs at which ``gmp`` (default [0.2, 0.8], as published), ``steered``
    ([0, 0.55]) and ``scheduled`` ([0.05, 0.5], as published) start and end to raise sparsity."""
    steer_every: Count | Literal["auto"] = "auto"
    """Steps between two shifts of steered thresholds; ``auto``: a thousandth of all steps of a run,
    1 to 10. In short runs more are worse: at 99.5 % on digits 10 of 330 cost a point."""
    skip: tuple[str, ...] = ()
    """Layers to leave dense, by name or shell pattern."""
    dense_first: bool = False
    """Leave the first layer dense."""
    dense_last: bool = False
    """Leave the classifier dense."""

    @model_validator(mode="after")
    def _check(self) -> SparsityConfig:
        if self.ramp is not None and not self.ramp[0] < self.ramp[1]:
            remedy = "It must begin before it ends: the paper's is [0.2, 0.8]."
            raise SettingError("sparsity.ramp", list(self.ramp), remedy)
        if self.mode in {"gmp", "dnw"} and self.budget is None:
            remedy = f"{self.mode} obeys a budget: use uniform, erk, or jobs/transfer.py."
            raise SettingError("sparsity.budget", None, remedy)
        if self.mode not in {"gmp", "dnw"} and self.budget is not None:
            remedy = "Only gmp and dnw obey a budget: set sparsity.mode to one of them."
            raise SettingError("sparsity.budget", self.budget, remedy)
        return self


class WorkersConfig(Section, frozen=True):
    """The Ray Train workers of one run."""

    count: Count = 1
    """Workers per run; each trains on its share of the global batch."""
    min_count: Count | None = None
    """Workers that a run starts or goes on with where nodes are missing. The global batch stays, so
    each trains on more of it. By default a run waits until ``count`` of them fit."""
    cpus: Positive = 1
    """CPUs per worker."""
    gpus: NonNegative = 0
    """GPUs per worker; 0 trains on CPUs."""
    wait_minutes: NonNegative = 0
    """Minutes to wait for nodes that hold a run, where a cluster still starts or grows."""
    timeout_minutes: Positive = 30
    """Minutes that workers wait for one that hangs; then all of them are ended, and the run goes on
    from its last checkpoint."""

    @model_validator(mode="after")
    def _check(self) -> WorkersConfig:
        if self.least > self.count:
            remedy = f"It cannot be more than workers.count ({self.count}): a run has no more."
            raise SettingError("workers.min_count", self.min_count, remedy)
        return self

    @property
    def least(self) -> int:
        """Workers without which a run does not train."""
        return self.count if self.min_count is None else self.min_count


class StorageConfig(Section, frozen=True):
    """Where journals, checkpoints and models are written."""

    path: Annotated[str, AfterValidator(_location)] = Field(
        default_factory=lambda: str(results_folder())
    )
    """A folder that every node sees under the same path, or ``s3://BUCKET/PREFIX``."""
    endpoint: str | None = None
    """Address of an S3-compatible service; by default the AWS environment's, or AWS itself."""
    region: str | None = None
    """Region of the bucket; by default the AWS environment's."""
    path_style: bool | None = None
    """True if the service wants the bucket in the path instead of the host name."""
    patience: Positive = 30
    """Minutes to go on without the object store when it does not answer."""
    checkpoints_kept: Count = 2
    """Newest checkpoints to keep of every run; what a registered model needs is always kept."""

    @model_validator(mode="after")
    def _check(self) -> StorageConfig:
        if self.endpoint is not None:
            address = urlparse(self.endpoint)
            if address.scheme not in {"http", "https"} or not address.hostname or address.username:
                remedy = "Use http://HOST:PORT, without credentials: the AWS chain has them."
                shown = address.hostname if address.username else self.endpoint
                raise SettingError("storage.endpoint", shown, remedy)
        return self


def results_folder() -> Path:
    """Return the absolute results folder: ``$STRSWEEP_RESULTS``, or ``results`` where we stand."""
    return Path(os.environ.get("STRSWEEP_RESULTS", "results")).absolute()
