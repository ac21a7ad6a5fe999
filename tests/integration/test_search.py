"""What happens to runs on a real Ray: they lead themselves, die, are stopped, and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from local_ray import Jobs
from trained_sweep import TrainedSweep

from strsweep.journal import RunFailed, RunInterrupted, RunRecord, RunStopped
from strsweep.settings import Target
from strsweep.storage import storage_of
from strsweep.training.checkpoints import load_checkpoint

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

MOST_REPEATED = 3
"""Epochs of a run that was ended: the one under way, and those whose checkpoint was on its way."""


def repeated(run: RunRecord) -> int:
    return run.num_epochs_trained - len(run.epochs)


def test_a_led_run_whose_worker_is_killed_goes_on_bit_for_bit(jobs: Jobs, tmp_path: Path) -> None:
    epochs, shared, every, mark = 20, 7, 3, tmp_path / "died"
    in_epoch_17 = {"at_batch": 110, "mark": str(mark)}  # the first ten epochs of a fork's own
    overrides = [
        f"training.epochs={epochs}",
        f"training.checkpoint_every={every}",
        "search.targets=[0.9]",
        "search.max_concurrent=1",
        "model.name=tests.integration.faulty_models:dies_once",
        f"model.options={in_epoch_17}",
    ]
    said = jobs.said("sweep", overrides)
    assert mark.exists()
    assert "run-002 restarts  worker 0: " in said
    record, storage = jobs.record(overrides), storage_of(jobs.experiment(overrides))
    assert [len(run.interruptions) for run in record.runs.values()][:2] == [0, 1]
    led = record.runs["run-002"]
    assert sorted(led.epochs) == list(range(shared + 1, epochs + 1))
    assert 1 <= repeated(led) <= MOST_REPEATED + 1  # it died in epoch 17, and has 15 or 12
    assert len({row.metrics["threshold_decay"] for row in led.epochs.values()}) > every

    elsewhere = replace(jobs, results=tmp_path / "undisturbed")
    undisturbed = TrainedSweep(elsewhere.experiment(overrides))
    undisturbed.search()
    assert list(record.runs) == list(undisturbed.record.runs)
    for run_id, reference in undisturbed.record.runs.items():
        run = record.runs[run_id]
        assert run.settings == reference.settings
        for epoch, row in reference.epochs.items():
            assert run.epochs[epoch].metrics | {"seconds": 0} == row.metrics | {"seconds": 0}
            shown = run.epochs[epoch].thresholds  # five digits of them
            assert shown == pytest.approx(row.thresholds, rel=1e-4)
        folder = f"runs/{run_id}/epoch_{run.settings.last_epoch or epochs:05d}"
        theirs = load_checkpoint(storage, folder)["model"]
        ours = load_checkpoint(undisturbed.storage, folder)["model"]
        assert all(torch.equal(theirs[name], ours[name]) for name in ours)


@pytest.mark.long
def test_a_search_as_published_hits_its_targets(jobs: Jobs) -> None:
    overrides = [
        "training.epochs=12",
        "training.checkpoint_every=3",
        "search.targets=[0.8, 0.95]",
        "search.decay=shared",
        "search.led=false",
        "search.weight_decay=auto",
    ]
    said = jobs.said("sweep", overrides)
    assert "method: str, shared weight decay, one decay a run; " in said
    assert "search ended: every target is hit" in said
    record, client = jobs.record(overrides), jobs.client
    decays: set[float] = set()
    for run in record.runs.values():
        settings = run.settings
        assert (settings.lead, settings.fork, settings.onset) == (None, None, 0)
        own = {
            (r.metrics["weight_decay"], r.metrics["threshold_decay"]) for r in run.epochs.values()
        }
        assert own == {(settings.weight_decay, settings.weight_decay)}
        decays.add(settings.weight_decay)
    assert len(decays) == len(record.runs) >= 2
    for target in (0.8, 0.95):
        version = client.get_model_version_by_alias("digits", f"sparsity-{100 * target:g}")
        assert version.tags["method"] == "str, shared weight decay, one decay a run"
        trained = client.get_run(str(version.run_id)).data.tags["strsweep.run_id"]
        event = record.landed[Target(sparsity=target), trained]
        zeros = sum(layer.zeros for layer in event.layers)
        assert zeros == round(target * sum(layer.weights for layer in event.layers))


@pytest.mark.long
def test_a_job_that_is_out_of_time_pauses_and_a_run_without_a_target_is_stopped(
    jobs: Jobs,
) -> None:
    epochs = 100
    overrides = [
        f"training.epochs={epochs}",
        "training.checkpoint_every=1",
        "search.share_prefix=false",
        "search.max_runs=8",
    ]
    # The job is over before a run is through; on a busy machine not both have begun by then.
    first = [*overrides, "search.targets=[0.98, 0.7]", "search.max_hours=0.004"]
    paused = jobs.run("sweep", first)
    assert paused.returncode == 1, paused.stderr
    assert "search ended: search.max_hours (0.004) is over" in paused.stdout
    before = jobs.record(first)
    assert [str(run.target) for run in before.runs.values()] == ["98 %", "70 %"]
    assert all(run.is_open and len(run.epochs) < epochs for run in before.runs.values())
    begun = [run_id for run_id, run in before.runs.items() if run.epochs]
    assert begun
    for run_id in begun:
        assert f"{run_id} paused    the next job continues it" in paused.stdout

    second = [*overrides, "search.targets=[0.7]"]
    said = jobs.said("sweep", second)
    assert jobs.experiment(second).sweep_id == jobs.experiment(first).sweep_id
    record = jobs.record(first)
    sparse, asked = (record.runs[run_id] for run_id in before.runs)
    assert asked.finished is not None
    assert sorted(asked.epochs) == list(range(1, epochs + 1))
    assert sparse.stopped is not None
    assert sparse.stopped.reason.startswith("would end between ")
    assert sparse.stopped.reason.endswith("where no target is open")
    assert sparse.stopped.epoch < epochs
    assert f"run-001 stopped   after epoch {sparse.stopped.epoch}: would" in said
    for run_id, run in before.runs.items():
        same = record.runs[run_id]
        assert repeated(same) <= MOST_REPEATED
        for epoch, row in run.epochs.items():
            assert same.epochs[epoch].metrics | {"seconds": 0} == row.metrics | {"seconds": 0}
    events = jobs.events(second)
    assert [e for e in events if isinstance(e, RunFailed | RunInterrupted)] == []
    assert sum(isinstance(event, RunStopped) for event in events) == 1
    found = jobs.client.get_experiment_by_name("digits")
    assert found is not None
    shown = jobs.client.search_runs([found.experiment_id], "tags.`strsweep.run_id` LIKE 'run-%'")
    states = {run.data.tags["strsweep.run_id"]: run.info.status for run in shown}
    assert (states["run-001"], states["run-002"]) == ("KILLED", "FINISHED")
