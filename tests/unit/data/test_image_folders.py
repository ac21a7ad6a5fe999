"""Image folders open with the paper's augmentation, and damage is told before training."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import torch
from commands import ran
from PIL import Image
from torchvision import transforms
from torchvision.datasets.folder import make_dataset

from strsweep.config import DataConfig
from strsweep.data import (
    TrainingBatches,
    ValidationBatches,
    check_data,
    load_data,
    training_loader,
    validation_loader,
)
from strsweep.data.loader import seeded
from strsweep.errors import SettingError

RED_OF_LABEL = [0, 127, 255]


def imagefolder(path: Path, *, image_size: int = 16) -> DataConfig:
    return DataConfig(name="imagefolder", path=path, image_size=image_size)


def told(config: DataConfig) -> SettingError:
    with pytest.raises(SettingError) as caught:
        check_data(config)
    return caught.value


def test_imagefolder_gives_crops_and_labels(folder: Path) -> None:
    check_data(imagefolder(folder))
    images = load_data(imagefolder(folder))
    assert (len(images.train), len(images.val), images.num_classes) == (12, 6, 3)
    assert images.input_shape == (3, 16, 16)
    epoch = TrainingBatches(num_samples=12, batch_size=6, seed=0, epoch=0)
    (batch, labels), _ = training_loader(images.train, epoch)
    assert batch.shape == (6, 3, 16, 16)
    assert batch.dtype == torch.float32
    # The red of a flat image tells its class, whatever the crop.
    red = ((batch[:, 0] * 0.229 + 0.485) * 255).mean(dim=(1, 2)).round().int().tolist()
    assert red == [RED_OF_LABEL[label] for label in labels.tolist()]


def test_validation_is_in_order_and_repeatable(folder: Path) -> None:
    images = load_data(imagefolder(folder))
    loader = validation_loader(images.val, ValidationBatches(num_samples=6, batch_size=4))
    first, again = list(loader), list(loader)
    assert torch.cat([labels for _, labels in first]).tolist() == [0, 0, 1, 1, 2, 2]
    assert [len(labels) for _, labels in first] == [4, 2]
    for (one, _), (other, _) in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_images_of_nested_folders_are_in_the_order_of_torchvision(folder: Path) -> None:
    names = ("x/1.png", "x/0.png", "x-/0.png", "x.png", "A.png", "b/Z.png", "b/a.png", "B/0.png")
    for name in names:
        (folder / "train/ant" / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / "train/ant" / name)
    images, classes = load_data(imagefolder(folder)), {"ant": 0, "bee": 1, "cat": 2}
    expected = make_dataset(str(folder / "train"), classes, extensions=(".png",))
    assert [images.name("train", i) for i in range(len(images.train))] == [e[0] for e in expected]


def test_an_image_is_named_by_its_file(folder: Path) -> None:
    images = load_data(imagefolder(folder))
    assert images.name("train", 5) == str(folder / "train" / "bee" / "1.png")
    assert images.name("val", 0) == str(folder / "val" / "ant" / "0.png")


def test_the_transforms_are_the_papers(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for split in ("train", "val"):
        Image.fromarray(pixels).save(folder / split / "ant" / "0.png")
    images: Any = load_data(imagefolder(folder, image_size=224))
    image = Image.fromarray(pixels)
    to_tensor = [
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    evaluation = transforms.Compose([
        transforms.Resize(256),
        transforms.CenterCrop(224),
        *to_tensor,
    ])
    torch.testing.assert_close(images.val[0][0], evaluation(image))
    training = transforms.Compose([
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        *to_tensor,
    ])
    for seed in range(5):
        with seeded(seed):
            ours = images.train[0][0]
        with seeded(seed):
            torch.testing.assert_close(ours, training(image))


def empty_train(folder: Path) -> None:
    (folder / "train").rename(folder / "moved")
    (folder / "train").mkdir()


def files_only(folder: Path) -> None:
    empty_train(folder)
    (folder / "train" / "0.png").write_bytes(b"x")


def class_of_other_files(folder: Path) -> None:
    for name, suffix in (("bee", ".heic"), ("cat", ".TXT")):
        for image in (folder / "val" / name).iterdir():
            image.rename(image.with_suffix(suffix))
    (folder / "val" / "cat" / "README").write_text("x")


def one_level_too_high(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / split).rename(folder / "moved")
        (folder / split).mkdir()
        (folder / "moved").rename(folder / split / "images")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "val").rename(f / "gone"),
            "imagefolder needs val/ with a folder of images per class",
        ),
        (empty_train, "imagefolder needs train/ with a folder of images per class"),
        (files_only, "train/ must hold a folder per class"),
        (
            lambda f: [file.unlink() for file in (f / "train" / "bee").iterdir()],
            "1 class folders hold no images: train/bee. Images end in .jpg,",
        ),
        (
            class_of_other_files,
            "2 class folders hold no images: val/bee (only .heic files), "
            "val/cat (only .TXT, README files).",
        ),
        (
            lambda f: (f / "val" / "cat").rename(f / "val" / "dog"),
            "train/ and val/ differ in their classes: ['cat', 'dog']",
        ),
        (
            lambda f: rmtree(f / "val" / "cat"),
            "classes: ['cat']. Put images of them into val/, or leave them out",
        ),
        (
            one_level_too_high,
            "one class only, 'images': there is nothing to tell apart. Is there a",
        ),
        (
            lambda f: (f / "train/ant/loop.png").symlink_to("loop.png"),
            "loop.png cannot be read: Too many levels of symbolic links",
        ),
    ],
    ids=["val", "train", "files", "empty", "others", "other", "missing", "level", "loop"],
)
def test_damage_is_told_before_training(damage: Any, message: str, folder: Path) -> None:
    damage(folder)
    error = told(imagefolder(folder))
    assert error.setting == "data.path"
    assert message in str(error)
    if damage is not one_level_too_high:
        with pytest.raises(SettingError, match=re.escape(message)):
            load_data(imagefolder(folder))


@pytest.mark.parametrize("count", [1, 5, 8])
def test_files_without_content_are_counted_and_five_are_named(count: int, folder: Path) -> None:
    # In both splits, in a subfolder, and the last a link that leads nowhere.
    ant, deep = folder / "train" / "ant", folder / "train" / "cat" / "deep"
    deep.mkdir()
    val = folder / "val" / "ant"
    files = [*(ant / f"{i}.png" for i in range(4)), deep / "0.JPEG", deep / "1.JPEG", val / "0.png"]
    for file in files[:count]:
        file.write_bytes(b"")
    if count > len(files):
        (val / "9.png").symlink_to(folder / "nowhere.png")
    named = ", ".join(map(str, files[:count][:5])) + ", ..." * (count > 5)
    text = str(told(imagefolder(folder)))
    assert f"{count} image files have no content: {named}. Copy" in text


def test_files_beside_the_images_and_in_subfolders_are_fine(folder: Path) -> None:
    (folder / "train" / "ant" / "notes.txt").write_bytes(b"")
    (folder / "train" / "README").write_text("x")
    deep = folder / "train" / "ant" / "deep"
    deep.mkdir()
    (folder / "train" / "ant" / "0.png").rename(deep / "0.PNG")
    check_data(imagefolder(folder))
    assert len(load_data(imagefolder(folder)).train) == 12


def test_what_is_left_out_is_counted_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_data(imagefolder(folder))
    assert "left out" not in capsys.readouterr().out
    ant = folder / "train" / "ant"
    for index in range(3):
        (ant / f"{index}.gif").write_bytes(b"GIF89a")
    (folder / "val" / "bee" / "a.jfif").write_bytes(b"x")
    (ant / ".DS_Store").write_bytes(b"x")
    for left in ("@eaDir", "train/@eaDir", "train/ant/@eaDir", "train/ant/deep/#recycle"):
        (folder / left).mkdir(parents=True)
        (folder / left / "SYNOPHOTO_THUMB_M.jpg").write_bytes((ant / "0.png").read_bytes())
    check_data(imagefolder(folder))
    said = capsys.readouterr().out
    assert "8 files and folders are left out: 3 .gif, 2 @eaDir, " in said
    for named in ("1 .jfif", "1 #recycle", "1 .DS_Store"):
        assert named in said
    images = load_data(imagefolder(folder))
    assert (len(images.train), images.num_classes) == (12, 3)


def test_what_lies_beside_the_class_folders_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = (folder / "train" / "ant" / "0.png").read_bytes()
    for index in range(3):
        (folder / "train" / f"{index}.png").write_bytes(picture)
        (folder / "val" / "ant" / f"._{index}.png").write_bytes(b"of macOS")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    check_data(imagefolder(folder))
    said = capsys.readouterr().out
    assert "7 files and folders are left out: 3 .png, 3 ._*, 1 .ipynb_checkpoints" in said


def test_a_left_out_name_that_is_no_utf8_ends_nothing(folder: Path) -> None:
    for name in (b"b\xe9e", b"x.\xe9"):
        (folder / "train" / "ant" / os.fsdecode(name)).write_bytes(b"x")
    code = "; ".join([
        "from strsweep.config import DataConfig",
        "from strsweep.data import check_data",
        f"check_data(DataConfig(name='imagefolder', path={str(folder)!r}))",
    ])
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in an English locale
    said = ran([sys.executable, "-c", code], env=strict)
    assert said.returncode == 0, said.stderr
    assert "1 b\\xe9e" in said.stdout
    assert "1 .\\xe9" in said.stdout


def test_a_name_that_is_no_utf8_can_be_printed(folder: Path) -> None:
    path = folder / "train" / "ant" / os.fsdecode(b"b\xe9.png")
    path.write_bytes(b"no image")
    images = load_data(imagefolder(folder))
    (index,) = (i for i in range(13) if images.train[i][1] < 0)
    assert images.name("train", index).endswith("b\\xe9.png")
    assert "cannot identify image file" in images.reason("train", index)
    images.reason("train", index).encode()
    path.write_bytes(b"")
    str(told(imagefolder(folder))).encode()


@pytest.fixture
def thousand_classes(tmp_path: Path) -> Path:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (30, 40), "red").save(picture)
    root = tmp_path / "imagenet"
    for split in ("train", "val"):
        for index in range(1000):
            folder = root / split / f"n{index:08d}"
            folder.mkdir(parents=True)
            os.link(picture, folder / "a.png")
    return root


def test_imagenet_is_a_folder_of_a_thousand_classes(thousand_classes: Path) -> None:
    config = DataConfig(name="imagenet", path=thousand_classes)
    check_data(config)
    images = load_data(config)
    assert (images.num_classes, images.input_shape) == (1000, (3, 224, 224))
    first: Any = images.val
    assert first[999][1] == 999
    error = told(config.model_copy(update={"image_size": 160}))
    assert error.setting == "data.image_size"
    assert "imagenet is trained at 224 pixels: use data.name imagefolder" in error.remedy


def test_other_images_are_not_imagenet(folder: Path) -> None:
    error = told(DataConfig(name="imagenet", path=folder))
    assert error.setting == "data.path"
    assert "1000 class folders in train/, there are 3" in error.remedy
    assert "Use data.name imagefolder" in error.remedy
