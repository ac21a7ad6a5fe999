"""A whole sweep as one call: check, train on Ray, land and register each target when it is hit."""

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
    """Train what ``experiment`` describes and register what it gives; wrong inputs fail first.

    Args:
        experiment: As it was loaded.
        is_sweep: Search until every target is hit, or train the one run with fixed settings.
        guard: What to do if it is interrupted.

    Raises:
        StrsweepError: The input is wrong, or the runs failed.
    """
    with guard(lambda: None), ExitStack() as guarded:
        with doing("checking model, data and settings"):
            from strsweep import preflight

            check = preflight.check_sweep if is_sweep else preflight.check_run
            experiment, problem = check(experiment)
        with ExitStack() as held:
            with doing("connecting to Ray"):
                from strsweep.cluster.connection import connected
                from strsweep.cluster.run import held_sweep, run_single, run_sweep

                held.enter_context(connected())
                guarded.enter_context(guard(lambda: None))  # Ray has taken the signals for itself
                lanes = held.enter_context(held_sweep(experiment))
            with doing("connecting to MLflow"):
                from strsweep import registry, report

                shown = registry.OwnTrackers(experiment, {"": report.LiveReport(experiment)})
                held.enter_context(shown)
                tracking = held.enter_context(registry.Tracking(experiment))
                guarded.enter_context(registry.OwnTrackers(experiment))
            tracking.then = registry.LiveDelivery(experiment, tracking) if is_sweep else None
            guarded.enter_context(guard(tracking.interrupt))
            (run_sweep if is_sweep else run_single)(experiment, problem, lanes)
        with doing("registering what was trained"):
            return registry.publish_sweep(experiment, tracking)
