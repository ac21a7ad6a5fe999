"""Methods that obey a layer budget: gradual magnitude pruning (GMP) and DNW."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from strsweep.errors import SettingError
from strsweep.settings import RunSettings, Share
from strsweep.sparsity.methods.method import Course, Hooks, Method, RampedMethod

if TYPE_CHECKING:
    from torch import nn

    from strsweep.sparsity.budget import Budget


class BudgetedMethod(Method, frozen=True):
    """Every layer keeps its share of weights, the largest ones."""

    budget: Literal["uniform", "erk"] | dict[str, Annotated[float, Field(ge=0, le=1)]]
    """A rule that shares the target over the layers, or layer name -> density for one run, as
    ``strsweep train --budget`` sets it."""

    straight_through: ClassVar[bool] = False
    """Pruned weights learn as the others do."""

    @property
    def takes_target(self) -> bool:
        """See ``Method``; a given budget says itself what is pruned."""
        return isinstance(self.budget, str)

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``."""
        from strsweep.sparsity.magnitude import obey

        try:
            densities = self._densities(model, run, example)
            obey(model, densities, straight_through=self.straight_through)
        except ValueError as error:
            given = self.budget
            shown = given if isinstance(given, str) else f"of {len(given)} layers"
            raise SettingError("sparsity.budget", shown, str(error)) from error

    def _densities(self, model: nn.Module, run: RunSettings, example: Any) -> dict[str, float]:
        from strsweep.sparsity.budget import Budget
        from strsweep.sparsity.measure import measure

        dense = self.dense_layers(model)
        if not isinstance(self.budget, str):
            _check_dense(model, dense, self.budget)
            return self.budget
        rule = partial(Budget.erk if self.budget == "erk" else Budget.uniform, model, dense=dense)
        if run.macs is not None:
            return _densities_for_macs(rule, run.macs, measure(model, example).uses("macs"))
        assert run.sparsity is not None
        return rule(run.sparsity).densities


class Gmp(BudgetedMethod, RampedMethod, frozen=True):
    """Gradual magnitude pruning (arXiv 1710.01878)."""

    mode: Literal["gmp"] = "gmp"
    ramp: tuple[Share, Share] = (0.2, 0.8)
    """Shares of the epochs at which the pruned share begins and ends to rise; epochs 20 to 80 of
    100 in the code of STR's authors."""

    can_compile: ClassVar[bool] = False
    about: ClassVar[str] = "gradual magnitude pruning to a layer budget; not STR"

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        return _Ramp(self, model, course.epochs)


class Dnw(BudgetedMethod, frozen=True):
    """Discovering Neural Wirings (arXiv 1906.00586): pruned weights keep learning."""

    mode: Literal["dnw"] = "dnw"

    straight_through: ClassVar[bool] = True
    about: ClassVar[str] = "DNW: sparse forward pass, dense gradient, to a layer budget; not STR"


class _Ramp(Hooks):
    def __init__(self, method: RampedMethod, model: nn.Module, epochs: int) -> None:
        self._method, self._model, self._epochs = method, model, epochs

    def before_epoch(self, epoch: int) -> None:
        from strsweep.sparsity.magnitude import prune_share

        # A short run, or a ramp up to 1, would end below its budget: the last epoch has all of it.
        is_last = epoch == self._epochs - 1
        prune_share(self._model, 1.0 if is_last else self._method.due(epoch, self._epochs))


def _densities_for_macs(
    rule: Callable[[float], Budget], macs: float, uses: dict[str, float]
) -> dict[str, float]:
    """Return the densities of the least sparse budget of ``rule`` that keeps at most ``macs``."""
    found: dict[str, float] | None = None
    low, high = 0.0, 1.0
    for _ in range(50):  # halving: to the last digit
        sparsity = (low + high) / 2
        try:
            budget = rule(sparsity)
        except ValueError:  # more than the layers that stay dense leave to prune
            high = sparsity
            continue
        if _macs_share(budget, uses) > macs:
            low = sparsity
        else:
            high, found = sparsity, budget.densities
    if found is None:
        raise ValueError(
            f"{macs:.2%} of the multiply-adds cannot be reached: leave fewer layers dense"
        )
    return found


def _macs_share(budget: Budget, uses: dict[str, float]) -> float:
    """Return the share of the dense network's multiply-adds that ``budget`` keeps."""
    dense = {layer.name: layer.weights * uses[layer.name] for layer in budget.layers}
    return sum(dense[layer.name] * layer.density for layer in budget.layers) / sum(dense.values())


def _check_dense(model: nn.Module, dense: tuple[str, ...], budget: dict[str, float]) -> None:
    from strsweep.sparsity.layers import weight_tensors, without

    weights = weight_tensors(model)
    pruned = {weight.name for weight in without(weights, dense)}
    for weight in weights:
        if weight.name not in pruned and budget.get(weight.name, 1.0) < 1:
            raise ValueError(
                f"sparsity.skip, dense_first or dense_last leave {weight.name} dense, the budget "
                f"keeps {budget[weight.name]:.2%} of it: change one of them"
            )
