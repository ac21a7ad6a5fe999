"""Soft thresholding with a learnable threshold (STR, arXiv 2002.03231, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

ThresholdFunction = Literal["sigmoid", "exp"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "exp": torch.exp}


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """Shrink every entry of ``weight`` towards zero by ``threshold``; smaller entries become 0.

    This is ``sign(w) * relu(|w| - threshold)`` (eq. 1). Its gradient is the plain sub-gradient of
    the paper: an entry that is set to zero passes none on (eq. 3), and the threshold receives
    ``-sum(grad * sign(w))`` over the others (eq. 5).

    Args:
        weight: Any shape.
        threshold: Non-negative; of a shape that broadcasts to that of ``weight``.

    Returns:
        A tensor of the shape of ``weight``.
    """
    if torch.compiler.is_compiling():
        # A compiler fuses the formula with its gradient better than what is written out below.
        return torch.sign(weight) * torch.relu(weight.abs() - threshold)
    return _SoftThreshold.apply(weight, threshold)  # pyright: ignore[reportReturnType]


class Pruning(nn.Module):
    """A parametrization of this library: ``bake`` removes these, and no others."""

    def instead(self, weight: Any) -> nn.Module | None:
        """Return what ``bake`` puts in place of the layer of ``weight``; None: its own weight."""
        return None


class SoftThreshold(Pruning):
    """Parametrization of a weight: ``soft_threshold(weight, k * g(s))`` with a learnable ``s``.

    ``s`` starts far below zero, so that ``g(s)`` is about 0 and the layer is dense. Weight decay
    then lifts ``s`` towards 0, which raises the threshold, until the loss pushes back (section 3).

    Args:
        threshold_init: First value of ``s`` (the paper's s_init), -25 to -12800 in the paper.
        function: ``g``; ``sigmoid`` for every CNN of the paper, ``exp`` for its RNN (appendix A.1).
        scale: ``k`` of appendix A.1, above 0; 1 throughout the paper.
        shape: Of ``s``; broadcasts to that of the weight. ``()`` is one threshold for all of it.

    Raises:
        ValueError: ``function`` is unknown, or ``scale`` is not above 0.
    """

    s: nn.Parameter
    """float32 or wider: the decay steps of s = -3200 vanish in half precision."""

    lets_through: float
    """Up to this threshold pruned entries get a gradient, too, as weights that start at exactly 0
    would never learn otherwise. 0, where none does: the plain operator."""

    rows: int
    """Neighbouring rows of the weight that a row of ``s`` is for; 1: it broadcasts. Others are of
    the groups of a transposed convolution, per filter."""

    is_active: bool
    """If not, weights pass as they are, and ``s`` has no gradient: a threshold of exactly 0."""

    def __init__(
        self,
        threshold_init: float,
        function: ThresholdFunction = "sigmoid",
        *,
        scale: float = 1.0,
        shape: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if function not in _FUNCTIONS:
            raise ValueError(
                f"function: got {function!r}, use one of {get_args(ThresholdFunction)}"
            )
        if not scale > 0:
            raise ValueError(f"scale: got {scale!r}, use a number above 0")
        self.function: ThresholdFunction = function
        self.scale = scale
        self.is_active = True
        self.lets_through = 0.0
        self.rows = 1
        self.s = nn.Parameter(torch.full(tuple(shape), float(threshold_init), dtype=torch.float32))

    @property
    def threshold(self) -> Tensor:
        """``k * g(s)``: entries at or below it in magnitude are pruned. It broadcasts to them."""
        if not self.is_active:
            return torch.zeros_like(self.s)
        values = _FUNCTIONS[self.function](self.level)
        return values if self.scale == 1 else values * self.scale

    @property
    def level(self) -> Tensor:
        """What the function is applied to: ``s``."""
        return self._spread(self.s)

    def _spread(self, values: Tensor) -> Tensor:
        return values if self.rows == 1 else values.repeat_interleave(self.rows, 0)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the thresholded weight, in the dtype of ``weight``."""
        if not self.is_active:
            return weight
        threshold = self.threshold.to(weight.dtype)
        thresholded = soft_threshold(weight, threshold)
        if not self.lets_through:
            return thresholded
        passes = (thresholded == 0) & (threshold <= self.lets_through)
        return thresholded + (weight - weight.detach()) * passes

    def critical(self, weight: Tensor) -> Tensor:
        """Return for every entry of ``weight`` the ``c`` from which on ``k * g(s + c)`` prunes it.

        In float64. Infinite for entries above ``k``, which no sigmoid can prune.
        """
        magnitude = weight.detach().abs().double() / self.scale
        s = self._spread(self.s.detach())
        if self.function == "exp":
            return magnitude.log() - s
        return torch.logit(magnitude.clamp(max=1.0)) - s

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # model.half() and the like must not touch them; moving them is fine.
        own = *self.named_parameters(recurse=False), *self.named_buffers(recurse=False)
        precise = {name: tensor.data for name, tensor in own}
        super()._apply(fn, recurse)
        for name, before in precise.items():
            tensor = getattr(self, name)
            if torch.finfo(tensor.dtype).bits < torch.finfo(before.dtype).bits:
                tensor.data = before.to(tensor.device)
        return self


class _SoftThreshold(torch.autograd.Function):
    """The operator with its gradients written out.

    Autograd through elementwise operations gives the same numbers, but passes over the weights
    three times as often and keeps copies of them; here only the result is kept, which the
    convolution keeps anyway.
    """

    @staticmethod
    def forward(weight: Tensor, threshold: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if threshold.ndim == 0 and threshold.device.type == "cpu":
            # One pass over the weights. It takes a number: on a GPU that would wait for the device.
            number = threshold.item()
            if math.isfinite(number):  # a run that diverges has others; its loss tells
                return functional.softshrink(weight, number)
        return weight - torch.clamp(weight, -threshold, threshold)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.threshold_shape = inputs[1].shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (output,) = ctx.saved_tensors
        for_weight = for_threshold = None
        if ctx.needs_input_grad[0]:
            # With lambda 0 this is the gradient where the output is not zero, and 0 elsewhere.
            for_weight = torch.ops.aten.softshrink_backward(gradient, output, 0.0)
        if ctx.needs_input_grad[1]:
            # The sign of the output is that of the weight, or 0 where the weight is pruned.
            for_threshold = -_sum_to_shape(gradient, output.sign(), ctx.threshold_shape)
        return for_weight, for_threshold


def _sum_to_shape(gradient: Tensor, sign: Tensor, shape: torch.Size) -> Tensor:
    if not shape:
        return torch.dot(gradient.flatten(), sign.flatten())  # no product of the weights' size
    return (gradient * sign).sum_to_size(shape)
