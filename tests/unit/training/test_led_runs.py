"""A led run sets its decay, epoch by epoch, as the law says; a resumed one goes the same way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from equal_runs import assert_same_state, new_run, states
from samples import load

from strsweep.settings import Lead, RunSettings
from strsweep.storage import store_at
from strsweep.training.checkpoints import RunCheckpoints, State
from strsweep.training.controlled import EpochMetrics
from strsweep.training.law import Law, ThresholdClock
from strsweep.training.leader import leader_of

pytestmark = pytest.mark.slow

EPOCHS, ONSET, STEPS = 6, 2, 7  # 1400 images, 200 a step
RECIPE = (f"training.epochs={EPOCHS}", "training.batch_size=200")
LEAD = Lead(quantity="sparsity", pruned=0.9, exposure_at_90=0.5, delay=0.165)
OWN = RunSettings(
    threshold_init=-6, weight_decay=5e-4, threshold_decay=0.07, onset=ONSET, lead=LEAD
)
SHARED = RunSettings(threshold_init=-6, weight_decay=0.02, lead=LEAD)
ONE_DECAY = "search.decay=shared"


def changed(settings: RunSettings, **changes: Any) -> RunSettings:
    return settings.model_copy(update=changes)


BY_MACS = {"lead": LEAD.model_copy(update={"quantity": "macs"})}
CASES: dict[str, tuple[RunSettings, tuple[str, ...]]] = {
    "own": (OWN, ()),
    "own_from_the_start": (changed(OWN, onset=0, threshold_decay=0.02), ()),
    "multiply_adds": (changed(OWN, **BY_MACS), ()),
    "shared": (SHARED, (ONE_DECAY,)),
    "shared_without_norms": (
        changed(SHARED, **BY_MACS),
        (ONE_DECAY, "training.batch_norm_decay=false"),
    ),
}
each_case = pytest.mark.parametrize(("settings", "overrides"), CASES.values(), ids=CASES)


def trained(settings: RunSettings, overrides: tuple[str, ...]) -> list[State]:
    return states(settings, *RECIPE, *overrides)


def history_of(settings: RunSettings, overrides: tuple[str, ...]) -> list[EpochMetrics]:
    return [EpochMetrics(**row) for row in trained(settings, overrides)[-1]["history"]]


def said_by_the_leader(
    settings: RunSettings, overrides: tuple[str, ...], history: list[EpochMetrics]
) -> list[float]:
    """Return the decay of every epoch, computed from what was measured after those before it."""
    experiment, lead, first = load(*RECIPE, *overrides), settings.lead, settings.first_decay
    assert lead is not None
    clock = ThresholdClock.of(experiment, STEPS, settings.onset)
    leader = leader_of(Law.of(experiment), lead, clock, first)
    decays = [0.0] * settings.onset + [first]
    for epoch in range(settings.onset + 1, EPOCHS):
        passed = [decay * clock.of_epoch(e) for e, decay in enumerate(decays, start=1)]
        last = history[epoch - 1]
        share = last.sparsity if lead.quantity == "sparsity" else 1 - last.macs / last.dense_macs
        decays.append(leader.decay_at(epoch, math.fsum(passed) - 0.165, share))
    return decays


@each_case
def test_the_decay_of_every_epoch_is_what_the_leader_says(
    settings: RunSettings, overrides: tuple[str, ...]
) -> None:
    history = history_of(settings, overrides)
    decays = [metrics.threshold_decay for metrics in history]
    assert decays == pytest.approx(said_by_the_leader(settings, overrides, history), rel=1e-12)
    assert len(set(decays[settings.onset :])) >= 3, "the feedback must change it, to count"
    assert history[-1].sparsity > 0.3


@each_case
def test_it_is_the_decay_that_the_optimizer_has(
    settings: RunSettings, overrides: tuple[str, ...]
) -> None:
    has_norms = "training.batch_norm_decay=false" not in overrides
    history = history_of(settings, overrides)
    for state, metrics in zip(trained(settings, overrides), history, strict=True):
        both = state["optimizer"]
        groups = both["weights"]["param_groups"] + both["thresholds"]["param_groups"]
        weights = metrics.threshold_decay if ONE_DECAY in overrides else 5e-4
        assert {group["role"]: group["weight_decay"] for group in groups} == {
            "weights": weights,
            "thresholds": metrics.threshold_decay,
            "norms": weights if has_norms else 0.0,
        }
        assert metrics.weight_decay == weights


@pytest.mark.parametrize("decay", ["own", "shared"])
def test_without_a_lead_every_epoch_has_the_same_decay(decay: str) -> None:
    settings, overrides = OWN, (f"search.decay={decay}",)
    if decay == "shared":
        settings = changed(OWN, weight_decay=0.07, threshold_decay=None)
    history = history_of(changed(settings, lead=None), overrides)
    acting = [0.0] * ONSET + [0.07] * (EPOCHS - ONSET)
    assert [metrics.threshold_decay for metrics in history] == acting
    assert [metrics.weight_decay for metrics in history] == [settings.weight_decay] * EPOCHS
    led = history_of(settings, overrides)
    assert led[ONSET].sparsity == history[ONSET].sparsity, "the first epoch has nothing to go by"
    assert led[-1].sparsity != history[-1].sparsity


ADAMW = ("training.optimizer=adamw", "training.learning_rate=3e-3")


@pytest.mark.parametrize(
    ("settings", "overrides", "interrupted_after"),
    [
        (OWN, (), 0),
        (OWN, (), ONSET),
        (OWN, ADAMW, 4),
        (SHARED, (ONE_DECAY,), 3),
        (changed(SHARED, lead=None), (ONE_DECAY,), 1),
        (SHARED, (ONE_DECAY,), EPOCHS),
    ],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    settings: RunSettings, overrides: tuple[str, ...], interrupted_after: int, tmp_path: Path
) -> None:
    whole = trained(settings, overrides)
    checkpoints = RunCheckpoints(store_at(str(tmp_path)), "run-001", kept=1)
    for epoch, state in enumerate(whole[:interrupted_after], start=1):
        checkpoints.save(epoch, state)
    torch.rand(17)  # another process would have another random state
    resumed = new_run(settings, *RECIPE, *overrides)
    resumed.resume(checkpoints)
    assert len(resumed.history) == interrupted_after
    list(resumed.epochs())
    assert_same_state(resumed.state(), whole[-1])
    assert 0 < resumed.history[-1].sparsity < 1


@pytest.mark.parametrize("first", [0.015, 0.08], ids=["prunes_too_little", "prunes_too_much"])
def test_a_led_run_ends_nearer_to_its_target_than_one_with_a_wrong_decay(first: float) -> None:
    lead = LEAD.model_copy(update={"exposure_at_90": 0.4})
    ends: list[float] = []
    for chosen in (lead, None):
        settings = changed(OWN, threshold_decay=first, onset=4, lead=chosen)
        ends.append(states(settings, "training.epochs=12")[-1]["history"][-1]["sparsity"])
    led, unled = (abs(end - 0.9) for end in ends)
    assert led < 0.6 * unled
    assert unled > 0.05
