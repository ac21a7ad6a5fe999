"""Without an MLflow server, artifacts lie in the object store that the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts
from s3_server import S3Server

from strsweep.config import StorageConfig, load_experiment
from strsweep.registry.server import connect, experiment_id

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own calls to SQLAlchemy

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
SET_BY_CONNECT = ("MLFLOW_S3_ENDPOINT_URL", "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE")


def test_mlflow_finds_the_store_by_the_settings_of_the_sweep(
    s3: StorageConfig, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    for name in (*SET_BY_CONNECT, "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # restored in the end, whatever connect sets
        monkeypatch.delenv(name)
    experiment = load_experiment(
        DIGITS,
        [
            f"storage.path={s3.path}",
            f"storage.endpoint={server.endpoint}",
            "storage.path_style=true",
            "storage.region=us-east-1",
            f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
        ],
    )
    client = connect(experiment)
    run = client.create_run(experiment_id(client, experiment))
    client.log_text(run.info.run_id, "94.2 %", "note.txt")
    assert run.info.artifact_uri is not None
    assert run.info.artifact_uri.startswith(f"{s3.path}/artifacts/digits/")
    [stored] = server.client().list_objects_v2(
        Bucket="sweeps", Prefix=f"{s3.path.removeprefix('s3://sweeps/')}/artifacts"
    )["Contents"]
    assert stored["Key"].endswith("note.txt")
    fetched = download_artifacts(
        artifact_uri=f"runs:/{run.info.run_id}/note.txt",
        dst_path=str(tmp_path),
        tracking_uri=experiment.tracking.uri,
    )
    assert Path(fetched).read_text() == "94.2 %"
