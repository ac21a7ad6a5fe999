"""Find a layer budget by its name: of a finished model, or in a file."""

from __future__ import annotations

from pathlib import Path

from strsweep.errors import SettingError
from strsweep.registry.finished_model import finished_model
from strsweep.registry.receipt import BUDGET_JSON
from strsweep.sparsity.budget import Budget

_OPTION = "--budget"


def read_budget(reference: str, tracking_uri: str) -> Budget:
    """Read the budget that ``reference`` names.

    Args:
        reference: ``models:/NAME@ALIAS``, a model folder, a ``.json`` or ``.csv`` file of
            layers, or ``FILE.csv#90.23`` for a column of the authors' own table.
        tracking_uri: MLflow server of a registered model.

    Raises:
        SettingError: There is no such model or file, or it holds no budget.
    """
    try:
        if ".csv#" in reference:
            name, _, column = reference.rpartition("#")
            return Budget.from_authors_csv(name, column)
        if Path(reference).suffix in {".json", ".csv"}:
            return _file(Path(reference))
        with finished_model(reference, tracking_uri, option=_OPTION) as found:
            return _file(found.files / BUDGET_JSON)
    except OSError as error:
        raise SettingError(_OPTION, reference, f"{error.strerror}: name a budget.") from error
    except ValueError as error:
        raise SettingError(_OPTION, reference, str(error)) from error


def _file(path: Path) -> Budget:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return Budget.from_json(text)
    if text.lstrip("\ufeff").startswith("Metric,"):
        raise ValueError("this is the authors' table: name one of its models, as in FILE.csv#90.23")
    return Budget.from_csv(text)
