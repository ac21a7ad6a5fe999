"""The section that names the MLflow server or database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from strsweep.config.addresses import (
    SERVER,
    database_file,
    file_address,
    results_folder,
    tracking_address,
)
from strsweep.settings import Section

_ModelName = Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=200)]
_ExperimentName = Annotated[str, Field(pattern=r"^\w[\w .-]*(/\w[\w .-]*)*$", max_length=200)]


class TrackingConfig(Section, frozen=True):
    """The MLflow that shows results and registers models."""

    uri: Annotated[str, AfterValidator(tracking_address)] = Field(
        default_factory=lambda: file_address(results_folder() / "mlflow.db"),
        json_schema_extra={"default": "mlflow.db in the results folder"},
    )
    """MLflow tracking server, ``http://HOST:PORT``, or a file, ``sqlite:///FILE``."""
    experiment: _ExperimentName | None = None
    """MLflow experiment: letters, digits, and ``. _ - /``; by default the experiment's name."""
    model_name: _ModelName | None = None
    """Registered model: letters, digits, and ``. _ -``; by default the experiment's name."""
    also: tuple[str, ...] = ()
    """Trackers of your own beside MLflow, ``package.module:Tracker``; see
    ``strsweep.registry.tracker``."""

    @property
    def database(self) -> Path | None:
        """The sqlite file; None for anything else."""
        return database_file(self.uri)

    @property
    def is_server(self) -> bool:
        """Tell whether an MLflow server is asked, which decides itself where artifacts lie."""
        return SERVER.fullmatch(self.uri) is not None
