"""Batch norm over the global batch, on CPUs too.

``torch.nn.SyncBatchNorm`` refuses CPU tensors. Without it a run on two workers trains on other
batch statistics than the same run on one, and the learned sparsity depends on the cluster.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


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


class GlobalBatchNorm(nn.BatchNorm2d):
    """``BatchNorm2d`` with the statistics of all workers' batches."""

    def forward(self, input: Tensor) -> Tensor:  # ruff: ignore[builtin-argument-shadowing] - torch's name
        """Normalize ``input`` of shape [N, C, H, W]."""
        if not self.training:
            return super().forward(input)
        dims = (0, 2, 3)
        # Sums in half precision lose the small differences that the variance is made of.
        images = input.to(torch.promote_types(input.dtype, torch.float32))
        # The shares of the last batch can differ, so the count is summed along with the values.
        sums = torch.cat([images.sum(dims), images.new_full((1,), images[:, 0].numel())])
        sums = _SumOverWorkers.apply(sums)  # pyright: ignore
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = images - mean[:, None, None]
        variance = _SumOverWorkers.apply(centred.square().sum(dims)) / count  # pyright: ignore
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch norm of ``model`` by one over all workers; returns the model."""
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.momentum is not None:
            module.__class__ = GlobalBatchNorm  # same parameters, buffers and names
    return model
