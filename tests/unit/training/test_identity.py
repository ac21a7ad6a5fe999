"""A sweep is not continued with other data, another network or other code than before."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from PIL import Image

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.errors import SettingError
from strsweep.tasks import task_of
from strsweep.training.problem import check_identity, measure_problem

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
NETWORK = """
from torch import nn

def network(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear({inputs}, num_classes))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return two classes of images that differ in size."""
    for split, count in (("train", 6), ("val", 3)):
        for number, name in enumerate(("ant", "bee")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(count):
                image = Image.new("RGB", (20 + number, 20), (40 * index, 100 * number, 7))
                image.save(tmp_path / "data" / split / name / f"{index}.png")
    return tmp_path


@pytest.fixture
def own_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "identity_network.py").write_text(NETWORK.format(inputs=3 * 16 * 16))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "identity_network", raising=False)
    return folder / "identity_network.py"


def experiment(folder: Path, *overrides: str) -> Experiment:
    data = f"data={{name: imagefolder, path: {folder}/data, image_size: 16}}"
    model = ("model={name: 'identity_network:network'}", "training.batch_size=4")
    return load_experiment(DIGITS, [data, *model, *overrides])


def measured(folder: Path, *overrides: str) -> Problem:
    found = experiment(folder, *overrides)
    return measure_problem(found, task_of(found))


def refusal(folder: Path, before: Problem) -> str:
    with pytest.raises(SettingError, match="another name, or undo the change") as caught:
        check_identity(experiment(folder), before, measured(folder).identity)
    assert caught.value.setting == "name"
    return str(caught.value)


@pytest.mark.usefixtures("own_network")
def test_what_has_not_changed_is_continued(folder: Path) -> None:
    before = measured(folder)
    assert before.identity["data"].startswith("12 training and 6 validation inputs of 2 classes")
    check_identity(experiment(folder), before, measured(folder).identity)
    check_identity(experiment(folder), before, measured(folder, "search.targets=[0.5]").identity)


@pytest.mark.usefixtures("own_network")
def test_swapped_labels_are_told(folder: Path) -> None:
    before = measured(folder)
    for split in ("train", "val"):
        place = folder / "data" / split
        (place / "ant").rename(place / "x")
        (place / "bee").rename(place / "ant")
        (place / "x").rename(place / "bee")
    assert "The data changed since this sweep was begun" in refusal(folder, before)


@pytest.mark.usefixtures("own_network")
def test_another_class_is_told(folder: Path) -> None:
    before = measured(folder)
    for split in ("train", "val"):
        (folder / "data" / split / "cat").mkdir()
        Image.new("RGB", (20, 20)).save(folder / "data" / split / "cat" / "0.png")
    said = refusal(folder, before)
    assert "of 2 classes" in said
    assert "of 3 classes" in said


def test_another_code_is_told(folder: Path, own_network: Path) -> None:
    before = measured(folder)
    own_network.write_text(own_network.read_text() + "\n# a comment\n")
    importlib.reload(sys.modules["identity_network"])
    assert "The code changed" in refusal(folder, before)
    assert "identity_network.py" in refusal(folder, before)


SWITCHED = """
from pathlib import Path
from torch import nn

def network(num_classes):
    kind = Path(__file__).with_name("kind.txt").read_text()
    return nn.Sequential(nn.Flatten(), getattr(nn, kind)(), nn.Linear(3 * 16 * 16, num_classes))
"""


def test_another_network_of_the_same_weights_is_told(folder: Path, own_network: Path) -> None:
    own_network.write_text(SWITCHED)
    (folder / "kind.txt").write_text("ReLU")
    before = measured(folder)
    check_identity(experiment(folder), before, measured(folder).identity)
    (folder / "kind.txt").write_text("Tanh")
    assert "The model changed since this sweep was begun" in refusal(folder, before)


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


@pytest.mark.usefixtures("own_network")
@pytest.mark.parametrize("name", ["fixed", "drawn"])
def test_swapped_labels_of_own_data_are_told(name: str, folder: Path) -> None:
    (folder / "identity_data.py").write_text(OWN)
    sys.modules.pop("identity_data", None)
    own = f"data={{name: 'identity_data:{name}'}}"

    def looked_at() -> Problem:
        found = experiment(folder, own)
        return measure_problem(found, task_of(found))

    (folder / "labels.txt").write_text("0110")
    before = looked_at()
    assert before.identity["samples"]
    check_identity(experiment(folder, own), before, looked_at().identity)
    (folder / "labels.txt").write_text("1001")
    with pytest.raises(SettingError, match="The samples changed since this sweep was begun"):
        check_identity(experiment(folder, own), before, looked_at().identity)
