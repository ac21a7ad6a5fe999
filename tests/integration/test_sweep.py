"""A whole sweep on a real Ray, killed in the middle, and what it leaves in files and in MLflow.

It trains the dense network, whose first epochs all runs share, and leads the others to targets. One
run at a time, so that all of it can be compared with the same sweep in one process.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import venv
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import ran
from local_ray import ROOT, Jobs
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file
from samples import METRICS, load
from trained_sweep import TrainedSweep

from strsweep.config import Experiment
from strsweep.journal import (
    EpochFinished,
    Event,
    ModelLanded,
    ModelPublished,
    RunRecord,
    SweepRecord,
    replay,
)
from strsweep.search.goal import Window
from strsweep.search.outcome import outcomes_of
from strsweep.settings import Target
from strsweep.storage import storage_of
from strsweep.training.checkpoints import load_checkpoint

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(2400),
    # MLflow's own calls to SQLAlchemy are deprecated; nothing else of ours runs in this process.
    pytest.mark.filterwarnings("ignore"),
]

EPOCHS, SHARED, EVERY = 36, 12, 3
TARGETS = (0.9, 0.95, 0.98)
OVERRIDES = [
    f"search.targets={list(TARGETS)}",
    "search.baseline=true",
    "search.max_concurrent=1",
    f"training.epochs={EPOCHS}",
    f"training.checkpoint_every={EVERY}",
]


@dataclass
class Killed:
    """A sweep whose driver was killed once, and that was then run to its end."""

    jobs: Jobs
    finished_before: list[str]
    open_before: dict[str, int]
    """Run id -> epochs it had when the driver was killed."""
    second_job: subprocess.CompletedProcess[str]
    last_job: subprocess.CompletedProcess[str]

    @cached_property
    def experiment(self) -> Experiment:
        return self.jobs.experiment(OVERRIDES)

    @property
    def events(self) -> list[Event]:
        return self.jobs.events(OVERRIDES)

    @cached_property
    def record(self) -> SweepRecord:
        return replay(self.events)

    @property
    def client(self) -> MlflowClient:
        return self.jobs.client

    def mlflow_runs(self) -> list[Run]:
        found = self.client.get_experiment_by_name("digits")
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], max_results=1000))

    def folder(self, target: float) -> Path:
        """Return the package of a target."""
        published = self.record.published[Target(sparsity=target)]
        return Path(storage_of(self.experiment).uri(published.folder))


def await_mid_sweep(jobs: Jobs, process: subprocess.Popen[bytes]) -> SweepRecord:
    """Wait until the dense network and a run have finished, and another has a checkpoint."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        assert process.poll() is None, "the sweep ended before it could be killed"
        record = jobs.record(OVERRIDES)
        under_way = [r for r in record.runs.values() if r.is_open and len(r.epochs) > EVERY + 1]
        if len(record.finished_runs) >= 2 and under_way:
            return record
        time.sleep(0.1)
    raise TimeoutError("no run got far enough")


