"""A sweep is not continued with other data, another network or other code than before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from samples import load

from strsweep.config import Problem
from strsweep.errors import SettingError
from strsweep.tasks import task_of
from strsweep.training.problem import check_identity, measure_problem

NETWORK = """
from pathlib import Path
from torch import nn

def network(num_classes):
    kind = Path(__file__).with_name("kind.txt").read_text()
    return nn.Sequential(nn.Flatten(), getattr(nn, kind)(), nn.Linear(3 * 16 * 16, num_classes))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return two classes of images that differ in size, and a network."""
    for split, count in (("train", 6), ("val", 3)):
        for number, name in enumerate(("ant", "bee")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(count):
                image = Image.new("RGB", (20 + number, 20), (40 * index, 100 * number, 7))
                image.save(tmp_path / "data" / split / name / f"{index}.png")
    (tmp_path / "identity_network.py").write_text(NETWORK)
    (tmp_path / "kind.txt").write_text("ReLU")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("identity_network", "identity_data"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def overrides(folder: Path) -> tuple[str, ...]:
    data = f"data={{name: imagefolder, path: {folder}/data, image_size: 16}}"
    return data, "model={name: 'identity_network:network'}", "training.batch_size=4"


def measured(folder: Path, *more: str) -> Problem:
    experiment = load(*overrides(folder), *more)
    return measure_problem(experiment, task_of(experiment))


def check(folder: Path, before: Problem, *more: str) -> None:
    now = measured(folder, *more).identity
    check_identity(load(*overrides(folder), *more), before, now)


def refusal(folder: Path, before: Problem, *more: str) -> str:
    with pytest.raises(SettingError, match="another name, or undo the change") as caught:
        check(folder, before, *more)
    assert caught.value.setting == "name"
    return str(caught.value)


def test_what_has_not_changed_is_continued(folder: Path) -> None:
    before = measured(folder)
    assert before.identity["data"].startswith("12 training and 6 validation inputs of 2 classes")
    check(folder, before)
    check(folder, before, "search.targets=[0.5]")


def swap_labels(folder: Path) -> None:
    for split in ("train", "val"):
        place = folder / "data" / split
        (place / "ant").rename(place / "x")
        (place / "bee").rename(place / "ant")
        (place / "x").rename(place / "bee")


def add_class(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / "data" / split / "cat").mkdir()
        Image.new("RGB", (20, 20)).save(folder / "data" / split / "cat" / "0.png")


def add_comment(folder: Path) -> None:
    (folder / "identity_network.py").write_text(f"{NETWORK}\n# a comment\n")
    importlib.reload(sys.modules["identity_network"])


def change_kind(folder: Path) -> None:
    (folder / "kind.txt").write_text("Tanh")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swap_labels, ["The data changed since this sweep was begun"]),
        (add_class, ["of 2 classes", "of 3 classes"]),
        (add_comment, ["The code changed", "identity_network.py"]),
        (change_kind, ["The model changed since this sweep was begun"]),
    ],
)
def test_what_changed_is_told(
    change: Callable[[Path], None], told: list[str], folder: Path
) -> None:
    before = measured(folder)
    change(folder)
    said = refusal(folder, before)
    assert [text for text in told if text not in said] == []


OWN = """
import random
from pathlib import Path

import numpy as np
import torch

LABELS = Path(__file__).with_name("labels.txt")

class Samples:
    classes = ["ant", "bee"]

    def __init__(self, count, sample):
        self.count, self.sample = count, sample

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.sample(index, int(LABELS.read_text()[index % 4]))

def fixed():
    def sample(index, label):
        return torch.full((3, 16, 16), float(index)), label
    return Samples(20, sample), Samples(10, sample)

def drawn():
    def sample(index, label):
        image = torch.rand(3, 16, 16) + random.random() + np.random.rand()
        return image.float(), np.int64(label)
    return Samples(20, sample), Samples(10, sample)
"""


@pytest.mark.parametrize("name", ["fixed", "drawn"])
def test_swapped_labels_of_own_data_are_told(name: str, folder: Path) -> None:
    (folder / "identity_data.py").write_text(OWN)
    own = f"data={{name: 'identity_data:{name}'}}"
    (folder / "labels.txt").write_text("0110")
    before = measured(folder, own)
    assert before.identity["samples"]
    check(folder, before, own)
    (folder / "labels.txt").write_text("1001")
    assert "The samples changed since this sweep was begun" in refusal(folder, before, own)
