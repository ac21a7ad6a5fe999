"""Every kind of image file becomes sensible RGB, without a warning (warnings are errors here)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strsweep.data.labelled import decode


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


def test_floats_have_no_range(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    Image.fromarray(np.full((6, 8), 0.5, dtype=np.float32)).save(path)
    with pytest.raises(ValueError, match="the pixels are floats"):
        decode(path)
