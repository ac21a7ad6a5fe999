"""A user's own objects by their import path, ``package.module:name``."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from strsweep.errors import SettingError, blaming

_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}
"""Where packages lie that nobody edits between two jobs."""
_TRUSTED: ContextVar[tuple[str, ...] | None] = ContextVar("trusted", default=None)
"""Modules that may be imported; None: any, as the user's own file names them."""


@contextmanager
def trusting(modules: Sequence[str]) -> Generator[None]:
    """Import nothing but ``modules`` and what is in them: files of others name the objects."""
    token = _TRUSTED.set(tuple(modules))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


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
        SettingError: The module cannot be imported, is not trusted, or has no such object.
    """
    module, _, name = path.partition(":")
    trusted = _TRUSTED.get()
    if trusted is not None and not any(f"{module}.".startswith(f"{one}.") for one in trusted):
        remedy = "These files want to run code. If you know and have that module, add --trust "
        raise SettingError(setting, path, f"{remedy}{module}.")
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


def own_modules(paths: Iterable[str]) -> dict[str, Path]:
    """Return the modules at the import paths, and all that they import, if nobody installed them.

    Returns:
        Name of a module or package, without its parts -> its file, or its folder.
    """
    waiting, seen, found = [path.partition(":")[0] for path in paths], {"strsweep"}, {}
    while waiting:
        name = waiting.pop().partition(".")[0]
        spec = None if name in seen else PathFinder.find_spec(name)
        seen.add(name)
        # A folder without __init__.py is a package only if something is imported from it.
        is_used = spec is not None and (
            spec.origin or any(m.startswith(f"{name}.") for m in sys.modules)
        )
        places = (
            (spec.submodule_search_locations or [spec.origin or ""]) if spec and is_used else []
        )
        place = Path(next(iter(places), ""))
        if not place.is_absolute() or any(place.is_relative_to(folder) for folder in _INSTALLED):
            continue  # of Python itself, or installed
        found[name] = place
        for file in (place, *place.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())) if file.suffix == ".py" else ():
                if isinstance(node, ast.Import):
                    waiting += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    waiting.append(node.module)
    return dict(sorted(found.items()))


def called(path: str, setting: str, options: dict[str, Any]) -> Any:
    """Call the object at ``path`` with ``options`` and return the result.

    Raises:
        SettingError: It cannot be imported, or refuses the options in any way.
    """
    make = imported(path, setting)
    with blaming(f"{setting.rpartition('.')[0]}.options", options, f"{path} refuses them"):
        return make(**options)
