"""Where things lie: folders as a shell reads them, and addresses that have no secret in them.

Errors, journal and pages show addresses. So an address is taken only if all in it is known to be
harmless: no user but that of a database, no password, and no query but for a few options.
"""

from __future__ import annotations

import os
import re
from itertools import dropwhile
from pathlib import Path
from urllib.parse import quote, unquote

from strsweep.errors import SettingError
from strsweep.progress import printable

SERVER = re.compile(r"https?://(\[[\da-f:]+\]|[\w.-]+)(:\d+)?(/[\w./~-]*)?", re.IGNORECASE)
"""A server, with the path that it may have below its host."""
_BUCKET = re.compile(r"s3://[\w.-]+(/[\w /.,:=+~!*'()-]*)?")
_FILE = "sqlite:///"
_OPTIONS = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "application_name"),
    *("ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity", "charset"),
)
_OPTION = rf"({'|'.join(_OPTIONS)})=[\w./,-]*"
_DATABASE = re.compile(
    r"(postgresql|mysql)(\+\w+)?://(([\w.+~-]|%40)+@)?"  # a driver and a user may be named
    r"(\[[\da-f:]+\]|[\w.-]*)(:\d+)?(/[\w.~$-]*)?"
    rf"(\?{_OPTION}(&{_OPTION})*)?"
)


def placed(path: Path) -> Path:
    """Return ``path`` with ``~`` and ``$NAME`` replaced, and absolute: workers stand elsewhere.

    Raises:
        ValueError: There is no such variable or user, or it is no UTF-8.
    """
    expanded = os.path.expandvars(path)
    if "$" in expanded:
        raise ValueError(f"{expanded} has a name that is not set in the environment of this job")
    if expanded != (shown := printable(expanded)):
        raise ValueError(f"{shown} is no UTF-8, as journal and MLflow have it: rename the folder")
    try:
        return Path(expanded).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{expanded} begins with a user that is not known") from error


def in_upload(path: Path) -> Path | None:
    """Return where ``path`` lies in what Ray uploads with a job, each time to another folder."""
    inner = list(dropwhile(lambda part: not part.startswith("_ray_pkg_"), path.parts))
    return Path(*inner[1:]) if inner else None


def results_folder() -> Path:
    """Return the absolute results folder: ``$STRSWEEP_RESULTS``, or ``results`` where we stand.

    Raises:
        SettingError: There is no such folder, as ``placed`` reads it.
    """
    given = os.environ.get("STRSWEEP_RESULTS", "results")
    try:
        return placed(Path(given))
    except ValueError as error:
        raise SettingError("STRSWEEP_RESULTS", given, f"{error}.") from None


def storage_location(value: str) -> str:
    """Return a folder as it is on disk, or ``s3://BUCKET/PREFIX``.

    Raises:
        SettingError: It is another address, or a secret may be in it.
        ValueError: There is no such folder, as ``placed`` reads it.
    """
    if not re.match(r"\w+:/", value):
        return str(placed(Path(value)))
    if not _BUCKET.fullmatch(value):
        remedy = (
            "Use a folder, or s3://BUCKET/PREFIX of any S3-compatible service, without "
            "credentials: the AWS chain has them."
        )
        raise SettingError("storage.path", value, remedy)
    return value.rstrip("/")


def tracking_address(uri: str, *, setting: str = "tracking.uri") -> str:
    """Return where MLflow is; the place of a file is absolute, and encoded for SQLAlchemy.

    Args:
        uri: As a user writes it.
        setting: What an error calls it.

    Raises:
        SettingError: MLflow cannot be asked there, or a secret may be in it.
    """
    if SERVER.fullmatch(uri) or _DATABASE.fullmatch(uri):
        return uri
    if (place := database_file(uri)) is not None and "?" not in uri:
        try:
            return file_address(placed(place) if set("~$") & set(uri) else place.absolute())
        except ValueError as error:
            raise SettingError(setting, uri, f"{error}.") from None
    remedy = "Use http://HOST:PORT of an MLflow server, or sqlite:///FILE."
    if set("@?#;") & set(uri):
        remedy = (
            "Leave passwords, tokens and queries out: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment of the job, or "
            f"PGPASSFILE for a database, which takes a user and {', '.join(_OPTIONS)}."
        )
    raise SettingError(setting, uri, remedy)


def file_address(path: Path) -> str:
    """Return the address of a database in a file, which ``database_file`` reads."""
    # No more is encoded than must be: MLflow makes the folder as it is written here, too.
    return _FILE + re.sub(r"%(?=[\da-fA-F]{2})|\?", lambda mark: quote(mark[0]), str(path))


def database_file(uri: str) -> Path | None:
    """Return the file that SQLAlchemy opens for ``uri``; None for anything else."""
    return Path(unquote(uri.removeprefix(_FILE))) if uri.startswith(_FILE) else None
