"""Follow weights into the convolutions and matrix products of a network, however it calls them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from strsweep.sparsity.layers import WeightTensor, weight_tensors

Example = Tensor | tuple[Any, ...]
"""Arguments of a model for one input: a batch of one, or several arguments in a tuple."""
_KEPT = 0.35
"""Of weights half of which are zero: share of zeros that a product must still see."""
_aten = torch.ops.aten
_FIRST_FACTOR = {
    _aten.mm.default: 0,
    _aten.bmm.default: 0,
    _aten.addmm.default: 1,
    _aten.baddbmm.default: 1,
}


class Products(TorchDispatchMode):
    """Counts the multiply-adds of weights while a network runs.

    A weight is recognized by its memory, so one that is used twice, tied, or used in slices (an
    attention's packed projection) is counted every time, for the part that is used. What is
    computed from weights (cast, scaled, standardized) is counted as the product sees it.
    """

    def __init__(self, weights: Sequence[WeightTensor]) -> None:
        super().__init__()
        self.places: dict[int, list[tuple[int, int, int]]] = {}
        """Storage -> first and last entry of every weight in it, and its number."""
        for number, weight in enumerate(weights):
            for tensor in _tensors_of(weight):
                self.places.setdefault(_memory(tensor), []).append((*_extent(tensor), number))
        self._computed: Any = WeakTensorKeyDictionary()
        """Tensor -> the weights that it was computed from."""
        zero = torch.zeros((), dtype=torch.int64, device=weights[0].original.device)
        self.dense = [0 for _ in weights]
        self.remaining = [zero.clone() for _ in weights]
        self.parts: list[dict[Any, int]] = [{} for _ in weights]
        """Of every weight, the parts that were multiplied as they are, and their sizes."""
        self.zero_shares: list[list[Tensor]] = [[] for _ in weights]
        """Of every weight, the shares of zeros in what was computed from it and multiplied."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would import its compiler, which takes seconds, to keep it away from this method.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        factors = _factors(func, args, output)
        for factor, uses in factors:
            self._count(factor, uses)
        if not factors:
            inputs = (value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor))
            sources = {i for value in inputs for i in self._held(value) or self._made_of(value)}
            for value in tree_leaves(output) if sources else ():
                if isinstance(value, Tensor):
                    self._computed[value] = sources
        return output

    def _count(self, factor: Tensor, uses: int) -> None:
        held = self._held(factor)[:1]
        sources = held or self._made_of(factor)
        if not sources or not factor.numel():
            return
        kept = (factor != 0).sum()
        for number in sources:
            self.dense[number] += factor.numel() * uses // len(sources)
            self.remaining[number] += kept * uses // len(sources)
            if held:
                self.parts[number][_extent(factor)] = factor.numel()
            else:
                self.zero_shares[number].append(1 - kept / factor.numel())

    def _held(self, tensor: Tensor) -> list[int]:
        """Return the weights that ``tensor`` is, or is a part of, the smallest first."""
        if tensor.layout is not torch.strided or not (found := self.places.get(_memory(tensor))):
            return []
        first, last = _extent(tensor)
        holding = sorted((b - a, number) for a, b, number in found if a <= first and last <= b)
        return [number for _, number in holding]

    def _made_of(self, tensor: Tensor) -> list[int]:
        return sorted(self._computed.get(tensor, ()))


def products(model: nn.Module, weights: Sequence[WeightTensor], example: Example) -> Products:
    """Run ``model`` once on ``example`` and return what its ``weights`` were multiplied with."""
    like = weights[0].original
    arguments = example if isinstance(example, tuple) else (example,)
    # Cached: thresholded once, and the tensor that the model multiplies with is the one counted.
    # Inference mode and autocast, if the caller is inside them, would hide the weights.
    plain = torch.inference_mode(False), torch.autocast(like.device.type, enabled=False)
    with _evaluating(model), plain[0], plain[1], torch.no_grad(), parametrize.cached():
        counter = Products(weights)
        with counter:
            model(*tree_map_only(Tensor, lambda value: _like(value, like), arguments))
    return counter


