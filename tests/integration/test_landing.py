"""Targets land on a real Ray: all of them, once, also if a worker dies on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recorded_sweep import RecordedSweep
from samples import finished, load, proposed

from strsweep.cluster.connection import sweep_desk
from strsweep.cluster.landing import Landings
from strsweep.cluster.lanes import Lanes
from strsweep.journal import ModelLanded
from strsweep.search.outcome import TargetOutcome
from strsweep.search.runs import Run, Status
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.measure import measure
from strsweep.tasks import task_of
from strsweep.training.checkpoints import load_checkpoint, save_checkpoint
from strsweep.training.landing import is_on_target, land_one
from strsweep.training.network import sparse_model
from strsweep.training.writer import layer_rows

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_here"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

SETTINGS = RunSettings(threshold_init=-4.0, weight_decay=0.01)
TARGETS = (Target(sparsity=0.2), Target(macs=0.5))


def chosen(target: Target, *, is_hit: bool = True) -> TargetOutcome:
    run = Run(
        run_id="run-001",
        settings=SETTINGS,
        target=TARGETS[0],
        status=Status.FINISHED,
        sparsity=0.15,
        score=0.1,
    )
    return TargetOutcome(
        target=target, run=run if is_hit else None, closest=run, miss=0.0, advice=""
    )


class Sweep(RecordedSweep):
    """A finished run, of an untrained network, that was chosen for its targets."""

    def __init__(self, *overrides: str, targets: tuple[Target, ...] = TARGETS) -> None:
        super().__init__(load(*overrides))
        self.overrides, self.targets = overrides, targets
        model = sparse_model(self.experiment, SETTINGS, task_of(self.experiment))
        report, folder = measure(model, torch.zeros(1, 1, 8, 8)), "runs/run-001/last"
        metrics = {"sparsity": report.sparsity, "accuracy": 0.1, "macs": float(report.macs or 0)}
        save_checkpoint(self.storage, folder, {"model": model.state_dict()})
        self.start()
        self.journal.append(proposed(target=TARGETS[0], settings=SETTINGS))
        self.journal.append(finished(metrics=metrics, layers=layer_rows(report), checkpoint=folder))

    @property
    def landed(self) -> dict[Target, ModelLanded]:
        return {target: event for (target, _), event in self.record.landed.items()}

    def land(self, *overrides: str) -> None:
        """Land as a job does after its search."""
        states = [*map(chosen, self.targets), chosen(Target(sparsity=0.99), is_hit=False)]
        experiment = load(*self.overrides, *overrides)
        with sweep_desk(experiment.sweep_id) as desk, Lanes(experiment, desk) as lanes:
            Landings(experiment, lanes, self.journal, lambda: states).finish()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(f"storage.path={tmp_path}")


def faulty(folder: Path, fault: str, *targets: Target) -> Sweep:
    """Return a sweep whose network has a fault once the file ``armed`` is there."""
    options = {"armed": str(folder / "armed"), "fault": fault}
    model = f"model={{name: 'tests.integration.faulty_models:armed', options: {options}}}"
    sweep = Sweep(f"storage.path={folder}", model, targets=targets or TARGETS)
    (folder / "armed").touch()
    return sweep


def test_every_target_lands_once(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.land()
    assert sorted(map(str, sweep.landed)) == ["20 %", "50 % MACs"]
    assert capsys.readouterr().out.count(" landed run-001: sparsity ") == 2
    for target, event in sweep.landed.items():
        assert event.checkpoint == f"landed/{target.label}/run-001"
        dense_macs = sum(layer.dense_macs for layer in event.layers)
        if target.macs is None:
            assert is_on_target(target, event.layers)
        else:  # a weight costs several multiply-adds: they can stay below what is wanted
            assert target.macs * dense_macs - 64 < event.metrics["macs"] <= target.macs * dense_macs
        model = sparse_model(sweep.experiment, SETTINGS, task_of(sweep.experiment))
        model.load_state_dict(load_checkpoint(sweep.storage, event.checkpoint)["model"])
        assert layer_rows(measure(model, torch.zeros(1, 1, 8, 8))) == event.layers
        assert set(event.metrics) == {"sparsity", "macs", "accuracy", "val_loss"}
    events = len(sweep.journal.read())
    sweep.land()
    assert len(sweep.journal.read()) == events


@pytest.mark.long
def test_a_damaged_or_missing_landed_checkpoint_is_landed_again(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.land()
    landed = [sweep.storage.uri(f"{event.checkpoint}/state.pt") for event in sweep.landed.values()]
    before = [Path(path).read_bytes() for path in landed]
    Path(landed[0]).unlink()
    Path(landed[1]).write_bytes(before[1][:-100])
    sweep.land()
    said = capsys.readouterr().out
    assert all(f"lands again: the checkpoint {path} cannot be read" in said for path in landed)
    assert [Path(path).read_bytes() for path in landed] == before


def test_a_run_on_its_target_and_other_modes_need_nothing(sweep: Sweep) -> None:
    run = sweep.record.runs["run-001"]
    assert run.finished is not None
    exact = land_one(sweep.experiment, sweep.storage, run, TARGETS[0])
    sweep.journal.append(run.finished.model_copy(update={"layers": exact.layers}))
    sweep.targets = TARGETS[:1]
    sweep.land()
    sweep.land("sparsity.mode=steered")
    assert sweep.landed == {}


def test_two_workers_land_together(tmp_path: Path) -> None:
    sweep = Sweep(f"storage.path={tmp_path}", "workers.count=2", targets=TARGETS[:1])
    alone = land_one(sweep.experiment, sweep.storage, sweep.record.runs["run-001"], TARGETS[0])
    sweep.land()
    together = sweep.landed[TARGETS[0]]
    assert together.layers == alone.layers
    assert together.metrics["val_loss"] == pytest.approx(alone.metrics["val_loss"], rel=1e-5)


def test_a_worker_that_dies_once_is_tried_again(tmp_path: Path) -> None:
    sweep = faulty(tmp_path, "dies_once")
    sweep.land()
    assert len(sweep.landed) == 2
    assert not (tmp_path / "armed").exists()


@pytest.mark.long
def test_a_landing_that_fails_is_told_and_the_others_land(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = faulty(tmp_path, "raises_once")
    sweep.land()
    [failed] = set(TARGETS) - set(sweep.landed)  # of the lane that was the first to load the model
    output = capsys.readouterr().out
    assert f"{failed} keeps run-001 as trained, landing failed: ValueError: the disk" in output


@pytest.mark.long
def test_a_worker_that_always_dies_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = faulty(tmp_path, "dies", TARGETS[0])
    sweep.land()
    assert sweep.landed == {}
    text = r"20 % keeps run-001 as trained, landing failed: its processes ended 4 times, "
    assert text in capsys.readouterr().out
