"""What a training step costs: STR, steered or not, and the authors' formula, against dense.

Needs torch and torchvision only. The variants take turns, a few steps each, and every round gives
one ratio to the dense network: what else the machine does hits all of them alike.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.models import build
from strsweep.sparsity import sparsify, steer, steerable, weight_tensors
from strsweep.sparsity.convert import parametrized

VARIANTS = ("dense", "str", "authors", "steered")
"""``steered`` shifts its thresholds before every step; long runs do so before every tenth."""
_THRESHOLD_INIT, _STEERED_SHARE = -6.0, 0.9
_WARMUP_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One network on one device."""

    model: str
    batch_size: int
    image_size: int
    device: str
    compiled: bool

    @property
    def on_gpu(self) -> bool:
        """Train as one does on a GPU: bfloat16 autocast and channels_last."""
        return self.device == "cuda"


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Times of one variant, and its ratio to the dense network."""

    setting: Setting
    variant: str
    seconds: float
    """Median over the rounds, of one step."""
    ratio: float
    """Median over the rounds of time over the dense network's time in the same round."""
    ratio_range: tuple[float, float]
    """Lower and upper quartile of the ratio."""

    @property
    def images_per_second(self) -> float:
        """Training throughput."""
        return self.setting.batch_size / self.seconds


class AuthorsFormula(nn.Module):
    """Eq. 1 as it stands in the paper, left to autograd: ``sign(w) * relu(|w| - sigmoid(s))``."""

    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.full((1, 1), _THRESHOLD_INIT))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the thresholded weight."""
        threshold = torch.sigmoid(self.s).reshape([1] * weight.dim())
        return torch.sign(weight) * torch.relu(torch.abs(weight) - threshold)


def measure_steps(setting: Setting, *, rounds: int, steps: int) -> list[StepCost]:
    """Time training steps of every variant, side by side.

    Args:
        setting: Network, sizes and device.
        rounds: Turns of every variant.
        steps: Steps of one turn.
    """
    torch.manual_seed(0)
    dense = build(setting.model, num_classes=1000)
    trainers = {variant: _trainer(dense, variant, setting) for variant in VARIANTS}
    for train in trainers.values():
        train(_WARMUP_STEPS)
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(rounds):
        start = turn % len(VARIANTS)
        for variant in (*VARIANTS[start:], *VARIANTS[:start]):
            seconds[variant].append(_timed(trainers[variant], steps, setting.device))
    return [_cost(setting, variant, seconds) for variant in VARIANTS]


def _cost(setting: Setting, variant: str, seconds: dict[str, list[float]]) -> StepCost:
    ratios = [own / dense for own, dense in zip(seconds[variant], seconds["dense"], strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return StepCost(
        setting=setting,
        variant=variant,
        seconds=statistics.median(seconds[variant]),
        ratio=statistics.median(ratios),
        ratio_range=(lower, upper),
    )


def _trainer(dense: nn.Module, variant: str, setting: Setting) -> Callable[[int], None]:
    """Return a function that takes a number of training steps."""
    layout = torch.channels_last if setting.on_gpu else torch.contiguous_format
    model: Any = _variant(copy.deepcopy(dense), variant).to(setting.device)
    model.to(memory_format=layout)
    size = (setting.batch_size, 3, setting.image_size, setting.image_size)
    images = torch.randn(size, device=setting.device).to(memory_format=layout)
    labels = torch.randint(1000, (setting.batch_size,), device=setting.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.875, weight_decay=1e-5)
    network = torch.compile(model) if setting.compiled else model

    def train(steps: int) -> None:
        for _ in range(steps):
            if variant == "steered":
                steer(model, _STEERED_SHARE)
            with _autocast(setting):
                loss = nn.functional.cross_entropy(network(images), labels, label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return train


def _variant(model: nn.Module, variant: str) -> nn.Module:
    if variant == "str":
        sparsify(model, threshold_init=_THRESHOLD_INIT)
    if variant == "steered":
        steerable(model)
    if variant == "authors":
        for weight in weight_tensors(model):
            parametrized(weight, AuthorsFormula())
    return model.train()


def _autocast(setting: Setting) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if setting.on_gpu else nullcontext()


def _timed(train: Callable[[int], None], steps: int, device: str) -> float:
    _wait_for(device)
    started = time.perf_counter()
    train(steps)
    _wait_for(device)
    return (time.perf_counter() - started) / steps


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(costs: Sequence[StepCost]) -> str:
    """Return the costs as aligned lines."""
    lines = [
        f"{'network':<14}{'':<10}{'step':<9}{'ms':>9}{'images/s':>10}{'of dense':>10}  quartiles"
    ]
    for cost in costs:
        low, high = cost.ratio_range
        lines.append(
            f"{cost.setting.model:<14}{'compiled' if cost.setting.compiled else 'eager':<10}"
            f"{cost.variant:<9}{cost.seconds * 1e3:>9.1f}{cost.images_per_second:>10.0f}"
            f"{cost.ratio:>10.3f}  {low:.3f} to {high:.3f}"
        )
    return "\n".join(lines)
