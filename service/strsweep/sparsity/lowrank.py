"""Low rank: a linear weight as a product of two factors whose inner size is learned (STR, 4.2.1).

The weight of a layer is ``second diag(m~) first`` with ``m~ = soft_threshold(m, k * g(s))``: its
rank is the number of non-zeros of ``m~``. Training knows the factors at full size. ``bake`` cuts
them to the rank that was learned, or multiplies them where one matrix is the smaller of the two.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from strsweep.sparsity.convert import (
    AnyModule,
    check_prunable,
    parametrized,
    replace_layer,
    weights_with,
)
from strsweep.sparsity.layers import WeightTensor, WeightUse, weight_tensors, without
from strsweep.sparsity.threshold import SoftThreshold

Start = Literal["random", "svd"]
_BELOW = 0.99
"""Threshold in terms of the largest entry, where a rank of 1 is held."""
FIRST, SECOND = "first", "second"
"""Names of the two layers that take the place of one."""


class LowRank(SoftThreshold):
    """Parametrization of a linear weight by two factors and a thresholded vector.

    Its tensors are ``first``, shape [K, inputs], ``m``, shape [K], and ``second``, shape
    [outputs, K], with K the smaller of inputs and outputs; one ``s`` is for all of ``m``. In the
    paper's words W1 is ``first`` transposed and W2 is ``second`` transposed.

    The size of a factor and that of ``m`` can be exchanged, so all three must share one weight
    decay: with a decay of ``m`` alone, ``m`` sinks below any threshold while the factors grow.

    ``g`` is ``exp``, as ``m`` is about 1, where a sigmoid would end at 0.5 (appendix A.1).

    Args:
        threshold_init: First value of ``s``; -10 or less in the paper (appendix A.6).
        scale: Factor k of the threshold function.
        start: ``random``: normal factors and ``m`` of ones, the product as large as the weight was.
            For a square weight of 100 units and 0.1 it is the published start. ``svd``: the product
            is the weight, and ``m`` its singular values in terms of their mean.
    """

    def __init__(
        self,
        threshold_init: float,
        *,
        scale: float = 1.0,
        start: Start = "random",
    ) -> None:
        super().__init__(threshold_init, "exp", scale=scale)
        self.start: Start = start

    def forward(self, first: Tensor, m: Tensor, second: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the weight, shape [outputs, inputs]."""
        return (second * super().forward(m)) @ first

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``first``, ``m`` and ``second`` to start with in place of ``weight``."""
        outputs, inputs = weight.shape
        size = min(outputs, inputs)
        spread = weight.detach().square().mean().sqrt()  # its mean is about 0
        if not spread:  # a layer that starts at zero goes on to: as of an adapter
            first = torch.randn(size, inputs).to(weight) / math.sqrt(inputs)
            return first, weight.new_ones(size), weight.new_zeros(outputs, size)
        if self.start == "svd":
            left, values, right = torch.linalg.svd(weight.detach().double(), full_matrices=False)
            scale = values.mean()
            factors = scale.sqrt() * right, values / scale, scale.sqrt() * left
            first, m, second = (part.to(weight.dtype).contiguous() for part in factors)
            return first, m, second
        scale = spread.sqrt() / size**0.25
        first, second = torch.randn(size, inputs), torch.randn(outputs, size)
        return first.to(weight) * scale, weight.new_ones(size), second.to(weight) * scale

    def instead(self, weight: WeightTensor) -> nn.Module | None:
        """Return two layers of the learned rank, or None where one matrix is as small."""
        layer = Factored(weight=weight, step=self)
        rank = int(layer.kept.sum())
        if layer.weights_at(rank) == rank * sum(layer.size) and rank:
            return thin_layer(weight.uses[0].module, *layer.parts())  # pyright: ignore[reportArgumentType]
        return None


@dataclass(frozen=True, kw_only=True)
class Factored:
    """A weight of low rank while it trains."""

    weight: WeightTensor
    step: LowRank

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.weight.name

    @property
    def size(self) -> tuple[int, int]:
        """Outputs and inputs of the layer."""
        return self._tensor(2).shape[0], self._tensor(0).shape[1]

    @property
    def full_rank(self) -> int:
        """K."""
        return self.m.numel()

    @property
    def m(self) -> nn.Parameter:
        """The vector whose thresholded entries are the rank, shape [K]."""
        return self._tensor(1)

    @property
    def kept(self) -> Tensor:
        """Which entries of ``m`` are above the threshold, shape [K]."""
        return SoftThreshold.forward(self.step, self.m.detach()) != 0

    def weights_at(self, rank: int) -> int:
        """Return the least weights of the layer at ``rank``: of two factors, or of one matrix."""
        outputs, inputs = self.size
        return min(rank * (outputs + inputs), outputs * inputs) if rank else 0

    def parts(self) -> tuple[Tensor, Tensor]:
        """Return the factors at their rank, shapes [rank, inputs] and [outputs, rank].

        Their sizes are balanced: each has the root of what ``m`` is.
        """
        m, kept = SoftThreshold.forward(self.step, self.m.detach()), self.kept
        root = m[kept].abs().sqrt()
        first = self._tensor(0).detach()[kept] * root[:, None]
        return first, self._tensor(2).detach()[:, kept] * (root * m[kept].sign())

    @torch.no_grad()
    def hold(self) -> None:
        """Lower the threshold to just below the largest entry, if it is above that."""
        s, largest = self.step.s, self.m.abs().max()
        s.copy_(torch.minimum(s, (_BELOW * largest / self.step.scale).log()))

    def _tensor(self, index: int) -> nn.Parameter:
        stack = self.weight.uses[0].module.parametrizations.weight  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
        return getattr(stack, f"original{index}")  # pyright: ignore[reportUnknownArgumentType]


def factorize(
    model: AnyModule,
    *,
    threshold_init: float,
    scale: float = 1.0,
    layers: Sequence[str] = ("*",),
    start: Start = "random",
    skip: Sequence[str] = (),
) -> AnyModule:
    """Give the linear layers of ``model`` a rank that is learned, in place; return it.

    Args:
        model: Any module; its layers stay what they are (a parametrization is registered).
        threshold_init: First value of the threshold parameter of every layer.
        scale: Factor k of the threshold function.
        layers: Names or shell patterns of the ``nn.Linear`` to take, such as ``"*.mlp.*"``.
        start: As of ``LowRank``.
        skip: Layer names or shell patterns to leave as they are.

    Raises:
        ValueError: A pattern matches no linear layer, or one cannot be factored. The model is
            unchanged then.
    """
    chosen = factorable(model, layers, skip)
    for weight in chosen:
        check_prunable(model, weight)
        if len(weight.uses) > 1:
            names = [use.name for use in weight.uses]
            raise ValueError(f"the layers {names} share one weight: leave them out with skip")
    for weight in chosen:
        parametrized(weight, LowRank(threshold_init, scale=scale, start=start))
    return model


def factorable(
    model: nn.Module, layers: Sequence[str] = ("*",), skip: Sequence[str] = ()
) -> list[WeightTensor]:
    """Return the weights of ``model`` that ``layers`` names and ``skip`` does not.

    Only ``nn.Linear`` itself is taken: an attention reads the weight of its output projection past
    the layer, which two layers have none of.

    Raises:
        ValueError: A pattern matches no linear layer.
    """
    weights = without(weight_tensors(model), skip)
    linear = [w for w in weights if all(_is_linear(use) for use in w.uses)]
    names = [use.name for weight in linear for use in weight.uses]
    for pattern in layers:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"layers: {pattern!r} matches no linear layer; there are {names}")
    return [w for w in linear if any(fnmatchcase(w.name, pattern) for pattern in layers)]


def factored(model: nn.Module) -> list[Factored]:
    """Return the layers of ``model`` whose rank is learned."""
    return [Factored(weight=weight, step=step) for weight, step in weights_with(model, LowRank)]


def saved(state: Mapping[str, Tensor], parameter: str, weights: int) -> int:
    """Return how many of the ``weights`` of a dense layer the baked ``state`` does without.

    ``parameter`` is the name of the weight in the dense model.
    """
    return weights - sum(int(torch.count_nonzero(part)) for part in _parts(state, parameter))


def singular_values(state: Mapping[str, Tensor], parameter: str) -> tuple[float, ...]:
    """Return those of a layer of a baked model, the largest first; arguments as of ``saved``."""
    first, *second = (part.double() for part in _parts(state, parameter))
    if second:  # of small matrices in place of the product
        first = torch.linalg.qr(second[0]).R @ torch.linalg.qr(first.T).R.T
    return tuple(torch.linalg.svdvals(first).tolist())


def _parts(state: Mapping[str, Tensor], parameter: str) -> list[Tensor]:
    layer = parameter.removesuffix("weight")
    names = [parameter] if parameter in state else [f"{layer}{x}.weight" for x in (FIRST, SECOND)]
    return [state[name] for name in names]


def _is_linear(use: WeightUse) -> bool:
    return parametrize.type_before_parametrizations(use.module) is nn.Linear and use.name != ""


def thin_layer(linear: nn.Linear, first: Tensor, second: Tensor) -> nn.Sequential:
    """Return two layers in place of ``linear``: to the rank, and from it to the outputs.

    Args:
        linear: Gives the bias, and whether it trains.
        first: Shape [rank, inputs].
        second: Shape [outputs, rank].
    """
    rank, inputs = first.shape
    has_bias = linear.bias is not None  # pyright: ignore[reportUnnecessaryComparison]
    pair = OrderedDict[str, nn.Module]({
        FIRST: nn.Linear(inputs, rank, bias=False, device="meta"),
        SECOND: nn.Linear(rank, len(second), bias=has_bias, device="meta"),
    })
    thin = nn.Sequential(pair).train(linear.training)
    state = {f"{FIRST}.weight": first, f"{SECOND}.weight": second}
    if has_bias:
        state[f"{SECOND}.bias"] = linear.bias.detach()
    thin.load_state_dict({name: value.contiguous() for name, value in state.items()}, assign=True)
    return thin.requires_grad_()


def cut_like(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give the layers of a dense ``model`` two factors where ``state`` has them, in place.

    ``state`` is of the baked model, and fits what is returned.
    """
    for name, layer in list(model.named_modules()):
        first = state.get(f"{name}.{FIRST}.weight")
        if type(layer) is nn.Linear and first is not None and f"{name}.weight" not in state:
            replace_layer(model, layer, thin_layer(layer, first, state[f"{name}.{SECOND}.weight"]))
    return model
