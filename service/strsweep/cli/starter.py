"""Write an experiment's file for a model and data or a task, with what was found as comments."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from strsweep.cli.options import tracking_uri_of
from strsweep.config import DataConfig, load_experiment
from strsweep.data import check_data, load_data
from strsweep.data.labelled import ImageFiles, LabelledData
from strsweep.errors import SettingError
from strsweep.imports import called, is_import_path
from strsweep.preflight import check_sweep
from strsweep.tasks import own_task

_CIFAR = {"cifar-10-batches-py": "cifar10", "cifar-100-python": "cifar100"}
_FILES_READ, _LABELS_READ = 50, 100_000
_SMALL, _USUAL = 64, 224
"""Sides in pixels: of images that keep their size, and the largest that others are resized to."""
_BATCH, _FEWEST_STEPS = 128, 300
"""Samples of a step, and steps of a run; of few samples batches are smaller and epochs more."""
_TEXT = """\
# strsweep plan --config {file} tells what this takes, strsweep sweep --config {file} does it, and
# strsweep config explains every setting. Editors complete this file after
# strsweep config --schema > strsweep.schema.json and with this as first line:
# "# yaml-language-server: $schema=strsweep.schema.json"
name: {name}
model:
  name: {model}
{kind}:  # {found}
{source}
training:  # usual values for SGD: put your own recipe here
  epochs: {epochs}  # of {steps} steps
  batch_size: {batch}
  learning_rate: {rate:.4g}
  momentum: 0.9
  warmup_epochs: 0
  schedule_every: step
search:
  targets: [0.80, 0.90, 0.95, 0.98]  # shares of zeros; {{macs: 0.05}} keeps 5 % of multiply-adds
  weight_decay: 5e-4  # of the weights, as in your recipe
  baseline: true  # also train the dense network, to compare with
  max_runs: 20
workers:  # of every run; {devices}
  count: 1
  cpus: {cpus}
  gpus: {gpus}
{tracking}
"""
_NO_SERVER = """\
# MLFLOW_TRACKING_URI is not set: results are shown from mlflow.db in the results folder, or by
# tracking: {uri: http://HOST:PORT}"""


@dataclass(frozen=True)
class Brought:
    """What a person has, as the options name it."""

    model: str | None
    """As ``model.name``; None: one of ours for the data."""
    task: str | None
    """As ``task.name``, in place of data."""
    data: str | None
    """As ``data.name``, or a folder; None: scikit-learn's digits."""
    data_path: Path | None
    """Folder of a data set of ours."""

    def check(self) -> None:
        """Check that they go together.

        Raises:
            SettingError: They do not.
        """
        if self.task is not None and (self.data is not None or self.data_path is not None):
            remedy = "A task brings its own data: name the one or the other."
            raise SettingError("--data", str(self.data or self.data_path), remedy)
        if self.task is not None and self.model is None:
            remedy = "Name the network that the task is for: my_module:factory."
            raise SettingError("--model", None, remedy)
        if self.data is None and self.task is None and self.model is not None:
            remedy = (
                "Name the data that the model is for: my_module:function, or a folder; "
                "or its --task."
            )
            raise SettingError("--data", None, remedy)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The section of the file that says where samples come from, and what was found there."""

    kind: Literal["data", "task"]
    values: Mapping[str, Any]
    found: str
    samples: int
    name: str
    """Of the sweep."""
    model: str
    """As it follows ``name:``, its options below."""


def write_experiment(brought: Brought, out: Path, *, force: bool) -> None:
    """Write an experiment and check that it can be swept.

    Args:
        brought: Without a model and data it is a sweep on digits.
        out: File to write.
        force: Overwrite it.

    Raises:
        SettingError: The file is there or cannot be written, data or model are not there, or they
            do not fit together; then the file is there to be changed.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise SettingError("--out", str(out), "Name a file in a folder that is there.")
    if out.exists() and not force:
        raise SettingError("--out", str(out), "It is there: add --force, or name another file.")
    brought.check()
    source = _of_data(brought) if brought.task is None else _of_task(brought.task, brought.model)
    try:
        out.write_text(_text(out, source), encoding="utf-8")
    except OSError as error:
        raise SettingError("--out", str(out), f"{error.strerror}: name another file.") from None
    print(f"{out} is written; checking that it can be swept", flush=True)
    try:
        check_sweep(load_experiment(out))
    except SettingError:
        print(f"{out} stays to be changed; init writes it anew with --force", flush=True)
        raise
    print(f"{out} can be swept. Next: strsweep plan --config {out}")


