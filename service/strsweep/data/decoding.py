"""Image files of every kind as RGB."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image


def decode_rgb(path: Path | str) -> Image.Image:
    """Read an image file as RGB with 8 bits a channel.

    Transparent parts become white, as they look on a page. Of 16 bits the upper 8 are kept:
    Pillow's own conversion would clip them to white.

    Raises:
        ValueError: The pixels are floats, whose range nobody knows.
        Exception: Whatever Pillow finds wrong with the file, mostly ``OSError``.
    """
    with warnings.catch_warnings():
        # Damaged EXIF says nothing about the pixels; ImageNet has hundreds of such files.
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path) as image:
            return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("the pixels are floats: convert the file to 8 bits")
    if image.mode.startswith("I"):
        upper = (np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")
