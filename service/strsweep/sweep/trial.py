"""The Tune trial: a thin driver that lets Ray Train run one training run."""

from __future__ import annotations

import os
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from strsweep.config import Experiment, RunSettings
from strsweep.training.worker import trainer

_POLL_INTERVAL = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"


def trial(config: dict[str, Any], *, experiment: dict[str, Any]) -> None:
    """Run one training run to its end; Tune calls this in an actor of its own.

    Args:
        config: ``run_id`` and the run's settings, chosen by the searcher.
        experiment: The dumped experiment.
    """
    # A report waits for the controller's next poll: at Ray's default of 2 s, short epochs would
    # spend most of their time waiting.
    os.environ.setdefault(_POLL_INTERVAL, "0.2")
    settings = RunSettings.model_validate({key: config[key] for key in RunSettings.model_fields})
    trainer(
        Experiment.model_validate(experiment),
        config["run_id"],
        settings,
        callbacks=[TuneReportCallback()],
    ).fit()
