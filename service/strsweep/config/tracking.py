"""The section that names the MLflow server or database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlparse

from pydantic import AfterValidator, Field, model_validator

from strsweep.config.sections import placed, results_folder
from strsweep.errors import SettingError
from strsweep.settings import Section

_SECRET = re.compile(r"pass(word|wd)|pwd|token|secret|credential|api_?key", re.IGNORECASE)
_FILE = "sqlite:///"
_ModelName = Annotated[str, Field(pattern=r"^\w[\w .-]*$", max_length=200)]
_ExperimentName = Annotated[str, Field(pattern=r"^\w[\w .-]*(/\w[\w .-]*)*$", max_length=200)]


def _address(uri: str) -> str:
    """Return ``uri`` with the place of a file as it is on disk."""
    if not uri.startswith(_FILE) or not set("~$%") & set(uri):
        return uri
    return f"{_FILE}{placed(Path(unquote(uri.removeprefix(_FILE))))}"


class TrackingConfig(Section, frozen=True):
    """The MLflow that shows results and registers models."""

    uri: Annotated[str, AfterValidator(_address)] = Field(
        default_factory=lambda: f"sqlite:///{results_folder() / 'mlflow.db'}",
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

    @model_validator(mode="after")
    def _check(self) -> TrackingConfig:
        address = urlparse(self.uri)
        # A driver may be named: postgresql+psycopg2.
        is_database = address.scheme.partition("+")[0] in {"sqlite", "postgresql", "mysql"}
        # Errors, journal and pages would show it. A token can be a user; passwords have slashes.
        is_named = address.password is not None if is_database else "@" in self.uri
        if is_named or _SECRET.search(address.query):
            remedy = (
                "Leave passwords and tokens out: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment of the "
                "job, or PGPASSFILE for a database."
            )
            shown = self.uri.replace(f":{address.password}@", "@", 1)
            is_clean = address.password and shown.count("@") == 1 and not address.query
            is_clean = is_clean and shown != self.uri  # a password with slashes is not all found
            raise SettingError(
                "tracking.uri", shown if is_clean else f"{address.scheme}://...", remedy
            )
        if not is_database and not self.is_server:
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
