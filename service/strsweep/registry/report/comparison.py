"""Several sweeps or methods in one report: fronts overlaid, models and cost side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.fronts import fronts_overlaid
from strsweep.registry.report.models import ModelRow
from strsweep.registry.report.numbers import NUMBERS_JSON, as_csv, as_json, as_values
from strsweep.registry.report.page import render

COMPARISON = "comparison.html"


def comparison_files(sweeps: Sequence[SweepContents]) -> dict[str, bytes]:
    """Return ``comparison.html``, ``report.json`` and a CSV of all models, by name.

    Args:
        sweeps: At least one; ids may repeat, as one sweep can lie in two places.
    """
    sweeps = [_named_apart(sweep, number, sweeps) for number, sweep in enumerate(sweeps, start=1)]
    figures = {
        "front-sparsity": fronts_overlaid(sweeps, "sparsity"),
        "front-macs": fronts_overlaid(sweeps, "macs"),
    }
    page = render(
        "comparison.html.jinja",
        {name: figure for name, figure in figures.items() if figure is not None},
        title="comparison of " + ", ".join(sweep.title for sweep in sweeps),
        sweeps=sweeps,
        rows=_rows(sweeps),
    )
    models = [
        {"sweep": sweep.title, "sweep_id": sweep.sweep_id, **vars(model)}
        for sweep in sweeps
        for model in sweep.models
    ]
    return {
        COMPARISON: page,
        NUMBERS_JSON: as_json([as_values(sweep) for sweep in sweeps]),
        "models.csv": as_csv(models),
    }


def _named_apart(
    sweep: SweepContents, number: int, sweeps: Sequence[SweepContents]
) -> SweepContents:
    if sum(other.title == sweep.title for other in sweeps) == 1:
        return sweep
    return replace(sweep, name=f"{number} {sweep.name}")


def _rows(sweeps: Sequence[SweepContents]) -> list[tuple[str, list[ModelRow | None]]]:
    """Return target by target the model of every sweep; None where it was not asked for."""
    asked = {model.asked: model for sweep in sweeps for model in sweep.models}
    names = sorted(asked, key=lambda name: _from_dense_to_sparse(asked[name]))
    return [
        (name, [next((m for m in sweep.models if m.asked == name), None) for sweep in sweeps])
        for name in names
    ]


def _from_dense_to_sparse(model: ModelRow) -> tuple[bool, float]:
    at = model.asked_at or 0.0
    return model.quantity == "macs", -at if model.quantity == "macs" else at
