"""Everything that can be known before Ray starts; imports neither Ray nor MLflow."""

from __future__ import annotations

from strsweep.config import Experiment
from strsweep.data import check_batch_size, check_data, load_images
from strsweep.errors import SettingError
from strsweep.models import check_options
from strsweep.storage import check_writable
from strsweep.sweep.path import path_of
from strsweep.training.network import sparse_model


def check_sweep(experiment: Experiment) -> None:
    """Check that the experiment can be swept.

    Raises:
        SettingError: There is no target, nothing to search, a budget too small, or a part that
            does not fit the others.
    """
    search = experiment.search
    if not search.targets:
        raise SettingError("search.targets", [], "Name the sparsities you want, e.g. [0.8, 0.9].")
    if path_of(experiment).is_point:
        raise _nothing_to_sweep(experiment)
    if search.max_runs < len(search.targets):
        raise SettingError(
            "search.max_runs",
            search.max_runs,
            f"Every target needs a run of its own: allow at least {len(search.targets)}.",
        )
    _check_parts(experiment)


def check_run(experiment: Experiment) -> None:
    """Check that the experiment fixes the settings of one run.

    Raises:
        SettingError: One of them is a range, or a part does not fit the others.
    """
    search = experiment.search
    if not path_of(experiment).is_point and experiment.sparsity.mode != "str":
        raise SettingError(
            "sparsity.budget",
            experiment.sparsity.budget,
            "It makes one run per target: use jobs/sweep.py, or jobs/transfer.py for one run.",
        )
    for key in ("threshold_init", "weight_decay"):
        value = getattr(search, key)
        if isinstance(value, tuple):
            raise SettingError(
                f"search.{key}",
                list(value),
                "One run takes one number: add --set search."
                f"{key}={value[0]:g}, or use jobs/sweep.py for a range.",
            )
    _check_parts(experiment)


def _check_parts(experiment: Experiment) -> None:
    """Check that model, data and storage are what the experiment says, the cheap things first."""
    check_options(experiment.model.name, experiment.model.options)
    check_data(experiment.data)
    check_writable(experiment.storage.path)
    images = load_images(experiment.data)
    check_batch_size(experiment, images)
    highest = max(experiment.search.targets, default=0.0)
    settings = path_of(experiment).at(highest)
    sparse_model(experiment, settings, images.num_classes, images.input_shape)


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
