"""Targets land on a real Ray: all of them, once, also if a worker dies on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from strsweep.config import Experiment, RunSettings, Target, load_experiment
from strsweep.journal import (
    Journal,
    ModelLanded,
    RunFinished,
    RunProposed,
    RunRecord,
    SweepRecord,
    replay,
)
from strsweep.search.outcome import TargetOutcome
from strsweep.search.runs import Run, Status
from strsweep.sparsity import measure
from strsweep.storage import storage_of
from strsweep.sweep import landing
from strsweep.sweep.landing import is_on_target, land_one, land_targets
from strsweep.training.checkpoint import load_checkpoint, save_checkpoint
from strsweep.training.network import sparse_model
from strsweep.training.writer import layer_rows

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
SETTINGS = RunSettings(threshold_init=-4.0, weight_decay=0.01)
TARGETS = (Target(sparsity=0.2), Target(macs=0.5))


def chosen(target: Target, *, is_hit: bool = True) -> TargetOutcome:
    run = Run(
        run_id="run-001",
        settings=SETTINGS,
        target=TARGETS[0],
        status=Status.FINISHED,
        sparsity=0.15,
        accuracy=0.1,
    )
    return TargetOutcome(
        target=target, run=run if is_hit else None, closest=run, miss=0.0, advice=""
    )


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@dataclass
class Sweep:
    """A finished run, of an untrained network, that was chosen for all targets."""

    experiment: Experiment
    journal: Journal

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    @property
    def landed(self) -> dict[Target, ModelLanded]:
        return {target: event for (target, _), event in self.record.landed.items()}

    def land(self, *overrides: str) -> None:
        states = [*map(chosen, TARGETS), chosen(Target(sparsity=0.99), is_hit=False)]
        experiment = load_experiment(
            DIGITS, [f"storage.path={self.experiment.storage.path}", *overrides]
        )
        land_targets(experiment, states, self.record, self.journal)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    experiment = load_experiment(DIGITS, [f"storage.path={tmp_path}"])
    storage = storage_of(experiment)
    model = sparse_model(experiment, SETTINGS, 10, (1, 8, 8))
    report = measure(model, (1, 8, 8))
    save_checkpoint(storage, "runs/run-001/last", {"model": model.state_dict()})
    journal = Journal(storage)
    journal.append(
        RunProposed(run_id="run-001", settings=SETTINGS, target=TARGETS[0], reason="a test")
    )
    metrics = {"sparsity": report.sparsity, "macs": float(report.macs or 0), "accuracy": 0.1}
    journal.append(
        RunFinished(
            run_id="run-001",
            metrics=metrics,
            layers=layer_rows(report),
            checkpoint="runs/run-001/last",
        )
    )
    return Sweep(experiment, journal)


def test_every_target_lands_once(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.land()
    assert sorted(map(str, sweep.landed)) == ["20 %", "50 % MACs"]
    assert capsys.readouterr().out.count(" landed run-001: sparsity ") == 2
    storage = storage_of(sweep.experiment)
    for target, event in sweep.landed.items():
        assert event.checkpoint == f"landed/{target.label}/run-001"
        dense_macs = sum(layer.dense_macs for layer in event.layers)
        if target.macs is None:
            assert is_on_target(target, event.layers)
        else:  # a weight costs several multiply-adds: they can stay below what is wanted
            assert target.macs * dense_macs - 64 < event.metrics["macs"] <= target.macs * dense_macs
        model = sparse_model(sweep.experiment, SETTINGS, 10, (1, 8, 8))
        model.load_state_dict(load_checkpoint(storage, event.checkpoint)["model"])
        assert layer_rows(measure(model, (1, 8, 8))) == event.layers
        assert set(event.metrics) == {"sparsity", "macs", "accuracy", "val_loss"}
    events = len(sweep.journal.read())
    sweep.land()
    assert len(sweep.journal.read()) == events


def test_a_run_on_its_target_and_other_modes_need_nothing(sweep: Sweep) -> None:
    record = sweep.record
    run = record.runs["run-001"]
    assert run.finished is not None
    exact = land_one(sweep.experiment, run, TARGETS[0])
    run.finished = run.finished.model_copy(update={"layers": exact.layers})
    land_targets(sweep.experiment, [chosen(TARGETS[0])], record, sweep.journal)
    sweep.land("sparsity.mode=steered")
    assert sweep.landed == {}


def test_a_worker_that_dies_once_is_tried_again(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(experiment: Experiment, run: RunRecord, target: Target) -> ModelLanded:
        marker = tmp_path / target.label
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return land_one(experiment, run, target)

    monkeypatch.setattr(landing, "land_one", dying)
    sweep.land()
    assert len(sweep.landed) == 2


def test_a_landing_that_fails_is_told_and_the_others_land(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(experiment: Experiment, run: RunRecord, target: Target) -> ModelLanded:
        if target.macs is not None:
            raise ValueError("the disk is gone")
        return land_one(experiment, run, target)

    monkeypatch.setattr(landing, "land_one", failing)
    sweep.land()
    assert list(sweep.landed) == [TARGETS[0]]
    output = capsys.readouterr().out
    assert "50 % MACs keeps run-001 as trained, landing failed: ValueError: the disk" in output


def test_a_worker_that_always_dies_is_told(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dead(experiment: Experiment, run: RunRecord, target: Target) -> ModelLanded:
        os._exit(1)

    monkeypatch.setattr(landing, "land_one", dead)
    sweep.land()
    assert sweep.landed == {}
    assert capsys.readouterr().out.count("keeps run-001 as trained, landing failed: ") == 2
