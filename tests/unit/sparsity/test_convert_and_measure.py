"""Layers of every kind become sparse and plain again; every zero and multiply-add is counted."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from brought_networks import TiedToEmbedding
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torchvision import models

from strsweep.sparsity.convert import Granularity, bake, sparsify, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.steering import schedulable, steer, steerable

# layer, input shape, multiply-adds by hand: weights times the positions that each of them meets
weight_norm, spectral_norm = parametrizations.weight_norm, parametrizations.spectral_norm


def prune_half(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has a newer one; models out there have this one
        return nn.utils.weight_norm(layer)


def grouped(inputs: int, outputs: int, groups: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2, groups=groups)


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "conv": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 8, 8), 3 * 4 * 9 * 64),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 8, 8), 3 * 4 * 9 * 16),
    "grouped": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), (4, 8, 8), 2 * 8 * 9 * 64),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (4, 8, 8), 4 * 9 * 64),
    "dilated": (lambda: nn.Conv2d(3, 4, 3, dilation=2), (3, 8, 8), 3 * 4 * 9 * 16),
    "padded": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (3, 8, 8), 6912),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 2, stride=2), (3, 8, 8), 3 * 4 * 4 * 64),
    "transposed_grouped": (lambda: grouped(4, 6, 2), (4, 8, 8), 4 * 3 * 4 * 64),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3), (2, 10), 2 * 3 * 3 * 8),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 2 * 3 * 8 * 27),
    "linear": (lambda: nn.Linear(6, 5), (6,), 30),
    "linear_on_tokens": (lambda: nn.Linear(6, 5), (7, 6), 30 * 7),
    "linear_on_tokens_without_bias": (lambda: nn.Linear(6, 5, bias=False), (7, 6), 30 * 7),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("granularity", ["layer", "global", "filter", "weight"])
def test_every_kind_of_layer(kind: str, granularity: Granularity) -> None:
    torch.manual_seed(0)
    build, shape, macs = KINDS[kind]
    layer = build()
    x = torch.randn(2, *shape)
    sparsify(layer, threshold_init=-2.5, granularity=granularity)
    report = measure(layer, torch.zeros(1, *shape))
    assert report.dense_macs == macs
    weight = weight_tensors(layer)[0]
    assert report.zeros == int((weight.value == 0).sum()) > 0
    assert report.macs == (report.weights - report.zeros) * (macs // report.weights)
    before = layer(x)
    assert torch.equal(bake(layer)(x), before)
    assert measure(layer, torch.zeros(1, *shape)).macs == report.macs


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 4, 5), (4, 1, 1, 1)),
        (nn.Conv2d(4, 8, 3, groups=2), (8, 1, 1, 1)),
        (nn.ConvTranspose2d(3, 4, 2), (1, 4, 1, 1)),
        (nn.Linear(6, 5), (5, 1)),
    ],
)
def test_one_threshold_per_output_filter(layer: nn.Module, shape: tuple[int, ...]) -> None:
    sparsify(layer, threshold_init=-5.0, granularity="filter")
    assert threshold_parameters(layer)[0].shape == shape


def test_the_global_threshold_is_one_parameter() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    sparsify(model, threshold_init=-5.0, granularity="global")
    (s,) = threshold_parameters(model)
    model(torch.ones(1, 4)).sum().backward()
    assert s.grad is not None
    same = copy.deepcopy(model)
    assert len(threshold_parameters(same)) == 1
    same.load_state_dict(model.state_dict())


class Tied(nn.Module):
    """Two linear layers, one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def test_a_tied_weight_counts_once_and_stays_tied() -> None:
    torch.manual_seed(0)
    model, x = Tied(), torch.randn(3, 4)
    sparsify(model, threshold_init=-1.5)
    report = measure(model, torch.zeros(1, 4))
    assert (len(report.layers), report.weights, report.dense_macs) == (1, 16, 32)
    assert report.macs == 2 * (16 - report.zeros)
    assert len(threshold_parameters(model)) == 1
    before = model(x)
    bake(model)
    assert model.second.weight is model.first.weight
    assert torch.equal(model(x), before)
    assert len(list(model.parameters())) == 1
    with pytest.raises(ValueError, match="share one weight"):
        sparsify(model, threshold_init=-1.5, skip=("first",))


def test_a_weight_tied_to_an_embedding_is_refused() -> None:
    model = TiedToEmbedding()
    with pytest.raises(
        ValueError, match=r"head shares its weight with embedding, .* dense with skip=\['head'\]"
    ):
        sparsify(model, threshold_init=-3.0)
    sparsify(model, threshold_init=-3.0, skip=("head",))
    assert len(threshold_parameters(model)) == 1


