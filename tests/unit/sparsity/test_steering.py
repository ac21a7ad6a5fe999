"""Steered and scheduled thresholds meet any target exactly; values and gradients are by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strsweep.sparsity.convert import (
    Granularity,
    bake,
    parametrization_of,
    sparsify,
    threshold_parameters,
)
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.steering import (
    ScheduledThreshold,
    SteeredThreshold,
    bound_gradients,
    is_out_of_reach,
    schedulable,
    steer,
    steerable,
)
from strsweep.sparsity.threshold import soft_threshold

SHAPE = (1, 8, 8)
EXAMPLE = torch.zeros(1, *SHAPE)
GRANULARITIES: list[Granularity] = ["layer", "global", "filter", "weight"]


def net(seed: int = 0) -> nn.Sequential:
    """Return a network of 72, 5,760 and 100 weights; one of the first is used 36 times."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 20), nn.Linear(20, 5)
    )


def learned(model: nn.Module) -> nn.Module:
    """Give every threshold parameter a value of its own, as training does."""
    with torch.no_grad():
        for s in threshold_parameters(model):
            s.normal_(std=0.7)
    return model


def rounded(model: nn.Module, steps: int) -> nn.Module:
    """Let many weights of ``model`` be equal."""
    with torch.no_grad():
        for weight in weight_tensors(model):
            weight.original.mul_(steps).round_().div_(steps)
    return model