def _of_task(path: str, model: str | None) -> _Source:
    assert model is not None
    task = own_task(path, {})
    return _Source(
        kind="task",
        values={"name": path},
        found=task.describe(),
        samples=len(task.train),
        name=path.rpartition(":")[2],
        model=model,
    )


def _of_data(brought: Brought) -> _Source:
    config = _config(brought.data or "digits", brought.data_path)
    config, data = _opened(config, takes_gray=brought.model is not None)
    values = config.model_dump(mode="json", exclude_defaults=True)
    gpus = torch.cuda.device_count()
    if gpus and isinstance(data.train, ImageFiles):
        values["loader_processes"] = max((os.cpu_count() or 1) // gpus - 1, 0)
    is_folder = config.name == "imagefolder"
    return _Source(
        kind="data",
        values=values,
        found=data.describe() + (f"; shape {list(data.input_shape)}" if data.input_shape else ""),
        samples=len(data.train),
        name=str(config.path if is_folder else config.name).rpartition("/")[2].partition(":")[0],
        model=brought.model or _model_for(config, data),
    )


def _config(data: str, path: Path | None) -> DataConfig:
    folder = Path(data)
    if folder.is_dir():
        known = [name for inside, name in _CIFAR.items() if (folder / inside).is_dir()]
        return DataConfig(name=known[0] if known else "imagefolder", path=folder)
    if "/" in data:
        raise SettingError("--data", data, "There is no such folder.")
    return DataConfig(name=data, path=path)


def _opened(config: DataConfig, *, takes_gray: bool) -> tuple[DataConfig, LabelledData]:
    """Return the data, and the settings with what was found out about them."""
    check_data(config)
    if is_import_path(config.name or ""):
        with suppress(SettingError):  # it is told when the data is opened
            train, _ = called(config.name or "", "data.name", config.options)
            if not any(hasattr(train, name) for name in ("classes", "targets", "labels")):
                labels = [int(train[i][1]) for i in range(min(len(train), _LABELS_READ))]
                config = config.model_copy(update={"num_classes": max(labels) + 1})
    opened = load_data(config)
    if config.name != "imagefolder":
        return config, opened
    size, is_gray = _looked_at(opened.train)
    found = {"image_size": size, "channels": 1 if is_gray and takes_gray else 3}
    augment = "shift" if size <= _SMALL else "imagenet"
    config = config.model_copy(update={**found, "augment": augment})
    return config, load_data(config)


def _looked_at(files: ImageFiles) -> tuple[int, bool]:
    """Return the side that images are to have, and whether all are gray, from some of them."""
    sides, modes = list[int](), set[str]()
    for index in range(0, len(files), max(len(files) // _FILES_READ, 1)):
        # Training leaves out what cannot be read, too.
        with suppress(OSError), Image.open(files.path(index)) as image:
            sides.append(min(image.size))
            modes.add(image.mode)
    side = int(statistics.median(sides or [_USUAL]))
    size = side if side <= _SMALL else min(side // 32 * 32, _USUAL)
    return max(size, 8), bool(modes) and modes <= {"1", "L", "I;16"}


def _model_for(config: DataConfig, data: LabelledData) -> str:
    if config.name == "digits":
        return "digits_cnn"
    shape = data.input_shape
    if shape is None or len(shape) != 3 or shape[0] != 3:
        told = f"of shape {list(shape)}" if shape else "that are no images of one size"
        raise SettingError("--model", None, f"Name a network for inputs {told}: my_module:factory.")
    return "resnet18\n  options: {stem: cifar}" if shape[1] <= _SMALL else "resnet18"


def _text(out: Path, source: _Source) -> str:
    cpus, gpus = os.cpu_count() or 1, torch.cuda.device_count()
    batch = 2 ** int(math.log2(max(min(_BATCH, source.samples // 10), 2)))
    steps = math.ceil(source.samples / batch)
    is_set = os.environ.get("MLFLOW_TRACKING_URI")
    return _TEXT.format(
        file=out,
        name=json.dumps(re.sub(r"[^A-Za-z0-9]+", "-", source.name).strip("-")[:63] or "sweep"),
        model=source.model,
        kind=source.kind,
        found=source.found,
        source="\n".join(f"  {key}: {json.dumps(value)}" for key, value in source.values.items()),
        epochs=min(max(30, math.ceil(_FEWEST_STEPS / steps)), 100),
        steps=steps,
        batch=batch,
        rate=0.1 * batch / _BATCH,
        devices=f"found: {gpus} x {torch.cuda.get_device_name()}" if gpus else "no GPU was found",
        cpus=max(cpus // gpus, 1) if gpus else 1,
        gpus=min(gpus, 1),
        tracking=f"tracking:\n  uri: {json.dumps(tracking_uri_of(None))}" if is_set else _NO_SERVER,
    )
