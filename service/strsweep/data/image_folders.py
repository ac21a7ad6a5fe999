"""Image folders: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; ImageNet is one of them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strsweep.config import DataConfig
from strsweep.data.labelled import ImageFiles, LabelledData
from strsweep.data.transforms import transforms_of
from strsweep.errors import SettingError
from strsweep.progress import printable, say

_SHOWN = 5
_LEFT_BEHIND = {
    *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot"),
    *("$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found", "Thumbs.db"),
}
"""By file servers and other systems; some hold thumbnails, which are images."""
_THREADS = 8
"""Asking a file server for a million sizes one after the other would take an hour."""
_FILES_READ, _BYTES_READ = 100, 4096
"""Reading a million files takes minutes on every start."""
_IMAGENET_CLASSES, _IMAGENET_SIZE = 1000, 224


@dataclass(frozen=True)
class _ClassFolder:
    """What lies in the folder of one class, subfolders included."""

    path: Path
    images: list[str]
    """Files by their suffix, in the order of torchvision's ImageFolder."""
    left_out: Counter[str]
    """How many of each suffix, or name, are no images that are read."""

    def __str__(self) -> str:
        name = f"{self.path.parent.name}/{self.path.name}"
        suffixes = ", ".join(sorted(self.left_out)[:_SHOWN])
        return f"{name} (only {suffixes} files)" if suffixes else name


def check_image_folders(config: DataConfig) -> int:
    """Check that train/ and val/ hold the same classes, and images that are not empty.

    What is left out is said. Returns the number of classes.

    Raises:
        SettingError: Something is missing or empty; the message names it.
        OSError: Something cannot be read.
    """
    train, val = _scanned(config)
    if len(train) == 1:
        told = f"There is one class only, {train[0].path.name!r}: there is nothing to tell apart."
        raise _wrong(config, f"{told} Is there a folder around those of the classes?")
    _say_left_out(train, val)
    with ThreadPoolExecutor(_THREADS) as pool:
        empty = [file for files in pool.map(_empty_files, [*train, *val]) for file in files]
    if empty:
        remedy = "Copy them again, or delete them."
        told = f"{len(empty)} image files have no content: {_some(empty)}. {remedy}"
        raise _wrong(config, told)
    return len(train)


def _scanned(config: DataConfig) -> tuple[list[_ClassFolder], list[_ClassFolder]]:
    """Return the classes of train/ and of val/, which are the same, in the order of their names."""
    assert config.path is not None
    splits = config.path / "train", config.path / "val"
    train, val = (_classes(config, split) for split in splits)
    if train != val:
        odd, lacks = sorted(train ^ val)[:_SHOWN], "val/" if train - val else "train/"
        remedy = f"Put images of them into {lacks}, or leave them out of the other."
        raise _wrong(config, f"train/ and val/ differ in their classes: {odd}. {remedy}")
    with ThreadPoolExecutor(_THREADS) as pool:
        folders = list(pool.map(_scan, [split / n for split in splits for n in sorted(train)]))
    if bare := [folder for folder in folders if not folder.images]:
        told = f"{len(bare)} class folders hold no images: {', '.join(map(str, bare[:_SHOWN]))}."
        raise _wrong(config, f"{told} Images end in {', '.join(_image_suffixes())}.")
    return folders[: len(train)], folders[len(train) :]


def _classes(config: DataConfig, split: Path) -> set[str]:
    if not split.is_dir() or not any(split.iterdir()):
        needed = f"{split.name}/ with a folder of images per class inside this folder"
        raise _wrong(config, f"{config.name} needs {needed}: is the copy complete?")
    classes = {
        entry.name for entry in split.iterdir() if entry.is_dir() and _is_visible(entry.name)
    }
    if not classes:
        raise _wrong(config, f"{split.name}/ must hold a folder per class, it holds files only.")
    return classes


