"""Low rank: equal to hand-derived gradients in numpy, counted as published, cut without a trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from strsweep.models.fastgrnn import FastGRNN
from strsweep.sparsity.budget import Budget
from strsweep.sparsity.convert import bake, threshold_parameters
from strsweep.sparsity.landing import land
from strsweep.sparsity.lowrank import cut_like, factorable, factored, factorize
from strsweep.sparsity.measure import measure

Arrays = dict[str, np.ndarray[Any, Any]]
NUMPY_NAMES = {
    "w1": ("w", 0),
    "mw": ("w", 1),
    "w2": ("w", 2),
    "u1": ("u", 0),
    "mu": ("u", 1),
    "u2": ("u", 2),
}


def cell(hidden: int, features: int, classes: int, **options: Any) -> FastGRNN:
    torch.manual_seed(0)
    return FastGRNN(classes, features, hidden=hidden, **options)


def with_ranks(model: nn.Module, *ranks: int) -> nn.Module:
    """Factorize all but the classifier, and leave random entries of these ranks."""
    factorize(model, threshold_init=-30.0, start="random", skip=["fc"])
    with torch.no_grad():
        for layer, rank in zip(factored(model), ranks, strict=True):
            layer.m.copy_(torch.randn_like(layer.m).sign() * (0.5 + torch.rand_like(layer.m)))
            layer.m[torch.randperm(layer.full_rank)[rank:]] = 0
    return model


# --- One: the trajectory of an implementation by hand. Rows are inputs, as in the paper's x W1 W2.


def soft(m: Any, s: Any) -> Any:
    return np.sign(m) * np.maximum(np.abs(m) - np.exp(s), 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def numpy_gradients(p: Arrays, x: Any, lengths: Any, labels: Any) -> Arrays:
    """Return the gradients of the mean cross-entropy: backpropagation through time, by hand."""
    kw, ku = soft(p["mw"], p["sw"][()]), soft(p["mu"], p["su"][()])
    w, u = (p["w1"] * kw) @ p["w2"], (p["u1"] * ku) @ p["u2"]
    zeta, nu = sigmoid(p["zeta"]), sigmoid(p["nu"])
    steps, rows = x.shape[1], np.arange(len(x))
    h, kept = [np.zeros((len(x), u.shape[0]))], []
    for t in range(steps):
        a = x[:, t] @ w + h[-1] @ u
        z, c = sigmoid(a + p["bz"]), np.tanh(a + p["bh"])
        kept.append((z, c))
        h.append(z * h[-1] + (zeta * (1 - z) + nu) * c)
    last = np.stack(h[1:], 1)[rows, lengths - 1]
    logits = last @ p["fc"] + p["fb"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    d_logits = (shares - np.eye(shares.shape[1])[labels]) / len(x)
    g = {"fc": last.T @ d_logits, "fb": d_logits.sum(0)}
    g |= {key: np.zeros_like(p[key]) for key in ("bz", "bh", "zeta", "nu")}
    dw, du, dh = np.zeros_like(w), np.zeros_like(u), np.zeros_like(last)
    d_last = d_logits @ p["fc"].T
    for t in reversed(range(steps)):
        dh = dh + d_last * (lengths - 1 == t)[:, None]
        z, c = kept[t]
        dz = dh * (h[t] - zeta * c) * z * (1 - z)
        dc = dh * (zeta * (1 - z) + nu) * (1 - c**2)
        g["zeta"] = g["zeta"] + (dh * (1 - z) * c).sum() * zeta * (1 - zeta)
        g["nu"] = g["nu"] + (dh * c).sum() * nu * (1 - nu)
        g["bz"], g["bh"] = g["bz"] + dz.sum(0), g["bh"] + dc.sum(0)
        da = dz + dc
        dw, du = dw + x[:, t].T @ da, du + h[t].T @ da
        dh = dh * z + da @ u.T
    for name, d, k, s in (("w", dw, kw, "sw"), ("u", du, ku, "su")):
        first, second, m = p[f"{name}1"], p[f"{name}2"], p[f"m{name}"]
        g[f"{name}1"] = (d @ second.T) * k
        g[f"{name}2"] = (first * k).T @ d
        d_kept = (first * (d @ second.T)).sum(0) * (k != 0)  # what is cut gets none
        g[f"m{name}"] = d_kept
        g[s] = -np.exp(p[s]) * (np.sign(m) * d_kept).sum()
    return g


def as_numpy(model: FastGRNN) -> Arrays:
    p: Arrays = {}
    layers = {layer.name: layer for layer in factored(model)}
    parameters = dict(model.named_parameters())
    for key, (name, index) in NUMPY_NAMES.items():
        tensor = parameters[f"{name}.parametrizations.weight.original{index}"].detach()
        p[key] = tensor.T.numpy().copy() if index != 1 else tensor.numpy().copy()
    for key in ("w", "u"):
        p[f"s{key}"] = layers[key].step.s.detach().numpy().copy()
    own = {"bz": "gate_bias", "bh": "update_bias", "zeta": "zeta", "nu": "nu", "fb": "fc.bias"}
    state = model.state_dict()
    return (
        p
        | {k: state[n].numpy().copy() for k, n in own.items()}
        | {"fc": state["fc.weight"].T.numpy().copy()}
    )


def test_200_steps_are_those_of_an_implementation_by_hand() -> None:
    model = cell(12, 5, 4)
    model = factorize(model, threshold_init=-4.0, skip=["fc"], start="random").double()
    x = torch.randn(40, 9, 5, dtype=torch.float64)
    lengths, labels = torch.randint(1, 10, (40,)), torch.randint(4, (40,))
    p, rate, momentum, decay = as_numpy(model), 0.05, 0.9, 0.012
    moved = {key: np.zeros_like(value) for key, value in p.items()}
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum, weight_decay=decay)
    ranks: list[int] = []
    for _ in range(200):
        optimizer.zero_grad()
        functional.cross_entropy(model(x, lengths), labels).backward()
        optimizer.step()
        gradients = numpy_gradients(p, x.numpy(), lengths.numpy(), labels.numpy())
        for key, value in p.items():
            moved[key] = momentum * moved[key] + gradients[key] + decay * value
            p[key] = value - rate * moved[key]
        ranks.append(sum(measure(model).ranks.values()))
    ours = as_numpy(model)
    assert ranks[0] == 17
    assert 0 < ranks[-1] < 17  # what was compared has cut something, and not all
    assert max(float(np.abs(ours[key] - p[key]).max()) for key in p) < 1e-9


# --- Two: parameters and multiply-adds of the published ranks.


@pytest.mark.parametrize(
    ("sides", "ranks", "parameters", "factors"),
    [
        ((32, 100, 99), (32, 100), 13_200, 32 * 132 + 100 * 200),
        ((32, 100, 99), (12, 40), 9_584, 9_584),
        ((32, 100, 99), (11, 35), 8_452, 8_452),
        ((32, 100, 99), (10, 31), 7_520, 7_520),
        ((32, 100, 99), (9, 24), 5_988, 5_988),
        ((9, 80, 128), (9, 80), 7_120, 9 * 89 + 80 * 160),
        # W of rank 9 has 801 entries in factors and 720 in one matrix: it is multiplied back.
        ((9, 80, 128), (9, 8), 2_000, 2_081),
        ((9, 80, 128), (9, 7), 1_840, 1_921),
        ((9, 80, 128), (8, 7), 1_832, 1_832),
    ],
)
def test_parameters_and_macs_of_published_ranks(
    sides: tuple[int, int, int], ranks: tuple[int, int], parameters: int, factors: int
) -> None:
    features, hidden, steps = sides
    example = torch.zeros(1, steps, features), torch.tensor([steps])
    model = with_ranks(cell(hidden, features, 12), *ranks)
    report = measure(model, example)
    assert sum(r * sum(layer.size) for r, layer in zip(ranks, factored(model), strict=True)) == (
        factors
    )
    assert report.ranks == dict(zip("wu", ranks, strict=True))
    assert report.weights - report.zeros == parameters + 12 * hidden
    assert report.macs == steps * parameters + 12 * hidden
    assert report.dense_macs == steps * hidden * (features + hidden) + 12 * hidden
    baked = measure(bake(model), example)
    assert (baked.weights, baked.zeros, baked.macs) == (parameters + 12 * hidden, 0, report.macs)
    preset = cell(hidden, features, 12, ranks=ranks)
    assert measure(preset, example).weights == factors + 12 * hidden


@pytest.mark.parametrize("ranks", [(9, 24), (32, 100), (1, 1), (0, 5)])
def test_factored_and_baked_outputs_are_equal(ranks: tuple[int, int]) -> None:
    model = with_ranks(cell(100, 32, 12), *ranks).double()
    x, lengths = torch.randn(6, 20, 32).double(), torch.tensor([20, 1, 5, 19, 7, 20])
    expected = model(x, lengths)
    baked = bake(model)
    assert not threshold_parameters(baked)
    torch.testing.assert_close(baked(x, lengths), expected, rtol=0, atol=1e-12)
    again = cut_like(cell(100, 32, 12).double(), baked.state_dict())
    again.load_state_dict(baked.state_dict())
    torch.testing.assert_close(again(x, lengths), baked(x, lengths), rtol=0, atol=0)


def test_padding_changes_nothing_and_length_is_where_the_state_is_read() -> None:
    model = cell(10, 4, 3)
    x = torch.randn(3, 7, 4)
    alone = torch.cat([model(row[None, :length]) for row, length in zip(x, (7, 2, 5), strict=True)])
    lengths = torch.tensor([7, 2, 5])
    torch.testing.assert_close(model(x, lengths), alone)
    x[1, 2:], x[2, 5:] = 99, -99
    torch.testing.assert_close(model(x, lengths), alone)


# --- Landing: in counts, the most that is not above.


def share_left(quantity: str, w: int, u: int) -> float:
    """Return what ranks leave of 9 inputs, 24 units and 3 classes, in 5 steps."""
    weights = min(33 * w, 216) + min(48 * u, 576)
    shares = {
        "rank": (w + u) / 33,
        "sparsity": (weights + 72) / (792 + 72),
        "macs": (5 * weights + 72) / (5 * 792 + 72),
    }
    return shares[quantity]


@settings(max_examples=25)
@given(
    st.sampled_from(["macs", "rank", "sparsity"]),
    st.floats(0.2, 0.99),
    st.tuples(st.integers(1, 9), st.integers(1, 24)),
    st.integers(0, 5),
)
def test_any_target_is_met_in_ranks(
    quantity: str, kept: float, ranks: tuple[int, int], seed: int
) -> None:
    model = with_ranks(cell(24, 9, 3), *ranks)
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in factored(model):
            layer.m.uniform_(0.1, 2)
            layer.step.s.fill_(float(torch.randn(())))
    example = torch.zeros(1, 5, 9), torch.tensor([5])
    critical = {layer.name: layer.step.critical(layer.m) for layer in factored(model)}
    wanted = 1 - kept if quantity == "sparsity" else kept
    ranks_left = dict(land(model, **{quantity: wanted}, example=example).after.ranks)
    assert share_left(quantity, **ranks_left) <= kept + 1e-9
    # One more of the rank that was cut last would be above it.
    cut = {layer.name: critical[layer.name][~layer.kept] for layer in factored(model)}
    _, following = max((values.max().item(), name) for name, values in cut.items() if len(values))
    ranks_left[following] += 1
    assert share_left(quantity, **ranks_left) > kept


def test_what_stays_keeps_its_value_when_more_is_cut() -> None:
    model = with_ranks(cell(24, 9, 3), 9, 24)
    before = {layer.name: layer.parts() for layer in factored(model)}
    land(model, rank=0.5)
    for layer in factored(model):
        kept = layer.kept[before[layer.name][0].new_ones(layer.full_rank).bool()]
        first, second = before[layer.name]
        expected = second[:, kept] @ first[kept]
        torch.testing.assert_close(layer.weight.value.detach(), expected, rtol=1e-4, atol=1e-6)


# --- Start, and what is refused.


@pytest.mark.parametrize("sides", [(6, 9), (9, 6), (7, 7)])
def test_svd_starts_with_the_weight_and_random_with_its_size(sides: tuple[int, int]) -> None:
    torch.manual_seed(1)
    linear = nn.Linear(*sides)
    model = nn.Sequential(linear, nn.Linear(sides[1], 300))
    weight = linear.weight.detach().clone()
    factorize(model, threshold_init=-40.0, layers=["0"], start="svd")
    (layer,) = factored(model)
    torch.testing.assert_close(layer.weight.value, weight)
    torch.testing.assert_close(layer.m.mean(), torch.tensor(1.0))
    assert layer.m.diff().le(0).all()
    torch.manual_seed(2)
    linear = nn.Linear(300, 200)
    wide = nn.Sequential(linear, nn.ReLU())
    size = linear.weight.std().item()
    factorize(wide, threshold_init=-40.0, start="random")
    assert factored(wide)[0].m.eq(1).all()
    assert measure(wide).ranks == {"0": 200}
    assert factored(wide)[0].weight.value.std().item() == pytest.approx(size, rel=0.05)


def test_a_layer_that_starts_at_zero_learns() -> None:
    linear = nn.Linear(4, 6)
    model = nn.Sequential(linear, nn.ReLU())
    nn.init.zeros_(linear.weight)
    factorize(model, threshold_init=-40.0, start="svd")
    assert factored(model)[0].weight.value.eq(0).all()
    model(torch.randn(8, 4)).sum().backward()
    gradient = dict(model.named_parameters())["0.parametrizations.weight.original2"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_attention_is_left_alone_and_patterns_choose() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    assert [w.name for w in factorable(layer)] == ["linear1", "linear2"]
    factorize(layer, threshold_init=-40.0, layers=["*2"])
    assert [found.name for found in factored(layer)] == ["linear2"]
    with torch.no_grad():
        factored(layer)[0].m[2:] = 0
    x = torch.randn(2, 5, 8)
    expected = layer(x)
    baked = bake(layer).eval()  # evaluation has a path that reads the weights past the layers
    with torch.no_grad():
        torch.testing.assert_close(baked(x), expected)
    assert measure(baked).weights == 3 * 64 + 64 + 128 + 2 * (8 + 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["conv*"]}, "'conv*' matches no linear layer"),
        ({"skip": ["nothing"]}, "'nothing' matches no layer"),
    ],
)
def test_wrong_patterns_are_told(options: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        factorize(model, threshold_init=-1.0, **options)
    assert not factored(model)


def test_tied_layers_and_a_second_time_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="share one weight"):
        factorize(model, threshold_init=-1.0)
    once = factorize(nn.Sequential(nn.Linear(3, 3)), threshold_init=-1.0)
    with pytest.raises(ValueError, match="already"):
        factorize(once, threshold_init=-1.0)


def test_a_budget_of_low_rank_is_a_share_of_the_weights() -> None:
    budget = Budget.of(with_ranks(cell(100, 32, 12), 9, 24))
    assert budget.densities["u"] == pytest.approx(24 * 200 / 10_000)
