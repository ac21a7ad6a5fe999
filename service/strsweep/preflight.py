"""Everything that can be known before Ray starts; imports neither Ray nor MLflow."""

from __future__ import annotations

from strsweep.config import Experiment, Problem, RunSettings
from strsweep.data import check_batch_size, check_data, load_images
from strsweep.errors import SettingError
from strsweep.models import check_options
from strsweep.storage import check_storage
from strsweep.sweep.auto import resolve
from strsweep.sweep.one_each import told_settings
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import Goal
from strsweep.training.network import sparse_model
from strsweep.training.problem import measure_problem


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
    if search.max_runs < len(search.targets):
        raise SettingError(
            "search.max_runs",
            search.max_runs,
            f"Every target needs a run of its own: allow at least {len(search.targets)}.",
        )
    return _check_parts(experiment)


def check_run(experiment: Experiment) -> tuple[Experiment, Problem]:
    """Check that the experiment fixes the settings of one run; returns what ``check_sweep`` does.

    Raises:
        SettingError: One of them is a range, or a part does not fit the others.
    """
    search = experiment.search
    if experiment.is_told:
        raise SettingError(
            "sparsity.budget",
            experiment.sparsity.budget,
            "It makes one run per target: use jobs/sweep.py, or jobs/transfer.py for one run.",
        )
    for key in ("threshold_init", "weight_decay"):
        value = getattr(search, key)
        if value == "auto" and key == "weight_decay":
            remedy = "One run takes one number: it is what decides the sparsity."
            raise SettingError("search.weight_decay", "auto", remedy)
        if isinstance(value, tuple):
            raise SettingError(
                f"search.{key}",
                list(value),
                "One run takes one number: add --set search."
                f"{key}={value[0]:g}, or use jobs/sweep.py for a range.",
            )
    return _check_parts(experiment)


def _check_parts(experiment: Experiment) -> tuple[Experiment, Problem]:
    """Check that model, data and storage are what the experiment says, the cheap things first."""
    check_options(experiment.model.name, experiment.model.options)
    check_data(experiment.data)
    check_storage(experiment.storage)
    images = load_images(experiment.data)
    check_batch_size(experiment, images)
    problem = measure_problem(experiment, images)
    settled = resolve(experiment, problem)
    settings = _sparsest(settled, problem)
    sparse_model(settled, settings, images.num_classes, images.input_shape)
    return settled, problem


def _sparsest(experiment: Experiment, problem: Problem) -> RunSettings:
    """Return the settings of the run that prunes most: what fits it fits all."""
    goal = Goal.of(experiment, problem)
    if experiment.is_told:
        told = [told_settings(experiment, goal, target) for target in goal.targets]
        return max(told, key=lambda settings: settings.pruned_share)
    if experiment.is_single:
        return experiment.fixed_settings
    return SearchPath.of(experiment, problem).at(1.0)


def _nothing_to_sweep(experiment: Experiment) -> SettingError:
    method = experiment.sparsity.mode
    if method != "str":
        return SettingError(
            "sparsity.mode",
            method,
            "With this budget there is one run only: use jobs/train.py or jobs/transfer.py.",
        )
    return SettingError(
        "search.weight_decay",
        experiment.search.weight_decay,
        "There is nothing to search: write a range such as [1e-5, 1e-3], or use jobs/train.py.",
    )
