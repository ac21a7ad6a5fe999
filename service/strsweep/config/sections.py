"""The sections of an experiment's file: every setting, its meaning and its default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from strsweep.config.addresses import SERVER, placed, results_folder, storage_location
from strsweep.errors import SettingError, nearest
from strsweep.imports import is_import_path
from strsweep.settings import Count, Finite, NonNegative, Positive, Section


def _start(path: Path) -> Path:
    return path if str(path).startswith("models:/") else placed(path)


Folder = Annotated[Path, AfterValidator(placed)]


class ModelConfig(Section, frozen=True):
    """The network."""

    name: str
    """``digits_cnn``, ``resnet18``, ``resnet20`` (both for small images), ``resnet50``,
    ``mobilenet_v1``, ``fastgrnn``, ``torchvision:NAME``, or ``package.module:factory`` of your own,
    which is given what the data tell, such as ``num_classes``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the factory, such as ``{width: 32}``."""
    checkpoint: Annotated[Path, AfterValidator(_start)] | None = None
    """A trained network to start from: a state dict in a torch or safetensors file, a file of the
    STR authors' code, thresholds included, or ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` of
    the MLflow server that results are shown on."""
    skip_head: bool = False
    """Initialize the last layer anew where the checkpoint has it in another shape."""


class TaskConfig(Section, frozen=True):
    """What the model is for, where it is not classification."""

    name: str
    """``package.module:Task``, a subclass of ``strsweep.Task``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""


class NormalizeConfig(Section, frozen=True):
    """Mean and standard deviation that pixels in [0, 1] are normalized by."""

    mean: tuple[Finite, ...]
    """One number, or one per channel."""
    std: tuple[Positive, ...]
    """One number, or one per channel."""


class DataConfig(Section, frozen=True):
    """The data of a classification; any other task brings its own."""

    name: str | None = None
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagenet``,
    ``imagefolder`` (train/ and val/), the sequences ``digits_rows``, ``spoken_digits``,
    ``speech_commands`` and ``har2``, ``synthetic`` (noise, to measure throughput), or
    ``package.module:function``, which returns a training and a validation data set of
    ``(input, label)``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of a function of your own."""
    path: Folder | None = None
    """Folder of the data, the same on every node; not needed for ``digits`` and ``synthetic``."""
    image_size: Annotated[int, Field(ge=8)] = 224
    """Side of the square images in pixels; used by ``imagefolder`` and ``synthetic``."""
    num_images: Count | None = None
    """Training images of ``synthetic``; 12,800 by default. A tenth more are for validation."""
    num_classes: Count | None = None
    """Classes of ``synthetic``, 1000 by default; of your own data set if it does not tell them by
    an attribute ``classes``."""
    channels: Literal[1, 3] = 3
    """Channels that image files are decoded to: 3, or 1 for gray images."""
    augment: str | None = None
    """What training images go through: ``imagenet`` (a random crop, resized, flipped), ``cifar``
    (shifted by an eighth, flipped), ``shift``, ``none``, or ``package.module:transform``, which
    maps an image to an image. By default ``imagenet`` for ``imagenet`` and ``imagefolder``,
    ``cifar`` for CIFAR, and else ``none``."""
    normalize: str | NormalizeConfig | None = None
    """What image files are normalized by: ``imagenet``, ``cifar10``, ``cifar100``, ``symmetric``
    (to [-1, 1]), ``none``, or ``{mean: [...], std: [...]}``. By default that of the data set,
    ``imagenet`` for ``imagefolder``, ``symmetric`` for gray images."""
    loader_processes: Annotated[int, Field(ge=0)] = 0
    """Processes that decode images, per worker; 0 decodes in the worker itself. Results do not
    depend on it."""


_OPTIMIZERS, _SCHEDULES = ("sgd", "adamw"), ("cosine", "linear", "constant", "step")
_OF_STEPS = {
    "optimizer",
    "optimizer_options",
    "learning_rate",
    "clip_gradients",
    "batch_norm_decay",
    "sync_batchnorm",
    "compile",
}
"""Settings that a loop of the user's would not obey."""
_THRESHOLD_RATE = 0.1
"""Where weights have another optimizer: as of the digits network that the law was fitted to."""


