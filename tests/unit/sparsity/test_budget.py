"""Budgets equal the published ones, and are read from every format they are written in."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from strsweep.errors import SettingError
from strsweep.packages import read_budget
from strsweep.packages.receipt import layer_csv, layer_json
from strsweep.sparsity.budget import Budget, LayerBudget
from strsweep.sparsity.magnitude import obey
from strsweep.sparsity.measure import measure
from strsweep.training.writer import layer_rows

DATA = Path(__file__).parents[2] / "data"
RESNET50 = DATA / "paper_table6_resnet50.csv"

# overall sparsity in percent; multiply-adds in millions as published (table 1); non-zeros in
# millions and sparsity of all but the classifier, both computed from the table's rows; those of
# 95.03 add up to 95.024, so that they were shifted by 0.0012 points
PUBLISHED = [
    ("79.55", 766, 5.2163, 82.070),
    ("81.27", 705, 4.7759, 83.789),
    ("87.70", 402, 3.1360, 90.080),
    ("90.23", 343, 2.4920, 92.475),
    ("90.55", 341, 2.4094, 92.773),
    ("94.80", 182, 1.3266, 96.510),
    ("95.03", 159, 1.2688, 96.710),
    ("95.15", 162, 1.2377, 96.836),
    ("96.11", 127, 0.9917, 97.643),
    ("96.53", 117, 0.8839, 97.917),
    ("97.78", 80, 0.5651, 98.816),
    ("98.05", 73, 0.4980, 98.989),
    ("98.22", 68, 0.4543, 99.108),
    ("98.79", 54, 0.3078, 99.464),
    ("98.98", 47, 0.2598, 99.578),
    ("99.10", 44, 0.2296, 99.644),
]

# RigL's densities at 90 %, as the paper tabulates them: percent of zeros, layer by layer
ERK_90 = """58 0 82 4 4 4 82 4 4 82 4 43 91 52 71 52 91 52 52 91 52 52 91 52 71 96 76 86 76 96 76 76
96 76 76 96 76 76 96 76 76 96 76 86 98 88 93 88 98 88 88 98 88 93"""


def macs_of(budget: Budget) -> tuple[float, int]:
    """Return the multiply-adds that stay, and those of the dense model (appendix A.7)."""
    dense = [layer.dense_macs or 0 for layer in budget.layers]
    kept = (macs * layer.density for macs, layer in zip(dense, budget.layers, strict=True))
    return sum(kept), sum(dense)


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    model = models.resnet50()
    model.fc = nn.Linear(2048, 1000, bias=False)
    return model


@pytest.mark.parametrize(("column", "macs", "nonzeros", "backbone"), PUBLISHED)
def test_published_resnet50_budgets(
    column: str, macs: int, nonzeros: float, backbone: float
) -> None:
    budget = Budget.from_authors_csv(RESNET50, column)
    kept, dense = macs_of(budget)
    print(f"{column} %: {kept / 1e6:.2f} M, {kept / macs / 1e6 - 1:+.2%}")
    assert abs(kept / 1e6 - macs) < 1
    assert (1 - budget.sparsity) * budget.weights / 1e6 == pytest.approx(nonzeros, abs=1e-4)
    assert f"{100 * budget.sparsity:.2f}" == column
    _, overall, _, *cells = csv.reader(RESNET50.read_text(encoding="utf-8-sig").splitlines())
    number = next(
        i for i in range(3, len(overall)) if overall[i] and float(overall[i]) == float(column)
    )
    for layer, row in zip(budget.layers, cells, strict=False):
        assert 100 * layer.sparsity == pytest.approx(float(row[number]), abs=0.0015)
    assert 100 * Budget(budget.layers[:-1]).sparsity == pytest.approx(backbone, abs=1e-3)
    assert (budget.weights, dense) == (25_502_912, 4_089_184_256)


def test_the_table_has_the_layers_of_our_resnet50(resnet50: nn.Module) -> None:
    budget = Budget.from_authors_csv(RESNET50, "90.23")
    ours = Budget.of(resnet50, torch.zeros(1, 3, 224, 224))
    assert [(x.name, x.weights, x.dense_macs) for x in ours.layers] == [
        (x.name, x.weights, x.dense_macs) for x in budget.layers
    ]


DISTRIBUTIONS = DATA / "paper_distributions_90_resnet50.csv"


@pytest.mark.parametrize(
    ("column", "percent", "macs"),
    # overall sparsity of the paper's table 7, multiply-adds in millions from the cells
    [
        ("STR", 90.23, 342.6),
        ("Uniform", 90.00, 408.9),
        ("ERK", 90.07, 990.5),
        ("snfs", 90.06, 1625.9),
        ("VD", 90.27, 792.8),
        ("GS", 89.54, 596.3),
    ],
)
def test_published_budgets_of_other_methods(
    column: str, percent: float, macs: float, resnet50: nn.Module
) -> None:
    budget = Budget.from_authors_csv(DISTRIBUTIONS, column, lambda: resnet50)
    assert 100 * budget.sparsity == pytest.approx(percent, abs=0.01)
    dense = Budget.from_authors_csv(RESNET50, "90.23").layers
    pairs = zip(budget.layers, dense, strict=True)
    total = sum(layer.density * (known.dense_macs or 0) for layer, known in pairs)
    assert total / 1e6 == pytest.approx(macs, abs=0.1)


def test_a_table_by_number_is_read_by_the_job_and_needs_its_network(tmp_path: Path) -> None:
    assert read_budget(f"{DISTRIBUTIONS}#ERK", "sqlite:///none.db").layers[0].name == "conv1"
    with pytest.raises(SettingError, match="name one of its models"):
        read_budget(str(DISTRIBUTIONS), "sqlite:///none.db")
    with pytest.raises(ValueError, match="say of which network"):
        Budget.from_authors_csv(DISTRIBUTIONS, "ERK")
    with pytest.raises(ValueError, match="has not the 1 layers"):
        Budget.from_authors_csv(DISTRIBUTIONS, "ERK", lambda: nn.Linear(2, 2))


@pytest.mark.parametrize("end", ["\n", "\r\n\r\n", ",,,\n", " \n", "\t , \n"])
@pytest.mark.parametrize(("table", "column"), [(RESNET50, "90.23"), (DISTRIBUTIONS, "ERK")])
def test_a_blank_line_of_a_table_is_nothing(
    table: Path, column: str, end: str, resnet50: nn.Module, tmp_path: Path
) -> None:
    (tmp_path / "table.csv").write_text(table.read_text(encoding="utf-8") + end)
    read = Budget.from_authors_csv(tmp_path / "table.csv", column, lambda: resnet50)
    assert read == Budget.from_authors_csv(table, column, lambda: resnet50)


@pytest.mark.parametrize(("column", "millions"), [("str_89.01", 41.70), ("gmp_89.03", 82.28)])
def test_published_mobilenet_budgets(column: str, millions: float) -> None:
    with (DATA / "paper_table8_mobilenet_v1.csv").open() as file:
        layers = [
            LayerBudget(
                name=row["layer"],
                weights=int(row["weights"]),
                density=1 - float(row[column]) / 100,
                dense_macs=int(row["macs"]),
            )
            for row in csv.DictReader(file)
        ]
    budget = Budget(tuple(layers))
    kept, dense = macs_of(budget)
    assert (budget.weights, dense) == (4_209_088, 568_740_352)
    assert kept / 1e6 == pytest.approx(millions, abs=5e-3)
    assert 100 * budget.sparsity == pytest.approx(float(column[4:]), abs=0.01)


def test_erk_is_rigls(resnet50: nn.Module) -> None:
    budget = Budget.erk(resnet50, 0.9)
    assert [round(100 * layer.sparsity) for layer in budget.layers] == [*map(int, ERK_90.split())]
    assert budget.sparsity == pytest.approx(0.9, abs=1e-12)


@pytest.mark.parametrize(
    ("sparsity", "millions"), [(0.8, 818), (0.9, 409), (0.95, 204), (0.98, 82)]
)
def test_uniform_budgets_cost_what_is_published(
    sparsity: float, millions: int, resnet50: nn.Module
) -> None:
    layers = Budget.of(resnet50, torch.zeros(1, 3, 224, 224)).layers
    densities = Budget.uniform(resnet50, sparsity).densities
    budget = Budget(tuple(replace(layer, density=densities[layer.name]) for layer in layers))
    assert abs(macs_of(budget)[0] / 1e6 - millions) < 1


def test_dense_layers_are_made_up_for(resnet50: nn.Module) -> None:
    for rule in (Budget.uniform, Budget.erk):
        budget = rule(resnet50, 0.8, dense=("conv1", "fc"))
        assert budget.densities["conv1"] == budget.densities["fc"] == 1
        assert budget.sparsity == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("sparsity", "dense", "message"),
    [
        (0.95, ("layer4.*",), "cannot be reached"),
        (0.1, ("*",), "cannot be reached"),
        (1.0, (), "use a fraction"),
        (0.9, ("layer9",), "matches no layer"),
    ],
)
def test_impossible_budgets(
    sparsity: float, dense: tuple[str, ...], message: str, resnet50: nn.Module
) -> None:
    with pytest.raises(ValueError, match=message):
        Budget.erk(resnet50, sparsity, dense=dense)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.floats(0, 0.99))
def test_every_rule_keeps_the_total(widths: list[int], sparsity: float) -> None:
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
    for rule in (Budget.uniform, Budget.erk):
        budget = rule(model, sparsity)
        assert budget.sparsity == pytest.approx(sparsity, abs=1e-9)
        assert all(0 <= layer.density <= 1 + 1e-12 for layer in budget.layers)


def test_published_json_and_csv_lose_nothing() -> None:
    dense, example = models.mobilenet_v3_small(), torch.zeros(1, 3, 64, 64)
    pruned = obey(dense, Budget.erk(dense, 0.9).densities)
    budget, rows = Budget.of(pruned, example), layer_rows(measure(pruned, example))
    assert Budget.from_json(layer_json(rows)) == budget
    assert Budget.from_csv(layer_csv(rows)) == budget


def test_the_budget_of_a_model_is_what_it_keeps() -> None:
    first = nn.Linear(4, 2, bias=False)
    model = nn.Sequential(first, nn.Linear(2, 1))
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 2]]))
    budget = Budget.of(model, torch.zeros(1, 4))
    assert budget.densities == {"0": 0.25, "1": 1.0}
    assert (budget.sparsity, macs_of(budget)) == (0.6, (4, 10))


@pytest.mark.parametrize(
    ("densities", "message"),
    [
        ({"0": 0.5}, r"only in the model: \['1'\], only in the budget: \[\]"),
        ({"0": 0.5, "1": 0.5, "2": 0.5}, r"only in the budget: \['2'\]"),
        ({"0": 0.5, "1": 1.5}, "density of 1 is 1.5"),
    ],
)
def test_a_budget_of_another_model_is_refused(densities: dict[str, float], message: str) -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    with pytest.raises(ValueError, match=message):
        obey(model, densities)


TABLE = "Metric,Params,FLOPs,Sparsity (%)\nOverall,1,1,91\nBackbone,1,1,91\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", "not a budget table"),
        ("Metric,Params,FLOPs,Sparsity (%)\nOverall,1,1,90\nBackbone,1,1,90\n", "it has .'90'"),
        ("Metric,Params,FLOPs,Sparsity (%)\nOverall,1,1,x\nBackbone,1,1,90\n", "it has .'x'"),
        ("", "it is empty"),
        (f"{TABLE}Layer 1 - a,1,1\n", "row 'Layer 1 - a' has no number in column 4"),
        (f"{TABLE}Layer 1 - a,1,1,much\n", "row 'Layer 1 - a' has no number in column 4"),
        (f"{TABLE}Layer 1 - a,x,1,3\n", "row 'Layer 1 - a' has no number in column 2"),
        (TABLE, "has no row 'Layer 1 - NAME'"),
        (f"{TABLE}Layer 1 - a,inf,1,3\n", "'Layer 1 - a' has inf in column 2"),
        (f"{TABLE}Layer 1 - a,1,1e400,3\n", "'Layer 1 - a' has inf in column 3"),
        (f"{TABLE}Layer 1 - a,1,nan,3\n", "'Layer 1 - a' has nan in column 3"),
        (f"{TABLE}Layer 1 - a,1e30,1,3\n", "has 1e\\+30 in column 2"),
        (f"{TABLE}Layer 1 - a,1,1,300\n", "has 300.0 in column 4"),
        (f"{TABLE}Layer 1 - a,1,1,nan\n", "has nan in column 4"),
        (f"{TABLE}{'x' * 200_000}\n", "field larger than field limit"),
    ],
)
def test_other_tables_are_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Budget.from_authors_csv(path, "91")


ROW: dict[str, Any] = {"name": "a", "weights": 3, "density": 1}
WRONG_LAYERS: list[dict[str, Any]] = [
    {"weights": -3, "density": 0.5},
    {"density": 7},
    {"density": float("nan")},
    {"weights": float("inf")},
    {"weights": 10**400},
    {"dense_macs": 10**400},
    {"dense_macs": float("inf")},
    {"dense_macs": -1},
    *({"name": name} for name in (None, 5, True, [1], {"a": 1})),
]


@pytest.mark.parametrize(
    "text",
    [
        *("{}x", "[1]", "[]", "[" * 100_000, '[{"name": "a"}]', '{"a": 1}'),
        *(json.dumps([{**ROW, **wrong}]) for wrong in WRONG_LAYERS),
        json.dumps([ROW, ROW]),  # two of one name
    ],
)
def test_other_json_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match="not a layer budget"):
        Budget.from_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "",
        "name,weights,density\na,1e999,1\n",
        "name;weights;density\na;1;1\n",
        f"name,weights,density\n{'x' * 200_000},1,1\n",
    ],
)
def test_other_csv_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match="not a layer budget"):
        Budget.from_csv(text)