@pytest.fixture(scope="module")
def killed(ray_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    jobs = Jobs(ray_environment, tmp_path_factory.mktemp("killed"))
    command = jobs.command("sweep", OVERRIDES)
    with (jobs.results / "first.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=jobs.environment, stdout=log, stderr=log)
        await_started(jobs)
        process.send_signal(signal.SIGSTOP)  # else it would be through before the second job is
        second = jobs.run("sweep", OVERRIDES)
        process.send_signal(signal.SIGCONT)
        before = await_mid_sweep(jobs, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return Killed(
        jobs=jobs,
        finished_before=[r.run_id for r in before.finished_runs],
        open_before={r.run_id: len(r.epochs) for r in before.runs.values() if r.is_open},
        second_job=second,
        last_job=jobs.run("sweep", OVERRIDES),
    )


def await_started(jobs: Jobs) -> None:
    deadline = time.monotonic() + 500
    while not jobs.record(OVERRIDES).runs:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> TrainedSweep:
    """The same sweep without Ray, in this process, and undisturbed."""
    folder = tmp_path_factory.mktemp("reference")
    sweep = TrainedSweep(load(*OVERRIDES, f"storage.path={folder}"))
    sweep.search()
    return sweep


def trained(run: RunRecord) -> dict[int, dict[str, float]]:
    """Return all that a run measured but times."""
    return {
        epoch: {key: value for key, value in row.metrics.items() if key != "seconds"}
        for epoch, row in run.epochs.items()
    }


def test_one_sweep_runs_once_at_a_time(killed: Killed) -> None:
    assert killed.second_job.returncode == 1
    assert "is already running in Ray job" in killed.second_job.stderr


def test_the_same_command_finishes_a_killed_sweep(killed: Killed) -> None:
    assert killed.last_job.returncode == 0, killed.last_job.stderr
    table = killed.last_job.stdout
    for target in TARGETS:
        assert f"@sparsity-{100 * target:g}" in table
    assert "vs dense" in table
    assert "dense network, same recipe: accuracy 9" in table
    assert "Trial name" not in table, "Ray's own tables must stay out"


def test_it_trained_what_one_process_trains_undisturbed(
    killed: Killed, reference: TrainedSweep
) -> None:
    one, other = killed.record, reference.record
    assert [run.settings for run in one.runs.values()] == [
        run.settings for run in other.runs.values()
    ]
    for run_id, run in one.runs.items():
        assert trained(run) == trained(other.runs[run_id]), run_id
    delivered = {state.target: state.run for state in outcomes_of(one, killed.experiment)}
    storage = storage_of(killed.experiment)
    for state in outcomes_of(other, reference.experiment):
        assert state.run is not None
        assert delivered[state.target] == state.run
        ends = [record.runs[state.run.run_id].finished for record in (one, other)]
        theirs, ours = (
            load_checkpoint(place, end.checkpoint)["model"]
            for place, end in zip((storage, reference.storage), ends, strict=True)
            if end is not None
        )
        assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_the_first_epochs_were_trained_once_for_all(killed: Killed) -> None:
    dense, *others = killed.record.runs.values()
    assert dense.settings.is_dense
    assert dense.prefix is not None
    assert dense.prefix.epoch == SHARED
    assert sorted(dense.epochs) == list(range(1, EPOCHS + 1))
    assert [row.metrics["sparsity"] for row in dense.epochs.values()] == [0.0] * EPOCHS
    assert len(others) >= len(TARGETS)
    for run in others:
        assert run.settings.fork is not None
        assert run.settings.fork.folder == dense.prefix.checkpoint
        assert run.settings.lead is not None
        assert min(run.epochs) == SHARED + 1
    distinct = sum(len(run.epochs) for run in killed.record.runs.values())
    assert distinct == EPOCHS + len(others) * (EPOCHS - SHARED)
    assert killed.record.epochs_trained - distinct < 2 * EVERY


def test_no_finished_run_was_trained_twice(killed: Killed) -> None:
    rows = [event for event in killed.events if isinstance(event, EpochFinished)]
    times = Counter(row.run_id for row in rows)
    distinct = {run_id: len(run.epochs) for run_id, run in killed.record.runs.items()}
    assert len(killed.finished_before) >= 2
    for run_id in killed.finished_before:
        assert times[run_id] == distinct[run_id]
    (run_id,) = killed.open_before
    repeated = times[run_id] - distinct[run_id]
    assert 0 <= repeated < 2 * EVERY  # the last checkpoint may have been on its way
    assert repeated < killed.open_before[run_id], "it started anew instead of from its checkpoint"
    assert all(run.failed is None and not run.interruptions for run in killed.record.runs.values())


def test_a_repeated_epoch_gave_the_same_numbers(killed: Killed) -> None:
    seen: dict[tuple[str, float], dict[str, float]] = {}
    for event in killed.events:
        if isinstance(event, EpochFinished):
            key = (event.run_id, event.metrics["epoch"])
            numbers = {k: v for k, v in event.metrics.items() if k != "seconds"}
            assert seen.setdefault(key, numbers) == numbers


def test_models_are_registered_while_later_runs_train(killed: Killed) -> None:
    events = killed.events
    published = [event for event in events if isinstance(event, ModelPublished)]
    landed = [event for event in events if isinstance(event, ModelLanded)]
    assert len(published) == len(TARGETS), "none is registered twice"
    assert {event.target for event in published} == {Target(sparsity=t) for t in TARGETS}
    # A run that ends on its target to the weight is not landed.
    assert len({event.target for event in landed}) == len(landed), "none is landed twice"
    last = killed.record.runs[max(killed.record.runs)]
    first = min(published, key=lambda event: event.time)
    assert first.time < last.proposed.time
    assert f"{first.target} is registered: digits v{first.version}" in killed.last_job.stdout
    for event in published:
        version = killed.client.get_model_version("digits", event.version)
        assert event.target is not None
        assert version.tags["label"] == event.target.label
        assert len(version.tags) <= 6
        assert version.creation_timestamp <= event.time * 1000


def test_mlflow_has_one_parent_and_every_child_once(killed: Killed) -> None:
    runs = killed.mlflow_runs()
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parents[0].info.run_id}
    ids = [c.data.tags["strsweep.run_id"] for c in children]
    assert sorted(ids) == sorted(killed.record.runs)
    for child in children:
        run_id = child.data.tags["strsweep.run_id"]
        target = killed.record.runs[run_id].target
        assert child.info.status == "FINISHED"
        became = "dense" if target is None else str(target)
        assert child.data.tags["mlflow.runName"].startswith(f"{run_id} · {became} · ")
    assert parents[0].data.metrics["targets_delivered"] == len(TARGETS)


def test_mlflow_has_every_step_once_and_as_the_journal(killed: Killed) -> None:
    record = killed.record
    for child in killed.mlflow_runs():
        run_id = child.data.tags["strsweep.run_id"]
        if run_id not in record.runs:
            continue
        run = record.runs[run_id]
        landed = [event for (_, landed_id), event in record.landed.items() if landed_id == run_id]
        told = {**run.epochs, **dict(enumerate(landed, max(run.epochs) + 1))}
        for key in METRICS:
            history = killed.client.get_metric_history(child.info.run_id, key)
            values = {metric.step: metric.value for metric in history}
            expected = {n: e.metrics[key] for n, e in told.items() if key in e.metrics}
            assert values == {n: pytest.approx(value) for n, value in expected.items()}
            assert len(history) == len(expected)
        artifacts = [a.path for a in killed.client.list_artifacts(child.info.run_id)]
        assert artifacts == (["layers.csv"] if record.runs[run_id].finished else [])


@pytest.mark.parametrize("target", TARGETS)
def test_the_receipt_is_what_the_file_holds(killed: Killed, target: float) -> None:
    folder = killed.folder(target)
    receipt = json.loads((folder / "receipt.json").read_text())
    budget = json.loads((folder / "budget.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    zeros = sum(int((weights[f"{layer['name']}.weight"] == 0).sum()) for layer in budget)
    assert receipt["zeros"] == zeros == sum(layer["zeros"] for layer in budget)
    assert zeros == round(target * receipt["weights"]), "landed to the weight"
    assert receipt["method"] == "str, own threshold decay, led to the target"
    dense = killed.record.runs["run-001"].finished
    assert dense is not None
    assert receipt["dense_score"] == dense.metrics["accuracy"]
    before = target if receipt["landed"] is None else receipt["landed"]["sparsity_before"]
    assert before in Window.around(target, None)
    assert receipt["macs"] < receipt["dense_macs"]
    assert not any("parametrizations" in name for name in weights)
    assert (
        (folder / "budget.csv")
        .read_text()
        .startswith("name,parameter,weights,zeros,sparsity,density")
    )


LOADS = """
import importlib.util, json, sys
assert importlib.util.find_spec("strsweep") is None
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
layers = json.load(open(sys.argv[3]))
state = model.state_dict()
zeros = sum(int((state[layer["name"] + ".weight"] == 0).sum()) for layer in layers)
print(json.dumps({"zeros": zeros, "shape": list(model(torch.zeros(5, 1, 8, 8)).shape)}))
"""


def test_a_registered_model_loads_without_this_library_and_without_pickle(
    killed: Killed, tmp_path: Path
) -> None:
    venv.create(tmp_path / "other", with_pip=False)
    # Only the folder: path files inside it, which make strsweep importable, are not followed.
    packages = Path(json.__file__).parents[1].name, Path(pytest.__file__).parents[1]
    (tmp_path / "other/lib" / packages[0] / "site-packages/all.pth").write_text(str(packages[1]))
    folder = killed.folder(0.95)
    environment = {k: v for k, v in killed.jobs.environment.items() if k != "PYTHONPATH"}
    done = ran(
        [
            *(str(tmp_path / "other/bin/python"), "-c", LOADS, killed.experiment.tracking.uri),
            *("models:/digits@sparsity-95", str(folder / "budget.json")),
        ],
        env={**environment, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert loaded["zeros"] == json.loads((folder / "receipt.json").read_text())["zeros"]
    assert loaded["shape"] == [5, 10]


def evaluate(killed: Killed, reference: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/evaluate.py", "--model", reference]
    return ran(command, cwd=ROOT, env=killed.jobs.environment)


@pytest.mark.parametrize("kind", ["registered", "folder"])
def test_evaluate_gives_what_the_receipt_says(killed: Killed, kind: str) -> None:
    registered = "models:/digits@sparsity-90"
    reference = registered if kind == "registered" else str(killed.folder(0.9))
    done = evaluate(killed, reference)
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"accuracy\s+(\S+) %\s+\(receipt (\S+) %\)", done.stdout)
    assert accuracy is not None, done.stdout
    assert accuracy[1] == accuracy[2]


def test_evaluate_names_what_it_cannot_find(killed: Killed) -> None:
    for reference in ("models:/digits@sparsity-12", "/nowhere"):
        done = evaluate(killed, reference)
        assert done.returncode == 2, done.stderr
        assert f"--model: got '{reference}'" in done.stderr


def test_submitted_again_it_trains_nothing_and_registers_nothing_new(killed: Killed) -> None:
    versions = len(killed.client.search_model_versions("name = 'digits'"))
    environment = {"env_vars": {"STRSWEEP_RESULTS": str(killed.jobs.results)}}
    submit = [
        *("ray", "job", "submit", "--working-dir", ".", "--runtime-env-json"),
        *(json.dumps(environment), "--", "python", "jobs/sweep.py"),
        *("--config", "jobs/configs/digits.yaml", *killed.jobs.command("sweep", OVERRIDES)[4:]),
    ]
    done = ran(submit, cwd=ROOT, env=killed.jobs.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search ended: every target is hit" in done.stdout
    assert " starts " not in done.stdout
    assert len(killed.client.search_model_versions("name = 'digits'")) == versions == len(TARGETS)
