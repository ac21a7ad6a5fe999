"""STR (arXiv 2002.03231): every layer learns its threshold; weight decay raises it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.settings import RunSettings
from strsweep.sparsity.methods.method import Course, Hooks, ThresholdMethod

if TYPE_CHECKING:
    from torch import nn


class Str(ThresholdMethod, frozen=True):
    """Soft thresholds that are learned with the weights."""

    mode: Literal["str"] = "str"
    preset: str | None = None
    """A row of the paper's tables 10 and 11: sets threshold init and weight decay, and that
    thresholds share it."""

    needs_search: ClassVar[bool] = True
    can_land: ClassVar[bool] = True
    about: ClassVar[str] = "STR: thresholds learned per layer (Kusupati et al., ICML 2020)"

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``; the dense network gets thresholds, too, and they never act."""
        from strsweep.sparsity.convert import sparsify

        assert run.threshold_init is not None
        sparsify(model, threshold_init=run.threshold_init, **self.options(model))

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        return _Onset(model, run) if run.onset or run.is_dense else Hooks()


class _Onset(Hooks):
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
