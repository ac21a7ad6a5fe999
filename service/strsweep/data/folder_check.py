"""Check image folders by their file names and sizes: fast, before anything is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from strsweep.config import DataConfig
from strsweep.errors import SettingError

_SHOWN = 5
_THREADS = 8
"""Asking a file server for a million sizes one after the other would take an hour."""


@dataclass
class _ClassFolder:
    """What lies in the folder of one class, subfolders included."""

    name: str
    num_images: int = 0
    empty_files: list[str] = field(default_factory=list[str])
    """Images of zero bytes, and links that lead nowhere."""
    other_suffixes: set[str] = field(default_factory=set[str])

    def __str__(self) -> str:
        suffixes = ", ".join(sorted(self.other_suffixes)[:_SHOWN])
        return f"{self.name} (only {suffixes} files)" if suffixes else self.name


def check_image_folders(config: DataConfig) -> int:
    """Check that train/ and val/ hold the same classes, and images that are not empty.

    Returns:
        The number of classes.

    Raises:
        SettingError: Something is missing, empty or cannot be read; the message names it.
    """
    try:
        return _check(config)
    except OSError as error:
        raise _wrong(config, f"{error.filename} cannot be read: {error.strerror}.") from None


def _check(config: DataConfig) -> int:
    assert config.path is not None
    splits = [config.path / "train", config.path / "val"]
    train, val = (_classes(config, split) for split in splits)
    if train != val:
        odd = sorted(train ^ val)
        raise _wrong(config, f"train/ and val/ differ in their classes: {odd[:_SHOWN]}.")
    with ThreadPoolExecutor(_THREADS) as pool:
        scanned = list(pool.map(_scan, [split / n for split in splits for n in sorted(train)]))
    if bare := [folder for folder in scanned if not folder.num_images]:
        told = f"{len(bare)} class folders hold no images: {', '.join(map(str, bare[:_SHOWN]))}."
        raise _wrong(config, f"{told} Images end in {', '.join(_image_suffixes())}.")
    if empty := [file for folder in scanned for file in folder.empty_files]:
        told = ", ".join(empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
        remedy = "Copy them again, or delete them."
        raise _wrong(config, f"{len(empty)} image files have no content: {told}. {remedy}")
    return len(train)


def _classes(config: DataConfig, split: Path) -> set[str]:
    if not split.is_dir() or not any(split.iterdir()):
        needed = f"{split.name}/ with a folder of images per class inside this folder"
        raise _wrong(config, f"{config.name} needs {needed}: is the copy complete?")
    classes = {entry.name for entry in split.iterdir() if entry.is_dir() and is_visible(entry.name)}
    if not classes:
        raise _wrong(config, f"{split.name}/ must hold a folder per class, it holds files only.")
    return classes


def _scan(path: Path) -> _ClassFolder:
    found, suffixes = _ClassFolder(f"{path.parent.name}/{path.name}"), _image_suffixes()
    for entry in _files(path):
        if not entry.name.lower().endswith(suffixes):
            found.other_suffixes.add(Path(entry.name).suffix or entry.name)
            continue
        found.num_images += 1
        try:
            is_empty = entry.stat().st_size == 0
        except FileNotFoundError:  # a link that leads nowhere
            is_empty = True
        found.empty_files += [entry.path] * is_empty
    return found


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_visible(entry.name):
                yield from _files(entry.path) if entry.is_dir() else (entry,)


def is_visible(name: str) -> bool:
    """Return whether it is no file that file managers and notebooks leave behind."""
    return not name.startswith(".")


def _image_suffixes() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return IMG_EXTENSIONS


def _wrong(config: DataConfig, remedy: str) -> SettingError:
    return SettingError("data.path", str(config.path), remedy)
