"""One classifier of every torchvision family: trained a step, counted and baked."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from strsweep.models import build
from strsweep.sparsity.convert import bake, sparsify, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure

pytestmark = pytest.mark.slow

SIZE = 64
FAMILIES: dict[str, dict[str, Any]] = {
    "convnext_tiny": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "googlenet": {},
    "mnasnet0_5": {},
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "regnet_x_400mf": {},
    "resnet18": {},
    "resnext50_32x4d": {},
    "shufflenet_v2_x0_5": {},
    "squeezenet1_1": {},
    "swin_t": {},
    "vit_b_16": {"image_size": SIZE},
}
WEIGHT_OPERATIONS = ("aten.convolution", "aten.addmm", "aten.mm")
"""What multiplies with a weight; products of activations (bmm, attention) are no layer's."""


def new_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = build(f"torchvision:{name}", num_classes=10, **FAMILIES[name])
    for weight in weight_tensors(model):
        if not weight.original.any():  # the head of a ViT starts at zero and passes nothing back
            nn.init.normal_(weight.original, std=0.02)
    return model


def torchs_macs(model: nn.Module) -> int:
    """Return half of what torch counts: it takes a multiply-add for two operations."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused attention is not counted
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.zeros(1, 3, SIZE, SIZE))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    counts = {str(key): count for key, count in counter.get_flop_counts()["Global"].items()}
    return sum(counts.get(operation, 0) for operation in WEIGHT_OPERATIONS) // 2


def train_a_step(model: nn.Module, images: Tensor) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = nn.functional.cross_entropy(model.train()(images), torch.tensor([1, 2]))
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_sparsified_trained_counted_and_baked(name: str) -> None:
    model, images = new_model(name), torch.randn(2, 3, SIZE, SIZE)
    plain_names, dense_macs = set(model.state_dict()), torchs_macs(model)

    sparsify(model, threshold_init=-5.0)
    assert math.isfinite(train_a_step(model, images))
    gradients = [s.grad for s in threshold_parameters(model)]
    assert len(gradients) == len(weight_tensors(model))
    assert all(gradient is not None and gradient.isfinite() for gradient in gradients)
    # Stochastic depth leaves out some blocks of a step; all other thresholds are moved.
    assert sum(bool(gradient) for gradient in gradients) > 0.8 * len(gradients)

    report = measure(model, torch.zeros(1, 3, SIZE, SIZE))
    assert report.dense_macs == dense_macs
    assert report.macs is not None
    assert 0 < report.macs < dense_macs
    assert 0 < report.zeros < report.weights

    with torch.no_grad():
        before = model.eval()(images)
        bake(model)
        assert torch.equal(model(images), before)
        assert set(model.state_dict()) == plain_names
        assert measure(model).zeros == report.zeros