def layer_of(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def step_of(weight: WeightTensor) -> SteeredThreshold | ScheduledThreshold:
    step = parametrization_of(weight, SteeredThreshold)
    step = step or parametrization_of(weight, ScheduledThreshold)
    assert step is not None
    return step


def gradient_of(layer: nn.Module) -> Tensor:
    gradient = weight_tensors(layer)[0].original.grad
    assert gradient is not None
    return gradient


def zeros(model: nn.Module) -> int:
    return sum(int((weight.original == 0).sum()) for weight in weight_tensors(model))


WAYS: dict[str, Callable[..., nn.Module]] = {
    "steered": lambda model, **options: learned(steerable(model, **options)),
    "scheduled": schedulable,
}
both_ways = pytest.mark.parametrize("way", WAYS)
networks = st.one_of(
    st.builds(
        lambda seed, steps: schedulable(rounded(net(seed), steps)),
        st.integers(0, 5),
        st.sampled_from([3, 30, 1000, 10**6]),
    ),
    st.builds(
        lambda seed, **options: learned(steerable(net(seed), **options)),
        st.integers(0, 5),
        granularity=st.sampled_from(GRANULARITIES),
        function=st.sampled_from(["sigmoid", "exp"]),
        scale=st.sampled_from([0.5, 1.0]),
    ),
)


# --- Targets: met to the weight, or to the last multiply-add that fits.


@settings(max_examples=50)
@given(networks, st.floats(0, 0.999))
def test_any_sparsity_is_met_to_the_weight(model: nn.Module, sparsity: float) -> None:
    already = zeros(model)
    steer(model, sparsity, exactly=True)
    report = measure(model)
    assert report.zeros == max(already, round(sparsity * report.weights))


@settings(max_examples=50)
@given(networks, st.floats(0.001, 1))
def test_the_most_macs_that_are_not_above_the_wanted_ones(model: nn.Module, macs: float) -> None:
    already = zeros(model)
    uses = measure(model, EXAMPLE).uses("macs")
    steer(model, 1 - macs, uses, exactly=True)
    report = measure(model, EXAMPLE)
    assert report.macs is not None
    assert report.dense_macs is not None
    wanted = macs * report.dense_macs
    assert report.macs <= wanted + 1e-3
    if report.zeros > already:  # one more would be above it
        assert report.macs + last_pruned(model, uses) > wanted - 1e-3


def last_pruned(model: nn.Module, uses: dict[str, float]) -> float:
    """Return the most multiply-adds of a weight that the next lower shift would bring back."""
    found: list[tuple[float, float]] = []
    for weight in weight_tensors(model):
        critical = step_of(weight).critical(weight.original)[weight.value == 0]
        found += [(round(value, 5), uses[weight.name]) for value in critical.tolist()]
    return max(found)[1]


def test_a_million_weights_are_met_to_the_weight() -> None:
    torch.manual_seed(0)
    model = learned(steerable(nn.Sequential(nn.Linear(1000, 2000), nn.Linear(2000, 500))))
    for sparsity in (0.5, 0.99):
        for exactly, off in ((False, 1), (True, 0)):
            steer(model, sparsity, exactly=exactly)
            report = measure(model)
            assert abs(report.zeros - round(sparsity * report.weights)) <= off


@both_ways
def test_equal_weights_are_told_apart_by_the_least_step(way: str) -> None:
    layer = layer_of([[0.5] * 10] * 10)
    steer(WAYS[way](layer), 0.33)
    assert measure(layer).zeros == 100
    steer(layer, 0.33, exactly=True)
    assert measure(layer).zeros == 33
    original = weight_tensors(layer)[0].original
    assert original.max() == 0.5 + 2**-24
    assert original.min() > 0.5 - 2**-20


def test_dense_layers_count_among_the_macs() -> None:
    model = steerable(net(), skip=("0",))  # 2,592 of 8,452 multiply-adds stay
    uses = measure(model, EXAMPLE).uses("macs")
    assert uses == {"0": 36, "3": 1, "4": 1}
    steer(model, 0.6, uses)
    report = measure(model, EXAMPLE)
    assert (report.macs, report.dense_macs) == (3380, 8452)  # 0.4 * 8452 = 3380.8


@both_ways
def test_what_cannot_be_reached_is_told(way: str) -> None:
    model = WAYS[way](net(), skip=("3",))  # 5,760 of 5,932 weights, 5,760 of 8,452 multiply-adds
    with pytest.raises(ValueError, match="5339 of 5932 weights are to be pruned, but only 172 can"):
        steer(model, 0.9)
    uses = measure(model, EXAMPLE).uses("macs")
    with pytest.raises(ValueError, match=r"7607 of 8452 multiply-adds .* only 2692 can be"):
        steer(model, 0.9, uses)
    steer(model, 0.3, uses)
    steer(model, 0.02)
    assert measure(model).zeros == round(0.02 * 5932)


def test_wrong_models_and_granularities_are_told() -> None:
    for model in (net(), sparsify(net(), threshold_init=-3.0)):
        assert not is_out_of_reach(model)
        with pytest.raises(ValueError, match="no thresholds to set"):
            steer(model, 0.9)
    with pytest.raises(ValueError, match="granularity: got 'kernel'"):
        steerable(net(), granularity="kernel")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("function", ["sigmoid", "exp"])
@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("above", [0, 2])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.8])
def test_zeros_and_weights_above_the_scale_leave_the_network_finite(
    function: Any, zeros: int, above: int, share: float
) -> None:
    """The cut lies between two finite values, or beside an infinite one, or between two such."""
    values = [0.0] * zeros + [0.1 * k for k in range(1, 11 - zeros - above)] + [1.5] * above
    if zeros and above:  # nothing lies between
        values = [0.0] * 5 + [1.5] * 5
    model = steerable(layer_of([values]), function=function)
    most = sum(value <= 1 for value in values)
    steer(model, share, exactly=True)
    wanted = max(values.count(0.0), round(10 * share))
    assert is_out_of_reach(model) == (function == "sigmoid" and wanted > most)
    if not is_out_of_reach(model):
        assert measure(model).zeros == wanted
        (weight,) = weight_tensors(model)
        weight.value.square().sum().backward()
        assert all(p.isfinite().all() for p in (*model.parameters(), *model.buffers()))
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# --- What both are: nothing at first, a state, plain layers in the end.