class TrainingConfig(Section, frozen=True):
    """The recipe of every run. The defaults are the paper's (section 4.1.1)."""

    epochs: Count = 100
    """Passes over the training data."""
    batch_size: Count = 256
    """Samples per step over all workers together."""
    optimizer: str = "sgd"
    """Optimizer of the weights: ``sgd``, ``adamw``, or ``package.module:factory``, which is called
    with parameter groups as those are. Thresholds always have an SGD of their own."""
    optimizer_options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the optimizer, such as ``betas``."""
    learning_rate: Positive = 0.256
    """Peak learning rate of the weights."""
    threshold_learning_rate: Positive | Literal["auto"] = "auto"
    """Peak learning rate of the thresholds; ``auto``: that of the weights with sgd, else 0.1."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.875
    """Momentum of SGD, that of the thresholds included."""
    clip_gradients: Positive | None = None
    """Largest norm of the gradient of all weights together; thresholds are left alone."""
    schedule: str = "cosine"
    """Course of the learning rate after warm-up: ``cosine``, ``linear``, ``constant``, ``step``, or
    ``package.module:function``, which maps the share of epochs that is over to one of the peak."""
    schedule_options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the schedule: ``milestones`` (shares) and ``gamma`` of ``step``."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs of linear warm-up before the schedule."""
    schedule_every: Literal["epoch", "step"] = "epoch"
    """How often the learning rate changes; the paper changes it per epoch."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the target spread evenly over the classes."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Autocast type of the forward pass; weights and thresholds stay float32."""
    channels_last: bool = False
    """Memory layout of images and weights; faster convolutions on recent GPUs."""
    sync_batchnorm: bool = True
    """Batch statistics over the global batch: results do not depend on ``workers.count``. False:
    every worker has its own, and those of the first are kept, as the published runs did."""
    tf32: bool = True
    """Let GPUs since Ampere round what they multiply in convolutions to 10 bits, as torch does.
    False: float32 throughout, as the published runs did."""
    batch_norm_decay: bool = True
    """Decay scales and shifts of batch norm too, as the paper does. False leaves out all of them;
    the authors' ``--no-bn-decay`` only those whose name has ``bn``: in ResNets not those of the
    downsampling layers, in MobileNetV1 none."""
    loop: str | None = None
    """``package.module:function`` of your own that takes the steps of a run; see
    ``strsweep.attach``. It brings its own optimizer; the schedule here is that of the thresholds.
    By default the steps are ours."""
    loop_options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the loop."""
    compile: bool = False
    """Train through ``torch.compile``: faster steps on GPUs after a slow first one."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initialization, the order of the images and the augmentation."""
    checkpoint_every: Count = 1
    """Epochs between checkpoints; a killed run repeats those since the last one that was stored."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        for key, known in (("optimizer", _OPTIMIZERS), ("schedule", _SCHEDULES)):
            name: str = getattr(self, key)
            if name not in known and not is_import_path(name):
                remedy = f"Use one of {', '.join(known)}, or package.module:name of your own."
                remedy = nearest(name, known) + remedy
                raise SettingError(f"training.{key}", name, remedy)
        self._check_loop()
        return self

    def _check_loop(self) -> None:
        if self.loop is None:
            return
        if not is_import_path(self.loop):
            remedy = "Name a function of your own: package.module:function."
            raise SettingError("training.loop", self.loop, remedy)
        for key, value in self.model_dump(exclude_defaults=True, include=_OF_STEPS).items():
            remedy = f"The loop {self.loop} takes the steps, and has its own: leave it out."
            raise SettingError(f"training.{key}", value, remedy)

    @property
    def threshold_rate(self) -> float:
        """Peak learning rate of the thresholds, as a number."""
        if self.threshold_learning_rate != "auto":
            return self.threshold_learning_rate
        is_ours = self.optimizer == "sgd" and self.loop is None
        return self.learning_rate if is_ours else _THRESHOLD_RATE


class WorkersConfig(Section, frozen=True):
    """The Ray Train workers of each run."""

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

    path: Annotated[str, AfterValidator(storage_location)] = Field(
        default_factory=lambda: str(results_folder()),
        json_schema_extra={"default": "$STRSWEEP_RESULTS, or results"},
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
        if self.endpoint is not None and not SERVER.fullmatch(self.endpoint):
            remedy = "Use http://HOST:PORT, without credentials: the AWS chain has them."
            raise SettingError("storage.endpoint", self.endpoint, remedy)
        return self
