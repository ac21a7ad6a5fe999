"""Checks that need no cluster: that model, data and storage are what the experiment says."""

from __future__ import annotations

from strsweep.config import Experiment
from strsweep.data import check_batch_size, check_data, load_images
from strsweep.models import check_options
from strsweep.registry.server import check_tracking
from strsweep.storage import check_writable
from strsweep.sweep.path import SearchPath
from strsweep.training.run import sparse_model


def check(experiment: Experiment) -> None:
    """Check everything that can be known before Ray starts, the cheap things first.

    Raises:
        SettingError: Something cannot work.
    """
    check_options(experiment.model.name, experiment.model.options)
    check_data(experiment.data)
    check_tracking(experiment)
    check_writable(experiment.storage.path)
    images = load_images(experiment.data)
    check_batch_size(experiment, images)
    settings = SearchPath.of(experiment.search).at(0.0)
    sparse_model(experiment, settings, images.num_classes, images.input_shape)