def _scan(path: Path) -> _ClassFolder:
    images, left_out, suffixes = list[str](), Counter[str](), _image_suffixes()
    for entry in _files(path):
        if _is_visible(entry.name) and entry.name.lower().endswith(suffixes):
            images.append(entry.path)
        else:
            left_out[_kind(entry.name)] += 1
    return _ClassFolder(path, sorted(images, key=os.path.split), left_out)


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield all files, and the folders that others left behind."""
    with os.scandir(folder) as entries:
        for entry in entries:
            is_inside = _is_visible(entry.name) and entry.is_dir()
            yield from _files(entry.path) if is_inside else (entry,)


def _is_visible(name: str) -> bool:
    """Return whether it is nothing that file managers, notebooks and file servers leave behind."""
    return not name.startswith(".") and name not in _LEFT_BEHIND


def _empty_files(folder: _ClassFolder) -> list[str]:
    return [file for file in folder.images if _is_empty(file)]


def _is_empty(file: str) -> bool:
    try:
        return Path(file).stat().st_size == 0
    except FileNotFoundError:  # a link that leads nowhere
        return True


def _image_suffixes() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return IMG_EXTENSIONS


def _say_left_out(*splits: list[_ClassFolder]) -> None:
    left_out = Counter[str]()
    for folders in splits:
        classes = {folder.path.name for folder in folders}
        names = (entry.name for entry in folders[0].path.parent.iterdir())
        left_out.update(_kind(name) for name in names if name not in classes)
        for folder in folders:
            left_out.update(folder.left_out)
    if left_out:
        told = _some([f"{count} {name}" for name, count in left_out.most_common()])
        say(f"data.path: {left_out.total()} files and folders are left out: {told}")


def _some(texts: list[str]) -> str:
    return ", ".join([*texts[:_SHOWN], *["..."] * (len(texts) > _SHOWN)])


def _kind(name: str) -> str:
    """Return what a file that is left out counts as: its suffix, or its name."""
    return "._*" if name.startswith("._") else Path(name).suffix or name


def _wrong(config: DataConfig, remedy: str) -> SettingError:
    return SettingError("data.path", str(config.path), printable(remedy))


def check_imagenet(config: DataConfig) -> None:
    """Raise ``SettingError`` unless it is ImageNet as the paper uses it, and complete."""
    if config.image_size != _IMAGENET_SIZE:
        remedy = (
            f"imagenet is trained at {_IMAGENET_SIZE} pixels: use data.name imagefolder for "
            "another size."
        )
        raise SettingError("data.image_size", config.image_size, remedy)
    num_classes = check_image_folders(config)
    if num_classes != _IMAGENET_CLASSES:
        remedy = (
            f"imagenet needs {_IMAGENET_CLASSES} class folders in train/, there are {num_classes}: "
            "is the copy complete? Use data.name imagefolder for other images."
        )
        raise SettingError("data.path", str(config.path), remedy)


def open_image_folders(config: DataConfig) -> LabelledData:
    """Open train/ and val/, by default with the paper's augmentation (its section 4.1.1).

    Raises:
        SettingError: As ``check_image_folders``, except for images without content.
        OSError: Something cannot be read.
    """
    assert config.path is not None
    transforms = transforms_of(config, augment="imagenet", normalize="imagenet")
    size, channels = config.image_size, config.channels
    splits = _scanned(config)
    train, val = (
        [(image, label) for label, folder in enumerate(folders) for image in folder.images]
        for folders in splits
    )
    return LabelledData(
        train=ImageFiles(train, transforms.train, size, channels),
        val=ImageFiles(val, transforms.val, size, channels),
        num_classes=len(splits[0]),
        input_shape=(channels, size, size),
        preparation=transforms.words,
        fingerprint=partial(_fingerprint, config.path, [*train, *val]),
    )


def _fingerprint(folder: Path, samples: list[tuple[str, int]]) -> str:
    """Return a fingerprint of the names of all files, and of the beginnings of some."""
    digest = hashlib.sha256()
    every = max(len(samples) // _FILES_READ, 1)
    for number, (path, label) in enumerate(samples):
        digest.update(os.fsencode(f"{os.path.relpath(path, folder)}\0{label}\n"))
        if number % every == 0:
            # One that cannot be read is reported when it is needed.
            with suppress(OSError), Path(path).open("rb") as file:
                digest.update(file.read(_BYTES_READ))
    return digest.hexdigest()[:8]
