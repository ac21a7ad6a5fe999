"""A whole sweep on a real Ray, killed in the middle, and what it leaves in files and in MLflow."""

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
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from safetensors.torch import load_file

from strsweep.config import Experiment, Target, load_experiment
from strsweep.journal import EpochFinished, Journal, SweepRecord, replay
from strsweep.storage import storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    # MLflow's own calls to SQLAlchemy are deprecated; nothing else of ours runs in this process.
    pytest.mark.filterwarnings("ignore"),
]

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "jobs/configs/digits.yaml"
EPOCHS, EVERY = 60, 5
"""Long enough that the second job is refused before the first one is through."""
TARGETS = (0.9, 0.95, 0.98)
"""More than the two slots, so that a run has finished while another is under way."""
OVERRIDES = [
    f"search.targets={list(TARGETS)}",
    "search.tolerance=0.01",
    f"training.epochs={EPOCHS}",
    f"training.checkpoint_every={EVERY}",
]
COMMAND = [
    *(sys.executable, "jobs/sweep.py", "--config", str(DIGITS)),
    *(argument for override in OVERRIDES for argument in ("--set", override)),
]


@dataclass
class Killed:
    """A sweep whose driver was killed once, and that was then run to its end."""

    experiment: Experiment
    environment: dict[str, str]
    finished_before: list[str]
    open_before: dict[str, int]
    """Run id -> epochs it had when the driver was killed."""
    second_job: subprocess.CompletedProcess[str]
    last_job: subprocess.CompletedProcess[str]

    @property
    def journal(self) -> Journal:
        return Journal(storage_of(self.experiment))

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    @property
    def client(self) -> MlflowClient:
        uri = self.experiment.tracking.uri
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def mlflow_runs(self) -> list[Run]:
        found = self.client.get_experiment_by_name("digits")
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], max_results=1000))


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def await_mid_sweep(experiment: Experiment, process: subprocess.Popen[bytes]) -> SweepRecord:
    """Wait until a run has finished and another has a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the sweep ended before it could be killed"
        record = replay(Journal(storage_of(experiment)).read())
        under_way = [r for r in record.runs.values() if r.is_open and len(r.epochs) > EVERY + 3]
        if record.finished_runs and under_way:
            return record
        time.sleep(0.2)
    raise TimeoutError("no run got far enough")


@pytest.fixture(scope="module")
def killed(ray_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Killed:
    results = tmp_path_factory.mktemp("killed")
    environment = {**ray_environment, "STRSWEEP_RESULTS": str(results)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRSWEEP_RESULTS", str(results))
        experiment = load_experiment(DIGITS, OVERRIDES)
    with (results / "first.log").open("wb") as log:
        process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stdout=log, stderr=log)
        await_started(experiment)
        second = run(environment)
        before = await_mid_sweep(experiment, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return Killed(
        experiment=experiment,
        environment=environment,
        finished_before=[r.run_id for r in before.finished_runs],
        open_before={r.run_id: len(r.epochs) for r in before.runs.values() if r.is_open},
        second_job=second,
        last_job=run(environment),
    )


def await_started(experiment: Experiment) -> None:
    deadline = time.monotonic() + 60
    while not replay(Journal(storage_of(experiment)).read()).runs:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_one_sweep_runs_once_at_a_time(killed: Killed) -> None:
    assert killed.second_job.returncode == 1
    assert "is already running in Ray job" in killed.second_job.stderr


def test_the_same_command_finishes_a_killed_sweep(killed: Killed) -> None:
    assert killed.last_job.returncode == 0, killed.last_job.stderr
    table = killed.last_job.stdout
    for target in TARGETS:
        assert f"@sparsity-{100 * target:g}" in table
    assert "Trial name" not in table, "Ray's own tables must stay out"


def test_no_finished_run_was_trained_twice(killed: Killed) -> None:
    rows = [event for event in killed.journal.read() if isinstance(event, EpochFinished)]
    trained = Counter(row.run_id for row in rows)
    # An epoch that a correction took back, and that is trained otherwise, is another one.
    distinct = Counter(
        run_id
        for run_id, _, _ in {
            (row.run_id, row.metrics["epoch"], row.metrics["weight_decay"]) for row in rows
        }
    )
    assert killed.finished_before
    for run_id in killed.finished_before:
        assert trained[run_id] == distinct[run_id] >= EPOCHS
    for run_id, epochs in killed.open_before.items():
        repeated = trained[run_id] - distinct[run_id]
        assert 0 <= repeated < 2 * EVERY  # the last checkpoint may have been on its way
        if epochs > EVERY + 3:
            assert repeated < epochs, "it started anew instead of from its checkpoint"


def test_a_repeated_epoch_gave_the_same_numbers(killed: Killed) -> None:
    seen: dict[tuple[str, float, float], dict[str, float]] = {}
    for event in killed.journal.read():
        if isinstance(event, EpochFinished):
            key = (event.run_id, event.metrics["epoch"], event.metrics["weight_decay"])
            numbers = {k: v for k, v in event.metrics.items() if k != "seconds"}
            assert seen.setdefault(key, numbers) == numbers


def test_mlflow_has_one_parent_and_every_child_once(killed: Killed) -> None:
    runs = killed.mlflow_runs()
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parents[0].info.run_id}
    ids = [c.data.tags["strsweep.run_id"] for c in children]
    assert sorted(ids) == sorted(killed.record.runs)
    for child in children:  # one that served no target was stopped early
        finished = killed.record.runs[child.data.tags["strsweep.run_id"]].finished
        assert child.info.status == ("KILLED" if finished is None else "FINISHED")
    assert parents[0].data.metrics["models_published"] == len(TARGETS)


def test_mlflow_has_every_step_once_and_as_the_journal(killed: Killed) -> None:
    record = killed.record
    for child in killed.mlflow_runs():
        run_id = child.data.tags["strsweep.run_id"]
        if not run_id:
            continue
        for key in ("sparsity", "accuracy", "train_loss", "learning_rate"):
            history = killed.client.get_metric_history(child.info.run_id, key)
            newest = sorted(history, key=lambda metric: metric.timestamp)
            values = {metric.step: metric.value for metric in newest}
            run = record.runs[run_id]
            assert {n: values[n] for n in run.epochs} == {
                n: pytest.approx(e.metrics[key]) for n, e in run.epochs.items()
            }
            if not run.settings.corrections:  # else it also has what was taken back
                assert sorted(metric.step for metric in history) == sorted(run.epochs)
        artifacts = [a.path for a in killed.client.list_artifacts(child.info.run_id)]
        assert artifacts == (["layers.csv"] if record.runs[run_id].finished else [])


@pytest.mark.parametrize("target", TARGETS)
def test_the_receipt_is_what_the_file_holds(killed: Killed, target: float) -> None:
    storage = storage_of(killed.experiment)
    folder = Path(storage.uri(killed.record.published[Target(sparsity=target)].folder))
    receipt = json.loads((folder / "receipt.json").read_text())
    budget = json.loads((folder / "budget.json").read_text())
    weights = load_file(folder / "weights.safetensors")
    zeros = sum(int((weights[f"{layer['name']}.weight"] == 0).sum()) for layer in budget)
    assert receipt["zeros"] == zeros == sum(layer["zeros"] for layer in budget)
    assert zeros == round(target * receipt["weights"]), "landed to the weight"
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
    folder = Path(
        storage_of(killed.experiment).uri(killed.record.published[Target(sparsity=0.95)].folder)
    )
    environment = {k: v for k, v in killed.environment.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [
            *(str(tmp_path / "other/bin/python"), "-c", LOADS, killed.experiment.tracking.uri),
            *("models:/digits@sparsity-95", str(folder / "budget.json")),
        ],
        env={**environment, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert loaded["zeros"] == json.loads((folder / "receipt.json").read_text())["zeros"]
    assert loaded["shape"] == [5, 10]


def evaluate(killed: Killed, reference: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "jobs/evaluate.py", "--model", reference],
        cwd=ROOT,
        env=killed.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", ["registered", "folder"])
def test_evaluate_gives_what_the_receipt_says(killed: Killed, kind: str) -> None:
    folder = Path(
        storage_of(killed.experiment).uri(killed.record.published[Target(sparsity=0.9)].folder)
    )
    reference = "models:/digits@sparsity-90" if kind == "registered" else str(folder)
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
    environment = {"env_vars": {"STRSWEEP_RESULTS": killed.environment["STRSWEEP_RESULTS"]}}
    submit = [
        *("ray", "job", "submit", "--working-dir", ".", "--runtime-env-json"),
        *(json.dumps(environment), "--", "python", "jobs/sweep.py"),
        *("--config", "jobs/configs/digits.yaml", *COMMAND[4:]),
    ]
    done = subprocess.run(
        submit,
        cwd=ROOT,
        env=killed.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search ended: every target is hit" in done.stdout
    assert " starts " not in done.stdout
    assert len(killed.client.search_model_versions("name = 'digits'")) == versions == len(TARGETS)