@torch.no_grad()
def check_products(model: nn.Module, names: Sequence[str], example: Example) -> None:
    """Check that zeros in the weights of the layers ``names`` are zeros where ``model`` multiplies.

    A layer that computes what it multiplies with, such as one with weight standardization, has
    zeros in its weights and none in its products; one that the network never calls has nothing to
    prune. Weights of ``model`` are changed: half of those of ``names`` become zero.

    The model is plain and untrained; ``example`` is one input, as of ``measure``.

    Raises:
        ValueError: Some zeros are none; the message names the layers.
    """
    weights = weight_tensors(model)
    for parameter in model.parameters():
        if parameter.is_floating_point() and not parameter.any():
            nn.init.normal_(parameter, std=0.01)  # an adapter that is zero would hide what it adds
    for original in (weight.original for weight in weights if weight.name in names):
        order = torch.randperm(original.numel(), device=original.device)
        original.mul_((order < original.numel() // 2).view(original.shape))
    found = products(model, weights, example)
    told: dict[str, list[str]] = {}
    for number, weight in enumerate(weights):
        if weight.name in names and (reason := _lost(found, number, weight.original)):
            reason = f"{type(weight.uses[0].module).__name__}: {reason}"
            told.setdefault(reason, []).append(weight.name)
    if told:
        lost = [name for layers in told.values() for name in layers]
        raise ValueError(f"{'; '.join(told)}. Leave these layers dense: sparsity.skip={lost}")


def _lost(found: Products, number: int, weight: Tensor) -> str:
    """Return why zeros of a weight, half of its entries, are none in the products; or nothing."""
    first, last = _extent(weight)
    near = [place for place in found.places[_memory(weight)] if place[2] != number]
    if any(a <= last and first <= b for a, b, _ in near):
        return "it shares a part of the memory of its weight with another layer"
    if any(share < _KEPT for share in found.zero_shares[number]):
        return "it multiplies with what it computes from its weight, where zeros do not stay zeros"
    if not found.dense[number]:
        return "the network does not multiply with its weight"
    if not found.zero_shares[number] and sum(found.parts[number].values()) < weight.numel():
        return "the network multiplies with a part of its weight only"
    return ""


def _tensors_of(weight: WeightTensor) -> list[Tensor]:
    """Return the weight as every layer has it, and what others compute it from (weight norm)."""
    found = [use.value for use in weight.uses]
    for use in weight.uses:
        own = use.module.named_parameters(recurse=False)
        found += [tensor for name, tensor in own if name.startswith(f"{use.attribute}_")]
    return found


def _factors(func: Any, args: Any, output: Any) -> list[tuple[Tensor, int]]:
    """Return what ``func`` multiplies, and how often each of its entries is used."""
    if func is _aten.convolution.default:
        inputs, weight, is_transposed = args[0], args[1], args[6]
        # A transposed convolution scatters: every weight meets every input position once.
        seen = inputs if is_transposed else output
        return [(weight, seen.numel() // seen.shape[1])]
    first = _FIRST_FACTOR.get(func)
    if first is None:
        return []
    left, right = args[first : first + 2]
    return [(left, right.shape[-1]), (right, left.shape[-2])]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the numbers of the first and the last entry of its storage that ``tensor`` has."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    first = int(tensor.storage_offset())
    return first, first + sum((size - 1) * stride for size, stride in steps)


def _like(value: Tensor, weight: Tensor) -> Tensor:
    """Return ``value`` on the device of ``weight``, and real numbers in its type."""
    return value.to(weight.device, weight.dtype if value.is_floating_point() else None)


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    # Batch norm must not learn from the zeros, and every module must get its own mode back. The
    # fused attention of evaluation mode would hide its projections.
    training = [module for module in model.modules() if module.training]
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module in training:
            module.training = True
