"""Every setting is described once: in the terminal, on the page, and in the schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from samples import DIGITS, load

from strsweep.config import Experiment
from strsweep.config.schema import json_schema, markdown, settings_page, terminal_text
from strsweep.errors import SettingError

CONFIGS = DIGITS.parent
PAGE = CONFIGS.parents[1] / "docs/configuration.md"


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_takes_every_config_of_the_jobs(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(read(path), json_schema())


@pytest.mark.parametrize(
    ("section", "key", "value", "is_right"),
    [
        ("search", "target", [0.9], False),
        ("search", "targets", [0.9, {"macs": 0.05}, {"rank": 12}], True),
        ("search", "targets", [90], False),
        ("search", "targets", ["90 %"], False),
        ("search", "targets", [{"mac": 0.05}], False),
        ("search", "decay", "both", False),
        ("search", "resolved", [], False),
        ("search", "weight_decay", [1e-4, 1e-2], True),
        ("search", "weight_decay", [1e-4], False),
        ("training", "epochs", 0, False),
        ("training", "epochs", "ten", False),
        ("sparsity", "granularity", "global", True),
        ("sparsity", "granularitee", "global", False),
        ("sparsity", "mode", "stre", False),
        ("sparsity", "mode", "my_module:Method", True),
        ("sparsity", "mode", "gmp", False),  # without its budget
        ("sparsity", "budget", "erk", False),  # of another method
        ("data", "normalize", {"mean": [0.5], "std": [0.5]}, True),
        ("zzz", "key", 1, False),
    ],
)
def test_the_schema_refuses_what_loading_refuses(
    section: str, key: str, value: Any, is_right: bool
) -> None:
    content = read(DIGITS)
    content.setdefault(section, {})[key] = value
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(content) == is_right


def test_every_field_has_its_description_type_and_default() -> None:
    page = settings_page()
    assert all(setting.kind and setting.default and setting.meaning for setting in page)
    names = {setting.name for setting in page}
    for section, value in load("tracking.uri=http://h:1"):
        fields = getattr(type(value), "model_fields", None) or {"": None}
        for field in fields:
            is_hidden = field == "resolved"
            assert (f"{section}.{field}".strip(".") in names) != is_hidden or value is None
    assert {name.partition(".")[0] for name in names} == set(Experiment.model_fields)


def test_a_setting_a_section_and_all() -> None:
    assert terminal_text("workers.gpus") == (
        "workers.gpus: number from 0; default 0\n    GPUs per worker; 0 trains on CPUs."
    )
    assert terminal_text("workers").count("\nworkers.") == 5
    assert terminal_text("workers") in terminal_text(None)
    assert "``" not in terminal_text(None)
    steered, given = terminal_text("sparsity.ramp"), terminal_text("sparsity.budget")
    assert "default [0.0, 0.55]" in steered
    assert "Method: steered." in steered
    assert given.startswith("sparsity.budget: uniform or erk or mapping of names to: number from 0")
    assert "; required\n" in given


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("targets", "Did you mean search.targets?"),
        ("search.target", "Did you mean search.targets?"),
        ("epoch", "Did you mean training.epochs?"),
        ("zzz", "strsweep config prints all"),
    ],
)
def test_what_is_no_setting_is_told_the_nearest(name: str, told: str) -> None:
    with pytest.raises(SettingError, match=f"^SETTING: got '{name}'") as caught:
        terminal_text(name)
    assert told in caught.value.remedy


def test_the_page_of_the_docs_is_current() -> None:
    assert PAGE.read_text() == f"{markdown()}\n", (
        "run: strsweep config --markdown > docs/configuration.md"
    )
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings_page())
    assert all(row.count("|") == 5 for row in rows)
