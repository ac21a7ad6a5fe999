"""Image folders: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; ImageNet is one of them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

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


@dataclass
class _ClassFolder:
    """What lies in the folder of one class, subfolders included."""

    name: str
    num_images: int = 0
    empty_files: list[str] = field(default_factory=list[str])
    """Images of zero bytes, and links that lead nowhere."""
    left_out: Counter[str] = field(default_factory=Counter[str])
    """How many of each suffix, or name, are no images that are read."""

    def __str__(self) -> str:
        suffixes = ", ".join(sorted(self.left_out)[:_SHOWN])
        return f"{self.name} (only {suffixes} files)" if suffixes else self.name


def check_image_folders(config: DataConfig) -> int:
    """Check that train/ and val/ hold the same classes, and images that are not empty.

    What is left out is said. Returns the number of classes.

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
    _check_classes(config, train, val)
    with ThreadPoolExecutor(_THREADS) as pool:
        scanned = list(pool.map(_scan, [split / n for split in splits for n in sorted(train)]))
    if bare := [folder for folder in scanned if not folder.num_images]:
        told = f"{len(bare)} class folders hold no images: {', '.join(map(str, bare[:_SHOWN]))}."
        raise _wrong(config, f"{told} Images end in {', '.join(_image_suffixes())}.")
    beside = (e.name for split in splits for e in split.iterdir() if e.name not in train)
    if left_out := sum((folder.left_out for folder in scanned), Counter(map(_kind, beside))):
        parts = [f"{count} {name}" for name, count in left_out.most_common()]
        told = ", ".join(parts[:_SHOWN]) + (", ..." if len(parts) > _SHOWN else "")
        say(f"data.path: {left_out.total()} files and folders are left out: {told}")
    if empty := [file for folder in scanned for file in folder.empty_files]:
        told = ", ".join(empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
        remedy = "Copy them again, or delete them."
        raise _wrong(config, f"{len(empty)} image files have no content: {told}. {remedy}")
    return len(train)


def _check_classes(config: DataConfig, train: set[str], val: set[str]) -> None:
    if train != val:
        odd, lacks = sorted(train ^ val)[:_SHOWN], "val/" if train - val else "train/"
        remedy = f"Put images of them into {lacks}, or leave them out of the other."
        raise _wrong(config, f"train/ and val/ differ in their classes: {odd}. {remedy}")
    if len(train) == 1:
        told = f"There is one class only, {next(iter(train))!r}: there is nothing to tell apart."
        raise _wrong(config, f"{told} Is there a folder around those of the classes?")


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
        if not is_visible(entry.name) or not entry.name.lower().endswith(suffixes):
            found.left_out[_kind(entry.name)] += 1
            continue
        found.num_images += 1
        try:
            is_empty = entry.stat().st_size == 0
        except FileNotFoundError:  # a link that leads nowhere
            is_empty = True
        found.empty_files += [entry.path] * is_empty
    return found


def _kind(name: str) -> str:
    """Return what a file that is left out counts as: its suffix, or its name."""
    return "._*" if name.startswith("._") else Path(name).suffix or name


def _files(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """Yield all files, and the folders that others left behind."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            is_inside = is_visible(entry.name) and entry.is_dir()
            yield from _files(entry.path) if is_inside else (entry,)


def is_visible(name: str) -> bool:
    """Return whether it is nothing that file managers, notebooks and file servers leave behind."""
    return not name.startswith(".") and name not in _LEFT_BEHIND


def _image_suffixes() -> tuple[str, ...]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return IMG_EXTENSIONS


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
        SettingError: The folders cannot be read, or differ in their classes.
    """
    transforms = transforms_of(config, augment="imagenet", normalize="imagenet")
    size, channels = config.image_size, config.channels
    assert config.path is not None
    try:
        train, val = (_listed(config.path / split) for split in ("train", "val"))
    except OSError as error:
        raise SettingError("data.path", str(config.path), str(error)) from error
    if train.classes != val.classes:
        raise SettingError("data.path", str(config.path), "train/ and val/ differ in classes.")
    return LabelledData(
        train=ImageFiles(train.samples, transforms.train, size, channels),
        val=ImageFiles(val.samples, transforms.val, size, channels),
        num_classes=len(train.classes),
        input_shape=(channels, size, size),
        preparation=transforms.words,
        fingerprint=partial(_fingerprint, config.path, [*train.samples, *val.samples]),
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


def _listed(folder: Path) -> Any:
    """Return torchvision's list of the classes and images in ``folder``, hidden files left out."""
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension

    class VisibleFolder(ImageFolder):
        def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
            classes, _ = super().find_classes(directory)
            visible = [name for name in classes if is_visible(name)]
            return visible, {name: index for index, name in enumerate(visible)}

    def is_image(path: str) -> bool:
        inside = Path(path).relative_to(folder).parts
        return all(map(is_visible, inside)) and has_file_allowed_extension(path, IMG_EXTENSIONS)

    return VisibleFolder(str(folder), is_valid_file=is_image)
