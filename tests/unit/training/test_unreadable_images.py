"""Some bad image files cost a run nothing but themselves; many of them end it with a reason."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from equal_runs import new_run
from PIL import Image
from samples import load
from torch.nn import functional

from strsweep.config import Experiment
from strsweep.data import check_data, load_data
from strsweep.errors import ImagesUnreadableError, SettingError
from strsweep.settings import RunSettings
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

PER_CLASS = {"train": 120, "val": 40}
"""320 images of two classes: 1 % of them are 3.2, so 3 bad files are tolerated and 4 are not."""
MODES = ("RGB", "L", "CMYK")


def encoded(number: int, label: int, mode: str) -> bytes:
    """Return a JPEG or PNG of noise that is brighter in the second class."""
    noise = np.random.default_rng(number).integers(0, 128, (16, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    image = Image.fromarray(noise + 8 * np.uint8(label)).convert(mode)
    image.save(content, "PNG" if number % 2 and mode != "CMYK" else "JPEG")
    return content.getvalue()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of good files, a third of them gray and a third in CMYK."""
    folder = tmp_path_factory.mktemp("good")
    for split, count in PER_CLASS.items():
        for label, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                content = encoded(2 * index + label, label, MODES[index % 3])
                (folder / split / name / f"{index:03d}.jpg").write_bytes(content)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return shutil.copytree(good, tmp_path / "images")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-120])


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 3)


def page(path: Path) -> None:
    path.write_bytes(b"<html>404 Not Found</html>")


def empty(path: Path) -> None:
    path.write_bytes(b"")


BAD = {"train/dark/000.jpg": cut, "train/light/119.jpg": garbage, "val/light/007.jpg": page}


def damage(folder: Path) -> list[str]:
    """Damage three files; return their names."""
    for name, how in BAD.items():
        how(folder / name)
    return sorted(str(folder / name) for name in BAD)


def on(folder: Path) -> tuple[str, ...]:
    data = f"data={{name: imagefolder, path: '{folder}', image_size: 16}}"
    sizes = ("training.epochs=2", "training.batch_size=32")
    return ("model={name: 'tiny_models:tiny'}", data, *sizes)


def experiment(folder: Path, *overrides: str) -> Experiment:
    return load(*on(folder), *overrides)


def run_on(folder: Path, *overrides: str) -> TrainingRun:
    settings = RunSettings(threshold_init=-6, weight_decay=1e-3)
    return new_run(settings, *on(folder), *overrides)


def test_good_files_of_every_mode_are_all_read(folder: Path) -> None:
    run = run_on(folder)
    assert [metrics.unreadable_images for metrics in run.epochs()] == [0, 0]
    assert run.unreadable == []


def test_bad_files_are_left_out_counted_and_named(folder: Path) -> None:
    bad = damage(folder)
    check_data(experiment(folder).data)  # sizes and names do not tell
    run = run_on(folder)
    for metrics in run.epochs():
        assert metrics.unreadable_images == 3
        assert sorted(run.unreadable) == bad
        assert all(math.isfinite(loss) for loss in run.step_losses)
        assert math.isfinite(metrics.task["val_loss"])
    assert len(run.history) == 2


def judged(run: TrainingRun, folder: Path) -> tuple[float, float]:
    """Return accuracy and loss on the readable validation images, one at a time."""
    images: Any = load_data(experiment(folder).data).val
    readable = [images[index] for index in range(len(images)) if images[index][1] >= 0]
    assert len(readable) == 79
    with torch.no_grad():
        logits = torch.cat([run.model.eval()(image.unsqueeze(0)) for image, _ in readable])
    labels = torch.tensor([label for _, label in readable])
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return accuracy, functional.cross_entropy(logits, labels).item()


