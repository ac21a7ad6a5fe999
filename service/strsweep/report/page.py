"""One HTML file that works anywhere: plotly, style and data are inside, nothing is fetched."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from strsweep import __version__
from strsweep.errors import SettingError
from strsweep.report.charts import front, shown_layers, sweep_charts
from strsweep.report.contents import SweepContents, sweep_rows
from strsweep.table import as_csv, duration, share, whole

REPORT, COMPARISON, _JSON = "report.html", "comparison.html", "report.json"
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"duration": duration, "share": share, "thousands": whole}


def report_files(sweep: SweepContents) -> dict[str, bytes]:
    """Return ``report.html``, ``report.json`` and the CSV files of a sweep, by name."""
    page = _render(
        "sweep.html.jinja",
        sweep_charts(sweep),
        title=sweep.experiment.sweep_id,
        sweep=sweep,
        layers=shown_layers(sweep),
        cost=sweep_rows([sweep])[0].values,
    )
    tables = {"runs": sweep.runs, "layers": sweep.layers, "models": sweep.models}
    tables |= {"ranks": sweep.ranks} if sweep.ranks else {}
    files = {f"{name}.csv": as_csv([r.values for r in rows]) for name, rows in tables.items()}
    epochs = [{"run_id": run, **row} for run, rows in sweep.epochs.items() for row in rows]
    return {REPORT: page, _JSON: _numbers(_values(sweep)), "epochs.csv": as_csv(epochs), **files}


def _numbers(values: object) -> bytes:
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def _values(sweep: SweepContents) -> dict[str, Any]:
    """Return everything but the long tables, which are in their CSV files."""
    models, runs = ([row.values for row in rows] for rows in (sweep.models, sweep.runs))
    cost = sweep_rows([sweep])[0].values
    return cost | {"settings": sweep.settings, "models": models, "runs": runs}


def comparison_files(sweeps: Sequence[SweepContents]) -> dict[str, bytes]:
    """Return ``comparison.html``, ``report.json`` and a CSV of all models, by name.

    Args:
        sweeps: At least one; ids may repeat, as one sweep can lie in two places.

    Raises:
        SettingError: They are not judged by the same metric.
    """
    titles = [sweep.title for sweep in sweeps]
    if len({sweep.metric for sweep in sweeps}) > 1:
        told = ", ".join(f"{sweep.title} by {sweep.metric.name}" for sweep in sweeps)
        raise SettingError("--sweep", told, "Compare sweeps that are judged by the same metric.")
    sweeps = [
        replace(sweep, title=f"{number} {sweep.title}") if titles.count(sweep.title) > 1 else sweep
        for number, sweep in enumerate(sweeps, start=1)
    ]
    by_target = [{row.values["target"]: row for row in sweep.models} for sweep in sweeps]
    page = _render(
        "comparison.html.jinja",
        {"front-sparsity": front(sweeps, "sparsity"), "front-macs": front(sweeps, "macs")},
        title="comparison of " + ", ".join(sweep.title for sweep in sweeps),
        sweeps=sweeps,
        costs=sweep_rows(sweeps),
        models={
            name: [rows.get(name) for rows in by_target]
            for name in dict.fromkeys(chain(*by_target))
        },
    )
    models = [{"sweep": sweep.title, **row.values} for sweep in sweeps for row in sweep.models]
    return {
        COMPARISON: page,
        _JSON: _numbers([_values(sweep) for sweep in sweeps]),
        "models.csv": as_csv(models),
    }


def _render(template: str, charts: Mapping[str, Any], **values: object) -> bytes:
    """Return a page; every chart that has data is drawn into the element with its id."""
    shown = {name: chart.update_layout(template=None) for name, chart in charts.items()}
    figures = {name: chart.to_dict() for name, chart in shown.items() if chart.data}
    shared = {"figures": figures, "plotly": _packed_plotly(), "version": __version__}
    return _TEMPLATES.get_template(template).render(**shared, **values).encode()


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    """Return plotly.js, gzipped, in base64: 1.9 MB of text instead of 4.8; browsers unpack it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
