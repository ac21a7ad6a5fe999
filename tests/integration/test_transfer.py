"""Budgets on a real Ray: learned by one run, obeyed by another; one run per target by a rule."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from local_ray import Jobs
from safetensors.torch import load_file

from strsweep.sparsity.budget import Budget

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

SHORT = "training.epochs=6"


def package(results: Path, name: str) -> Path:
    (folder,) = results.glob(f"sweeps/{name}-*/models/single/run-*")
    return folder


def test_a_learned_budget_is_obeyed_to_the_weight(jobs: Jobs) -> None:
    jobs.said("train", [SHORT, "name=learned", "search.threshold_decay=6e-2"])
    learned = package(jobs.results, "learned")
    budget = ("--budget", str(learned), "--method", "gmp")
    jobs.said("train", [SHORT, "name=obeyed"], *budget)
    obeyed = package(jobs.results, "obeyed")
    theirs, ours = (
        Budget.from_json((folder / "budget.json").read_text()) for folder in (learned, obeyed)
    )
    assert 0.3 < theirs.sparsity < 1
    kept = [round(layer.density * layer.weights) for layer in theirs.layers]
    assert [round(layer.density * layer.weights) for layer in ours.layers] == kept
    weights = load_file(obeyed / "weights.safetensors")
    rows = json.loads((obeyed / "budget.json").read_text())
    zeros = [int((weights[row["parameter"]] == 0).sum()) for row in rows]
    assert zeros == [layer.weights - n for layer, n in zip(theirs.layers, kept, strict=True)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "targets"),
    [("sparsity={mode: gmp, budget: erk}", [80]), ("sparsity.mode=steered", [80, 90])],
)
def test_one_run_per_target_when_the_mode_is_told(
    mode: str, targets: list[int], jobs: Jobs
) -> None:
    asked = f"search.targets={[target / 100 for target in targets]}"
    said = jobs.said("sweep", [SHORT, "name=told", asked, mode])
    assert "search ended: every target is hit" in said
    assert sorted(set(re.findall(r"run-\d+", said))) == [
        f"run-{number:03d}" for number, _ in enumerate(targets, start=1)
    ]
    for target in targets:
        version = jobs.client.get_model_version_by_alias("told", f"sparsity-{target}")
        assert version.tags["method"].partition(",")[0] in mode
        assert float(version.tags["sparsity"]) == pytest.approx(target / 100, abs=1e-4)
        assert "threshold_init" not in version.tags