@both_ways
def test_nothing_is_pruned_at_first_and_the_outputs_are_those_of_the_dense_model(way: str) -> None:
    model, x = WAYS[way](net()), torch.randn(2, *SHAPE)
    torch.testing.assert_close(model(x), net()(x))
    steer(model, 0.5)
    steer(model, 0.0)
    torch.testing.assert_close(model(x), net()(x))
    assert measure(model).zeros == 0


@both_ways
def test_what_was_set_is_part_of_the_state(way: str) -> None:
    model = WAYS[way](net())
    steer(model, 0.6)
    again = WAYS[way](net())
    again.load_state_dict(model.state_dict())
    report = measure(model, EXAMPLE)
    assert measure(again, EXAMPLE) == report == measure(copy.deepcopy(model), EXAMPLE)
    assert report.zeros > 0


@both_ways
def test_baked_values_are_those_that_were_multiplied_with(way: str) -> None:
    model, x = WAYS[way](net()), torch.randn(2, *SHAPE)
    steer(model, 0.9)
    outputs, values = model(x), [weight.value.detach() for weight in weight_tensors(model)]
    pruned = measure(model).zeros
    assert torch.equal(bake(model)(x), outputs)
    for weight, value in zip(weight_tensors(model), values, strict=True):
        assert weight.is_plain
        assert torch.equal(weight.original, value)
    assert list(model.state_dict()) == list(net().state_dict())
    assert measure(model).zeros == pruned


# --- Steered thresholds: learned, shifted together.


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_shift_stays_precise(granularity: Any) -> None:
    for model in (steerable(net(), granularity=granularity).float(), steerable(net()).half()):
        for weight in weight_tensors(model):
            step = step_of(weight)
            assert isinstance(step, SteeredThreshold)
            assert step.offset.dtype == step.threshold.dtype == torch.float64


def test_the_shift_is_the_same_for_all_layers() -> None:
    model = learned(steerable(net()))
    s = [parameter.item() for parameter in threshold_parameters(model)]
    steer(model, 0.8)
    levels = [torch.logit(torch.tensor(layer.threshold)).item() for layer in measure(model).layers]
    shifts = [level - own for level, own in zip(levels, s, strict=True)]
    assert max(shifts) - min(shifts) < 1e-4


def test_equal_thresholds_prune_the_smallest_weights_of_all() -> None:
    model = net()
    originals = [weight.value.detach().clone() for weight in weight_tensors(model)]
    steer(steerable(model), 0.7)
    count = measure(model).zeros
    magnitudes = torch.cat([original.abs().flatten() for original in originals])
    cut = magnitudes.sort().values[count - 1 : count + 1].mean()
    for weight, original in zip(weight_tensors(model), originals, strict=True):
        torch.testing.assert_close(weight.value, soft_threshold(original, cut), atol=1e-5, rtol=0)


