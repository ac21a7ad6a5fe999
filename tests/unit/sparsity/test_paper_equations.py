"""The whole of training equals an independent numpy implementation of the paper's equations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strsweep.config import TrainingConfig
from strsweep.sparsity.convert import sparsify, threshold_parameters
from strsweep.sparsity.measure import measure
from strsweep.training.optimizer import RunOptimizer

STEPS, MOMENTUM, DECAY, RATE = 300, 0.9, 2e-2, 0.05
WEIGHT_DECAY = 3e-3
"""Where thresholds have a decay of their own."""
S_INIT = {"sigmoid": -8.0, "exp": -7.0}
LAYERS, EXAMPLES = (6, 8, 7, 4), 24
Array = np.ndarray[Any, np.dtype[np.float64]]

G = {
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    "exp": (np.exp, np.exp),
}


class PaperNet:
    """Three linear layers with tanh between, trained by the equations of section 3, in numpy."""

    weight_decay = DECAY

    def __init__(self, weights: list[Array], s_init: float, function: str, granularity: str):
        self.weights = [weight.copy() for weight in weights]
        shapes: dict[str, list[tuple[int, ...]]] = {
            "layer": [() for _ in weights],
            "global": [()],
            "filter": [(len(weight), 1) for weight in weights],
            "weight": [weight.shape for weight in weights],
        }
        self.s: list[Array] = [np.full(shape, s_init) for shape in shapes[granularity]]
        self.of_layer = [0, 0, 0] if granularity == "global" else [0, 1, 2]
        self.g, self.g_prime = G[function]
        self.weight_velocity = [np.zeros_like(weight) for weight in weights]
        self.s_velocity = [np.zeros_like(s) for s in self.s]

    def thresholded(self) -> list[Array]:
        return [
            np.sign(w) * np.maximum(np.abs(w) - self.g(self.s[index]), 0)
            for w, index in zip(self.weights, self.of_layer, strict=True)
        ]

    def step(self, x: Array, labels: Array) -> float:
        sparse = self.thresholded()
        hidden = [x]
        for weight in sparse[:-1]:
            hidden.append(np.tanh(hidden[-1] @ weight.T))
        logits = hidden[-1] @ sparse[-1].T
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows = np.arange(len(labels))
        loss = -log_p[rows, labels].mean()
        delta = np.exp(log_p)
        delta[rows, labels] -= 1
        delta /= len(labels)
        grad_s = [DECAY * s for s in self.s]
        for layer in reversed(range(len(sparse))):
            grad_sparse = delta.T @ hidden[layer]
            if layer:
                delta = (delta @ sparse[layer]) * (1 - hidden[layer] ** 2)
            self._update_weight(layer, grad_sparse, sparse[layer], grad_s)
        for index, gradient in enumerate(grad_s):
            self.s_velocity[index] = MOMENTUM * self.s_velocity[index] + gradient
            self.s[index] = self.s[index] - RATE * self.s_velocity[index]
        return float(loss)

    def _update_weight(
        self, layer: int, grad_sparse: Array, sparse: Array, grad_s: list[Array]
    ) -> None:
        w, index = self.weights[layer], self.of_layer[layer]
        s = self.s[index]
        alive = sparse != 0
        inner = summed_to(grad_sparse * np.sign(w) * alive, s.shape)
        grad_s[index] = grad_s[index] - self.g_prime(s) * inner  # eq. 5
        grad_w = grad_sparse * alive + self.weight_decay * w  # eq. 4: decay alone where pruned
        self.weight_velocity[layer] = MOMENTUM * self.weight_velocity[layer] + grad_w
        self.weights[layer] = w - RATE * self.weight_velocity[layer]


def summed_to(values: Array, shape: tuple[int, ...]) -> Array:
    if shape == ():
        return values.sum()
    return values.sum(axis=1, keepdims=True) if shape == (len(values), 1) else values


class Pair:
    """The library and the equations, started from the same weights."""

    def __init__(self, function: Any, granularity: Any, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        linears = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(LAYERS)]
        net = nn.Sequential(linears[0], nn.Tanh(), linears[1], nn.Tanh(), linears[2])
        self.model = net.to(dtype)
        self.x = torch.randn(EXAMPLES, LAYERS[0], dtype=torch.float64)
        self.labels = torch.randint(LAYERS[-1], (EXAMPLES,))
        weights = [layer.weight.detach().double().numpy() for layer in linears]
        self.paper = PaperNet(weights, S_INIT[function], function, granularity)
        sparsify(
            self.model,
            threshold_init=S_INIT[function],
            function=function,
            granularity=granularity,
        )
        config = TrainingConfig(momentum=MOMENTUM, learning_rate=RATE)
        self.optimizer = RunOptimizer(self.model, config)
        self.optimizer.set_learning_rate(RATE)
        self.decay_weights_by(DECAY)

    def decay_weights_by(self, decay: float) -> None:
        self.paper.weight_decay = decay
        self.optimizer.set_decays(weights=decay, thresholds=DECAY, norms=0.0)

    def step(self, network: Any) -> tuple[float, float]:
        """Take one step on both sides and return both losses."""
        logits = network(self.x.to(next(self.model.parameters()).dtype))
        loss = nn.functional.cross_entropy(logits.double(), self.labels)
        self.optimizer.step(loss, torch.amp.GradScaler("cpu", enabled=False))
        return loss.item(), self.paper.step(self.x.numpy(), self.labels.numpy())

    def check(self, tolerance: float) -> int:
        """Compare all thresholds and zero counts; returns the zeros."""
        parameters = threshold_parameters(self.model)
        assert len(parameters) == len(self.paper.s)
        for ours, theirs in zip(parameters, self.paper.s, strict=True):
            np.testing.assert_allclose(
                ours.detach().double().numpy(), theirs, rtol=0, atol=tolerance
            )
        report = measure(self.model)
        zeros = [int((weight == 0).sum()) for weight in self.paper.thresholded()]
        assert [layer.zeros for layer in report.layers] == zeros
        return sum(zeros)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "granularity", "decay"),
    [
        *itertools.product(("sigmoid", "exp"), ("layer", "global", "filter", "weight"), (DECAY,)),
        *itertools.product(("sigmoid", "exp"), ("layer",), (WEIGHT_DECAY,)),
    ],
)
def test_300_steps_equal_the_equations(function: str, granularity: str, decay: float) -> None:
    pair = Pair(function, granularity, torch.float64)
    pair.decay_weights_by(decay)
    zeros_seen = set()
    for _ in range(STEPS):
        ours, theirs = pair.step(pair.model)
        assert ours == pytest.approx(theirs, abs=1e-9)
        zeros_seen.add(pair.check(1e-9))
    assert len(zeros_seen) > 10, "pruning must happen, step by step, for the test to mean anything"
    assert 0 < max(zeros_seen) < sum(weight.size for weight in pair.paper.weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own, about itself
@pytest.mark.parametrize("granularity", ["layer", "global", "filter", "weight"])
def test_the_compiled_network_takes_the_same_steps(granularity: str) -> None:
    pair = Pair("sigmoid", granularity, torch.float64)
    compiled = torch.compile(pair.model, fullgraph=True)
    for _ in range(STEPS):
        ours, theirs = pair.step(compiled)
        assert ours == pytest.approx(theirs, abs=1e-9)
    assert pair.check(1e-9) > 0


@pytest.mark.parametrize("granularity", ["layer", "global", "filter", "weight"])
def test_under_autocast_the_thresholds_stay_float32(granularity: str) -> None:
    """bfloat16 has 8 bits: the loss is right to 1 %, the thresholds to 0.5 % after 150 steps."""
    pair = Pair("sigmoid", granularity, torch.float32)
    for _ in range(STEPS // 2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours, theirs = pair.step(pair.model)
        assert ours == pytest.approx(theirs, rel=1e-2)
    for ours, theirs in zip(threshold_parameters(pair.model), pair.paper.s, strict=True):
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=5e-3)
