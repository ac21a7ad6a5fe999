"""A publisher that is killed between any two of its steps leaves nothing doubled or missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ran
from mlflow_service import Service, Shown, shown
from recorded_sweep import EPOCHS, RecordedSweep

from strsweep import registry
from strsweep.journal import ModelPublished

DRIVER = Path(__file__).parents[1] / "killed_publisher.py"
BOUNDARIES = [
    "MlflowClient.create_experiment",
    "MlflowClient.create_run:1",  # the sweep's
    "MlflowClient.log_batch:1",
    "MlflowClient.log_inputs",
    "MlflowClient.log_dict",
    "MlflowClient.create_run:1",  # that of the trained run
    "MlflowClient.log_batch:2",  # its epochs
    "MlflowClient.log_text",
    "MlflowClient.set_terminated:1",
    "MlflowClient.log_batch:2",  # totals
    "FolderStore.write:1",  # weights
    "FolderStore.write:5",  # all files but the receipt
    "FolderStore.write:6",
    "MlflowClient.create_registered_model",
    "MlflowClient.create_logged_model",
    "MlflowClient.log_model_artifacts",
    "MlflowClient.finalize_logged_model",
    "MlflowClient.log_outputs",
    "MlflowClient.create_model_version",
    "MlflowClient.set_registered_model_alias",
    "Journal.append",
    "MlflowClient.log_artifacts",
    "MlflowClient.set_terminated:1",  # the sweep's
]
"""In the order of the steps: each process finds what those before it did, and comes one further."""


@pytest.mark.timeout(300, func_only=True)
def test_killed_at_every_boundary(
    service: Service, recorded: Callable[..., RecordedSweep], tmp_path: Path
) -> None:
    undisturbed = recorded("undisturbed")
    assert registry.publish_journal(undisturbed.experiment).is_complete
    killed = recorded("killed")
    done = ran(
        [sys.executable, str(DRIVER), str(tmp_path), service.uri, "killed", *BOUNDARIES],
        env=environment(service),
    )
    codes = [
        line for line in done.stdout.splitlines() if line.split(" ")[0] in (*BOUNDARIES, "None")
    ]
    assert codes == [*(f"{boundary} -9" for boundary in BOUNDARIES), "None 0"], done.stderr
    result = whole(service, killed)
    assert result == shown(service, undisturbed.experiment)
    assert result.aliases == {"sparsity-50": "1"}
    published = [e for e in killed.journal.read() if isinstance(e, ModelPublished)]
    assert [event.version for event in published] == ["1"]


@pytest.mark.timeout(300, func_only=True)
def test_two_publishers_at_once(
    service: Service, recorded: Callable[..., RecordedSweep], tmp_path: Path
) -> None:
    sweep = recorded("at-once")
    command = [sys.executable, str(DRIVER), str(tmp_path), service.uri, "at-once"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(service))
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    assert all(text.endswith("None 0\n") for text in said), said
    assert list(whole(service, sweep).aliases) == ["sparsity-50"]


def whole(service: Service, sweep: RecordedSweep) -> Shown:
    """Return what is shown of a sweep: all of its run and its model, and nothing twice."""
    result = shown(service, sweep.experiment)
    assert result.statuses == {"sweep": ["FINISHED"], "run-001": ["FINISHED"]}
    assert result.steps["run-001"]["sparsity"] == list(range(1, EPOCHS + 1))
    assert len(result.versions) == len(result.logged_models) == result.outputs["run-001"] == 1
    return result


def environment(service: Service) -> dict[str, str]:
    return {**service.environment, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(DRIVER.parent)}
