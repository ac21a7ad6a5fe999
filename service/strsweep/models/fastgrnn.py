"""FastGRNN (Kusupati et al., NeurIPS 2018, section 3): a gated cell of two matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from strsweep.sparsity.lowrank import thin_layer

Activation = Literal["sigmoid", "tanh", "relu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}
_SPREAD = 0.1
"""Of the normal entries that matrices and factors start with, as in the authors' code."""


class FastGRNN(nn.Module):
    """Classifies sequences by the state after their last step.

    With the input ``x`` of a step and the state ``h`` before it, ``h = 0`` at first::

        a = w(x) + u(h)
        z = gate(a + gate_bias)
        h = z * h + (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * update(a + update_bias)

    Args:
        num_classes: Outputs.
        num_features: Numbers of one step, D.
        hidden: Numbers of the state, H.
        gate: Activation of the gate; sigmoid for Google-12 and tanh for HAR-2 in the paper.
        update: Activation of the update; tanh in the paper.
        ranks: Given, ``w`` and ``u`` are of two factors with these ranks, preset as in the tables.

    Raises:
        ValueError: A size or a rank is below 1, or an activation is unknown.
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        hidden: int = 64,
        gate: Activation = "sigmoid",
        update: Activation = "tanh",
        ranks: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if min(num_classes, num_features, hidden, *(ranks or ())) < 1:
            raise ValueError("num_classes, num_features, hidden and ranks must be 1 or more")
        unknown = {gate, update} - _ACTIVATIONS.keys()
        if unknown:
            raise ValueError(f"gate, update: got {sorted(unknown)}, use {sorted(_ACTIVATIONS)}")
        self._gate, self._update = _ACTIVATIONS[gate], _ACTIVATIONS[update]
        w_rank, u_rank = ranks or (None, None)
        self.w = _matrix(num_features, hidden, w_rank)
        self.u = _matrix(hidden, hidden, u_rank)
        self.gate_bias = nn.Parameter(torch.ones(hidden))
        self.update_bias = nn.Parameter(torch.ones(hidden))
        self.zeta = nn.Parameter(torch.tensor(1.0))
        self.nu = nn.Parameter(torch.tensor(-4.0))
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits, shape [N, classes].

        Args:
            inputs: Shape [N, steps, D].
            lengths: Steps of each sequence that are no padding, shape [N]; None: all.
        """
        # One product for all steps; then those of the state, whose matrix is looked up once.
        driven, recurrent = self.w(inputs), _held(self.u)
        zeta, nu = self.zeta.sigmoid(), self.nu.sigmoid()
        h = torch.zeros_like(driven[:, 0])
        states: list[Tensor] = []
        for step in range(inputs.shape[1]):
            a = driven[:, step] + recurrent(h)
            z = self._gate(a + self.gate_bias)
            h = z * h + (zeta * (1 - z) + nu) * self._update(a + self.update_bias)
            states.append(h)
        if lengths is None:
            return self.fc(h)
        last = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, h.shape[1])
        return self.fc(torch.stack(states, dim=1).gather(1, last).squeeze(1))


def _held(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return ``layer`` as a function that does not compute its weight again in every step."""
    if not isinstance(layer, nn.Linear):
        return layer
    weight = layer.weight
    return lambda h: functional.linear(h, weight)


def _matrix(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=_SPREAD)
    if rank is None:
        return linear
    first, second = torch.randn(rank, inputs), torch.randn(outputs, rank)
    return thin_layer(linear, _SPREAD * first, _SPREAD * second)
