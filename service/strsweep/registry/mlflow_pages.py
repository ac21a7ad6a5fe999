"""Addresses in MLflow's web pages: it opens on its pages for language models unless told."""

from __future__ import annotations

from urllib.parse import quote

_CLASSIC = "workflowType=machine_learning"
"""Shows runs, models and metrics instead of traces and prompts."""


def runs_page(tracking_uri: str, experiment_id: str) -> str:
    """Return the address of the table of an experiment's runs."""
    return f"{_base(tracking_uri)}/experiments/{experiment_id}/runs?{_CLASSIC}"


def run_page(tracking_uri: str, experiment_id: str, mlflow_run_id: str) -> str:
    """Return the address of one run's page."""
    return f"{_base(tracking_uri)}/experiments/{experiment_id}/runs/{mlflow_run_id}?{_CLASSIC}"


def artifact_page(tracking_uri: str, experiment_id: str, mlflow_run_id: str, path: str) -> str:
    """Return the address that shows one artifact of a run, such as its report."""
    run = f"{_base(tracking_uri)}/experiments/{experiment_id}/runs/{mlflow_run_id}"
    return f"{run}/artifacts/{quote(path)}?{_CLASSIC}"


def model_page(tracking_uri: str, name: str, version: str | None = None) -> str:
    """Return the address of a registered model, or of one of its versions."""
    model = f"{_base(tracking_uri)}/models/{quote(name, safe='')}"
    return f"{model}?{_CLASSIC}" if version is None else f"{model}/versions/{version}?{_CLASSIC}"


def _base(tracking_uri: str) -> str:
    return f"{tracking_uri.rstrip('/')}/#"
