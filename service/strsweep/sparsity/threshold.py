"""Soft thresholding with a learnable threshold (STR, arXiv 2002.03231, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

ThresholdFunction = Literal["sigmoid", "exp"]

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "exp": torch.exp}


def soft_threshold(weight: Tensor, threshold: Tensor) -> Tensor:
    """Shrink every entry of ``weight`` towards zero by ``threshold``; smaller entries become 0.

    This is ``sign(w) * relu(|w| - threshold)`` (eq. 1), written as two elementwise operations.
    Its gradient is the plain sub-gradient of the paper: an entry that is set to zero passes none
    on (eq. 3), and the threshold receives ``-sum(grad * sign(w))`` over the others (eq. 5).

    Args:
        weight: Any shape.
        threshold: Non-negative; broadcastable to ``weight``.

    Returns:
        A tensor of the shape of ``weight``.
    """
    return weight - torch.clamp(weight, -threshold, threshold)


class SoftThreshold(nn.Module):
    """Parametrization of a weight: ``soft_threshold(weight, g(s))`` with a learnable ``s``.

    ``s`` starts far below zero, so that ``g(s)`` is about 0 and the layer is dense. Weight decay
    then lifts ``s`` towards 0, which raises the threshold, until the loss pushes back (section 3).

    Args:
        threshold_init: First value of ``s`` (the paper's s_init), -25 to -12800 in the paper.
        function: ``g``; ``sigmoid`` for every CNN of the paper, ``exp`` for its RNN (appendix A.1).

    Raises:
        ValueError: ``function`` is unknown.
    """

    s: nn.Parameter
    """Shape [], float32 or wider: the decay steps of s = -3200 vanish in half precision."""

    def __init__(self, threshold_init: float, function: ThresholdFunction = "sigmoid") -> None:
        super().__init__()
        if function not in _FUNCTIONS:
            raise ValueError(
                f"function: got {function!r}, use one of {get_args(ThresholdFunction)}"
            )
        self.function: ThresholdFunction = function
        self.s = nn.Parameter(torch.tensor(float(threshold_init), dtype=torch.float32))

    @property
    def threshold(self) -> Tensor:
        """``g(s)``, shape []: entries at or below it in magnitude are pruned."""
        return _FUNCTIONS[self.function](self.s)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the thresholded weight, in the dtype of ``weight``."""
        return soft_threshold(weight, self.threshold.to(weight.dtype))

    def extra_repr(self) -> str:
        """Show what ``print(model)`` would otherwise hide."""
        return f"threshold={self.threshold.item():.3e}, function={self.function}"
