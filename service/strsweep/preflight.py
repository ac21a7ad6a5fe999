"""Everything that can be known before Ray starts; imports neither Ray nor MLflow."""

from __future__ import annotations

from math import isclose

from strsweep.auto import fixed_settings, resolve
from strsweep.config import Experiment, Problem
from strsweep.data import check_data
from strsweep.errors import SettingError
from strsweep.models import check_options
from strsweep.models.registered import pinned
from strsweep.search.goal import Goal
from strsweep.search.space import GivenSpace, LawSpace
from strsweep.settings import RunSettings
from strsweep.storage import check_storage
from strsweep.tasks import task_of
from strsweep.training.loop import check_batch_size
from strsweep.training.problem import measure_problem
from strsweep.training.rehearsal import rehearse

_LEAST_MACS = 1e-4
"""Share of the dense network's multiply-adds that nobody asks for as a number."""


def check_sweep(experiment: Experiment) -> tuple[Experiment, Problem]:
    """Check that the experiment can be swept.

    Returns:
        The experiment with numbers in place of ``auto``, and what was measured of network and data.

    Raises:
        SettingError: There is no target, nothing to search, a budget too small, or a part that
            does not fit the others.
    """
    search = experiment.search
    if not search.targets:
        raise SettingError("search.targets", [], "Name the sparsities you want, e.g. [0.8, 0.9].")
    if experiment.is_single:
        raise _nothing_to_sweep(experiment)
    for key in ("threshold_init", search.knob) if search.led else ():
        if isinstance(value := getattr(search, key), tuple):
            remedy = "Runs that keep one decay search ranges: add search.led=false, or write auto."
            raise SettingError(f"search.{key}", value, remedy)
    needed = len(search.targets) + (experiment.shares_prefix or search.baseline)
    if search.max_runs < needed:
        more = ", and so do the epochs that all share" if experiment.shares_prefix else ""
        remedy = f"Every target needs a run of its own{more}: allow at least {needed}."
        raise SettingError("search.max_runs", search.max_runs, remedy)
    if search.max_epochs is not None and search.max_epochs < experiment.training.epochs:
        raise SettingError(
            "search.max_epochs",
            search.max_epochs,
            f"No run is begun that cannot end: allow at least {experiment.training.epochs}, the "
            "epochs of one.",
        )
    return _check_parts(experiment)


def check_run(experiment: Experiment) -> tuple[Experiment, Problem]:
    """Check that the experiment fixes the settings of one run; returns what ``check_sweep`` does.

    Raises:
        SettingError: One of them is a range, or a part does not fit the others.
    """
    if experiment.has_fixed_target:
        remedy = "It makes one run per target: use strsweep sweep, or train --budget for a budget."
        raise SettingError("sparsity.mode", experiment.sparsity.mode, remedy)
    search = experiment.search
    for key in ("threshold_init", search.knob) if experiment.sparsity.needs_search else ():
        value = getattr(search, key)
        if isinstance(value, tuple) or (value == "auto" and key == search.knob):
            remedy = (
                f"One run takes one number, which decides the sparsity: add --set search.{key}="
                "NUMBER; strsweep plan tells which gives what. Or use strsweep sweep."
            )
            raise SettingError(f"search.{key}", value, remedy)
    return _check_parts(experiment)


def _check_parts(experiment: Experiment) -> tuple[Experiment, Problem]:
    """Check that model, data and storage are what the experiment says, the cheap things first."""
    experiment = pinned(experiment)
    check_options(experiment.model.name, experiment.model.options)
    if experiment.task is None:
        check_data(experiment.data)
    check_storage(experiment.storage)
    task = task_of(experiment)
    check_batch_size(experiment, task)
    problem = measure_problem(experiment, task)
    settled = resolve(experiment, problem)
    rehearse(settled, _sparsest(settled, problem), task)
    return settled, problem


def _sparsest(experiment: Experiment, problem: Problem) -> RunSettings:
    """Return the settings of the run that prunes most: what fits it fits all."""
    goal = Goal.of(experiment, problem)
    _check_macs(goal)
    if experiment.has_fixed_target:
        space = GivenSpace(experiment, problem)
        given = [space.settings(target) for target in goal.targets]
        return max(given, key=lambda settings: settings.pruned_share)
    if experiment.is_single:
        return fixed_settings(experiment, problem)
    first = LawSpace(experiment, problem).threshold_init
    return RunSettings(threshold_init=first[1], weight_decay=0.0)


def _check_macs(goal: Goal) -> None:
    """Refuse counts of multiply-adds that were meant as shares, and the same target twice."""
    for target in goal.targets:
        if target.macs is not None and target.macs >= 1 and 1 - goal.pruned(target) < _LEAST_MACS:
            remedy = (
                f"From 1 on it is a number, and the dense network has {goal.problem.dense_macs:,}: "
                "write 0.05 for 5 % of them."
            )
            raise SettingError("search.targets", {"macs": target.macs}, remedy)
        twins = [other for other in goal.targets if other.quantity == target.quantity]
        if sum(isclose(goal.pruned(other), goal.pruned(target)) for other in twins) > 1:
            raise SettingError("search.targets", str(target), "Two targets are the same: drop one.")


def _nothing_to_sweep(experiment: Experiment) -> SettingError:
    method = experiment.sparsity
    if not method.needs_search:
        return SettingError(
            "sparsity.mode",
            method.mode,
            "With this budget there is one run only: use strsweep train, --budget included.",
        )
    return SettingError(
        f"search.{experiment.search.knob}",
        experiment.search.knob_value,
        "There is nothing to search: write auto or a range, or use strsweep train.",
    )
