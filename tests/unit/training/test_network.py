"""A run can start from a checkpoint of the authors' own code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from equal_runs import new_run

from strsweep.errors import SettingError
from strsweep.models import build
from strsweep.settings import RunSettings
from strsweep.sparsity.convert import sparsify
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.training.run import TrainingRun

SETTINGS = RunSettings(threshold_init=-9, weight_decay=1e-2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, SparsityReport]:
    torch.manual_seed(3)
    dense = build("digits_cnn", num_classes=10)
    state = dense.state_dict()
    convolutions = [weight.name for weight in weight_tensors(dense) if weight.name != "fc"]
    state |= {f"{name}.sparseThreshold": torch.full((1, 1), -3.0) for name in convolutions}
    torch.save({"state_dict": state}, tmp_path / "model_best.pth")
    model = sparsify(dense, threshold_init=-3.0, skip=("fc",))
    return tmp_path / "model_best.pth", measure(model, torch.zeros(1, 1, 8, 8))


def run(path: Path, *overrides: str) -> TrainingRun:
    return new_run(SETTINGS, f"model.checkpoint={path}", "training.epochs=1", *overrides)


def test_str_goes_on_where_the_file_ends(checkpoint: tuple[Path, SparsityReport]) -> None:
    path, report = checkpoint
    continued = run(path)
    assert continued.report() == report
    assert report.layers[-1].threshold is None, "a layer without a threshold stays dense"
    next(continued.epochs())
    assert continued.report() != report


def test_a_budget_trainer_starts_from_its_weights(checkpoint: tuple[Path, SparsityReport]) -> None:
    path, report = checkpoint
    budget = {layer.name: 0.01 for layer in report.layers}
    started = run(path, "sparsity.mode=dnw", f"sparsity.budget={budget}", "search.weight_decay=0")
    assert 0.985 < started.report().sparsity < 1
    assert all(layer.threshold is None for layer in started.report().layers)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"x", "damaged or no checkpoint")]
)
def test_a_bad_file_is_told(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=rf"model\.checkpoint: got .*{message}"):
        run(path)
