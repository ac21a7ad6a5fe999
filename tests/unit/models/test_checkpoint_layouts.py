"""A trained network in the layouts that people's scripts write: every tensor in its place."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from strsweep.errors import CheckpointError
from strsweep.models import Start, load_start

State = dict[str, Tensor]


def network(num_classes: int = 2) -> nn.Module:
    torch.manual_seed(num_classes)
    return resnet18(num_classes=num_classes)


def written(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "trained.pth")
    return folder / "trained.pth"


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "state dict": lambda state: state,
    "torchvision's and timm's scripts": lambda state: {"model": state, "epoch": 3},
    "tutorials": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "lightning": lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    "data parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled, distributed": lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
    "before torch 0.4.1": lambda state: {k: v for k, v in state.items() if "batches" not in k},
    "a numpy number beside it": lambda state: {"state_dict": state, "best": np.float64(0.7)},
    "a learning rate of numpy": lambda state: {
        "state_dict": state,
        "optimizer": {"param_groups": [{"lr": np.float64(0.1)}]},
    },
    "half precision": lambda state: {
        k: v.half() if v.is_floating_point() else v for k, v in state.items()
    },
    "more than the model has": lambda state: state | {"teacher.weight": torch.ones(3)},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_in_its_place(layout: str, zipped: bool, tmp_path: Path) -> None:
    trained, model = network(), network()
    with torch.no_grad():
        for tensor in trained.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape)) if tensor.is_floating_point() else None
    content = LAYOUTS[layout](trained.state_dict())
    torch.save(content, tmp_path / "trained.pth", _use_new_zipfile_serialization=zipped)
    start = load_start(tmp_path / "trained.pth", model)
    wanted = trained.state_dict()
    for name, tensor in model.state_dict().items():
        expected = wanted[name].half().float() if "half" in layout else wanted[name]
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, expected), name
    assert bool(start.anew) == (layout == "before torch 0.4.1")
    assert start.unused == (("teacher.weight",) if "more than" in layout else ())


def test_safetensors_with_a_prefix_are_matched_by_name_not_by_the_alphabet(tmp_path: Path) -> None:
    trained = nn.Sequential(*[nn.Linear(32, 32) for _ in range(12)])  # "10" sorts before "2"
    model = deepcopy(trained)
    for layer in model:
        nn.init.zeros_(layer.weight)  # pyright: ignore[reportArgumentType]
    save_file(
        {f"model.{k}": v for k, v in trained.state_dict().items()}, tmp_path / "x.safetensors"
    )
    load_start(tmp_path / "x.safetensors", model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name


def test_a_prefix_of_the_model_is_taken_away_too(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

    model = Wrapped()
    load_start(written(tmp_path, network().state_dict()), model)
    assert torch.equal(model.net.conv1.weight, network().conv1.weight)  # pyright: ignore


def test_another_head_is_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, network(1000).state_dict())
    with pytest.raises(CheckpointError, match=r"fc\.weight \[1000, 512\] has the shape \[2, 512\]"):
        load_start(path, network())
    model = network()
    head = model.fc.weight.detach().clone()  # pyright: ignore
    start = load_start(path, model, skip_head=True)
    assert start.anew == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, head)  # pyright: ignore
    assert torch.equal(model.conv1.weight, network(1000).conv1.weight)  # pyright: ignore


def test_safetensors_of_another_network_are_refused(tmp_path: Path) -> None:
    state = {f"x{index}": torch.ones(32, 32) for index in range(12)}
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError):
        load_start(tmp_path / "x.safetensors", nn.Sequential(*[nn.Linear(32, 32) for _ in "ab"]))


def test_what_was_loaded_is_said_in_one_line() -> None:
    start = Start(
        loaded=120, anew=("fc.weight", "fc.bias"), unused=tuple(f"t{i}" for i in range(9))
    )
    assert str(start) == (
        "120 tensors loaded; initialized anew: fc.weight, fc.bias; "
        "of the file not used: t0, t1, t2, t3, t4, t5 and 3 more"
    )
