"""Every format computes what the baked model computes, or is not written at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from safetensors.torch import load_file
from torch import Tensor, nn

from strsweep.errors import ExportError, SettingError
from strsweep.export import (
    FORMATS,
    ExportFormat,
    LoadedExport,
    check_formats,
)
from strsweep.models import build
from strsweep.sparsity.convert import bake, sparsify
from strsweep.sparsity.measure import measure

pytestmark = pytest.mark.slow

Run = Callable[[Tensor], Tensor]


def settled(model: nn.Module) -> nn.Module:
    """Sparsify, give batch norms statistics of their own, and bake."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # large enough for logits that depend on the image
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=2 * parameter[0].numel() ** -0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.normal_(module.weight, generator=generator)
    return bake(sparsify(model, threshold_init=-2.8)).eval()


def digits() -> nn.Module:
    return settled(build("digits_cnn", num_classes=10))


def other_layers() -> nn.Module:
    """Weights that the ONNX exporter transposes and renames, a transposed convolution, biases."""
    return settled(
        nn.Sequential(
            nn.Flatten(2),
            nn.Linear(64, 40),
            nn.ReLU(),
            nn.Linear(40, 24, bias=False),
            nn.ConvTranspose1d(1, 4, 3),
            nn.Flatten(),
            nn.Linear(4 * 26, 5),
        )
    )


def one_linear() -> nn.Module:
    return settled(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)))


def images(count: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))


def read(name: str, path: Path, model: nn.Module) -> Run:
    """Load a file the way its users do, without our loaders where there is another."""
    if name == "program":
        return torch.export.load(path).module()
    if name == "onnx":
        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda batch: torch.from_numpy(session.run(None, {"input": batch.numpy()})[0])
    state = load_file(path)
    for tensor in model.state_dict().values():
        tensor.zero_() if tensor.is_floating_point() else None
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("make", [digits, other_layers, one_linear], ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_computes_what_the_model_computes(
    name: str, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    zeros = measure(model).zeros
    assert zeros > 0
    path = tmp_path / FORMATS[name].file_name
    written = FORMATS[name].export(model, (images(2),), path)
    assert written.path == path
    assert written.zeros == zeros
    assert written.num_bytes == path.stat().st_size
    assert written.largest_difference <= 1e-5
    assert list(tmp_path.iterdir()) == [path]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert not model.training
    with torch.no_grad():
        expected = {count: model(images(count)) for count in (1, 2, 7)}
        assert expected[2].std(0).max() > 0.1
        run = read(name, path, model)
        for count, logits in expected.items():
            torch.testing.assert_close(run(images(count)), logits, atol=1e-5, rtol=0)


def test_a_dead_channel_adds_zeros_to_onnx_and_to_nothing_else(tmp_path: Path) -> None:
    model: Any = digits()
    nn.init.zeros_(model.block2.norm.weight[:1])
    kept = int((model.block2.conv.weight[0] != 0).sum())
    assert kept > 0
    zeros = {
        name: form.export(model, (images(2),), tmp_path / form.file_name).zeros
        for name, form in FORMATS.items()
    }
    assert zeros["onnx"] == zeros["dense"] + kept
    assert zeros["dense"] == zeros["program"] == measure(model).zeros


def test_zeros_of_an_onnx_graph_are_those_that_are_multiplied(tmp_path: Path) -> None:
    """Counted by hand: 3 in a transposed weight that is used twice, 1 in a convolution."""
    transposed = np.array([[0, 1, 2], [0, 0, 3]], np.float32)
    kernel = np.array([[[0, 1]]], np.float32)
    offset = np.zeros((1, 9), np.float32)  # added, not multiplied
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["a"]),
        helper.make_node("Gemm", ["x", "w"], ["b"], transB=1),
        helper.make_node("Conv", ["y", "k"], ["c"]),
        helper.make_node("Add", ["c", "offset"], ["d"]),
        helper.make_node("MatMul", ["a", "b"], ["e"]),
    ]
    constants = {"w": transposed, "k": kernel, "offset": offset}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = {"x": (2, 3), "y": (1, 1, 10), "d": (1, 1, 9), "e": (2, 2)}
    x, y, d, e = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items())
    graph = helper.make_graph(nodes, "g", [x, y], [d, e], initializers)
    opsets = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, ir_version=10, opset_imports=opsets), tmp_path / "g.onnx")
    assert FORMATS["onnx"].load(nn.Identity(), tmp_path / "g.onnx").zeros == 4


