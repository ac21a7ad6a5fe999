"""A led run sets its decay, epoch by epoch, as the law says; a resumed one goes the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from equal_runs import assert_same_state

from strsweep.config import Experiment, load_experiment
from strsweep.settings import Lead, Quantity, RunSettings
from strsweep.storage import store_at
from strsweep.training.checkpoints import RunCheckpoints, State, copied
from strsweep.training.controlled import EpochMetrics
from strsweep.training.law import Law, Leader, ThresholdClock
from strsweep.training.run import TrainingRun

pytestmark = pytest.mark.slow

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
EPOCHS, ONSET, STEPS = 6, 2, 7  # 1400 images, 200 a step


@dataclass(frozen=True)
class Case:
    """A led run of six epochs."""

    decay: str = "own"
    onset: int = ONSET
    quantity: Quantity = "sparsity"
    first: float = 0.07
    batch_norm_decay: bool = True

    @property
    def experiment(self) -> Experiment:
        norms = f"training.batch_norm_decay={str(self.batch_norm_decay).lower()}"
        recipe = [f"training.epochs={EPOCHS}", "training.batch_size=200", norms]
        return load_experiment(DIGITS, [*recipe, f"search.decay={self.decay}"])

    @property
    def settings(self) -> RunSettings:
        is_own = self.decay == "own"
        return RunSettings(
            threshold_init=-6.0,
            weight_decay=5e-4 if is_own else self.first,
            threshold_decay=self.first if is_own else None,
            onset=self.onset,
            lead=Lead(quantity=self.quantity, pruned=0.9, exposure_at_90=0.5, delay=0.165),
        )

    @property
    def leader(self) -> Leader:
        lead, law = self.settings.lead, Law.of(self.experiment)
        assert lead is not None
        clock = ThresholdClock.of(self.experiment, STEPS, self.onset)
        return Leader(lead=lead, law=law, clock=clock, first_decay=self.first)


OWN, SHARED = Case(), Case("shared", onset=0, first=0.02)
CASES = {
    "own": OWN,
    "own_from_the_start": replace(OWN, onset=0, first=0.02),
    "multiply_adds": replace(OWN, quantity="macs"),
    "shared": SHARED,
    "shared_without_norms": replace(SHARED, quantity="macs", batch_norm_decay=False),
}


def new_run(case: Case, settings: RunSettings | None = None) -> TrainingRun:
    chosen = case.settings if settings is None else settings
    return TrainingRun(case.experiment, chosen, device=torch.device("cpu"))


@cache
def states(case: Case) -> list[State]:
    """Return what an uninterrupted run is after every epoch."""
    run = new_run(case)
    return [copied(run.state()) for _ in run.epochs()]


def history_of(case: Case) -> list[EpochMetrics]:
    return [EpochMetrics(**metrics) for metrics in states(case)[-1]["history"]]


def said_by_the_leader(case: Case, history: list[EpochMetrics]) -> list[float]:
    """Return the decay of every epoch, computed from what was measured after those before it."""
    leader, decays = case.leader, [0.0] * case.onset + [case.first]
    for epoch in range(case.onset + 1, EPOCHS):
        passed = [decay * leader.clock.of_epoch(e) for e, decay in enumerate(decays, start=1)]
        last = history[epoch - 1]
        share = last.sparsity if case.quantity == "sparsity" else 1 - last.macs / last.dense_macs
        decays.append(leader.next_decay(epoch, math.fsum(passed) - 0.165, share))
    return decays


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_decay_of_every_epoch_is_what_the_leader_says(case: Case) -> None:
    history = history_of(case)
    decays = [metrics.threshold_decay for metrics in history]
    assert decays == pytest.approx(said_by_the_leader(case, history), rel=1e-12)
    assert len(set(decays[case.onset :])) >= 3, "the feedback must change it, for this to count"
    assert history[-1].sparsity > 0.3


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_the_decay_that_the_optimizer_has(case: Case) -> None:
    for state, metrics in zip(states(case), history_of(case), strict=True):
        both = state["optimizer"]
        groups = both["weights"]["param_groups"] + both["thresholds"]["param_groups"]
        weights = metrics.threshold_decay if case.decay == "shared" else 5e-4
        assert {group["role"]: group["weight_decay"] for group in groups} == {
            "weights": weights,
            "thresholds": metrics.threshold_decay,
            "norms": weights if case.batch_norm_decay else 0.0,
        }
        assert metrics.weight_decay == weights


@pytest.mark.parametrize("decay", ["own", "shared"])
def test_without_a_lead_every_epoch_has_the_same_decay(decay: str) -> None:
    case = replace(OWN, decay=decay)
    fixed = new_run(case, case.settings.model_copy(update={"lead": None}))
    history = list(fixed.epochs())
    acting = [0.0] * ONSET + [case.first] * (EPOCHS - ONSET)
    assert [metrics.threshold_decay for metrics in history] == acting
    weights = 5e-4 if decay == "own" else case.first
    assert [metrics.weight_decay for metrics in history] == [weights] * EPOCHS
    led = history_of(case)
    assert led[ONSET].sparsity == history[ONSET].sparsity, "the first epoch has nothing to go by"
    assert led[-1].sparsity != history[-1].sparsity


@pytest.mark.parametrize(
    ("case", "interrupted_after"), [(OWN, 0), (OWN, ONSET), (OWN, 4), (SHARED, 3), (SHARED, EPOCHS)]
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    case: Case, interrupted_after: int, tmp_path: Path
) -> None:
    checkpoints = RunCheckpoints(store_at(str(tmp_path)), "run-001", kept=1)
    for epoch, state in enumerate(states(case)[:interrupted_after], start=1):
        checkpoints.save(epoch, state)
    torch.rand(17)  # another process would have another random state
    resumed = new_run(case)
    resumed.resume(checkpoints, rank=0)
    assert len(resumed.history) == interrupted_after
    list(resumed.epochs())
    assert_same_state(resumed.state(), states(case)[-1])


@pytest.mark.parametrize("first", [0.015, 0.08], ids=["prunes_too_little", "prunes_too_much"])
def test_a_led_run_ends_nearer_to_its_target_than_one_with_a_wrong_decay(first: float) -> None:
    experiment = load_experiment(DIGITS, ["training.epochs=12"])
    lead = Lead(quantity="sparsity", pruned=0.9, exposure_at_90=0.4, delay=0.165)
    ends: list[float] = []
    for chosen in (lead, None):
        settings = RunSettings(
            threshold_init=-6, weight_decay=5e-4, threshold_decay=first, onset=4, lead=chosen
        )
        run = TrainingRun(experiment, settings, device=torch.device("cpu"))
        ends.append([*run.epochs()][-1].sparsity)
    led, unled = (abs(end - 0.9) for end in ends)
    assert led < 0.6 * unled
    assert unled > 0.05
