"""A sweep of one finished run, of an untrained network: the journal and the checkpoint it left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from samples import finished, load, proposed, started

from strsweep.config import Experiment
from strsweep.journal import ModelLanded, RunRecord, SweepRecord, replay
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.measure import measure
from strsweep.storage import Store, storage_of
from strsweep.tasks import task_of
from strsweep.training.checkpoints import save_checkpoint
from strsweep.training.landing import land_one
from strsweep.training.network import sparse_model
from strsweep.training.problem import measure_problem
from strsweep.training.writer import layer_rows

SETTINGS = RunSettings(threshold_init=-4.0, weight_decay=0.01)


@dataclass
class Sweep:
    experiment: Experiment
    record: SweepRecord

    @property
    def storage(self) -> Store:
        return storage_of(self.experiment)

    @property
    def run(self) -> RunRecord:
        return self.record.runs["run-001"]

    def land(self, **target: float) -> ModelLanded:
        wanted = Target.model_validate(target)
        return land_one(self.experiment, self.storage, self.run, wanted)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    experiment = load(f"storage.path={tmp_path}", "search.targets=[0.2, {macs: 0.5}]")
    torch.manual_seed(0)
    task = task_of(experiment)
    model = sparse_model(experiment, SETTINGS, task)
    report = measure(model, task.example())
    assert report.macs is not None
    storage = storage_of(experiment)
    save_checkpoint(storage, "runs/run-001/last", {"model": model.state_dict()})
    begun = started(problem=measure_problem(experiment, task))
    end = finished(
        metrics={"sparsity": report.sparsity, "macs": report.macs, "accuracy": 0.125},
        layers=layer_rows(report),
        checkpoint="runs/run-001/last",
    )
    aimed = proposed(target=Target(sparsity=0.2), settings=SETTINGS)
    return Sweep(experiment, replay([begun, aimed, end]))
