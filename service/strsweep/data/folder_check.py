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

    path: Path
    num_images: int = 0
    empty_files: list[str] = field(default_factory=list[str])
    """Images of zero bytes, and links that lead nowhere."""
    other_suffixes: set[str] = field(default_factory=set[str])


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
    folders = [split / name for split in splits for name in sorted(train)]
    with ThreadPoolExecutor(_THREADS) as pool:
        scanned = list(pool.map(_scan, folders))
    _check_images(config, [folder for folder in scanned if not folder.num_images])
    _check_sizes(config, [file for folder in scanned for file in folder.empty_files])
    return len(train)


def _classes(config: DataConfig, split: Path) -> set[str]:
    if not split.is_dir() or not any(split.iterdir()):
        raise _wrong(
            config,
            f"{config.name} needs {split.name}/ with a folder of images per class inside this "
            "folder: is the copy complete?",
        )
    classes = {entry.name for entry in split.iterdir() if entry.is_dir() and is_visible(entry.name)}
    if not classes:
        raise _wrong(config, f"{split.name}/ must hold a folder per class, it holds files only.")
    return classes


def _check_images(config: DataConfig, without_images: list[_ClassFolder]) -> None:
    if not without_images:
        return
    shown = ", ".join(_described(folder) for folder in without_images[:_SHOWN])
    raise _wrong(
        config,
        f"{len(without_images)} class folders hold no images: {shown}. "
        f"Images end in {', '.join(_image_suffixes())}.",
    )


def _check_sizes(config: DataConfig, empty_files: list[str]) -> None:
    if not empty_files:
        return
    shown = ", ".join(empty_files[:_SHOWN])
    raise _wrong(
        config,
        f"{len(empty_files)} image files have no content: {shown}"
        f"{', ...' if len(empty_files) > _SHOWN else ''}. Copy them again, or delete them.",
    )


def _described(folder: _ClassFolder) -> str:
    name = f"{folder.path.parent.name}/{folder.path.name}"
    suffixes = sorted(folder.other_suffixes)[:_SHOWN]
    return f"{name} (only {', '.join(suffixes)} files)" if suffixes else name


def _scan(path: Path) -> _ClassFolder:
    found, suffixes = _ClassFolder(path), _image_suffixes()
    for entry in _files(path):
        if not entry.name.lower().endswith(suffixes):
            found.other_suffixes.add(Path(entry.name).suffix or entry.name)
            continue
        found.num_images += 1
        if _size(entry) == 0:
            found.empty_files.append(entry.path)
    return found


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(filter(lambda entry: is_visible(entry.name), entries), key=_by_name):
            if entry.is_dir():
                yield from _files(entry.path)
            else:
                yield entry


def is_visible(name: str) -> bool:
    """Tell images and classes from what file managers and notebooks leave behind."""
    return not name.startswith(".")


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a link that leads nowhere
        return 0


def _image_suffixes() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return IMG_EXTENSIONS


def _wrong(config: DataConfig, remedy: str) -> SettingError:
    return SettingError("data.path", str(config.path), remedy)
