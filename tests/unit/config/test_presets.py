"""Presets are the rows of the paper's tables 10 and 11, for its models only."""

from __future__ import annotations

from pathlib import Path

import pytest

from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError
from strsweep.sparsity.methods import PRESETS

CONFIGS = Path(__file__).parents[3] / "jobs" / "configs"
FILES = {"resnet50": "imagenet_resnet50", "mobilenet_v1": "imagenet_mobilenet_v1"}
# model, overall sparsity in percent, weight decay times 1e5, threshold init: tables 10 and 11
ROWS = [
    ("resnet50", "79.55", 1.7, -3200),
    ("resnet50", "81.27", 1.751757813, -3200),
    ("resnet50", "87.70", 2.051757813, -3200),
    ("resnet50", "90.23", 2.251757813, -3200),
    ("resnet50", "90.55", 2.051757813, -800),
    ("resnet50", "94.80", 3.051757813, -3200),
    ("resnet50", "95.03", 3.351757813, -12800),
    ("resnet50", "95.15", 3.051757813, -1600),
    ("resnet50", "96.11", 3.051757813, -100),
    ("resnet50", "96.53", 4.051757813, -12800),
    ("resnet50", "97.78", 5.217578125, -12800),
    ("resnet50", "98.05", 5.651757813, -12800),
    ("resnet50", "98.22", 6.051757813, -12800),
    ("resnet50", "98.79", 7.551757813, -12800),
    ("resnet50", "98.98", 8.551757813, -12800),
    ("resnet50", "99.10", 9.051757813, -12800),
    ("mobilenet_v1", "75.28", 1.551757813, -100),
    ("mobilenet_v1", "79.07", 1.551757813, -25),
    ("mobilenet_v1", "85.80", 3.051757813, -3200),
    ("mobilenet_v1", "89.01", 3.751757813, -12800),
    ("mobilenet_v1", "89.62", 3.751757813, -3200),
]


def load(model: str, *overrides: str) -> Experiment:
    return load_experiment(CONFIGS / f"{FILES[model]}.yaml", overrides)


RANKS = (  # table 12: data, ranks, weight decay
    ("google12", "12x40", 0.001),
    ("google12", "11x35", 0.001),
    ("google12", "10x31", 0.002),
    ("google12", "9x24", 0.005),
    ("har2", "9x8", 0.001),
    ("har2", "9x7", 0.001),
    ("har2", "8x7", 0.001),
)


def test_there_is_a_preset_for_every_row_and_no_other() -> None:
    rows = [f"{model}-{sparsity}" for model, sparsity, *_ in ROWS]
    assert list(PRESETS) == rows + [f"fastgrnn-{data}-{ranks}" for data, ranks, _ in RANKS]


@pytest.mark.parametrize(("data", "ranks", "decay"), RANKS)
def test_a_preset_of_ranks_is_its_row(data: str, ranks: str, decay: float) -> None:
    preset = f"sparsity.preset=fastgrnn-{data}-{ranks}"
    loaded = load_experiment(CONFIGS / f"{data}_fastgrnn.yaml", [preset])
    assert (loaded.search.weight_decay, loaded.search.decay) == (decay, "shared")
    assert loaded.search.threshold_init == -10
    assert (loaded.sparsity.mode, loaded.training.epochs) == ("lowrank", 300)


@pytest.mark.parametrize(("model", "sparsity", "decay", "init"), ROWS)
def test_a_preset_is_its_row_and_leaves_the_rest_of_the_file(
    model: str, sparsity: str, decay: float, init: float
) -> None:
    plain, preset = load(model), load(model, f"sparsity.preset={model}-{sparsity}")
    assert preset.search.weight_decay == pytest.approx(decay * 1e-5, rel=1e-12)
    assert (preset.search.threshold_init, preset.search.decay) == (init, "shared")
    assert (preset.search.targets, preset.training) == (plain.search.targets, plain.training)
    assert preset.sweep_id != plain.sweep_id


def test_a_preset_can_stand_in_the_file_without_a_search(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\nmodel: {name: mobilenet_v1}\ndata: {name: imagenet, path: /data}\n"
        "sparsity: {preset: mobilenet_v1-79.07}\n"
    )
    experiment = load_experiment(path)
    assert experiment.search.weight_decay == 1.551757813e-5
    assert (experiment.is_single, experiment.shares_prefix) == (True, False)


def test_no_preset_is_the_default() -> None:
    assert load("resnet50", "sparsity.preset=null") == load("resnet50")


UNKNOWN = ("resnet50-50", "resnet50", "90.23", "''", "[resnet50-90.23]", "{a: 1}", "true")
ROW = "sparsity.preset=resnet50-90.23"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        *(((f"sparsity.preset={one}",), "resnet50-79.55, resnet50-81.27") for one in UNKNOWN),
        (
            ("sparsity.preset=mobilenet_v1-75.28",),
            "'mobilenet_v1-75.28'. It is for model.name=mobilenet_v1: it does not carry over.",
        ),
        *(
            ((ROW, override), "It sets search.threshold_init, search.weight_decay, search.decay: ")
            for override in ("search.weight_decay=1e-5", "search.decay=own", "search={refine: 1}")
        ),
    ],
)
def test_what_is_no_preset_of_this_file_is_refused(overrides: tuple[str, ...], told: str) -> None:
    with pytest.raises(SettingError, match=r"^sparsity\.preset: got ") as caught:
        load("resnet50", *overrides)
    assert told in str(caught.value)


def test_a_preset_has_one_decay_for_thresholds_too() -> None:
    with pytest.raises(SettingError, match=r"^search\.threshold_decay: got 1e-05\. "):
        load("resnet50", ROW, "search.threshold_decay=1e-5")
