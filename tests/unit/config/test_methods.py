"""Which settings go with which method, and that settings left at their default change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from samples import load, refusal

from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError
from strsweep.settings import Fork, Lead, RunSettings

GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform")
STEERED = ("sparsity.mode=steered",)
SCHEDULED = ("sparsity.mode=scheduled",)
ST3 = ("sparsity.mode=st3", "training.clip_gradients=3.0")
DENSE = ("sparsity.mode=dense",)
RANGE = ("search.decay=shared", "search.weight_decay=[4e-3, 2.4e-2]")
AUTO = ("search.decay=shared", "search.weight_decay=auto")
INITS = ("search.threshold_init=[-20, -10]", "search.led=false")


@pytest.mark.parametrize(
    ("overrides", "key", "value", "remedy"),
    [
        (["sparsity.mode=gmp"], "sparsity.budget", "None", "It must be set. A rule that shares"),
        (["sparsity.mode=dnw"], "sparsity.budget", "None", "as strsweep train --budget sets it"),
        (["sparsity.budget=uniform"], "sparsity.budget", "'uniform'", "There is no such setting."),
        ([*DENSE, "sparsity.budget=erk"], "sparsity.budget", "'erk'", "sparsity has: mode, skip"),
        ([*GMP, "sparsity.scael=2"], "sparsity.scael", "2", "sparsity has: mode, skip"),
        (["sparsity.scael=2"], "sparsity.scael", "2", "Did you mean sparsity.scale?"),
        ([*GMP, *RANGE], "search.weight_decay", "[0.004, 0.024]", "write one number"),
        ([*STEERED, *AUTO], "search.weight_decay", "'auto'", "mode=steered nothing is searched"),
        ([*INITS], "search.threshold_init", "[-20.0, -10.0]", "With threshold_decay=auto write"),
        ([*INITS, *AUTO], "search.threshold_init", "[-20.0, -10.0]", "With weight_decay=auto"),
        ([*GMP, "sparsity.ramp=[0.8, 0.2]"], "sparsity.ramp", "[0.8, 0.2]", "begin before it ends"),
        ([*STEERED, "sparsity.ramp=[0.5, 1.5]"], "sparsity.ramp", "1.5", "less than or equal to 1"),
        ([*GMP, "sparsity.ramp=[-0.1, 0.5]"], "sparsity.ramp", "-0.1", "greater than or equal"),
        ([*GMP, "sparsity.ramp=0.5"], "sparsity.ramp", "0.5", "begins and ends to rise"),
        ([*GMP, "training.compile=true"], "training.compile", "True", "compiles anew"),
        (["sparsity.mode=foo"], "sparsity.mode", "'foo'", "'gmp', 'dnw'"),
        (["sparsity.mode=st3"], "training.clip_gradients", "None", "diverges without: write 3.0"),
        (["sparsity.mode=os:getcwd"], "sparsity.mode", "'os:getcwd'", "no subclass of strsweep.M"),
        (["sparsity.mode=nowhere:M"], "sparsity.mode", "'nowhere:M'", "No module named 'nowhere'"),
        ([*GMP, "sparsity.budget=half"], "sparsity.budget", "'half'", "'uniform' or 'erk'"),
        ([*GMP, "sparsity.budget={fc: 2}"], "sparsity.budget.fc", "2", "less than or equal to 1"),
        ([*GMP, "sparsity.budget={fc: much}"], "sparsity.budget.fc", "'much'", "valid number"),
        (["sparsity.scale=0"], "sparsity.scale", "0", "greater than 0"),
        (["sparsity.scale=.inf"], "sparsity.scale", "inf", "finite"),
        (["sparsity.granularity=kernel"], "sparsity.granularity", "'kernel'", "'filter'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    overrides: list[str], key: str, value: str, remedy: str
) -> None:
    message = refusal(*overrides)
    assert message.startswith(f"{key}: got {value}. ")
    assert remedy in message
    assert "\n" not in message, "one mistake is told once"


@pytest.mark.parametrize(
    "overrides",
    [
        GMP,
        (*GMP, "sparsity.budget={fc: 1, block1.conv: 0}"),
        (*GMP, "sparsity.ramp=[0, 1]"),
        ("sparsity.mode=dnw", "sparsity.budget=erk", "search.weight_decay=0"),
        (*SCHEDULED, "sparsity.ramp=[0, 0.4]"),
        (*ST3, "sparsity.ramp=[0, 0.4]"),
        DENSE,
        (*DENSE, "search.baseline=true"),
        (*INITS, *RANGE),
        (*INITS, "search.threshold_decay=[1e-3, 1e-1]"),
        (*INITS, "search.threshold_decay=1e-2", "search.baseline=true"),
        ("search.decay=shared", "search.weight_decay=1e-2", "search.baseline=true"),
        ("sparsity.granularity=weight", "sparsity.scale=0.1"),
        ("model.options={a: 1, b: 1.0, c: true, d: text}", "data.path=/data", "sparsity.skip=[fc]"),
        ("search.targets=[]", "training.seed=9223372036854775807", "search.threshold_init=-25"),
        (*AUTO, "search.threshold_init=-25"),
    ],
)
def test_what_goes_together_is_accepted_and_survives_json(overrides: tuple[str, ...]) -> None:
    experiment = load(*overrides)
    copy = Experiment.model_validate(experiment.model_dump(mode="json"))
    assert copy == experiment
    assert copy.sweep_id == experiment.sweep_id
    assert repr(copy.model.options) == repr(experiment.model.options)


def test_the_whole_file_with_every_default_spelled_out_keeps_the_id(tmp_path: Path) -> None:
    path = tmp_path / "spelled_out.yaml"
    path.write_text(load().model_dump_json())
    assert load_experiment(path).sweep_id == load().sweep_id


@pytest.mark.parametrize(
    "override",
    [
        *("sparsity.mode=dnw", "sparsity.budget=erk", "sparsity.budget={fc: 0.5}"),
        *("sparsity.ramp=[0.1, 0.8]", "sparsity.dense_first=true", "sparsity.dense_last=true"),
        *("training.optimizer_options={nesterov: true}", "training.batch_norm_decay=false"),
    ],
)
def test_what_a_run_depends_on_changes_the_id(override: str) -> None:
    assert load(*GMP, override).sweep_id != load(*GMP).sweep_id


def test_a_method_without_settings_of_its_own_has_another_id_than_its_neighbour() -> None:
    ids = {load(f"sparsity.mode={mode}").sweep_id for mode in ("str", "steered", "scheduled")}
    assert len(ids | {load(*DENSE).sweep_id}) == 4


ONE_INIT = "search.threshold_init=-10"
ONE_DECAY = "search.threshold_decay=1e-2"


@pytest.mark.parametrize(
    ("overrides", "has_fixed_target", "is_searched", "shares_prefix", "method"),
    [
        ((), False, True, True, "str, own threshold decay, led to the target"),
        (("search.led=false",), False, True, True, "str, own threshold decay, one decay a run"),
        ((ONE_INIT,), False, True, True, "str, own threshold decay, led to the target"),
        ((ONE_DECAY,), False, False, True, "str, own threshold decay"),
        ((ONE_DECAY, ONE_INIT), False, False, True, "str, own threshold decay"),
        ((ONE_DECAY, *INITS), False, True, True, "str, own threshold decay, one decay a run"),
        (("search.share_prefix=false",), False, True, False, "str, own threshold decay, led to "),
        (("model.checkpoint=/a.pth",), False, True, False, "str, own threshold decay, led to the"),
        (AUTO, False, True, False, "str, shared weight decay, led to the target"),
        ((*RANGE, "search.led=false"), False, True, False, "str, shared weight decay, one decay"),
        (("search.decay=shared",), False, False, False, "str, shared weight decay"),
        (STEERED, True, False, False, "steered"),
        (SCHEDULED, True, False, False, "scheduled"),
        (ST3, True, False, False, "st3"),
        (GMP, True, False, False, "gmp"),
        ((*GMP, "sparsity.budget={fc: 0.5}"), False, False, False, "gmp"),
        (DENSE, False, False, False, "dense"),
    ],
)
def test_what_a_method_is(
    overrides: tuple[str, ...],
    has_fixed_target: bool,
    is_searched: bool,
    shares_prefix: bool,
    method: str,
) -> None:
    experiment = load(*overrides)
    assert experiment.has_fixed_target == has_fixed_target
    assert experiment.is_searched == is_searched
    assert experiment.is_single == (not has_fixed_target and not is_searched)
    assert experiment.shares_prefix == shares_prefix
    assert experiment.method.startswith(method)
    assert (", " in experiment.method.removeprefix("str, ")) == is_searched


@pytest.mark.parametrize("decay", ["own", "shared"])
def test_the_knob_is_the_decay_that_thresholds_have(decay: str) -> None:
    search = load(f"search.decay={decay}", "search.weight_decay=1e-3").search
    expected = ("threshold_decay", "auto") if decay == "own" else ("weight_decay", 1e-3)
    assert (search.knob, search.knob_value) == expected


def test_a_run_has_one_target() -> None:
    assert RunSettings(weight_decay=0, sparsity=0.9).pruned_share == 0.9
    assert RunSettings(weight_decay=0, macs=0.25).pruned_share == 0.75
    assert RunSettings(weight_decay=0).pruned_share == 0
    with pytest.raises(SettingError, match=r"macs: got 0\.25\. The run has a sparsity \(0\.9\)"):
        RunSettings(weight_decay=0, sparsity=0.9, macs=0.25)
    for share in (0, 1.5):
        with pytest.raises(ValidationError, match="macs"):
            RunSettings(weight_decay=0, macs=share)


LEAD = Lead(quantity="macs", pruned=0.9, exposure_at_90=0.7, delay=0.4)
FORK = Fork(folder="runs/run-001/epoch_00010", epoch=10)
ALL = {"threshold_init": -5, "weight_decay": 5e-4, "threshold_decay": 1e-2, "onset": 10}


@pytest.mark.parametrize(
    ("numbers", "more", "first_decay", "shared_epoch"),
    [
        ({"weight_decay": 1e-3}, {"is_dense": True}, 1e-3, None),
        ({"weight_decay": 0, "threshold_decay": 0, "threshold_init": -9}, {}, 0, None),
        (ALL, {"lead": LEAD, "fork": FORK}, 1e-2, None),
        ({"weight_decay": 1e-3, "onset": 10}, {"is_dense": True, "last_epoch": 10}, 1e-3, 10),
        ({"weight_decay": 0, "macs": 0.1}, {"onset": 0}, 0, None),
    ],
)
def test_the_settings_of_a_run(
    numbers: dict[str, Any], more: dict[str, Any], first_decay: float, shared_epoch: int | None
) -> None:
    settings = RunSettings(**numbers, **more)
    assert settings.numbers == numbers
    assert (settings.first_decay, settings.shared_epoch) == (first_decay, shared_epoch)
    assert RunSettings.model_validate(settings.model_dump()) == settings
    assert RunSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold_init", 0),
        ("threshold_init", float("-inf")),
        ("threshold_decay", -1),
        ("last_epoch", 0),
        ("corrections", ()),
        ("lead", {**LEAD.model_dump(), "pruned": 1}),
        ("lead", {**LEAD.model_dump(), "exposure_at_90": 0}),
        ("lead", {**LEAD.model_dump(), "quantity": "filters"}),
        ("fork", {"folder": "f", "epoch": 0}),
    ],
)
def test_what_no_run_can_have_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        RunSettings.model_validate({"weight_decay": 0, key: value})
