"""What a method is: how a network becomes sparse while it trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from strsweep.errors import SettingError
from strsweep.settings import Positive, RunSettings, Section, Share

if TYPE_CHECKING:  # methods are settings, too: those who only read them do without torch
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Course:
    """How long a run is, and what its network takes."""

    epochs: int
    steps_per_epoch: int
    example: Any
    """Arguments of the network for one input; multiply-adds are counted with them."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class HeldThresholds:
    """Thresholds that the loss holds where its gradient meets their decay.

    What is pruned then follows the decay itself, however long it lasts.
    """

    decay_at_90: float
    """Decay of a whole run at which 90 % are pruned, where runs do not lead themselves."""
    steepness: float
    """Rise of the logit of what is pruned per e-fold of the decay."""
    delay: float
    """Exposure until thresholds prune, where ``threshold_init`` is ``auto``."""
    start: float
    """First decay of a led run, where ``threshold_decay`` is ``auto``."""
    most: float
    """Its largest decay."""
    gain: float
    """Change of its decay, in e-folds an epoch, per e-fold that is left beyond what is planned."""
    ramp: float
    """Share of the epochs that thresholds act in, after which a led run is at its target."""
    slowest: float
    """Least share of what is left that an epoch keeps."""

    def planned(self, wanted: float, passed: float, kept: float) -> float:
        """Return the share that an epoch of a led run leaves.

        Args:
            wanted: Share that is to be left in the end.
            passed: Share of the epochs that thresholds act in, after this one.
            kept: Share that is left before it.
        """
        return max(cubic(wanted, passed / self.ramp), min(self.slowest * kept, 1.0))


def cubic(wanted: float, progress: float) -> float:
    """Return the share that is left on the way to the share ``wanted``: the ramp of GMP.

    ``progress`` is the share of the way that is over, cut off outside [0, 1]; what is pruned is
    ``1 - (1 - progress)^3`` of all that is to be (arXiv 1710.01878, eq. 1, from 0).
    """
    return wanted + (1 - wanted) * (1 - min(max(progress, 0.0), 1.0)) ** 3


def acting_share(epoch: int, onset: int, epochs: int) -> float:
    """Return the share of the ``epochs`` from ``onset`` on that is over after ``epoch``, from 0."""
    return (epoch + 1 - onset) / (epochs - onset)


class Hooks:
    """What a method does while a run trains; by default nothing."""

    def before_epoch(self, epoch: int) -> None:
        """Prepare the network for ``epoch``, counted from 0: what learns must not change later."""

    def before_step(self, step: int) -> None:
        """Prepare the network for optimizer step ``step`` of the run, counted from 0."""

    def after_epoch(self, epochs: int) -> None:
        """Prepare the network for its evaluation after ``epochs`` epochs, from 1 on.

        Raises:
            TrainingDivergedError: The method cannot go on.
        """