class Attention(nn.Module):
    """Queries attend to keys and values of another width and length."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, kdim=other, vdim=other, batch_first=True)
        self.other = other

    def forward(self, x: Tensor) -> Tensor:
        context = torch.ones(len(x), 3, self.other)
        return self.attention(x, context, context)[0]


@pytest.mark.parametrize(
    ("other", "names", "macs"),
    [
        # 5 tokens ask, 3 answer: queries and outputs meet 5 positions, keys and values 3
        (8, ["attention.in_proj", "attention.out_proj"], 64 * (5 + 3 + 3 + 5)),
        (
            6,
            [f"attention.{x}_proj" for x in ("q", "k", "v", "out")],
            64 * 5 + 2 * 8 * 6 * 3 + 64 * 5,
        ),
    ],
)
def test_attention_projections_are_weights(other: int, names: list[str], macs: int) -> None:
    torch.manual_seed(0)
    model = Attention(8, other).eval()
    plain = set(model.state_dict())
    sparsify(model, threshold_init=-2.5)
    report = measure(model, torch.zeros(1, 5, 8))
    assert [layer.name for layer in report.layers] == names
    assert report.dense_macs == macs
    assert 0 < report.zeros < report.weights
    x = torch.randn(2, 5, 8)
    before = model(x)
    bake(model)
    torch.testing.assert_close(model(x), before)
    assert set(model.state_dict()) == plain
    assert {layer.parameter for layer in report.layers} <= plain


class Repeated(nn.Module):
    """One layer under several names, as in the heads of DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.again = nn.ModuleList([self.body, nn.Sequential(self.body)])

    def forward(self, x: Tensor) -> Tensor:
        return self.again[1](self.again[0](self.body(x)))


def test_a_layer_with_several_names_is_one_layer() -> None:
    model = sparsify(Repeated(), threshold_init=-1.5)
    report = measure(model, torch.zeros(1, 4))
    assert [layer.name for layer in report.layers] == ["body"]
    assert report.dense_macs == 3 * 16
    names = set(Repeated().state_dict())
    assert set(bake(model).state_dict()) == names


@pytest.mark.parametrize("inside", [torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)])
def test_work_is_counted_wherever_it_is_asked_for(inside: Any) -> None:
    model = sparsify(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), threshold_init=-5.0)
    with inside:
        report = measure(model, torch.zeros(1, 1, 8, 8))
    assert report == measure(model, torch.zeros(1, 1, 8, 8))
    assert report.dense_macs == 18 * 36


@pytest.mark.parametrize("change", [weight_norm, spectral_norm, prune_half, old_weight_norm])
def test_weights_that_others_compute_are_left_to_them(
    change: Callable[[nn.Module], nn.Module],
) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    change(model[1])
    with pytest.raises(ValueError, match=r"1 computes its weight from others .* skip=\['1'\]"):
        sparsify(model, threshold_init=-3.0)
    assert type(model[0]) is nn.Linear, "nothing is changed when something is refused"
    computed = set(model.state_dict())
    sparsify(model, threshold_init=-3.0, skip=["1"])
    report = measure(model, torch.zeros(1, 4))
    assert (len(report.layers), report.weights, report.dense_macs) == (2, 32, 32)
    assert set(bake(model).state_dict()) == computed


