"""Batch norm over the global batch, on CPUs too; which ones learn, and how they do anew.

``torch.nn.SyncBatchNorm`` refuses CPU tensors. Without it a run on two workers trains on other
batch statistics than the same run on one, and the learned sparsity depends on the cluster.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from strsweep.errors import SettingError


class _SumOverWorkers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm(_BatchNorm):
    """Batch norm of any dimension with the statistics of all workers' batches."""

    def _check_input_dim(self, input: Tensor) -> None:  # ruff: ignore[builtin-argument-shadowing] - torch's name
        """Take any: what it replaces has taken the same."""

    def forward(self, input: Tensor) -> Tensor:  # ruff: ignore[builtin-argument-shadowing] - torch's name
        """Normalize ``input`` of shape [N, C, ...]."""
        if not self.training:
            return super().forward(input)
        dims, per_channel = [0, *range(2, input.ndim)], (-1, *[1] * (input.ndim - 2))
        # Sums in half precision lose the small differences that the variance is made of.
        images = input.to(torch.promote_types(input.dtype, torch.float32))
        # The shares of the last batch can differ, so the count is summed along with the values.
        sums = torch.cat([images.sum(dims), images.new_full((1,), images[:, 0].numel())])
        sums = _SumOverWorkers.apply(sums)  # pyright: ignore
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = images - mean.view(per_channel)
        variance = _SumOverWorkers.apply(centred.square().sum(dims)) / count  # pyright: ignore
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        normalized = centred * torch.rsqrt(variance + self.eps).view(per_channel)
        if self.affine:
            normalized = normalized * self.weight.view(per_channel) + self.bias.view(per_channel)
        return normalized.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = self.momentum
        if factor is None:  # the mean over all batches
            factor = 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance, factor)


class _Frozen(nn.Module):
    def train(self, mode: bool = True) -> Any:
        return super().train(False)


def keep_frozen(model: nn.Module) -> None:
    """Let every batch norm that was built in evaluation mode stay in it when ``model`` trains.

    A model that is in evaluation mode as a whole was only left so by what made it.
    """
    for norm in _norms(model) if model.training else ():
        if not norm.training:
            norm.__class__ = type(type(norm).__name__, (_Frozen, type(norm)), {})


def _training_norms(model: nn.Module) -> list[_BatchNorm]:
    """Put ``model`` in training mode; return the batch norms that go along: others are frozen."""
    model.train()
    return [norm for norm in _norms(model) if norm.training]


def share_batch_statistics(
    model: nn.Module, device: torch.device, *, is_required: bool = True
) -> nn.Module:
    """Let every batch norm of ``model`` that trains do so over all workers; returns the model.

    Raises:
        SettingError: One computes by a formula of its own, and it ``is_required`` of all.
    """
    for norm in _training_norms(model):
        if not isinstance(norm, nn.SyncBatchNorm) and type(norm).forward is not _BatchNorm.forward:
            if not is_required:
                continue
            remedy = (
                f"{type(norm).__name__} has a forward of its own, whose statistics cannot be "
                "shared over workers: write false, or train on one worker."
            )
            raise SettingError("training.sync_batchnorm", True, remedy)
        shared: Any = norm  # in place: parameters, buffers, names and hooks stay
        shared.__class__ = GlobalBatchNorm if device.type == "cpu" else nn.SyncBatchNorm
        shared.process_group = None
    return model


@contextmanager
def recalibrated(model: nn.Module) -> Generator[None]:
    """Let every batch norm that runs inside the ``with`` block learn its statistics anew.

    They become the mean over the images it saw, on all workers; a batch of fewer images counts
    less. Only batch norm trains: the rest of the model, such as dropout, stays in evaluation mode.
    A batch norm that stays in evaluation mode when its model trains, has a momentum of 0 or scales
    without gradient is frozen, and keeps its statistics.
    """
    norms = [norm for norm in _training_norms(model) if _learns(norm)]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    seen = dict.fromkeys(norms, 0.0)

    def learn(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        count = inputs[0].new_full((), len(inputs[0]), dtype=torch.float64)
        if dist.is_initialized():
            dist.all_reduce(count)  # of the last batch, shares can differ
        seen[norm] += count.item()
        norm.momentum = count.item() / seen[norm]
        norm.train()

    def rest(norm: nn.Module, *_: Any) -> None:
        norm.eval()

    handles = [norm.register_forward_pre_hook(learn) for norm in norms]
    handles += [norm.register_forward_hook(rest) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            for statistics in (norm.running_mean, norm.running_var):
                if statistics is not None and dist.is_initialized():
                    dist.all_reduce(statistics)
                    statistics /= dist.get_world_size()


def _learns(norm: _BatchNorm) -> bool:
    has_gradient = not norm.affine or norm.weight.requires_grad or norm.bias.requires_grad
    return norm.momentum != 0 and has_gradient


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
