"""Measure what a training step costs: make bench-step, or python jobs/bench_step.py --device cuda.

Needs torch, torchvision and service/ on the path; neither Ray nor MLflow.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from strsweep.bench.step import Setting, StepCost, measure_steps, table

CPU, GPU = (16, 64), (256, 224)
"""Batch size and image size."""


def main() -> None:
    """Time both networks of the paper, eager and compiled, print the ratios and write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--models", nargs="+", default=["resnet50", "mobilenet_v1"])
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    batch_size, image_size = GPU if options.device == "cuda" else CPU
    costs: list[StepCost] = []
    for model in options.models:
        for mode in options.modes:
            setting = Setting(
                model=model,
                batch_size=batch_size,
                image_size=image_size,
                device=options.device,
                compiled=mode == "compiled",
            )
            costs += measure_steps(setting, rounds=options.rounds, steps=options.steps)
    print(f"batch {batch_size}, {image_size}x{image_size}, {_machine(options.device)}")
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
    main()
