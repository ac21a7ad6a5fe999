"""What a GPU makes of it: cost of a step, kernels, images per second, a second compiled run.

PYTHONPATH=jobs python -m benchmarks.gpu

Needs neither Ray nor MLflow. On a CPU, with small sizes, it shows that the program itself works.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import torch
import typer
from torch.profiler import ProfilerActivity, profile

from benchmarks.step import Device, Setting, measure_steps, table, trainer
from strsweep.config import Experiment
from strsweep.models import build
from strsweep.settings import RunSettings
from strsweep.training.run import TrainingRun

_KERNELS = 12
_PROFILED = 5
"""Steps."""


def kernels(setting: Setting) -> Iterator[str]:
    """Yield a table of what takes most time in steps of the dense network, and in those of STR."""
    activity = ProfilerActivity.CUDA if setting.on_gpu else ProfilerActivity.CPU
    by = "self_cuda_time_total" if setting.on_gpu else "self_cpu_time_total"
    dense = build(setting.model, num_classes=1000)
    for variant in ("dense", "str"):
        train = trainer(dense, variant, setting)
        train(3)
        with profile(activities=[activity]) as profiled:
            train(_PROFILED)
        yield f"{variant}: {_PROFILED} steps"
        yield profiled.key_averages().table(sort_by=by, row_limit=_KERNELS)


def whole_loop(setting: Setting, images: int) -> Iterator[str]:
    """Yield images per second of training and evaluation together, of two runs in one process."""
    experiment = Experiment.model_validate({
        "name": "gpu",
        "model": {"name": setting.model},
        "data": {"name": "synthetic", "num_images": images, "image_size": setting.image_size},
        "training": {
            "epochs": 2,
            "warmup_epochs": 0,
            "batch_size": setting.batch_size,
            "precision": "bfloat16" if setting.on_gpu else "float32",
            "channels_last": setting.on_gpu,
            "compile": setting.compiled,
        },
        "search": {"targets": [0.9]},
        "workers": {"gpus": 1 if setting.on_gpu else 0},
    })
    settings = RunSettings(threshold_init=-10, weight_decay=1e-4, threshold_decay=1e-2)
    for number in (1, 2):
        started = time.monotonic()
        run = TrainingRun(experiment, settings, device=torch.device(setting.device))
        epochs = [metrics.seconds for metrics in run.epochs()]
        first = time.monotonic() - started - epochs[1]
        rate = images / epochs[1]
        yield (
            f"run {number} in this process: first epoch after {first:.1f} s, then {rate:,.0f} "
            "images/s, evaluation included"
        )


def main(
    *,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.cuda,
    model: Annotated[str, typer.Option(help="By name.")] = "resnet50",
    batch_size: Annotated[int, typer.Option(min=2)] = 256,
    image_size: Annotated[int, typer.Option(min=8)] = 224,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of every variant.")] = 9,
    images: Annotated[int, typer.Option(min=2, help="Of the whole loop.")] = 25_600,
) -> None:
    """Print steps, kernels and the whole loop, eager and compiled."""
    for compiled in (False, True):
        sizes: Any = {"batch_size": batch_size, "image_size": image_size}
        setting = Setting(model=model, device=device.value, compiled=compiled, **sizes)
        print(f"{model}, {'compiled' if compiled else 'eager'}, torch {torch.__version__}")
        print(table(measure_steps(setting, rounds=rounds, steps=2)), flush=True)
        for lines in (kernels(setting), whole_loop(setting, images)):
            for line in lines:
                print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
