"""Which settings go with which method, and that settings left at their default change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from strsweep.config import Experiment, RunSettings, SparsityConfig, load_experiment
from strsweep.errors import InvalidExperimentError, SettingError

DIGITS = Path(__file__).parents[3] / "jobs" / "configs" / "digits.yaml"
GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")
STEERED = ("sparsity.mode=steered", "search.weight_decay=1e-4")
SCHEDULED = ("sparsity.mode=scheduled", "search.weight_decay=1e-4")
STRAIGHT = "sparsity.gradient=straight_through"
DENSE = ("sparsity.mode=dense", "search.weight_decay=1e-4")


def load(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, overrides)


@pytest.mark.parametrize(
    ("overrides", "key", "value", "remedy"),
    [
        (["sparsity.mode=gmp"], "sparsity.budget", "None", "uniform, erk, or jobs/transfer.py"),
        (["sparsity.mode=dnw"], "sparsity.budget", "None", "uniform, erk, or jobs/transfer.py"),
        (["sparsity.budget=uniform"], "sparsity.budget", "'uniform'", "Only gmp and dnw"),
        (["sparsity.budget={fc: 0.5}"], "sparsity.budget", "{'fc': 0.5}", "Only gmp and dnw"),
        ([*DENSE, "sparsity.budget=erk"], "sparsity.budget", "'erk'", "Only gmp and dnw"),
        ([*GMP[:2]], "search.weight_decay", "[0.004, 0.024]", "write one number"),
        ([*DENSE[:1]], "search.weight_decay", "[0.004, 0.024]", "mode=dense nothing is searched"),
        ([*GMP, "sparsity.ramp=[0.8, 0.2]"], "sparsity.ramp", "[0.8, 0.2]", "begin before it ends"),
        (["sparsity.ramp=[0.5, 0.5]"], "sparsity.ramp", "[0.5, 0.5]", "begin before it ends"),
        (["sparsity.ramp=[0.5, 1.5]"], "sparsity.ramp", "1.5", "less than or equal to 1"),
        (["sparsity.ramp=[-0.1, 0.5]"], "sparsity.ramp", "-0.1", "greater than or equal to 0"),
        (["sparsity.ramp=0.5"], "sparsity.ramp", "0.5", "start and end to raise sparsity"),
        (["search.threshold_init=null"], "search.threshold_init", "None", "-25 to -12800"),
        ([*GMP, "training.compile=true"], "training.compile", "True", "compiles anew"),
        (["sparsity.mode=foo"], "sparsity.mode", "'foo'", "'gmp', 'dnw'"),
        ([*SCHEDULED[:1]], "search.weight_decay", "[0.004, 0.024]", "mode=scheduled nothing is"),
        ([*SCHEDULED, "sparsity.budget=erk"], "sparsity.budget", "'erk'", "Only gmp and dnw"),
        ([STRAIGHT], "sparsity.gradient", "'straight_through'", "set sparsity.mode=steered"),
        ([*SCHEDULED, STRAIGHT], "sparsity.gradient", "'straight_through'", "scheduled has a"),
        ([*GMP, STRAIGHT], "sparsity.gradient", "'straight_through'", "gmp has a gradient of its"),
        ([*STEERED, "sparsity.gradient=ste"], "sparsity.gradient", "'ste'", "'straight_through'"),
        ([*GMP, "sparsity.budget=half"], "sparsity.budget", "'half'", "'uniform' or 'erk'"),
        ([*GMP, "sparsity.budget=0.5"], "sparsity.budget", "0.5", "'uniform' or 'erk'"),
        ([*GMP, "sparsity.budget={fc: 2}"], "sparsity.budget.fc", "2", "less than or equal to 1"),
        ([*GMP, "sparsity.budget={fc: much}"], "sparsity.budget.fc", "'much'", "valid number"),
        (["sparsity.scale=0"], "sparsity.scale", "0", "greater than 0"),
        (["sparsity.scale=.inf"], "sparsity.scale", "inf", "finite"),
        (["sparsity.granularity=kernel"], "sparsity.granularity", "'kernel'", "'filter'"),
        (["data.num_images=0"], "data.num_images", "0", "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(
    overrides: list[str], key: str, value: str, remedy: str
) -> None:
    with pytest.raises((SettingError, InvalidExperimentError)) as caught:
        load(*overrides)
    message = str(caught.value)
    assert message.startswith(f"{key}: got {value}. ")
    assert remedy in message
    assert "\n" not in message, "one mistake is told once"


@pytest.mark.parametrize(
    "overrides",
    [
        GMP,
        (*GMP, "search.threshold_init=null"),
        (*GMP, "sparsity.budget={fc: 1, block1.conv: 0}"),
        (*GMP, "sparsity.ramp=[0, 1]"),
        ("sparsity.mode=dnw", "sparsity.budget=erk", "search.weight_decay=0"),
        (*STEERED, STRAIGHT),
        (*SCHEDULED, "search.threshold_init=null", "sparsity.ramp=[0, 0.4]"),
        DENSE,
        (*DENSE, "search.threshold_init=null"),
        ("sparsity.granularity=weight", "sparsity.scale=0.1"),
    ],
)
def test_what_goes_together_is_accepted(overrides: tuple[str, ...]) -> None:
    experiment = load(*overrides)
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


@pytest.mark.parametrize(
    "overrides",
    [
        [f"training.{key}" for key in ("momentum=0.9", "compile=false", "batch_norm_decay=true")],
        ["training.sync_batchnorm=true", "training.precision=float32", "training.seed=0"],
        ["sparsity.mode=str"],
        ["sparsity={mode: str, function: sigmoid, granularity: layer, scale: 1, skip: []}"],
        ["sparsity.scale=1.0", "sparsity.ramp=null", "sparsity.budget=null"],
        ["sparsity.dense_first=false", "sparsity.dense_last=false", "sparsity.preset=null"],
        ["sparsity.threshold_decay=null"],
        ["data.image_size=224", "data.loader_processes=0", "data.num_images=null"],
        ["model.options={}"],
        ["workers={count: 1, cpus: 1, gpus: 0}"],
    ],
)
def test_spelling_out_a_default_keeps_the_id(overrides: list[str]) -> None:
    assert load(*overrides).sweep_id == load().sweep_id


def test_the_whole_file_with_every_default_spelled_out_keeps_the_id(tmp_path: Path) -> None:
    path = tmp_path / "spelled_out.yaml"
    path.write_text(load().model_dump_json())
    assert load_experiment(path).sweep_id == load().sweep_id


@pytest.mark.parametrize("overrides", [(), GMP, (*GMP, "sparsity.budget={fc: 0.5}")])
def test_more_targets_keep_the_id(overrides: tuple[str, ...]) -> None:
    more = load(*overrides, "search.targets=[0.8, 0.9, 0.95, 0.98, 0.99]")
    assert more.sweep_id == load(*overrides).sweep_id


@pytest.mark.parametrize(
    "override",
    [
        "sparsity.mode=dnw",
        "sparsity.budget=erk",
        "sparsity.budget={fc: 0.5}",
        "sparsity.ramp=[0.1, 0.8]",
        "sparsity.dense_first=true",
        "sparsity.dense_last=true",
        "sparsity.granularity=global",
        "sparsity.scale=2",
        "sparsity.steer_every=5",
        "training.batch_norm_decay=false",
    ],
)
def test_what_a_run_depends_on_changes_the_id(override: str) -> None:
    assert load(*GMP, override).sweep_id != load(*GMP).sweep_id


def test_the_defaults_are_the_papers_method() -> None:
    assert SparsityConfig() == SparsityConfig(
        mode="str",
        function="sigmoid",
        scale=1.0,
        granularity="layer",
        ramp=None,
        gradient="paper",
    )


@pytest.mark.parametrize(
    ("overrides", "is_told"),
    [
        ((), False),
        (STEERED, True),
        (SCHEDULED, True),
        (GMP, True),
        ((*GMP, "sparsity.budget={fc: 0.5}"), False),
        (DENSE, False),
    ],
)
def test_who_is_told_a_target(overrides: tuple[str, ...], is_told: bool) -> None:
    assert load(*overrides).sparsity.is_told == is_told


def test_a_run_is_told_one_thing() -> None:
    assert RunSettings(weight_decay=0, sparsity=0.9).pruned_share == 0.9
    assert RunSettings(weight_decay=0, macs=0.25).pruned_share == 0.75
    assert RunSettings(weight_decay=0).pruned_share == 0
    with pytest.raises(
        SettingError, match=r"macs: got 0\.25\. The run is told its sparsity \(0\.9\)"
    ):
        RunSettings(weight_decay=0, sparsity=0.9, macs=0.25)
    for share in (0, 1.5):
        with pytest.raises(ValidationError, match="macs"):
            RunSettings(weight_decay=0, macs=share)
