"""What the end of a sweep takes, tried on the untrained network before anything is trained."""

from __future__ import annotations

import re
import signal
import tempfile
import threading
from collections.abc import Collection, Generator, Iterable
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.overrides import TorchFunctionMode

from strsweep.config import Experiment
from strsweep.data import seeded
from strsweep.errors import ExportError, SettingError, blaming
from strsweep.export import FORMATS, Inputs, largest_difference, owned_state
from strsweep.imports import is_import_path
from strsweep.progress import doing, say
from strsweep.settings import RunSettings, percent
from strsweep.sparsity.convert import bake, is_ours
from strsweep.sparsity.cost import RankCost
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.lowrank import factored
from strsweep.sparsity.measure import measure
from strsweep.sparsity.products import check_products
from strsweep.tasks import Task
from strsweep.training.batch_norm import share_batch_statistics
from strsweep.training.network import plain_network, sparse_model

_LIMIT_S = 60
_TRIES = 4
"""Batches that several workers are tried with: some networks leave out layers at random."""
_OF_LAYER = r"\.(parametrizations\..*|weight|bias)$"


class _OwnBatchNorms(TorchFunctionMode):
    """Finds the running means of batch norms that are no modules of torch."""

    def __init__(self, norms: Iterable[_BatchNorm]) -> None:
        super().__init__()
        self._known = [norm.running_mean for norm in norms]
        self.means: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in {nn.functional.batch_norm, torch.batch_norm}:
            given = [value for value in (*args, *(kwargs or {}).values()) if value is not None]
            buffers = [v for v in given if isinstance(v, Tensor) and not v.requires_grad]
            if not any(mean is value for mean in self._known for value in buffers):
                self.means += buffers
        return func(*args, **(kwargs or {}))


class _OutOfTimeError(BaseException):
    """No ``Exception``: what is interrupted must not take it for one of its own."""


def rehearse(experiment: Experiment, settings: RunSettings, task: Task) -> None:
    """Take the untrained network through all that a delivery takes.

    It sees a training batch, several if there are several workers, is made plain, looked at where
    it multiplies, built again from its weights file, and exported as a program. That it cannot be
    exported is said, and no error: such models are registered as weights.

    ``settings`` are those of the run that prunes most: what fits it fits all.

    Raises:
        SettingError: A delivery would fail, or claim zeros that the network does not have.
    """
    with seeded(experiment.training.seed):
        model = sparse_model(experiment, settings, task)
        batch = _two_samples(task)
        if experiment.training.loop is None:
            if experiment.workers.count > 1:
                _check_workers(experiment, task, deepcopy(model), batch)
            with torch.no_grad():  # what it remembers of training must be in its weights file
                task.forward(model.train(), batch)
        _check_ranks(experiment, model, task)
        pruned = [weight.name for weight in weight_tensors(model) if is_ours(weight)]
        model, inputs = bake(model).eval(), _tensors(task.inputs(batch))
        _check_reach(experiment, model, pruned, task)
        try:
            check_products(model, pruned, task.inputs(batch))
        except ValueError as error:
            skip = list(experiment.sparsity.skip)
            raise SettingError("sparsity.skip", skip, str(error)) from error
        _check_weights_file(experiment, task, model, inputs)
    if is_import_path(name := experiment.model.name):  # ours can, and it takes seconds
        with doing(f"trying to export the model as a program, for {_LIMIT_S} s at most"):
            _say_if_no_program(name, model, inputs)


def example_inputs(task: Task) -> Inputs:
    """Return the arguments of the model for two validation samples; none if some is no tensor.

    Two, as torch.export would freeze a batch of one into the program.
    """
    return _tensors(task.inputs(_two_samples(task)))


def _tensors(inputs: tuple[Any, ...]) -> Inputs:
    return inputs if all(isinstance(value, Tensor) for value in inputs) else ()


def _two_samples(task: Task) -> Any:
    return task.collate([task.val[index % len(task.val)] for index in (0, 1)])


