"""A whole sweep as one call: check, train on Ray, land, register."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING

from strsweep.config import Experiment
from strsweep.progress import doing

if TYPE_CHECKING:
    from strsweep.registry import Delivery

Guard = Callable[[Callable[[], None]], AbstractContextManager[object]]
"""Made with what is to be done if training is interrupted; entered while runs train."""


def sweep(experiment: Experiment) -> Delivery:
    """Train until every target is hit, land on the targets and register the models.

    Joins the Ray cluster that this process can reach, or starts Ray here. The same call again
    continues: finished runs are kept, open ones go on from their checkpoints.

    Args:
        experiment: From ``strsweep.load_experiment``, with targets.

    Returns:
        What is delivered for each target.

    Raises:
        StrsweepError: The input is wrong, or the runs failed.
    """
    return trained_and_registered(experiment, is_sweep=True)


def trained_and_registered(
    experiment: Experiment, *, is_sweep: bool, guard: Guard = lambda _: nullcontext()
) -> Delivery:
    """Train what ``experiment`` describes and register what it gives.

    Args:
        experiment: As it was loaded.
        is_sweep: Search until every target is hit, or else train the one run with fixed settings.
        guard: What to do if training is interrupted.

    Raises:
        StrsweepError: The input is wrong, or the runs failed.
    """
    # torch, then Ray, then MLflow: each takes seconds to import, so a wrong input is told first.
    with doing("checking model, data and settings"):
        from strsweep import preflight

        check = preflight.check_sweep if is_sweep else preflight.check_run
        experiment, problem = check(experiment)
    with ExitStack() as held:
        with doing("connecting to Ray"):
            from strsweep.cluster.connection import connected
            from strsweep.cluster.run import held_sweep, run_single, run_sweep

            held.enter_context(connected())
            lanes = held.enter_context(held_sweep(experiment))
        with doing("connecting to MLflow"):
            from strsweep import registry

            tracking = held.enter_context(registry.Tracking(experiment))
        with guard(tracking.interrupt):
            train = run_sweep if is_sweep else run_single
            record = train(experiment, problem, lanes)
    with doing("registering what was trained"):
        publish = registry.publish_sweep if is_sweep else registry.publish_single
        return publish(experiment, record, tracking)