def test_tied_weights_are_written(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    model[3].weight = model[1].weight
    for form in FORMATS.values():
        form.export(model.eval(), (images(2),), tmp_path / form.file_name)


def test_a_program_runs_without_this_library(tmp_path: Path) -> None:
    model = digits()
    FORMATS["program"].export(model, (images(2),), tmp_path / "model.pt2")
    torch.save(images(3), tmp_path / "images")
    code = (
        "import sys, torch\n"
        "run = torch.export.load('model.pt2').module()\n"
        "torch.save(run(torch.load('images')).detach(), 'logits')\n"
        "assert not any(name.startswith('strsweep') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={}, check=True, timeout=600)
    with torch.no_grad():
        assert torch.allclose(torch.load(tmp_path / "logits"), model(images(3)), atol=1e-6)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 3)

    def forward(self, batch: Tensor) -> Tensor:
        return self.fc(batch.flatten(1)) if batch.sum() > 0 else self.fc(-batch.flatten(1))


@pytest.mark.parametrize("name", ["program", "onnx"])
def test_a_model_that_cannot_be_followed_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / FORMATS[name].file_name
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match="cannot be written"):
        FORMATS[name].export(Branching().eval(), (images(2),), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("run", "more_zeros", "message"),
    [
        (lambda model: lambda batch: model(batch) + 1e-2, 0, "computes other outputs"),
        (lambda model: lambda batch: model(batch) * torch.nan, 0, "computes other outputs"),
        (lambda model: lambda batch: model(batch[:1]).expand(len(batch), -1), 0, "other outputs"),
        (lambda model: lambda batch: model(batch)[:, :3], 0, "cannot be written"),
        (lambda model: model, -1, "zeros, the model"),
    ],
    ids=["shifted", "nan", "first_image_only", "other_shape", "lost_zero"],
)
def test_a_file_that_is_not_the_model_is_not_accepted(
    run: Callable[[nn.Module], Run], more_zeros: int, message: str, tmp_path: Path
) -> None:
    model = digits()
    loaded = LoadedExport(run=run(model), zeros=measure(model).zeros + more_zeros)
    with pytest.raises(ExportError, match=message):
        ExportFormat(
            file_name="x.bin", write=lambda *given: given[2].touch(), load=lambda *_: loaded
        ).export(model, (images(2),), tmp_path / "x.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    for name in ("dense", "program"):
        with pytest.raises(ExportError, match="cannot be written"):
            FORMATS[name].export(one_linear(), (images(2),), tmp_path / "none" / "x")


@pytest.mark.parametrize(
    ("model", "count", "message"),
    [
        (lambda: sparsify(build("digits_cnn", num_classes=10), threshold_init=-5), 2, "bake"),
        (lambda: digits().train(), 2, "eval"),
        (digits, 1, "use \\[2, "),
    ],
)
def test_a_model_that_is_not_finished_is_refused(
    model: Callable[[], nn.Module], count: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        FORMATS["program"].export(model(), (images(count),), tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


def test_formats_are_checked_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    check_formats(list(FORMATS), "--format")
    with pytest.raises(SettingError, match=r"--format: got 'tflite'\. Use one of .*'onnx'"):
        check_formats(["dense", "tflite"], "--format")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(SettingError, match=r"'onnx'\. Run pip install onnxruntime, or"):
        check_formats(["onnx"], "--format")
    check_formats(["dense", "program"], "--format")
