"""All methods on one problem with one seed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from strsweep.bench.search_cost import Delivery, Ledger, Place, Row, is_near, row, yardstick
from strsweep.bench.search_forecast import ForecastCheck
from strsweep.bench.search_ours import OneByOne
from strsweep.bench.search_peers import PEERS, Peer
from strsweep.bench.search_problems import STEERED_WEIGHT_DECAY, TARGETS
from strsweep.bench.search_runs import Runs
from strsweep.config import Experiment, RunSettings
from strsweep.data import load_images
from strsweep.training.problem import measure_problem


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one seed gave."""

    rows: list[Row]
    forecasts: list[ForecastCheck]


def compare_searches(experiment: Experiment, runs: Runs, *, with_peers: bool) -> Comparison:
    """Let every method look for all targets.

    Args:
        experiment: An STR sweep of one of our problems.
        runs: Of this problem and seed.
        with_peers: Also the methods that take many runs.
    """
    place = Place(
        problem=experiment.name,
        seed=experiment.training.seed,
        epochs_full_run=experiment.training.epochs,
    )
    problem = measure_problem(experiment, load_images(experiment.data))
    ours = OneByOne(experiment, problem, runs)
    rows = [_searched(place, "ours", ours)]
    with suppress(LookupError):  # recorded runs may lack the steered ones
        rows.append(_steered(place, runs))
    if with_peers:
        kept = experiment.search.model_copy(update={"correct": False})
        fixed = OneByOne(experiment.model_copy(update={"search": kept}), problem, runs)
        rows.append(_searched(place, "uncorrected", fixed))
        rows += [_peer(place, experiment, runs, name, peer) for name, peer in PEERS.items()]
    rows.append(yardstick(place, runs.used))
    return Comparison(rows=rows, forecasts=ours.checks)


def _searched(place: Place, name: str, sweep: OneByOne) -> Row:
    sweep.search()
    return row(place, name, sweep.deliveries(), runs=sweep.num_runs, epochs=sweep.epochs)


def _steered(place: Place, runs: Runs) -> Row:
    told = {
        target: runs.at(RunSettings(weight_decay=STEERED_WEIGHT_DECAY, sparsity=target))
        for target in TARGETS
    }
    deliveries = [
        Delivery(target=target, run=run, is_hit=is_near(run, target))
        for target, run in told.items()
    ]
    epochs = sum(run.epochs for run in told.values())
    return row(place, "steered", deliveries, runs=len(told), epochs=epochs)


def _peer(place: Place, experiment: Experiment, runs: Runs, name: str, peer: Peer) -> Row:
    search = experiment.search
    assert isinstance(search.weight_decay, tuple)
    assert isinstance(search.threshold_init, float | int)
    ledger = Ledger(runs, search.threshold_init)
    peer(ledger, search.weight_decay, place.seed)
    return row(place, name, ledger.deliveries(), runs=len(ledger.trained), epochs=ledger.epochs)