def test_thresholds_learn_and_weights_keep_their_type() -> None:
    model = steerable(net())
    steer(model, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(torch.randn(4, *SHAPE)).float().square().sum()
    loss.backward()
    for s in threshold_parameters(model):
        assert s.dtype == torch.float32
        assert s.grad is not None
        assert s.grad.abs().max() > 0
    half = steerable(net().half())
    steer(half, 0.5)
    assert half[4].weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("model", "slopes"),
    [
        *((learned(steerable(net(), granularity=x)), -1 + 0.25 + 1) for x in GRANULARITIES),
        (sparsify(net(), threshold_init=-5.0), -25 + 0.25 + 3),
    ],
    ids=[*GRANULARITIES, "not_steered"],
)
def test_steep_gradients_move_steered_thresholds_by_no_more_than_the_rate(
    model: nn.Module, slopes: float
) -> None:
    levels = {id(level) for level in threshold_parameters(model)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    bound_gradients(model, optimizer)
    before = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    for slope in (-25.0, 0.25, 3.0):
        for parameter in before:
            parameter.grad = torch.full_like(parameter, slope)
        optimizer.step()
    for parameter, first in before.items():
        expected = first - 0.5 * (slopes if id(parameter) in levels else -25 + 0.25 + 3)
        torch.testing.assert_close(parameter.detach(), expected)


def test_a_gradient_is_bounded_after_its_scale_is_taken_away() -> None:
    model = steerable(net())
    levels = threshold_parameters(model)
    optimizer = torch.optim.SGD(levels, lr=1.0)
    bound_gradients(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for slope in (0.25, 7.0, torch.inf):  # the scaler leaves the last step out
        optimizer.zero_grad()
        scaler.scale(torch.stack([level * slope for level in levels]).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert [level.item() for level in levels] == [-1.25] * len(levels)


# --- The scheduled threshold: one for all, nothing learned.


def test_values_and_scale_by_hand() -> None:
    layer = schedulable(layer_of([[0.5, -0.3, 0.1, 0.1], [0.2, -0.2, 0.05, 0.05]]))
    assert threshold_parameters(layer) == []
    steer(layer, 4 / 8)
    assert measure(layer).layers[0].threshold == pytest.approx(0.1)
    # Of the first filter 0.8 of 1.0 is kept, of the second 0.4 of 0.5.
    scale = 1.01 / 0.81
    expected = torch.tensor([[0.4, -0.2, 0, 0], [0.1, -0.1, 0, 0]]) * scale
    torch.testing.assert_close(layer.weight, expected)


@pytest.mark.parametrize("is_damped", [True, False], ids=["damped", "published"])
def test_the_gradient_by_hand(is_damped: bool) -> None:
    layer = layer_of([[0.5, -0.3, 0.1, 0.1], [0.02, 0.02, 0.05, 0.05]])
    steer(schedulable(layer, is_damped=is_damped), 6 / 8)
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    layer.weight.backward(upstream)
    # The kept weights get it as it is; damped, the pruned ones of a filter of which 0.6 of 1.0 is
    # left get 0.6 of it, and those of a filter of which nothing is left get none.
    damped = torch.tensor([[1.0, 2.0, 1.8, 2.4], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(gradient_of(layer), damped if is_damped else upstream)


def test_the_filters_of_a_transposed_convolution_are_on_its_second_axis() -> None:
    layer = nn.ConvTranspose2d(2, 2, 1, bias=False)
    layer.weight.data = torch.tensor([[0.9, 0.2], [0.1, 0.3]]).view(2, 2, 1, 1)
    steer(schedulable(layer), 1 / 4)  # the 0.1: of the first filter 0.9 of 1.0 is kept
    scales = torch.tensor([1.01 / 0.91, 1.0])
    expected = torch.tensor([[0.8, 0.1], [0.0, 0.2]]) * scales
    torch.testing.assert_close(layer.weight.view(2, 2), expected)


def test_a_filter_of_zeros_stays_finite() -> None:
    model = net()
    weight_tensors(model)[0].original.data[0] = 0
    steer(schedulable(model), 0.5)
    model(torch.randn(2, *SHAPE)).square().sum().backward()
    for weight in weight_tensors(model):
        assert weight.value.isfinite().all()
        assert weight.original.grad is not None
        assert weight.original.grad.isfinite().all()


def test_compiled_values_and_gradients_are_the_plain_ones() -> None:
    found: list[list[Tensor]] = []
    for compiled in (False, True):
        torch.manual_seed(1)
        layer = layer_of(torch.randn(10, 20).tolist())
        steer(schedulable(layer), 0.7)
        run = torch.compile(layer, backend="aot_eager") if compiled else layer
        loss = run(torch.linspace(-1, 1, 60).view(3, 20)).square().sum()
        loss.backward()
        found.append([loss.detach(), gradient_of(layer)])
    torch.testing.assert_close(found[1], found[0])
