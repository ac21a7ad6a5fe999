"""Low rank by STR (section 4.2.1): every linear layer learns its rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.errors import SettingError
from strsweep.settings import Lead, Positive, RunSettings
from strsweep.sparsity.methods.learned import LearnedMethod, Onset
from strsweep.sparsity.methods.method import Course, HeldThresholds, Hooks, acting_share

if TYPE_CHECKING:
    from torch import nn


_SLACK = 0.97
"""What is planned is undercut by this at most, so that the decay can fall."""


class LowRankMethod(LearnedMethod, frozen=True):
    """Two factors for a weight, and a vector between them whose thresholds are learned."""

    mode: Literal["lowrank"] = "lowrank"
    function: Literal["exp"] = "exp"
    """Maps the threshold parameter to the threshold."""
    scale: Positive = 8.0
    """Factor k of the threshold function: the largest threshold that decay leads to. Vectors of
    random weights reach 2.4, and grow; k = 1, as published, needs a decay that shrinks them."""
    granularity: Literal["layer"] = "layer"
    """One threshold for the vector of a layer."""
    dense_last: bool = True
    """Leave the classifier as it is, as published."""
    layers: tuple[str, ...] = ("*",)
    """The linear layers whose rank is learned, by name or shell pattern."""
    start: Literal["svd", "random"] = "svd"
    """Start of the factors: ``svd`` of the weights that the model has, whose small singular values
    go first; or ``random`` and all alike, as published, for a decay that is shared."""

    held: ClassVar[HeldThresholds] = HeldThresholds(
        decay_at_90=1.4,
        steepness=1.25,
        delay=0.5,
        start=0.1,
        most=0.8,
        gain=0.8,
        ramp=0.4,
        slowest=0.75,
    )
    """Fitted to FastGRNN on spoken digits, where runs without a plan took 11 for 4 targets; with it
    4 (make bench-lowrank). Twice as fast, with a decay that stays, networks of 40 and 25 % of the
    multiply-adds lose 3 points; with a ramp of 0.3 two of six collapse at 40 %, with 0.5 those of
    15 % lose 5. tests/unit/training/test_lowrank_runs.py sweeps digits by rows."""
    about: ClassVar[str] = "low rank: ranks learned per layer by STR (Kusupati et al., ICML 2020)"

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``; the network of full rank has factors, too."""
        from strsweep.sparsity.lowrank import factorable, factorize

        assert run.threshold_init is not None
        try:
            factorable(model, self.layers)
        except ValueError as error:
            raise SettingError("sparsity.layers", list(self.layers), str(error)) from error
        factorize(
            model,
            threshold_init=run.threshold_init,
            scale=self.scale,
            layers=self.layers,
            start=self.start,
            skip=self.dense_layers(model),
        )

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        if run.threshold_decay is None:  # as published
            return super().hooks(model, run, course)
        return _Held(model, run) if run.lead is None else _Led(model, run, run.lead, course)

    def check_start(self) -> None:
        """See ``Method``."""
        if self.start == "random":
            remedy = "It would throw away the weights of model.checkpoint: use svd."
            raise SettingError("sparsity.start", "random", remedy)

    def entry_size(self, model: nn.Module) -> float:
        """See ``Method``: vectors start at about 1."""
        return 1.0

    def full_rank(self, model: nn.Module) -> int:
        """See ``Method``."""
        from strsweep.sparsity.lowrank import factorable

        chosen = factorable(model, self.layers, self.dense_layers(model))
        return sum(min(weight.original.shape) for weight in chosen)


class _Held(Onset):
    """Lets no layer lose all of its rank: nothing would bring it back.

    A layer that passes nothing on gets no gradient, and its threshold rises without end.
    """

    def __init__(self, model: nn.Module, run: RunSettings) -> None:
        from strsweep.sparsity.lowrank import factored

        super().__init__(model, run)
        self._layers = factored(model)

    def before_step(self, step: int) -> None:
        self._hold()

    def after_epoch(self, epochs: int) -> None:
        self._hold()

    def _hold(self) -> None:
        for layer in self._layers:
            layer.hold()


class _Led(_Held):
    """Keeps what is planned for the epoch, and not more once the target is to be reached.

    As a threshold gets above some vectors the loss resists less, so it gets above more, and within
    a few steps a layer is gone that nothing brings back.
    """

    def __init__(self, model: nn.Module, run: RunSettings, lead: Lead, course: Course) -> None:
        from strsweep.sparsity.cost import RankCost
        from strsweep.sparsity.measure import measure

        super().__init__(model, run)
        report = measure(model, course.example)
        self._cost = RankCost.of(self._layers, report, lead.quantity)
        self._wanted, self._epochs = 1 - lead.pruned, course.epochs
        self._least = 0.0
        """Share that the steps of this epoch keep."""

    def before_epoch(self, epoch: int) -> None:
        super().before_epoch(epoch)
        if not self._run.acts_in(epoch):
            return
        held, kept = LowRankMethod.held, self._cost.kept()
        over = acting_share(epoch, self._run.onset, self._epochs)
        planned = held.planned(self._wanted, over, kept)
        if over > held.ramp and kept > planned:
            self._keep(planned)
        self._least = _SLACK * planned

    def _hold(self) -> None:
        super()._hold()
        if self._cost.kept() < self._least:
            self._keep(self._least)

    def _keep(self, share: float) -> None:
        from strsweep.sparsity.landing import keep_ranks

        keep_ranks(self._cost, share, trains_on=True)
