"""Which tensors of a model are weights: what is pruned, and what sparsity is a share of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

WeightModule = _ConvNd | nn.Linear | nn.MultiheadAttention
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Linear weights that ``nn.MultiheadAttention`` holds itself; the output projection is a layer."""


@dataclass(frozen=True)
class WeightUse:
    """One place of the model that uses a weight."""

    name: str
    """Name of the layer, e.g. ``layer1.0.conv1``; an attention's own is ``...in_proj``."""
    module: WeightModule
    attribute: str
    """Name of the weight in ``module``."""

    @property
    def value(self) -> Tensor:
        """The weight as this layer multiplies with it: thresholded, if it is parametrized."""
        return getattr(self.module, self.attribute)


@dataclass(frozen=True)
class WeightTensor:
    """A convolution or linear weight of a model; several layers may share (tie) it."""

    uses: tuple[WeightUse, ...]

    @property
    def name(self) -> str:
        """Name of the first layer that uses it."""
        return self.uses[0].name

    @property
    def parameter(self) -> str:
        """Name of the weight in the state of the dense model."""
        first = self.uses[0]
        last = ".weight" if first.attribute == "weight" else "_weight"
        return f"{first.name}{last}".lstrip(".")

    @property
    def value(self) -> Tensor:
        """The weight as the layer multiplies with it: thresholded, if it is parametrized."""
        return self.uses[0].value

    @property
    def original(self) -> nn.Parameter:
        """The trained parameter behind ``value``."""
        return _original(self.uses[0])

    @property
    def is_plain(self) -> bool:
        """True if the layer multiplies with a parameter of its own, and nothing computes it."""
        return all(
            not parametrize.is_parametrized(use.module, use.attribute)
            and isinstance(_original(use), nn.Parameter)
            for use in self.uses
        )

    @property
    def filter_axis(self) -> int:
        """Axis of the output filters: a transposed convolution has it second."""
        return 1 if isinstance(self.uses[0].module, _ConvTransposeNd) else 0

    @property
    def filter_groups(self) -> int:
        """Blocks of rows with filters of their own; only a transposed convolution has several."""
        module = self.uses[0].module
        return module.groups if isinstance(module, _ConvTransposeNd) else 1


def weight_tensors(model: nn.Module) -> list[WeightTensor]:
    """Return every convolution and linear weight in the order of the model, a tied one once.

    Batch norm and biases do not count (appendix A.7). The input projections of
    ``nn.MultiheadAttention`` are linear weights and count.
    """
    tied: dict[int, list[WeightUse]] = {}
    for use in _uses(model):
        tied.setdefault(id(_original(use)), []).append(use)
    return [
        WeightTensor(tuple(uses))
        for uses in tied.values()
        if isinstance(_original(uses[0]), UninitializedParameter) or _original(uses[0]).numel()
    ]


def without(weights: Sequence[WeightTensor], skip: Sequence[str]) -> list[WeightTensor]:
    """Return the ``weights`` that no pattern of ``skip`` names.

    Patterns are names of layers, or shell patterns such as ``"layer1.*"``.

    Raises:
        ValueError: A pattern names no layer, or only some of the layers that share a weight.
    """
    if isinstance(skip, str):
        raise ValueError(f"skip: got {skip!r}, use a list of names such as [{skip!r}]")
    names = [use.name for weight in weights for use in weight.uses]
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"skip: {pattern!r} matches no layer; the layers are {names}")
    return [weight for weight in weights if not _skipped(weight, skip)]


def _skipped(weight: WeightTensor, skip: Sequence[str]) -> bool:
    hits = [any(fnmatchcase(use.name, pattern) for pattern in skip) for use in weight.uses]
    if any(hits) and not all(hits):
        shared = [use.name for use in weight.uses]
        raise ValueError(f"skip: the layers {shared} share one weight: skip all of them or none")
    return hits[0]


def _uses(model: nn.Module) -> Iterator[WeightUse]:
    for name, module in model.named_modules():
        if isinstance(module, _ConvNd | nn.Linear):
            yield WeightUse(name, module, "weight")
        elif isinstance(module, nn.MultiheadAttention):
            for attribute in _PROJECTIONS:
                if getattr(module, attribute) is not None:
                    layer = attribute.removesuffix("_weight")
                    yield WeightUse(f"{name}.{layer}".lstrip("."), module, attribute)


def _original(use: WeightUse) -> Any:
    if not parametrize.is_parametrized(use.module, use.attribute):
        return getattr(use.module, use.attribute)
    stack = getattr(use.module.parametrizations, use.attribute)
    # Weight norm keeps two tensors instead of one; the larger has the shape of the weight.
    return max(stack.parameters(recurse=False), key=lambda parameter: parameter.numel())
