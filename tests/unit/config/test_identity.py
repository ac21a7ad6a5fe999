"""What makes a sweep, or the recipe of its runs, another one; and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import DIGITS, load

from strsweep.config import Experiment


def test_sweep_id_is_stable_across_processes() -> None:
    code = (
        "import sys; from pathlib import Path; from strsweep.config import load_experiment;"
        "print(load_experiment(Path(sys.argv[1]), sys.argv[2:]).sweep_id)"
    )
    options = ("model.options={width: 4, a: 1.5, b: x}",)
    ids = {
        subprocess.run(
            [sys.executable, "-c", code, str(DIGITS), *options],
            env={**os.environ, "PYTHONHASHSEED": seed, "STRSWEEP_RESULTS": f"/{seed}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert ids == {load(*options).sweep_id}


def test_sweep_id_is_the_name_and_eight_hex_digits_whatever_the_order_of_keys() -> None:
    name, _, fingerprint = load("name=my-net").sweep_id.rpartition("-")
    assert (name, len(fingerprint)) == ("my-net", 8)
    assert int(fingerprint, 16) >= 0
    one, two = load("model.options={a: 1, b: 2}"), load("model.options={b: 2, a: 1}")
    assert one.sweep_id == two.sweep_id


ASKED = (
    "search.targets=[0.5]",
    "search.tolerance=0.01",
    "search.tolerance=auto",
    "search.baseline=true",
    "search.refine=2",
    "search.max_runs=99",
    "search.max_epochs=500",
    "search.max_hours=2",
    "search.max_concurrent=1",
    "search.threshold_decay=auto",
    "search.threshold_init=auto",
    "storage.path=/elsewhere",
    "tracking.uri=http://host:5000",
    "tracking.model_name=other",
    "workers.cpus=2",
    "workers.gpus=1",
    "workers.min_count=1",
    "data.loader_processes=3",
    "training.checkpoint_every=7",
    "training.learning_rate=0.10",
)
SEARCHED = (
    "name=other",
    "search.threshold_init=-11",
    "search.threshold_decay=[4e-3, 2.5e-2]",
    "search.threshold_decay=4e-3",
    "search.led=false",
)
"""They say which runs a sweep tries; a run of one setting is comparable with runs of the others."""
TRAINED = (
    "model.name=torchvision:resnet18",
    "model.options={width: 8}",
    "model.checkpoint=/model_best.pth",
    "data.name=cifar10",
    "data.path=/elsewhere",
    "data.image_size=32",
    "training.epochs=31",
    "training.batch_size=64",
    "training.learning_rate=0.2",
    "training.momentum=0.8",
    "training.warmup_epochs=1",
    "training.schedule_every=epoch",
    "training.label_smoothing=0",
    "training.precision=bfloat16",
    "training.seed=1",
    "sparsity.function=exp",
    "sparsity.skip=[fc]",
    "search.weight_decay=4e-3",
    "search.share_prefix=false",
    "search.decay=shared",
    "workers.count=2",
)


@pytest.mark.parametrize("override", ASKED + SEARCHED + TRAINED)
def test_what_changes_the_sweep_and_what_the_recipe_of_its_runs(override: str) -> None:
    base, changed = load(), load(override)
    assert (changed.sweep_id == base.sweep_id) == (override in ASKED)
    assert (changed.recipe_id == base.recipe_id) == (override not in TRAINED)


SHARED = ("search.decay=shared", "search.weight_decay=[4e-3, 2.4e-2]")


@pytest.mark.parametrize(
    ("override", "is_same_sweep"),
    [
        ("search.weight_decay=[4e-3, 3e-2]", False),
        ("search.weight_decay=auto", False),
        ("search.threshold_init=-11", False),
        ("search.led=false", False),
        ("search.share_prefix=false", True),
        ("search.targets=[0.5]", True),
    ],
)
def test_a_shared_decay_is_searched_and_no_part_of_the_recipe(
    override: str, is_same_sweep: bool
) -> None:
    base, changed = load(*SHARED), load(*SHARED, override)
    assert (changed.sweep_id == base.sweep_id) == is_same_sweep
    assert changed.recipe_id == base.recipe_id


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_decay_of_the_weights_alone_is_part_of_the_recipe(one: float, other: float) -> None:
    values = load().model_dump(mode="json")
    first, second = (
        Experiment.model_validate(values | {"search": values["search"] | {"weight_decay": decay}})
        for decay in (one, other)
    )
    assert (first.recipe_id == second.recipe_id) == (first.sweep_id == second.sweep_id)
    assert (first.recipe_id == second.recipe_id) == (one == other)


@pytest.mark.parametrize(
    ("overrides", "chosen"),
    [
        ((), {"threshold_init": -5.2}),
        (("search.led=false",), {"threshold_init": -5.2, "threshold_decay": (1e-3, 1e-1)}),
        (
            ("search.decay=shared", "search.weight_decay=auto", "search.led=false"),
            {"threshold_init": -5.2, "weight_decay": (1e-3, 1e-1)},
        ),
    ],
)
def test_what_auto_stood_for_changes_nothing_of_it(
    overrides: tuple[str, ...], chosen: dict[str, Any]
) -> None:
    before = load(*overrides)
    search = before.search.model_copy(update={**chosen, "resolved": tuple(chosen)})
    settled = before.model_copy(update={"search": search})
    assert (settled.sweep_id, settled.recipe_id) == (before.sweep_id, before.recipe_id)
    unsettled = before.model_copy(update={"search": before.search.model_copy(update=chosen)})
    assert unsettled.sweep_id != before.sweep_id
    copy = Experiment.model_validate(settled.model_dump(mode="json"))
    assert copy == settled
    assert copy.sweep_id == settled.sweep_id