def test_accuracy_and_loss_are_those_of_the_readable_images(folder: Path) -> None:
    damage(folder)
    run = run_on(folder)
    list(run.epochs())
    accuracy, loss = judged(run, folder)
    assert 0.4 < accuracy < 1
    assert run.history[-1].task["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert run.history[-1].task["val_loss"] == pytest.approx(loss, abs=1e-5)


def test_more_than_one_percent_ends_the_run_and_names_a_file(folder: Path) -> None:
    damage(folder)
    cut(folder / "val/dark/001.jpg")
    run = run_on(folder)
    with pytest.raises(
        ImagesUnreadableError, match=r"^4 images .*among them .*\.jpg: .*data\.path"
    ):
        list(run.epochs())
    assert run.history == []


@pytest.mark.parametrize("lost", ["train", "val", "."])
def test_a_storage_that_goes_away_is_told_as_such(folder: Path, lost: str) -> None:
    run = run_on(folder)
    epochs = run.epochs()
    next(epochs)
    shutil.rmtree(folder / lost)
    with pytest.raises(ImagesUnreadableError, match=r"is the storage of data\.path there"):
        next(epochs)
    assert len(run.history) == 1


def floats(path: Path) -> None:
    image = Image.fromarray(np.zeros((16, 16), dtype=np.float32))
    image.save(path, "TIFF")


def twelve_bits(path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    Image.fromarray(levels).save(path, "PNG")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (floats, "the pixels are floats: convert the file to 8 bits"),
        (twelve_bits, "the brightest of its 16-bit pixels is 4080"),
        (cut, "image file is truncated"),
        (lambda path: path.write_bytes(b"no image"), "cannot identify image file"),
    ],
    ids=["floats", "twelve_bits", "cut", "no_image"],
)
def test_the_reader_says_why_images_cannot_be_read(
    damage: Callable[[Path], None], reason: str, folder: Path
) -> None:
    for path in (folder / "val" / "light").iterdir():
        damage(path)
    with pytest.raises(ImagesUnreadableError, match=reason) as caught:
        list(run_on(folder, "training.epochs=1").epochs())
    assert "is the storage" not in str(caught.value)


def tried(folder: Path) -> None:
    problem = experiment(folder, "search.targets=[0.8]")
    measure_problem(problem, task_of(problem))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_that_cannot_be_read_is_refused_up_front(split: str, folder: Path) -> None:
    for path in (folder / split).rglob("*.jpg"):
        floats(path)
    told = rf"of {split} cannot be read, .*/{split}/dark/000\.jpg: the pixels are floats: convert"
    with pytest.raises(SettingError, match=told) as caught:
        tried(folder)
    assert caught.value.setting == "data.path"


@pytest.mark.parametrize("split", ["train", "val"])
def test_bad_images_in_front_refuse_nothing(split: str, folder: Path) -> None:
    for name in ("000", "001", "003"):
        garbage(folder / split / "dark" / f"{name}.jpg")
    tried(folder)


def test_fewer_than_a_hundred_validation_images_are_said_beside_the_accuracy(folder: Path) -> None:
    for few in (False, True):
        if few:
            for path in (folder / "val" / "dark").iterdir():
                path.rename(folder / "train" / "dark" / f"of_val_{path.name}")
            Image.new("RGB", (16, 16)).save(folder / "val" / "dark" / "0.png")
        score = task_of(experiment(folder)).score
        assert score.text(0.5) == ("50.00 % of 41" if few else "50.00 % of 80")


def test_files_without_content_are_refused_up_front(folder: Path) -> None:
    empty(folder / "train/dark/003.jpg")
    with pytest.raises(SettingError, match=r"1 image files have no content: .*dark/003\.jpg") as it:
        check_data(experiment(folder).data)
    assert it.value.setting == "data.path"


def test_the_loss_of_a_bad_image_is_nothing(folder: Path) -> None:
    # One step over all images: it is the mean over the 238 that were read.
    run = run_on(folder, "training.batch_size=240", "training.epochs=1")
    list(run.epochs())
    damage(folder)
    damaged = run_on(folder, "training.batch_size=240", "training.epochs=1")
    list(damaged.epochs())
    (whole,), (left,) = run.step_losses, damaged.step_losses
    # The two images gave about what the others give, and batch norm sees zeros in their place.
    assert left == pytest.approx(whole, rel=0.02)
    assert left != whole
