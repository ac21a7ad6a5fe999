"""What happens to an image before the network sees it, as the settings say."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from strsweep.config import DataConfig
from strsweep.data import TrainingBatches, load_data, training_loader
from strsweep.errors import SettingError

HERE = "tests.unit.data.test_transforms"


class Rows:
    """Pairs whose input is drawn in every way that people draw."""

    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([*drawn, float(index)]), index % 3


class Unnamed(Rows):
    """Does not say what its classes are."""

    classes: Any = None
    targets = (0, 1, 2, 4)


def rows(kind: str = "rows") -> Any:
    return {"rows": (Rows(), Rows()), "unnamed": (Unnamed(), Unnamed()), "one": (Rows(),)}[kind]


def darker(image: Image.Image) -> Image.Image:
    return image.point([value // 2 for value in range(256)] * len(image.getbands()))


def config(folder: Path, **options: Any) -> DataConfig:
    asked = {"name": "imagefolder", "path": folder, "image_size": 8, **options}
    return DataConfig.model_validate(asked)


def first(config: DataConfig, split: str = "val") -> Tensor:
    data: Any = getattr(load_data(config), split)
    return data[0][0]


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("none", (0.0, 0.0, 0.0)),
        ("symmetric", (-1.0, -1.0, -1.0)),
        ("imagenet", (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
        ({"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 1.0]}, (-1.0, -1.0, 0.0)),
        ({"mean": [0.1], "std": [0.2]}, (-0.5, -0.5, -0.5)),
        (None, (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225)),
    ],
)
def test_a_black_pixel_is_normalized_by_hand(
    normalize: Any, expected: tuple[float, ...], folder: Path
) -> None:
    image = first(config(folder, normalize=normalize))
    assert image.shape == (3, 8, 8)
    assert image[:, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_gray_images_have_one_channel(folder: Path) -> None:
    found = load_data(config(folder, channels=1))
    assert found.input_shape == (1, 8, 8)
    assert first(config(folder, channels=1)).tolist() == [[[-1.0] * 8] * 8]
    assert "normalized by symmetric" in found.describe()


@pytest.mark.parametrize("augment", ["none", "shift", "cifar", "imagenet"])
def test_what_happens_is_said_and_validation_is_never_augmented(augment: str, folder: Path) -> None:
    asked = config(folder, augment=augment)
    assert torch.equal(first(asked), first(asked))
    found = load_data(asked)
    said = {"none": "not augmented", "imagenet": "a random crop"}.get(augment, "shifted by up to")
    assert said in found.describe()
    assert found.train[3][0].shape == (3, 8, 8)


def test_without_augmentation_training_images_are_those_of_the_files(folder: Path) -> None:
    asked = config(folder, augment="none", normalize="none")
    images: Any = load_data(asked).train
    assert images[1][0][:, 4, 4].tolist() == pytest.approx([0, 10 / 255, 0], abs=1e-6)


def test_a_transform_of_ones_own(folder: Path) -> None:
    asked = config(folder, augment=f"{HERE}:darker", normalize="none")
    images: Any = load_data(asked).train
    assert images[2][0][:, 4, 4].tolist() == pytest.approx([0, 10 / 255, 0], abs=1e-6)


def test_digits_can_be_shifted() -> None:
    plain, shifted = (load_data(DataConfig(name="digits", augment=a)) for a in ("none", "shift"))
    torch.manual_seed(0)
    moved = [not torch.equal(plain.train[i][0], shifted.train[i][0]) for i in range(20)]
    assert sum(moved) > 10
    assert shifted.train[0][0].shape == (1, 8, 8)
    assert torch.equal(plain.val[0][0], shifted.val[0][0])


@pytest.mark.parametrize(
    ("options", "setting", "message"),
    [
        ({"augment": "autoaugment"}, "data.augment", "Use one of imagenet, cifar, shift, none"),
        ({"normalize": "zca"}, "data.normalize", "Use one of imagenet, cifar10"),
        ({"normalize": {"mean": [0.1, 0.2], "std": [1.0]}}, "data.normalize", "3 channels"),
    ],
)
def test_what_is_unknown_is_told(
    options: dict[str, Any], setting: str, message: str, folder: Path
) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load_data(config(folder, **options))
    assert caught.value.setting == setting


def test_images_that_are_no_squares_are_not_augmented_by_name() -> None:
    asked = DataConfig(name=f"{HERE}:rows", augment="shift")
    with pytest.raises(SettingError, match="augment in your own") as caught:
        load_data(asked)
    assert caught.value.setting == "data.augment"


def test_a_data_set_of_ones_own_is_seeded_in_every_way() -> None:
    data = load_data(DataConfig(name=f"{HERE}:rows"))
    assert (data.num_classes, data.input_shape) == (3, (4,))

    def epoch(number: int, world_size: int = 1) -> dict[float, list[float]]:
        found: dict[float, list[float]] = {}
        for rank in range(world_size):
            batches = TrainingBatches(
                num_samples=12, batch_size=4, seed=0, epoch=number, rank=rank, world_size=world_size
            )
            for inputs, _ in training_loader(data.train, batches):
                found.update({row[3]: row[:3] for row in inputs.tolist()})
        return found

    random.seed(1)
    np.random.seed(1)

    def states() -> tuple[Any, Any]:
        drawn: Any = np.random.get_state()
        return random.getstate(), drawn[1].tolist()

    before = states()
    one = epoch(0)
    assert states() == before
    random.seed(2)
    assert epoch(0) == epoch(0, world_size=2) == one
    assert all(epoch(1)[key] != one[key] for key in one)


def test_classes_are_counted_or_asked_for() -> None:
    name, options = f"{HERE}:rows", {"kind": "unnamed"}
    assert load_data(DataConfig(name=name, options=options)).num_classes == 5
    assert load_data(DataConfig(name=name, options=options, num_classes=9)).num_classes == 9
    with pytest.raises(SettingError, match="must return a training and a validation data set"):
        load_data(DataConfig(name=name, options={"kind": "one"}))
    with pytest.raises(SettingError, match="refuses them") as caught:
        load_data(DataConfig(name=name, options={"wrong": 1}))
    assert caught.value.setting == "data.options"
