"""Two workers train what one worker trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from strsweep.config import RunSettings, load_experiment
from strsweep.training.batch_norm import share_batch_statistics
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
OVERRIDES = ["training.epochs=3", "training.batch_size=100", "workers.count={count}"]
CPU = torch.device("cpu")


def join(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )


def train(rank: int, world_size: int) -> dict[str, object]:
    overrides = [text.format(count=world_size) for text in OVERRIDES]
    run = TrainingRun(
        load_experiment(DIGITS, overrides),
        RunSettings(threshold_init=-6, weight_decay=2e-2),
        device=CPU,
        rank=rank,
        world_size=world_size,
    )
    losses: list[float] = []
    for _ in run.epochs():
        losses += run.step_losses
    last = run.history[-1]
    return {"losses": losses, "accuracy": last.accuracy, "zeros": run.report().zeros}


def worker(rank: int, folder: Path) -> None:
    join(rank, folder)
    (folder / f"{rank}.json").write_text(json.dumps(train(rank, 2)))
    dist.destroy_process_group()


def test_two_workers_equal_one(tmp_path: Path) -> None:
    mp.spawn(worker, args=(tmp_path,), nprocs=2)
    alone = train(0, 1)
    for rank in (0, 1):
        shared = json.loads((tmp_path / f"{rank}.json").read_text())
        assert shared["losses"][:20] == pytest.approx(alone["losses"][:20], abs=1e-5)  # pyright: ignore
        assert shared["accuracy"] == alone["accuracy"]
        assert shared["zeros"] == pytest.approx(alone["zeros"], rel=0.01)


def normalize(rank: int, folder: Path) -> None:
    join(rank, folder)
    torch.manual_seed(1)
    x = torch.randn(8, 3, 5, 5, dtype=torch.float64) * 3 + 1
    share = x[rank::2].clone().requires_grad_()
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    share_batch_statistics(norm, CPU)
    output = norm(share)
    (output**3).sum().backward()
    torch.save(
        {"output": output.detach(), "grad": share.grad, "state": norm.state_dict()},
        folder / f"{rank}.pt",
    )
    dist.destroy_process_group()


def test_shared_batch_statistics_equal_those_of_the_joined_batch(tmp_path: Path) -> None:
    mp.spawn(normalize, args=(tmp_path,), nprocs=2)
    torch.manual_seed(1)
    x = (torch.randn(8, 3, 5, 5, dtype=torch.float64) * 3 + 1).requires_grad_()
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    output = norm(x)
    (output**3).sum().backward()
    assert x.grad is not None
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(shared["output"], output[rank::2], rtol=0, atol=1e-10)
        torch.testing.assert_close(shared["grad"], x.grad[rank::2], rtol=0, atol=1e-10)
        for key, value in norm.state_dict().items():
            torch.testing.assert_close(shared["state"][key], value, rtol=0, atol=1e-10)
