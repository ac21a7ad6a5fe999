"""The section that names the MLflow server or database."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

from pydantic import Field, model_validator

from strsweep.config.sections import results_folder
from strsweep.errors import SettingError
from strsweep.settings import Section


class TrackingConfig(Section, frozen=True):
    """Where results are shown."""

    uri: str = Field(default_factory=lambda: f"sqlite:///{results_folder() / 'mlflow.db'}")
    """MLflow tracking server, or a sqlite file."""
    experiment: str | None = None
    """MLflow experiment; by default the experiment's name."""
    model_name: str | None = None
    """Registered model; by default the experiment's name."""

    @model_validator(mode="after")
    def _check(self) -> TrackingConfig:
        address = urlparse(self.uri)
        if address.password:  # errors, journal and pages would show it
            remedy = (
                "Leave the password out: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "in the environment of the job, or PGPASSFILE for a database."
            )
            without = self.uri.replace(f":{address.password}@", "@", 1)
            raise SettingError("tracking.uri", without, remedy)
        if address.scheme not in {"http", "https", "sqlite", "postgresql", "mysql"}:
            remedy = "Use http://HOST:PORT of an MLflow server, or sqlite:///FILE."
            raise SettingError("tracking.uri", self.uri, remedy)
        if self.is_server and not address.hostname:
            remedy = "The address has no host: use http://HOST:PORT."
            raise SettingError("tracking.uri", self.uri, remedy)
        return self

    @property
    def database(self) -> Path | None:
        """The sqlite file; None for anything else."""
        is_file = self.uri.startswith("sqlite")
        return Path(self.uri.removeprefix("sqlite:///")) if is_file else None

    @property
    def is_server(self) -> bool:
        """Tell whether an MLflow server is asked, which decides itself where artifacts lie."""
        return urlparse(self.uri).scheme in {"http", "https"}
