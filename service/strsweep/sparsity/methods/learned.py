"""STR (arXiv 2002.03231): every layer learns its threshold; weight decay raises it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.settings import Lead, RunSettings
from strsweep.sparsity.methods.method import Course, Hooks, ThresholdMethod, acting_share, cubic

if TYPE_CHECKING:
    from torch import Tensor, nn

_RAMP = 0.4
"""Share of the epochs that thresholds act in, before whose end a led run is not at its target."""
_EVERY = 4
"""Steps between two looks at what thresholds leave: a collapse takes some 20."""


class LearnedMethod(ThresholdMethod, frozen=True):
    """Thresholds that decay raises and the loss holds back: what they prune is searched for."""

    preset: str | None = None
    """A row of the paper's tables 10 to 12, such as ``resnet50-90.23``: sets threshold init and
    weight decay, and that thresholds share it."""

    needs_search: ClassVar[bool] = True
    can_land: ClassVar[bool] = True

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        return Onset(model, run) if run.onset or run.is_dense else Hooks()


class Str(LearnedMethod, frozen=True):
    """Soft thresholds that are learned with the weights."""

    mode: Literal["str"] = "str"

    can_continue: ClassVar[bool] = True
    about: ClassVar[str] = "STR: thresholds learned per layer (Kusupati et al., ICML 2020)"

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``; the dense network gets thresholds, too, and they never act."""
        from strsweep.sparsity.convert import sparsify

        assert run.threshold_init is not None
        sparsify(model, threshold_init=run.threshold_init, **self.options(model))

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        if run.lead is None:
            return super().hooks(model, run, course)
        return _Led(model, run, run.lead, course)


class Onset(Hooks):
    """Lets thresholds act from ``RunSettings.onset`` on, or never in the dense network."""

    def __init__(self, model: nn.Module, run: RunSettings) -> None:
        self._model, self._run = model, run

    def before_epoch(self, epoch: int) -> None:
        """See ``Hooks``."""
        from strsweep.sparsity.convert import activate_thresholds, set_threshold_parameters

        activate_thresholds(self._model, self._run.acts_in(epoch))
        if epoch == self._run.onset:
            assert self._run.threshold_init is not None
            set_threshold_parameters(self._model, self._run.threshold_init)


class _Led(Onset):
    """Lets thresholds prune no faster than by a cubic plan, and not beyond the target.

    Where the loss does not resist any more, a few steps prune nearly all, and no decay undoes that:
    digits under AdamW took 17 runs for five targets, and missed one, where they now take 6.
    """

    def __init__(self, model: nn.Module, run: RunSettings, lead: Lead, course: Course) -> None:
        from strsweep.sparsity.convert import threshold_parameters
        from strsweep.sparsity.cost import WeightCost

        super().__init__(model, run)
        self._cost = WeightCost.of(model, lead.quantity, course.example)
        self._lead, self._course = lead, course
        self._thresholds = threshold_parameters(model)
        self._before: list[Tensor] = []
        """What the thresholds were when they were last looked at; empty while they do not act."""
        self._least = 0.0
        """Share that the steps of this epoch keep."""

    def before_epoch(self, epoch: int) -> None:
        """See ``Hooks``; weights that sank below their threshold come back."""
        super().before_epoch(epoch)
        if not self._run.acts_in(epoch):
            return
        over = acting_share(epoch, self._run.onset, self._course.epochs)
        self._least = cubic(1 - self._lead.pruned, over / _RAMP)
        if self._cost.kept() < self._least:
            self._give_back()
        self._before = [s.detach().clone() for s in self._thresholds]

    def before_step(self, step: int) -> None:
        if step % _EVERY == 0:
            self._hold()

    def after_epoch(self, epochs: int) -> None:
        self._hold()

    def _hold(self) -> None:
        """Undo what raised thresholds since the last look, if too little is left."""
        if not self._before:
            return
        is_over = self._cost.kept() < self._least  # stays on its device: nothing waits for it
        for s, before in zip(self._thresholds, self._before, strict=True):
            before.copy_(s.data.where(~is_over, s.data.minimum(before)))
            s.data.copy_(before)

    def _give_back(self) -> None:
        from strsweep.sparsity.landing import land

        if self._lead.quantity == "macs":
            land(self._model, macs=self._least, example=self._course.example)
        else:
            land(self._model, sparsity=1 - self._least)


_RESNET50 = (  # overall sparsity in percent, weight decay, threshold init
    ("79.55", 1.7e-5, -3200.0),
    ("81.27", 1.751757813e-5, -3200.0),
    ("87.70", 2.051757813e-5, -3200.0),
    ("90.23", 2.251757813e-5, -3200.0),
    ("90.55", 2.051757813e-5, -800.0),
    ("94.80", 3.051757813e-5, -3200.0),
    ("95.03", 3.351757813e-5, -12800.0),
    ("95.15", 3.051757813e-5, -1600.0),
    ("96.11", 3.051757813e-5, -100.0),
    ("96.53", 4.051757813e-5, -12800.0),
    ("97.78", 5.217578125e-5, -12800.0),
    ("98.05", 5.651757813e-5, -12800.0),
    ("98.22", 6.051757813e-5, -12800.0),
    ("98.79", 7.551757813e-5, -12800.0),
    ("98.98", 8.551757813e-5, -12800.0),
    ("99.10", 9.051757813e-5, -12800.0),
)
_MOBILENET_V1 = (
    ("75.28", 1.551757813e-5, -100.0),
    ("79.07", 1.551757813e-5, -25.0),
    ("85.80", 3.051757813e-5, -3200.0),
    ("89.01", 3.751757813e-5, -12800.0),
    ("89.62", 3.751757813e-5, -3200.0),
)

_FASTGRNN = (  # data and ranks of the two matrices; the paper says -10 or less
    ("google12-12x40", 0.001, -10.0),
    ("google12-11x35", 0.001, -10.0),
    ("google12-10x31", 0.002, -10.0),
    ("google12-9x24", 0.005, -10.0),
    ("har2-9x8", 0.001, -10.0),
    ("har2-9x7", 0.001, -10.0),
    ("har2-8x7", 0.001, -10.0),
)
_TABLES = (("resnet50", _RESNET50), ("mobilenet_v1", _MOBILENET_V1), ("fastgrnn", _FASTGRNN))

PRESETS: dict[str, RunSettings] = {
    f"{model}-{name}": RunSettings(threshold_init=threshold_init, weight_decay=weight_decay)
    for model, rows in _TABLES
    for name, weight_decay, threshold_init in rows
}
"""``MODEL-SPARSITY`` -> settings, for the paper's recipe: ImageNet, 100 epochs, batch 256; for the
RNN ``MODEL-DATA-RANKS``, 300 epochs, batch 100."""
