"""The whole of training equals an independent numpy implementation of the paper's equations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from strsweep.sparsity import measure, sparsify, threshold_parameters
from strsweep.training.optimizer import sgd

STEPS, MOMENTUM, DECAY, RATE = 300, 0.9, 2e-2, 0.05
LAYERS, EXAMPLES = (6, 8, 7, 4), 24
Array = np.ndarray[Any, np.dtype[np.float64]]

G = {
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
    "exp": (np.exp, np.exp),
}


class PaperNet:
    """Three linear layers with tanh between, trained by the equations of section 3, in numpy."""

    def __init__(self, weights: list[Array], s_init: float, function: str) -> None:
        self.weights = [weight.copy() for weight in weights]
        self.s = [s_init] * len(weights)
        self.g, self.g_prime = G[function]
        self.weight_velocity = [np.zeros_like(weight) for weight in weights]
        self.s_velocity = [0.0] * len(weights)

    def thresholded(self) -> list[Array]:
        return [
            np.sign(w) * np.maximum(np.abs(w) - self.g(s), 0)
            for w, s in zip(self.weights, self.s, strict=True)
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
        for layer in reversed(range(len(sparse))):
            grad_sparse = delta.T @ hidden[layer]
            if layer:
                delta = (delta @ sparse[layer]) * (1 - hidden[layer] ** 2)
            self._update(layer, grad_sparse, sparse[layer])
        return float(loss)

    def _update(self, layer: int, grad_sparse: Array, sparse: Array) -> None:
        w, s = self.weights[layer], self.s[layer]
        alive = sparse != 0
        grad_w = grad_sparse * alive + DECAY * w  # eq. 4: decay alone where pruned
        inner = float((grad_sparse * np.sign(w) * alive).sum())
        grad_s = -self.g_prime(s) * inner + DECAY * s  # eq. 5
        self.weight_velocity[layer] = MOMENTUM * self.weight_velocity[layer] + grad_w
        self.s_velocity[layer] = MOMENTUM * self.s_velocity[layer] + grad_s
        self.weights[layer] = w - RATE * self.weight_velocity[layer]
        self.s[layer] = s - RATE * self.s_velocity[layer]


@pytest.mark.parametrize(("function", "s_init"), [("sigmoid", -8.0), ("exp", -7.0)])
def test_300_steps_equal_the_equations(function: Any, s_init: float) -> None:
    torch.manual_seed(0)
    linears = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(LAYERS)]
    model = nn.Sequential(linears[0], nn.Tanh(), linears[1], nn.Tanh(), linears[2]).double()
    x = torch.randn(EXAMPLES, LAYERS[0], dtype=torch.float64)
    labels = torch.randint(LAYERS[-1], (EXAMPLES,))
    paper = PaperNet([layer.weight.detach().numpy() for layer in linears], s_init, function)
    sparsify(model, threshold_init=s_init, function=function)
    optimizer = sgd(model, momentum=MOMENTUM, weight_decay=DECAY)
    for group in optimizer.param_groups:
        group["lr"] = RATE

    zeros_seen = set()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(paper.step(x.numpy(), labels.numpy()), abs=1e-9)
        s = [parameter.item() for parameter in threshold_parameters(model)]
        assert s == pytest.approx(paper.s, abs=1e-9)
        report = measure(model)
        learned = [layer.threshold for layer in report.layers]
        assert learned == pytest.approx([paper.g(value) for value in paper.s], abs=1e-9)
        zeros = [int((weight == 0).sum()) for weight in paper.thresholded()]
        assert [layer.zeros for layer in report.layers] == zeros
        zeros_seen.add(sum(zeros))
    assert len(zeros_seen) > 10, "pruning must happen, step by step, for the test to mean anything"
    assert 0 < max(zeros_seen) < report.weights
