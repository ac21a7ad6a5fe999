"""Every kind of image file becomes RGB; one that cannot be read, zeros with a negative label."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from strsweep.config import DataConfig
from strsweep.data import (
    TrainingBatches,
    ValidationBatches,
    load_data,
    training_loader,
    unreadable_indices,
    unreadable_label,
    validation_loader,
)
from strsweep.data.labelled import decode


def encoded(image_format: str) -> bytes:
    image = Image.effect_noise((40, 30), 80).convert("P" if image_format == "GIF" else "RGB")
    content = io.BytesIO()
    image.save(content, image_format)
    return content.getvalue()


ENCODED = {image_format: encoded(image_format) for image_format in ("PNG", "JPEG", "GIF")}


def float_tiff() -> bytes:
    content = io.BytesIO()
    Image.new("F", (4, 4)).save(content, "TIFF")
    return content.getvalue()


@given(st.integers(-(2**40), -1).map(lambda label: -1 - label))
def test_a_label_tells_its_image(index: int) -> None:
    label = unreadable_label(index)
    assert label < 0
    assert unreadable_indices(torch.tensor([3, label, 0])) == [index]


def test_readable_labels_name_nothing() -> None:
    assert unreadable_indices(torch.tensor([0, 1, 999])) == []


def config(folder: Path) -> DataConfig:
    return DataConfig(name="imagefolder", path=folder, image_size=16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404 Not Found</html>",
        ENCODED["PNG"][:100],
        ENCODED["JPEG"][:-200],
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 64,
        b"\x00" * 4096,
        float_tiff(),
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "no header", "zeros", "floats"],
)
@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_a_bad_file_passes_through_both_loaders(
    content: bytes, processes: int, folder: Path
) -> None:
    (folder / "train" / "bee" / "2.png").write_bytes(content)  # image 6 of 12
    (folder / "val" / "ant" / "1.png").write_bytes(content)  # image 1 of 6
    images = load_data(config(folder))
    epoch = TrainingBatches(num_samples=12, batch_size=12, seed=0, epoch=0)
    ((batch, labels),) = training_loader(images.train, epoch, processes)
    assert unreadable_indices(labels) == [6]
    assert images.name("train", 6) == str(folder / "train" / "bee" / "2.png")
    assert batch.shape == (12, 3, 16, 16)
    assert batch[labels < 0].abs().sum() == 0
    assert all(image.abs().sum() > 0 for image in batch[labels >= 0])
    assert sorted(labels[labels >= 0].tolist()) == [0] * 4 + [1] * 3 + [2] * 4
    everything = ValidationBatches(num_samples=6, batch_size=6)
    ((_, labels),) = validation_loader(images.val, everything, processes)
    assert labels.tolist() == [0, -2, 1, 1, 2, 2]


def test_a_file_that_vanishes_is_a_file_that_cannot_be_read(folder: Path) -> None:
    images: Any = load_data(config(folder))
    (folder / "train" / "ant" / "3.png").unlink()
    image, label = images.train[3]
    assert (label, image.shape, image.dtype) == (-4, (3, 16, 16), torch.float32)


def test_a_decompression_bomb_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        decode(folder / "train" / "ant" / "0.png")
    images: Any = load_data(config(folder))
    assert images.train[0][1] == unreadable_label(0)


@given(st.sampled_from(sorted(ENCODED)), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, image_format: str, share: float
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    content = ENCODED[image_format]
    for split in ("train", "val"):
        (folder / split / "a").mkdir(parents=True)
        (folder / split / "a" / "0.png").write_bytes(content[: int(share * len(content))])
    images: Any = load_data(config(folder))
    image, label = images.train[0]
    assert label in {0, unreadable_label(0)}
    assert image.shape == (3, 16, 16)


def test_bad_files_do_not_change_the_augmentation_of_others(folder: Path) -> None:
    def batch(damage: Callable[[], object]) -> torch.Tensor:
        damage()
        epoch = TrainingBatches(num_samples=12, batch_size=12, seed=0, epoch=0)
        ((pictures, _),) = training_loader(load_data(config(folder)).train, epoch)
        return pictures

    whole = batch(lambda: None)
    order = next(iter(TrainingBatches(num_samples=12, batch_size=12, seed=0, epoch=0)))
    damaged = batch(lambda: (folder / "train" / "ant" / "0.png").write_bytes(b""))
    rest = torch.tensor(order) != 0
    assert torch.equal(whole[rest], damaged[rest])


def corner(path: Path) -> tuple[int, ...]:
    image = decode(path)
    assert image.mode == "RGB"
    assert image.size == (8, 6)
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return tuple(int(value) for value in pixel)


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("L", 100, "png", (100, 100, 100)),
        ("1", 1, "png", (255, 255, 255)),
        ("1", 0, "tiff", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "tiff", (255, 255, 255)),
        ("CMYK", (255, 0, 0, 0), "tiff", (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "jpg", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "jpg", (255, 255, 255)),
        # Transparent parts become white, half transparent black a middle grey.
        ("RGBA", (10, 20, 30, 255), "png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), "png", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 128), "png", (127, 127, 127)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("LA", (100, 0), "png", (255, 255, 255)),
        # The upper 8 of 16 bits: 0x80FF is 128, whatever the lower byte.
        ("I;16", 0x80FF, "png", (128, 128, 128)),
        ("I;16", 0xFFFF, "png", (255, 255, 255)),
        ("I;16", 0x0100, "tiff", (1, 1, 1)),
        ("I", 0x8000, "tiff", (128, 128, 128)),
        ("I", 70000, "tiff", (255, 255, 255)),
        ("I", -5, "tiff", (0, 0, 0)),
    ],
)
def test_mode_becomes_rgb(
    mode: str, color: int | tuple[int, ...], suffix: str, expected: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (8, 6), color).save(path)
    assert corner(path) == expected


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_transparent_palette_becomes_white(suffix: str, tmp_path: Path) -> None:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([200, 10, 10, 0, 0, 255])  # 0 red, 1 blue
    image.putpixel((3, 3), 1)
    path = tmp_path / f"image.{suffix}"
    # Bytes give every entry its own alpha: what Pillow warns about.
    image.save(path, transparency=bytes([0, 255]) if suffix == "png" else 0)
    assert corner(path) == (255, 255, 255)
    assert decode(path).getpixel((3, 3)) == (0, 0, 255)


def test_damaged_exif_costs_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", (8, 6), "red").save(path, exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x09\x00")
    red, green, blue = corner(path)
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize(("brightest", "is_refused"), [(200, True), (4095, True), (4096, False)])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_fewer_than_16_bits_in_16_are_refused_instead_of_blackened(
    brightest: int, is_refused: bool, suffix: str, tmp_path: Path
) -> None:
    pixels = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}")
    if is_refused:
        with pytest.raises(ValueError, match=f"is {brightest}, as of cameras with 12 bits or few"):
            decode(tmp_path / f"x.{suffix}")
    else:
        assert decode(tmp_path / f"x.{suffix}", 1).getextrema() == (0, 16)


def test_floats_have_no_range(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(np.full((6, 8), 0.5, dtype=np.float32)).save(path)
    with pytest.raises(ValueError, match="the pixels are floats"):
        decode(path)