def _check_reach(
    experiment: Experiment, model: nn.Module, pruned: Collection[str], task: Task
) -> None:
    """Check that the layers that are pruned have as much as a target wants gone."""
    report = measure(model, task.example())
    assert report.dense_macs is not None
    can = [layer for layer in report.layers if layer.name in pruned]
    shares = {
        "sparsity": sum(layer.weights for layer in can) / report.weights,
        "macs": sum(layer.dense_macs or 0 for layer in can) / report.dense_macs,
    }
    counted = [one for one in experiment.search.targets if can and one.quantity in shares]
    for target in counted:
        share = shares[target.quantity]
        if target.pruned(report.dense_macs) >= share:
            told = f"The layers that are pruned hold {percent(share, 2)} of them: leave fewer dense"
            raise SettingError("search.targets", str(target), f"{told}, or ask for less.")


def _check_ranks(experiment: Experiment, model: nn.Module, task: Task) -> None:
    """Check that a rank of 1 in every layer is below all targets."""
    if not (layers := factored(model)):
        return
    report = measure(model, task.example())
    for target in experiment.search.targets:
        share = 1 - target.pruned(report.dense_macs or 0, report.full_rank)
        least = RankCost.of(layers, report, target.quantity).at([1] * len(layers))
        if least > share:
            remedy = "Learn the rank of more layers, or ask for more."
            told = f"A rank of 1 in every layer leaves {percent(least, 2)}. {remedy}"
            raise SettingError("search.targets", str(target), told)


def _check_workers(experiment: Experiment, task: Task, model: nn.Module, batch: Any) -> None:
    """Check what only several workers need: gradients everywhere, and batch norms that are one."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    unused: dict[str, None] = {}
    with _OwnBatchNorms(norms.values()) as own:
        for _ in range(_TRIES):
            model.zero_grad(set_to_none=True)
            task.loss(task.forward(model.train(), batch), batch)[0].backward()
            without = (n for n, p in model.named_parameters() if p.requires_grad and p.grad is None)
            unused |= dict.fromkeys(re.sub(_OF_LAYER, "", name) for name in without)
    local = [name for name, norm in norms.items() if norm.running_mean is None]
    unknown = [n for n, buffer in model.named_buffers() if any(buffer is one for one in own.means)]
    if experiment.training.sync_batchnorm:
        if unknown:
            remedy = "F.batch_norm on these cannot be shared over workers: use a module of torch.nn"
            told = f"{', '.join(unknown)}: {remedy}, write false, or train on one worker."
            raise SettingError("training.sync_batchnorm", True, told)
        share_batch_statistics(model, torch.device("cpu"))
    for names, told in (
        (unused, "a batch gives it no gradient: let forward() use it always, or freeze it"),
        (local, "without running statistics a share is normalized by itself: let it track them"),
    ):
        if names:
            remedy = f"{', '.join(names)}: {told}, or use workers.count=1."
            raise SettingError("workers.count", experiment.workers.count, remedy)


def _check_weights_file(
    experiment: Experiment, task: Task, model: nn.Module, inputs: Inputs
) -> None:
    """Check that the network can be stored, and is itself when it is built again from the file."""
    told = (
        "Built again from a file of its weights it is not what it was, so all that it computes "
        "with must be parameters and buffers"
    )
    with blaming("model.name", experiment.model.name, told), torch.no_grad():
        network = plain_network(experiment, load(save(owned_state(model))), task.model_options)
        largest_difference(model, network, inputs)


def _say_if_no_program(name: str, model: nn.Module, inputs: Inputs) -> None:
    form = FORMATS["program"]
    try:
        with tempfile.TemporaryDirectory() as folder, _within(_LIMIT_S):
            form.export(model, inputs, Path(folder) / form.file_name)
    except ExportError as error:
        reason = str(error).rpartition("cannot be written: ")[2]
        told = "it will be registered as weights, which need its code to run"
        say(f"model.name: {name} cannot be exported as a program, so {told}: {reason}")
    except _OutOfTimeError:
        say(f"model.name: {name} takes longer than {_LIMIT_S} s to export: that is left to the end")


@contextmanager
def _within(seconds: float) -> Generator[None]:
    """Raise ``_OutOfTimeError`` if the block takes longer; in other threads than the first, not."""

    def over(*_: object) -> None:
        raise _OutOfTimeError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler, (left, _) = (
        signal.signal(signal.SIGALRM, over),
        signal.setitimer(signal.ITIMER_REAL, seconds),
    )
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)
