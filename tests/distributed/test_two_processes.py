"""Two workers train what one worker trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from samples import load
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from strsweep.data import TrainingBatches, load_data
from strsweep.settings import Lead, RunSettings, Target
from strsweep.training.batch_norm import keep_frozen, share_batch_statistics
from strsweep.training.landing import land_run
from strsweep.training.loop import InputPipeline
from strsweep.training.run import TrainingRun

CPU = torch.device("cpu")
# 1400 digits: 14 batches of 100, or 14 of 96 and one of 56. Digits leave no odd batch for two
# workers; 101 synthetic images do: three batches of 32 and one of 5, shared as 3 and 2.
ODD = [
    "training.batch_size=32",
    "training.epochs=6",
    'model.name="float64_models:resnet20"',
    "data={name: synthetic, num_images: 101, num_classes: 10, image_size: 8}",
]
CASES = {
    "full_batches": ["training.batch_size=100"],
    "partial_last_batch": ["training.batch_size=96"],
    "odd_last_batch": ODD,
    "bfloat16": ["training.batch_size=96", "training.precision=bfloat16"],
    "led": ODD,
}
FIXED = RunSettings(threshold_init=-6, weight_decay=2e-2)
LED = RunSettings(
    threshold_init=-5,
    weight_decay=5e-4,
    threshold_decay=0.3,
    onset=2,
    lead=Lead(quantity="sparsity", pruned=0.9, exposure_at_90=0.5, delay=0.2),
)
LAST_BATCH = {
    "full_batches": 100,
    "partial_last_batch": 56,
    "odd_last_batch": 5,
    "bfloat16": 56,
    "led": 5,
}
BAD_FILES = ["train/b/050.png", "val/a/010.png", "val/a/011.png"]
"""The validation images go to different workers; 3 of 300 are just tolerated."""


def join(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )


def run_on(
    rank: int, world_size: int, *overrides: str, settings: RunSettings = FIXED
) -> TrainingRun:
    experiment = load(*overrides, f"workers.count={world_size}")
    images = InputPipeline(experiment, rank, world_size)
    return TrainingRun(experiment, settings, device=CPU, images=images)


def train(case: str, rank: int, world_size: int) -> dict[str, Any]:
    settings = LED if case == "led" else FIXED
    run = run_on(rank, world_size, "training.epochs=3", *CASES[case], settings=settings)
    losses: list[float] = []
    for _ in run.epochs():
        losses += run.step_losses
    return {
        "losses": losses,
        "accuracy": run.history[-1].task["accuracy"],
        "zeros": run.report().zeros,
        "sparsities": [metrics.sparsity for metrics in run.history],
        "decays": [metrics.threshold_decay for metrics in run.history],
    }


def make_images(folder: Path) -> None:
    """Write 200 training and 100 validation images of two classes, and damage three of them."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3), dtype=np.uint8)
    for split, count in (("train", 100), ("val", 50)):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(noise[index]).save(folder / split / name / f"{index:03d}.png")
    for name in BAD_FILES:
        (folder / name).write_bytes(b"no image")


def train_with_bad_files(images: Path, rank: int, world_size: int) -> dict[str, Any]:
    run = run_on(
        rank,
        world_size,
        f"data={{name: imagefolder, path: '{images}', image_size: 8}}",
        'model.name="float64_models:resnet20"',
        "training.epochs=1",
        "training.batch_size=64",
    )
    (metrics,) = run.epochs()
    return {
        "count": metrics.unreadable_images,
        "names": sorted(str(Path(name).relative_to(images)) for name in run.unreadable),
        "losses": run.step_losses,
        "val_loss": metrics.task["val_loss"],
        "accuracy": metrics.task["accuracy"],
    }


def land(state: Any, rank: int, world_size: int, shared: str = "true") -> dict[str, float]:
    """Land a state on workers that show batch norm 1400 images, 96 at a time."""
    given = ["training.batch_size=96", "training.epochs=3", f"training.sync_batchnorm={shared}"]
    experiment = load(*given, f"workers.count={world_size}")
    images = InputPipeline(experiment, rank, world_size)
    return land_run(experiment, FIXED, state, Target(sparsity=0.6), images=images).metrics


def untrained() -> dict[str, Any]:
    return run_on(0, 1).state()


def worker(rank: int, folder: Path) -> None:
    join(rank, folder)
    state = torch.load(folder / "state.pt", weights_only=True)
    for shared in ("true", "false"):
        landed = land(state, rank, 2, shared)
        (folder / f"landed-{shared}-{rank}.json").write_text(json.dumps(landed))
    found = train_with_bad_files(folder / "images", rank, 2)
    (folder / f"bad_files-{rank}.json").write_text(json.dumps(found))
    for case in CASES:
        (folder / f"{case}-{rank}.json").write_text(json.dumps(train(case, rank, 2)))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Train every case on two workers; return the folder with what each of them saw."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)  # new processes take the path over
        make_images(folder / "images")
        torch.save(untrained(), folder / "state.pt")
        spawn(worker, args=(folder,), nprocs=2)
        yield folder


def seen(folder: Path, case: str) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{case}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("case", ["full_batches", "partial_last_batch"])
def test_two_workers_equal_one(case: str, shared: Path) -> None:
    alone = train(case, 0, 1)
    for two in seen(shared, case):
        assert len(two["losses"]) == len(alone["losses"]) > 20
        assert two["losses"][:20] == pytest.approx(alone["losses"][:20], abs=1e-5)
        assert two["accuracy"] == alone["accuracy"]
        assert two["zeros"] == pytest.approx(alone["zeros"], rel=0.01)
        assert two["zeros"] > 0


