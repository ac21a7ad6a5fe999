"""What a training step costs: STR, steered or not, and the authors' formula, against dense.

PYTHONPATH=jobs python -m benchmarks.step --device cuda

The variants take turns, a few steps each, and every round gives one ratio to the dense network:
what else the machine does hits all of them alike. Needs torch, torchvision and typer alone.
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from strsweep.config import TrainingConfig
from strsweep.models import build
from strsweep.sparsity.convert import activate_thresholds, parametrized, sparsify
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.steering import bound_gradients, steer, steerable
from strsweep.training.optimizer import RunOptimizer

VARIANTS = ("dense", "waiting", "str", "authors", "steered")
"""``waiting`` are thresholds of STR before they act; ``steered`` shifts its thresholds before every
step, which long runs do before every tenth."""
_THRESHOLD_INIT, _STEERED_SHARE = -6.0, 0.9
_WARMUP_STEPS = 3
_SIZES = {"cpu": (16, 64), "cuda": (256, 224)}
"""Batch size and image size."""


class Device(str, Enum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


class Mode(str, Enum):
    """How a model is called."""

    eager = "eager"
    compiled = "compiled"


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
        rounds: Turns of every variant, at least 2.
        steps: Steps of one turn.
    """
    torch.manual_seed(0)
    dense = build(setting.model, num_classes=1000)
    trainers = {variant: trainer(dense, variant, setting) for variant in VARIANTS}
    for train in trainers.values():
        train(_WARMUP_STEPS)
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for turn in range(rounds):
        start = turn % len(VARIANTS)
        for variant in (*VARIANTS[start:], *VARIANTS[:start]):
            seconds[variant].append(_timed(trainers[variant], steps, setting.device))
    return [cost_of(setting, variant, seconds) for variant in VARIANTS]


def cost_of(setting: Setting, variant: str, seconds: dict[str, list[float]]) -> StepCost:
    """Return the cost of ``variant``; ``seconds`` of a step are listed by variant and round."""
    ratios = [own / dense for own, dense in zip(seconds[variant], seconds["dense"], strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return StepCost(
        setting=setting,
        variant=variant,
        seconds=statistics.median(seconds[variant]),
        ratio=statistics.median(ratios),
        ratio_range=(lower, upper),
    )


def trainer(dense: nn.Module, variant: str, setting: Setting) -> Callable[[int], None]:
    """Return a function that takes a number of training steps."""
    layout = torch.channels_last if setting.on_gpu else torch.contiguous_format
    model: Any = with_thresholds(copy.deepcopy(dense), variant).train().to(setting.device)
    model.to(memory_format=layout)
    size = (setting.batch_size, 3, setting.image_size, setting.image_size)
    images = torch.randn(size, device=setting.device).to(memory_format=layout)
    labels = torch.randint(1000, (setting.batch_size,), device=setting.device)
    optimizer = RunOptimizer(model, TrainingConfig())
    optimizer.set_decays(weights=1e-5, thresholds=1e-5, norms=1e-5)
    optimizer.set_learning_rate(1e-3)
    if optimizer.thresholds is not None:
        bound_gradients(model, optimizer.thresholds)
    scaler = torch.amp.GradScaler(setting.device, enabled=False)
    network = torch.compile(model) if setting.compiled else model

    def train(steps: int) -> None:
        for _ in range(steps):
            if variant == "steered":
                steer(model, _STEERED_SHARE)
            with _autocast(setting):
                loss = nn.functional.cross_entropy(network(images), labels, label_smoothing=0.1)
            optimizer.step(loss, scaler)

    return train


def with_thresholds(model: nn.Module, variant: str) -> nn.Module:
    """Put on ``model``, in place, what makes the variant."""
    if variant in {"waiting", "str"}:
        sparsify(model, threshold_init=_THRESHOLD_INIT)
        activate_thresholds(model, variant == "str")
    if variant == "steered":
        steerable(model)
    if variant == "authors":
        for weight in weight_tensors(model):
            parametrized(weight, AuthorsFormula())
    return model


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


def main(
    *,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cpu,
    models: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    modes: Annotated[list[Mode] | None, typer.Option(help="By default both; repeatable.")] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of every variant.")] = 9,
    steps: Annotated[int, typer.Option(min=1, help="Steps of one turn.")] = 2,
) -> None:
    """Time both networks of the paper, eager and compiled, print the ratios and write them."""
    batch_size, image_size = _SIZES[device.value]
    costs: list[StepCost] = []
    for model in models or ["resnet50", "mobilenet_v1"]:
        for mode in modes or Mode:
            setting = Setting(
                model=model,
                batch_size=batch_size,
                image_size=image_size,
                device=device.value,
                compiled=mode is Mode.compiled,
            )
            costs += measure_steps(setting, rounds=rounds, steps=steps)
    print(f"batch {batch_size}, {image_size}x{image_size}, {_machine(device.value)}")
    print(table(costs))
    path = Path(os.environ.get("STRSWEEP_RESULTS", "results")) / "bench" / "step.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(cost) | {"images_per_second": cost.images_per_second} for cost in costs]
    path.write_text(json.dumps(rows, indent=2) + "\n")
    print(path)


def _machine(device: str) -> str:
    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    return f"{name}, torch {torch.__version__}"


if __name__ == "__main__":
    typer.run(main)