class Method(Section, frozen=True):
    """A method and its settings: the section ``sparsity`` of an experiment.

    A method of your own is a subclass in a module of yours, named by its import path::

        class Halves(Method, frozen=True):
            mode: str = "my_module:Halves"

            def attach(self, model, run, example):
                ...  # put a parametrization on the weights it prunes

    It is a frozen pydantic model: its fields are its settings. ``attach`` must leave weights whose
    pruned entries are exactly zero; a parametrization of ``strsweep.sparsity.threshold.Pruning``
    is made permanent before the model is delivered.
    """

    mode: str
    """Name of the method: a built-in one, or the import path of your own."""
    skip: tuple[str, ...] = ()
    """Layers to leave dense, by name or shell pattern."""
    dense_first: bool = False
    """Leave the first layer dense."""
    dense_last: bool = False
    """Leave the classifier dense."""

    needs_search: ClassVar[bool] = False
    """What is pruned follows from decay: the search looks for the one that leads to a target."""
    can_land: ClassVar[bool] = False
    """A finished run can be shifted to exactly its target."""
    can_continue: ClassVar[bool] = False
    """Training goes on from thresholds that the model's checkpoint brings."""
    held: ClassVar[HeldThresholds | None] = None
    """Set if thresholds with a decay of their own are held; see ``training.law`` for others."""
    can_compile: ClassVar[bool] = True
    """The network can be trained through ``torch.compile``."""
    needs_clipping: ClassVar[bool] = False
    """It was published with ``training.clip_gradients``, and diverges without."""
    about: ClassVar[str] = ""
    """The method in one sentence, for model cards."""

    @property
    def label(self) -> str:
        """The method in a word, for tables and charts."""
        return self.mode

    @property
    def takes_target(self) -> bool:
        """Every run is given what it ends with, in ``run.sparsity`` or ``run.macs``."""
        return False

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """Put on ``model``, in place, whatever will prune it.

        Args:
            model: Dense, on the CPU.
            run: What the search chose.
            example: As of ``Course``.

        Raises:
            ValueError: A layer to skip does not exist, or the target cannot be reached.
        """
        raise NotImplementedError

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """Return what is done while ``model``, which has been attached to, trains."""
        return Hooks()

    def parameter_of(self, threshold: float) -> float:
        """Return the parameter ``s`` of a threshold; used for methods that need a search."""
        raise NotImplementedError

    def threshold_of(self, parameter: float) -> float:
        """Return the threshold of a parameter ``s``; used for methods that need a search."""
        raise NotImplementedError

    def check_start(self) -> None:
        """Check that the method uses what a model from a checkpoint holds.

        Raises:
            SettingError: It would be thrown away.
        """

    def entry_size(self, model: nn.Module) -> float:
        """Return the median magnitude of what thresholds prune, in a dense model."""
        from torch import cat

        from strsweep.sparsity.layers import weight_tensors

        weights = [weight.original.detach().abs().flatten() for weight in weight_tensors(model)]
        # A network whose weights start at zero must not make it zero.
        return max(cat(weights).median().item(), 1e-6)

    def full_rank(self, model: nn.Module) -> int:
        """Return the sum of the ranks that are learned, at their largest; 0: none is."""
        return 0

    def dense_layers(self, model: nn.Module) -> tuple[str, ...]:
        """Return names and patterns of all layers that stay dense."""
        from strsweep.sparsity.layers import weight_tensors

        weights = weight_tensors(model)
        ends = [*weights[:1] * self.dense_first, *weights[-1:] * self.dense_last]
        return (*self.skip, *(use.name for weight in ends for use in weight.uses))


class ThresholdMethod(Method, frozen=True):
    """A method whose thresholds are learned."""

    function: Literal["sigmoid", "exp"] = "sigmoid"
    """Maps the threshold parameter to the threshold; sigmoid for CNNs (appendix A.1)."""
    scale: Positive = 1.0
    """Factor k of the threshold function (appendix A.1)."""
    granularity: Literal["layer", "global", "filter", "weight"] = "layer"
    """What one learnable threshold is for; the paper's is ``layer``, its STR-GS ``global``."""

    def parameter_of(self, threshold: float) -> float:
        """See ``Method``; a sigmoid gives 0.4 at most."""
        share = threshold / self.scale
        if self.function == "exp":
            return math.log(share)
        inside = min(share, 0.4)
        return math.log(inside / (1 - inside))

    def threshold_of(self, parameter: float) -> float:
        """See ``Method``."""
        grown = math.exp(parameter)
        return self.scale * (grown if self.function == "exp" else grown / (1 + grown))

    def options(self, model: nn.Module) -> dict[str, Any]:
        """Return the keyword arguments of ``sparsify`` and ``steerable``."""
        return {
            "function": self.function,
            "granularity": self.granularity,
            "scale": self.scale,
            "skip": self.dense_layers(model),
        }


class RampedMethod(Method, frozen=True):
    """A method that raises the pruned share step by step over a ramp, as ``cubic`` does."""

    ramp: tuple[Share, Share] = (0.0, 1.0)
    """Shares of the epochs at which the pruned share begins and ends to rise."""

    @model_validator(mode="after")
    def _check_ramp(self) -> RampedMethod:
        if not self.ramp[0] < self.ramp[1]:
            remedy = "It must begin before it ends: the paper's is [0.2, 0.8]."
            raise SettingError("sparsity.ramp", list(self.ramp), remedy)
        return self

    def due(self, done: float, total: float) -> float:
        """Return the share of the target that is to be pruned after ``done`` of ``total`` steps."""
        start, end = (share * total for share in self.ramp)
        return 1.0 if done >= min(end, total) else 1 - cubic(0.0, (done - start) / (end - start))
