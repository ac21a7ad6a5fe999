"""The Tune trial: a thin driver that lets Ray Train run one training run."""

from __future__ import annotations

from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from strsweep.config import Experiment, RunSettings
from strsweep.sweep.interruptions import Interruptions
from strsweep.training.worker import trainer


def trial(config: dict[str, Any], *, experiment: dict[str, Any]) -> None:
    """Run one training run to its end; Tune calls this in an actor of its own.

    Args:
        config: ``run_id`` and the run's settings, chosen by the searcher.
        experiment: The dumped experiment.
    """
    settings = RunSettings.model_validate({key: config[key] for key in RunSettings.model_fields})
    asked, run_id = Experiment.model_validate(experiment), config["run_id"]
    callbacks = [TuneReportCallback(), Interruptions(asked, run_id)]
    trainer(asked, run_id, settings, callbacks).fit()
