"""Every peer finds what there is to find on a smooth curve."""

from __future__ import annotations

import math

import pytest

from strsweep.bench.search_cost import Ledger
from strsweep.bench.search_peers import PEERS, bisection, grid, random
from strsweep.bench.search_problems import TARGETS
from strsweep.bench.search_runs import RecordedRun, Runs
from strsweep.config import RunSettings
from strsweep.sweep.curve import expit

LIMITS = (4e-3, 3.4e-2)


class Smooth(Runs):
    """Runs whose level rises with the logarithm of the weight decay."""

    def _find(self, settings: RunSettings) -> RecordedRun:
        return ending(settings, expit(-1.0 + 3.0 * math.log(settings.weight_decay / LIMITS[0])))


class Jump(Runs):
    """Runs that are nearly dense or nearly empty."""

    def _find(self, settings: RunSettings) -> RecordedRun:
        return ending(settings, 0.1 if settings.weight_decay < 0.01 else 0.999)


def ending(settings: RunSettings, final: float) -> RecordedRun:
    return RecordedRun(
        weight_decay=settings.weight_decay, sparsity=(final,), macs=(1,), accuracy=(1.0,)
    )


@pytest.mark.parametrize(("name", "seed"), [("bisection", 0), ("gp", 5), ("tpe", 5), ("random", 1)])
def test_peer_hits_every_target(name: str, seed: int) -> None:
    ledger = Ledger(Smooth(), threshold_init=-10)
    PEERS[name](ledger, LIMITS, seed)  # within their caps some seeds miss one
    assert ledger.open_targets == []
    assert all(LIMITS[0] <= run.weight_decay <= LIMITS[1] for run in ledger.trained.values())
    assert len(ledger.trained) >= len(TARGETS)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_same_seed_same_runs(name: str) -> None:
    first, second, other = (Ledger(Smooth(), threshold_init=-10) for _ in range(3))
    for ledger, seed in ((first, 1), (second, 1), (other, 2)):
        PEERS[name](ledger, LIMITS, seed)
    assert list(first.trained) == list(second.trained) != list(other.trained)


def test_bisection_halves_the_bracket() -> None:
    ledger = Ledger(Smooth(), threshold_init=-10)
    bisection(ledger, LIMITS, 0)
    middle = math.sqrt(LIMITS[0] * LIMITS[1])  # sparser than the first target, so go left
    tried = list(ledger.trained)
    assert tried[0] == pytest.approx(middle, rel=1e-5)
    assert tried[1] == pytest.approx(math.sqrt(LIMITS[0] * middle), rel=1e-5)


def test_bisection_gives_up_where_the_curve_jumps() -> None:
    ledger = Ledger(Jump(), threshold_init=-10)
    bisection(ledger, LIMITS, 0)
    assert ledger.open_targets == list(TARGETS)
    assert len(ledger.trained) < 20


def test_grid_trains_its_points_whatever_they_hit() -> None:
    ledger = Ledger(Smooth(), threshold_init=-10)
    grid(ledger, LIMITS, 0)
    assert len(ledger.trained) == ledger.epochs == 16
    assert (min(ledger.trained), max(ledger.trained)) == pytest.approx(LIMITS, rel=0.01)


def test_random_stops_at_its_cap() -> None:
    ledger = Ledger(Jump(), threshold_init=-10)
    random(ledger, LIMITS, 0)
    assert len(ledger.trained) == 40
    assert ledger.open_targets == list(TARGETS)
