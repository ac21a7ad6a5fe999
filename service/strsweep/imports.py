"""A user's own objects by their import path, ``package.module:name``."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from strsweep.errors import SettingError


def is_import_path(name: str) -> bool:
    """Return whether ``name`` is an import path and none of our own names."""
    return ":" in name


def imported(path: str, setting: str) -> Any:
    """Return the object at ``path``.

    The module may lie in the folder where the job was started: Ray puts that folder, or the
    uploaded working directory, on the path of its workers.

    Args:
        path: ``package.module:name``.
        setting: What an error calls the setting, e.g. ``model.name``.

    Raises:
        SettingError: The module cannot be imported, or has no such object.
    """
    module, _, name = path.partition(":")
    # `python jobs/sweep.py` puts jobs/ on the path, not the folder it stands in. At the end, where
    # it hides nothing.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # a user's own module can raise anything
        raise SettingError(
            setting,
            path,
            f"{type(error).__name__}: {error}. The module must be importable on every worker: "
            "installed there, or in the folder the job is submitted from.",
        ) from error


def called(path: str, setting: str, options: dict[str, Any]) -> Any:
    """Call the object at ``path`` with ``options`` and return the result.

    Raises:
        SettingError: It cannot be imported, or refuses the options in any way.
    """
    make = imported(path, setting)
    try:
        return make(**options)
    except SettingError:
        raise
    except Exception as error:  # a user's own code can raise anything
        section = setting.rpartition(".")[0]
        raise SettingError(
            f"{section}.options", options, f"{path} refuses them: {type(error).__name__}: {error}"
        ) from error