def test_casting_the_model_leaves_the_thresholds_precise() -> None:
    model = sparsify(nn.Sequential(nn.Linear(4, 4)), threshold_init=-3200.3).bfloat16()
    (s,) = threshold_parameters(model)
    assert s.dtype == torch.float32
    assert s.item() == pytest.approx(-3200.3, abs=1e-3)
    assert model(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_what_has_no_weights_yet_is_refused() -> None:
    with pytest.raises(ValueError, match="meta device"):
        sparsify(nn.Linear(3, 3, device="meta"), threshold_init=-3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the module
        model = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(2))
    with pytest.raises(ValueError, match="run the model once"):
        sparsify(model, threshold_init=-3.0)
    assert type(model[0]) is nn.Linear, "an error halfway leaves the model as it was"
    with pytest.raises(ValueError, match="got 'fc', use a list"):
        sparsify(nn.Linear(3, 3), threshold_init=-3.0, skip="fc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the empty layer
        assert not weight_tensors(nn.Linear(0, 3))


PUT: dict[str, Callable[[nn.Module], nn.Module]] = {
    "learned": lambda m: sparsify(m, threshold_init=-1.5, granularity="filter"),
    "steered": lambda m: steerable(m, granularity="filter"),
    "scheduled": schedulable,
    "st3": lambda m: schedulable(m, is_damped=False),
}


@pytest.mark.parametrize("put", PUT)
def test_filters_of_a_grouped_transposed_convolution_are_those_of_its_groups(put: str) -> None:
    torch.manual_seed(0)
    whole = grouped(8, 12, 4)
    layers = [nn.ConvTranspose2d(2, 3, 2, stride=2) for _ in range(4)]
    parts = nn.ModuleList(layers)
    upstream = torch.randn_like(whole.weight)
    for layer, weight in zip(layers, whole.weight.detach().split(2), strict=True):
        layer.weight.data = weight.clone()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for model in (whole, parts):
        PUT[put](model)
        thresholds = threshold_parameters(model)
        values = torch.linspace(-2, -1, 12).tolist()
        for s in thresholds:
            s.data = torch.tensor([values.pop() for _ in range(s.numel())]).view(s.shape)
        if put != "learned":
            steer(model, 0.5)
        weights = weight_tensors(model)
        value = torch.cat([weight.value for weight in weights])
        value.backward(upstream)
        gradients = [s.grad.flatten() for s in thresholds if s.grad is not None]
        originals = [weight.original.grad for weight in weights if weight.original.grad is not None]
        found.append((
            value.detach(),
            torch.cat(originals),
            torch.cat([torch.zeros(0), *gradients]),
        ))
    assert len(found[0][2]) == 12 * (put in ("learned", "steered"))
    torch.testing.assert_close(found[0], found[1])
    assert (found[0][0] == 0).any()


# --- Any model: counted, refused, baked.


def test_measuring_leaves_modes_and_statistics_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model.train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    measure(model, torch.zeros(1, 1, 8, 8))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_without_an_example_macs_are_unknown() -> None:
    report = measure(nn.Linear(3, 2))
    assert (report.weights, report.macs, report.dense_macs) == (6, None, None)
    assert report.layers[0].threshold is None


def test_skipped_layers_stay_dense() -> None:
    model = models.resnet18(num_classes=5)
    sparsify(model, threshold_init=0.5, skip=("conv1", "layer1.*", "fc"))
    dense = [layer.name for layer in measure(model).layers if layer.threshold is None]
    assert dense == ["conv1", *(f"layer1.{i}.conv{j}" for i in (0, 1) for j in (1, 2)), "fc"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ("layer9.*",)}, "matches no layer"),
        ({"skip": ("*",)}, "no convolution or linear layer"),
        ({"function": "tanh"}, "function: got 'tanh'"),
        ({"granularity": "kernel"}, "granularity: got 'kernel'"),
        ({"scale": 0.0}, "scale: got 0.0"),
    ],
    ids=["pattern", "all_skipped", "function", "granularity", "scale"],
)
def test_refused_and_left_as_it_was(options: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        sparsify(model, threshold_init=-5.0, **options)
    assert list(model.state_dict()) == names
    sparsify(model, threshold_init=-5.0)
    with pytest.raises(ValueError, match="sparsified already"):
        sparsify(model, threshold_init=-5.0)


def test_a_model_without_weights_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="to measure"):
        measure(nn.ReLU())


def test_baking_a_copy_leaves_the_original_alone() -> None:
    """An average of weights is a deep copy: torch's parametrized classes are shared with it."""
    torch.manual_seed(0)
    model = sparsify(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), threshold_init=-2)
    inputs = torch.randn(3, 4)
    before = model(inputs)
    copied = bake(copy.deepcopy(model))
    assert torch.equal(copied(inputs), before)
    assert torch.equal(model(inputs), before)
    assert {type(layer) for layer in copied} == {nn.Linear, nn.ReLU}
    assert torch.equal(bake(model)(inputs), before)


def test_zeros_counted_by_hand() -> None:
    layer = nn.Linear(4, 2, bias=False)
    model = nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -0.2, 0.3, 0.0], [-0.9, 0.4, -0.25, 0.26]]))
    # The threshold is 0.255: 0.1, -0.2, 0.0 and -0.25 fall below it.
    sparsify(model, threshold_init=-math.log(1 / 0.255 - 1))
    report = measure(model, torch.zeros(1, 4))
    assert (report.weights, report.zeros, report.dense_macs, report.macs) == (8, 4, 8, 4)
    assert report.layers[0].threshold == pytest.approx(0.255)
    assert {type(total) for total in (report.zeros, report.dense_macs, report.macs)} == {int}