def test_two_workers_equal_one_to_rounding_whatever_is_left_over(shared: Path) -> None:
    alone = train("odd_last_batch", 0, 1)
    for two in seen(shared, "odd_last_batch"):
        assert len(two["losses"]) == 24
        assert two["losses"] == pytest.approx(alone["losses"], abs=1e-10)
        assert two["zeros"] == alone["zeros"] > 0


def test_two_workers_lead_a_run_as_one_does_before_and_after_its_onset(shared: Path) -> None:
    alone = train("led", 0, 1)
    assert alone["decays"][:3] == [0, 0, 0.3]
    assert len(set(alone["decays"][2:])) == 4, "every epoch has another one"
    for two in seen(shared, "led"):
        for what in ("losses", "sparsities", "decays"):
            assert two[what] == pytest.approx(alone[what], abs=1e-9), what
    one, other = seen(shared, "led")
    assert one == other, "each computes its decays alone"


@pytest.mark.parametrize("case", CASES)
def test_the_last_batch_is_shared_as_the_comment_says(case: str) -> None:
    experiment = load(*CASES[case])
    images = load_data(experiment.data)
    batches = TrainingBatches(
        num_samples=len(images.train),
        batch_size=experiment.training.batch_size,
        seed=0,
        epoch=0,
        world_size=2,
    )
    assert batches.sizes[-1] == LAST_BATCH[case]


def test_two_workers_in_bfloat16_stay_close_to_one(shared: Path) -> None:
    # Rounding to 8 bits differs with the sums; the first steps tell a wrong weight of a worker.
    alone = train("bfloat16", 0, 1)
    one, other = seen(shared, "bfloat16")
    assert one["losses"] == other["losses"]
    assert one["losses"][:15] == pytest.approx(alone["losses"][:15], rel=0.02)
    assert one["accuracy"] == pytest.approx(alone["accuracy"], abs=0.03)


def test_bad_files_of_all_workers_are_counted_and_named(shared: Path) -> None:
    alone = train_with_bad_files(shared / "images", 0, 1)
    assert (alone["count"], alone["names"]) == (3, BAD_FILES)
    for two in seen(shared, "bad_files"):
        assert (two["count"], two["names"]) == (3, BAD_FILES)
        assert two["losses"] == pytest.approx(alone["losses"], abs=1e-10)
        assert two["val_loss"] == pytest.approx(alone["val_loss"], abs=1e-6)
        assert two["accuracy"] == alone["accuracy"]


@pytest.mark.parametrize("is_shared", ["true", "false"])
def test_two_workers_land_as_one_does_however_they_trained(is_shared: str, shared: Path) -> None:
    alone = land(untrained(), 0, 1)
    for two in seen(shared, f"landed-{is_shared}"):
        assert two == pytest.approx(alone, abs=1e-5)


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(3), ()),
    "1d, sequences": (lambda: nn.BatchNorm1d(3), (5,)),
    "2d": (lambda: nn.BatchNorm2d(3), (5, 5)),
    "3d": (lambda: nn.BatchNorm3d(3), (2, 3, 4)),
    "not affine": (lambda: nn.BatchNorm2d(3, affine=False), (5, 5)),
    "cumulative": (lambda: nn.BatchNorm2d(3, momentum=None), (5, 5)),
    "no statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (5, 5)),
    "frozen": (lambda: frozen(nn.BatchNorm2d(3)), (5, 5)),
}


def frozen(norm: nn.Module) -> nn.Module:
    keep_frozen(nn.Sequential(norm.eval()).requires_grad_(True))
    return norm


def batch(size: int, shape: tuple[int, ...]) -> Tensor:
    torch.manual_seed(1)
    return (torch.randn(size, 3, *shape, dtype=torch.float64) * 3 + 1).requires_grad_()


def normal(kind: str) -> nn.Sequential:
    return nn.Sequential(NORMS[kind][0]()).double()


def normalize(x: Tensor, norm: nn.Module) -> Tensor:
    output = norm(x)
    (output**3).sum().backward()
    return output.detach()


def normalize_share(rank: int, folder: Path) -> None:
    join(rank, folder)
    for kind, size in product(NORMS, (8, 7)):
        share = batch(size, NORMS[kind][1]).detach()[rank::2].requires_grad_()
        norm = share_batch_statistics(normal(kind), CPU)
        found = {"output": normalize(share, norm), "grad": share.grad, "state": norm.state_dict()}
        for name, parameter in norm.named_parameters():
            assert parameter.grad is not None
            dist.all_reduce(parameter.grad)
            found[name] = parameter.grad
        torch.save(found, folder / f"{kind}-{size}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normalize batches of 8 (4 and 4) and of 7 (4 and 3) images on two workers."""
    folder = tmp_path_factory.mktemp("normalized")
    spawn(normalize_share, args=(folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("size", [8, 7], ids=["equal_shares", "unequal_shares"])
def test_shared_batch_statistics_equal_those_of_the_joined_batch(
    kind: str, size: int, normalized: Path
) -> None:
    x, norm = batch(size, NORMS[kind][1]), normal(kind)
    output = normalize(x, norm)
    assert x.grad is not None
    expected = {name: parameter.grad for name, parameter in norm.named_parameters()}
    for rank in (0, 1):
        shared = torch.load(normalized / f"{kind}-{size}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(shared["output"], output[rank::2], rtol=0, atol=1e-10)
        torch.testing.assert_close(shared["grad"], x.grad[rank::2], rtol=0, atol=1e-10)
        for key, value in norm.state_dict().items():
            torch.testing.assert_close(shared["state"][key], value, rtol=0, atol=1e-10)
        for name, gradient in expected.items():
            torch.testing.assert_close(shared[name], gradient, rtol=0, atol=1e-9)
