"""Follow weights into the convolutions and matrix products of a network, however it calls them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from strsweep.sparsity.layers import WeightTensor, weight_tensors

Example = Tensor | tuple[Any, ...]
"""Arguments of a model for one input: a batch of one, or several arguments in a tuple."""
_INPUT = -1
"""In place of the number of a weight: what comes from the arguments of the model."""
_aten = torch.ops.aten
_FIRST_FACTOR = {
    _aten.mm.default: 0,
    _aten.bmm.default: 0,
    _aten.mv.default: 0,
    _aten.dot.default: 0,
    _aten.vdot.default: 0,
    _aten.addmm.default: 1,
    _aten.addmv.default: 1,
    _aten.addbmm.default: 1,
    _aten.baddbmm.default: 1,
}


class Products(TorchDispatchMode):
    """Counts the multiply-adds of weights in convolutions and matrix products of a network.

    A weight is recognized by its memory, so one that is used twice, tied, or used in slices (an
    attention's packed projection) is counted every time, for the part that is used. What is
    computed from weights (cast, scaled, standardized) is counted as the product sees it.
    """

    def __init__(
        self, weights: Sequence[WeightTensor], inputs: Sequence[Tensor], *, keeps_masks: bool
    ) -> None:
        super().__init__()
        self.places: dict[Any, list[tuple[int, int, int]]] = {}
        """Memory -> first and last entry of every weight in it, and its number."""
        for number, weight in enumerate(weights):
            for tensor in _tensors_of(weight):
                self.places.setdefault(_memory(tensor), []).append((*_extent(tensor), number))
        self._made_of: dict[Any, set[int]] = {_memory(value): {_INPUT} for value in inputs}
        """Memory -> the weights that it was computed from, and whether inputs were among it."""
        zero = torch.zeros((), dtype=torch.int64, device=weights[0].original.device)
        self.dense = [0 for _ in weights]
        self.remaining = [zero.clone() for _ in weights]
        self._keeps_masks = keeps_masks
        self.masks: list[dict[Any, Tensor]] = [{} for _ in weights]
        """Of every weight, what was multiplied -> which of its entries were not zero."""
        self.changed: set[int] = set()
        """Weights that the network wrote into."""
        self.met: set[int] = set()
        """Weights that met inputs in another operation than a product."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would import its compiler, which takes seconds, to keep it away from this method.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.__name__.partition(".")[0]
        if name.endswith("_"):
            self.changed.update(i for value in _tensors(args[0]) for i in self.held(value)[:1])
        factors = _factors(func, args, output)
        for factor, uses in factors:
            self._count(factor, uses)
        if "_like" not in name and not name.startswith("new_"):
            sources = self._passed_on(func, _tensors((args, kwargs)), [one for one, _ in factors])
            for value in _tensors(output) if sources else ():
                self._made_of.setdefault(_memory(value), set()).update(sources)
        return output

    def _passed_on(self, func: Any, given: list[Tensor], factors: list[Tensor]) -> set[int]:
        """Return what the output of ``func`` is made of."""
        others = [value for value in given if not any(value is one for one in factors)]
        sources = {i for value in others for i in self._sources(value)}
        if torch.Tag.reduction in func.tags:
            sources &= {_INPUT}  # a norm or mean may scale activations: it is no weight any more
        multiplied = [self._sources(factor) for factor in factors]
        # A product of two weights is a constant. Inputs inside objects are seen here at the latest.
        if any(_INPUT in one for one in multiplied) or sum(map(bool, multiplied)) == 1:
            sources.add(_INPUT)
        if _INPUT in sources:
            self.met |= sources - {_INPUT}
            return {_INPUT}
        return sources

    def _count(self, factor: Tensor, uses: int) -> None:
        sources = self._sources(factor) - {_INPUT}
        if not sources or not factor.numel():
            return
        kept = factor != 0
        for number in sources:
            self.dense[number] += factor.numel() * uses // len(sources)
            self.remaining[number] += kept.sum() * uses // len(sources)
            if self._keeps_masks:
                # A filter without weights may be scaled to NaN.
                self.masks[number][_memory(factor), _extent(factor)] = kept & ~factor.isnan()

    def held(self, tensor: Tensor) -> list[int]:
        """Return the weights that ``tensor`` is, or is a part of, the smallest first."""
        if not (found := self.places.get(_memory(tensor))):
            return []
        first, last = _extent(tensor)
        holding = sorted((b - a, number) for a, b, number in found if a <= first and last <= b)
        return [number for _, number in holding]

    def shares_memory(self, number: int) -> bool:
        """Return whether another weight has some entries of weight ``number``."""
        return any(
            a <= last and first <= b
            for near in self.places.values()
            for first, last, one in near
            if one == number
            for a, b, other in near
            if other != number
        )

    def _sources(self, tensor: Tensor) -> set[int]:
        return set(self.held(tensor)[:1]) or self._made_of.get(_memory(tensor), set())


def products(
    model: nn.Module,
    weights: Sequence[WeightTensor],
    example: Example,
    *,
    keeps_masks: bool = False,
) -> Products:
    """Run ``model`` once on ``example`` and return what its ``weights`` were multiplied with."""
    like = weights[0].original
    arguments = example if isinstance(example, tuple) else (example,)
    arguments = tree_map_only(Tensor, lambda value: _like(value, like), arguments)
    # Cached: thresholded once, and the tensor that the model multiplies with is the one counted.
    # Inference mode and autocast, if the caller is inside them, would hide the weights.
    plain = torch.inference_mode(False), torch.autocast(like.device.type, enabled=False)
    with _evaluating(model), plain[0], plain[1], torch.no_grad(), parametrize.cached():
        counter = Products(weights, _tensors(arguments), keeps_masks=keeps_masks)
        with counter:
            model(*arguments)
    return counter


@torch.no_grad()
def check_products(model: nn.Module, names: Sequence[str], example: Example) -> None:
    """Check that zeros in the weights of the layers ``names`` are zeros where ``model`` multiplies.

    A layer that computes what it multiplies with, such as one with weight standardization, has
    zeros in its weights and none in its products; one that the network never calls has nothing to
    prune. Weights of ``model`` are changed: about half of those of ``names`` become zero.

    The model is plain and untrained; ``example`` is one input, as of ``measure``.

    Raises:
        ValueError: Some zeros are none; the message names the layers.
    """
    weights = weight_tensors(model)
    for parameter in model.parameters():
        if parameter.is_floating_point() and not parameter.any():
            nn.init.normal_(parameter, std=0.01)  # an adapter that is zero would hide what it adds
    originals = [weight.original for weight in weights if weight.name in names]
    values = [(weight.clone(), torch.rand(weight.shape) < 0.5) for weight in originals]
    found: list[Products] = []
    for side in (True, False):  # every weight is zero once, and so must be all that is multiplied
        for weight, (value, half) in zip(originals, values, strict=True):
            weight.copy_(value * (half == side).to(weight.device))
        found.append(products(model, weights, example, keeps_masks=True))
    told: dict[str, list[str]] = {}
    for number, weight in enumerate(weights):
        if weight.name in names and (reason := _lost(found, number, weight.original)):
            reason = f"{type(weight.uses[0].module).__name__}: {reason}"
            told.setdefault(reason, []).append(weight.name)
    if told:
        lost = [name for layers in told.values() for name in layers]
        raise ValueError(f"{'; '.join(told)}. Leave these layers dense: sparsity.skip={lost}")


def _lost(found: Sequence[Products], number: int, weight: Tensor) -> str:
    """Return why zeros of a weight, which every run has elsewhere, are none; or nothing."""
    masks = [list(run.masks[number].values()) for run in found]
    if found[0].shares_memory(number):
        return "it shares a part of the memory of its weight with another layer"
    if any(number in run.changed or number not in run.held(weight) for run in found):
        return (
            "the network changes its weight while it runs; of a pruned one it would change a copy"
        )
    if any(number in run.met for run in found):
        return "it meets its inputs elsewhere than in a convolution or matrix product"
    if not all(masks):
        told = "in a try with a few samples the network does not multiply with its weight"
        return f"{told}: it may serve other samples, or training only"
    if any(a.shape != b.shape or (a & b).any() for a, b in zip(*masks, strict=False)):
        return "it multiplies with what it computes from its weight, where zeros do not stay zeros"
    if sum(mask.numel() for mask in masks[0]) < weight.numel():
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
    return [
        (left, right.shape[-1] if right.dim() > 1 else 1),
        (right, left.shape[-2] if left.dim() > 1 else 1),
    ]


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _memory(tensor: Tensor) -> Any:
    """Return what stands for the memory of ``tensor``, and no other's later; None if sparse."""
    strided = tensor.layout is torch.strided
    return StorageWeakRef(tensor.untyped_storage()) if strided else None


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
