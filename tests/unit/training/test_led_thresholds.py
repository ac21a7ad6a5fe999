"""Thresholds of a led run: they prune no faster than is planned, and not beyond the target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from strsweep.auto import resolve
from strsweep.config import load_experiment
from strsweep.plan import first_settings
from strsweep.search.space import space_of
from strsweep.settings import Lead, Quantity, RunSettings
from strsweep.sparsity.convert import sparsify, threshold_parameters
from strsweep.sparsity.cost import WeightCost
from strsweep.sparsity.measure import measure
from strsweep.sparsity.methods.learned import Onset, Str
from strsweep.sparsity.methods.method import Course, Hooks, cubic
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
EXAMPLE = torch.zeros(1, 1, 6, 6)
EPOCHS, STEPS, ONSET = 12, 8, 2


def network() -> nn.Sequential:
    """A convolution of 72 weights, used 16 times, and a linear layer of 1,280."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(128, 10))
    return sparsify(model, threshold_init=-9)


def hooks(model: nn.Module, quantity: Quantity = "sparsity") -> Hooks:
    lead = Lead(quantity=quantity, pruned=0.75, exposure_at_90=1, delay=0)
    run = RunSettings(
        threshold_init=-9, weight_decay=0, threshold_decay=0.1, onset=ONSET, lead=lead
    )
    return Str().hooks(model, run, Course(epochs=EPOCHS, steps_per_epoch=STEPS, example=(EXAMPLE,)))


def kept(model: nn.Module, quantity: Quantity = "sparsity") -> float:
    report = measure(model, (EXAMPLE,))
    assert report.macs is not None
    assert report.dense_macs is not None
    return 1 - report.sparsity if quantity == "sparsity" else report.macs / report.dense_macs


@pytest.mark.parametrize(
    ("passed", "left"), [(0.0, 1.0), (0.5, 0.2 + 0.8 / 8), (1.0, 0.2), (3, 0.2)]
)
def test_a_ramp_is_cubic(passed: float, left: float) -> None:
    assert cubic(0.2, passed) == pytest.approx(left, rel=1e-12)


@pytest.mark.parametrize("quantity", ["sparsity", "macs"])
def test_what_is_left_is_counted_as_it_is_measured(quantity: Quantity) -> None:
    model = network()
    cost = WeightCost.of(model, quantity, (EXAMPLE,))
    for value in (-9.0, -3.5, -2.0):
        for s in threshold_parameters(model):
            s.data.fill_(value)
        assert cost.kept().item() == pytest.approx(kept(model, quantity), rel=1e-12)


@pytest.mark.parametrize("quantity", ["sparsity", "macs"])
def test_a_collapse_leaves_what_is_planned(quantity: Quantity) -> None:
    """Thresholds jump above all weights in every step, as where a layer gets no gradient."""
    model = network()
    held = hooks(model, quantity)
    for epoch in range(EPOCHS):
        held.before_epoch(epoch)
        for step in range(STEPS):
            held.before_step(epoch * STEPS + step)
            if epoch >= ONSET:
                for s in threshold_parameters(model):
                    s.data += 1.5
        held.after_epoch(epoch + 1)
        planned = cubic(0.25, (epoch + 1 - ONSET) / (EPOCHS - ONSET) / 0.4) if epoch >= ONSET else 1
        assert kept(model, quantity) >= planned


def test_thresholds_that_sink_are_let_go() -> None:
    model = network()
    held = hooks(model)
    held.before_epoch(EPOCHS - 1)
    one, other = threshold_parameters(model)
    for s in (one, other):
        s.data.fill_(-2.0)  # prunes all but a few: too much
    held.before_step(0)
    started = [s.item() for s in (one, other)]
    one.data.fill_(-20.0)
    other.data.fill_(5.0)
    held.before_step(4)
    assert one.item() == -20.0
    assert other.item() == started[1]


def test_weights_that_sank_come_back_before_the_next_epoch() -> None:
    model = network()
    held = hooks(model)
    held.before_epoch(EPOCHS - 2)
    with torch.no_grad():
        for weight in (model[0].parametrizations.weight, model[2].parametrizations.weight):  # pyright: ignore
            weight.original.mul_(1e-4)  # pyright: ignore
    held.after_epoch(EPOCHS - 1)
    assert kept(model) < 0.25
    held.before_epoch(EPOCHS - 1)
    assert kept(model) == pytest.approx(0.25)


def test_a_run_that_is_not_led_is_left_alone() -> None:
    run = RunSettings(threshold_init=-9, weight_decay=0, threshold_decay=0.1, onset=ONSET)
    course = Course(epochs=EPOCHS, steps_per_epoch=STEPS, example=(EXAMPLE,))
    assert type(Str().hooks(network(), run, course)) is Onset


def test_under_adamw_a_run_to_98_percent_ends_there() -> None:
    """Without the plan it prunes everything within four epochs."""
    asked = (
        "training.optimizer=adamw",
        "training.learning_rate=3e-3",
        "search.weight_decay=5e-4",
        "search.targets=[0.98]",
    )
    experiment = load_experiment(DIGITS, asked)
    problem = measure_problem(experiment, task_of(experiment))
    experiment = resolve(experiment, problem)
    (settings,) = first_settings(experiment, problem, space_of(experiment, problem))
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    *_, last = run.epochs()
    assert max(metrics.sparsity for metrics in run.history) < 0.985
    assert last.sparsity == pytest.approx(0.98, abs=0.006)
    assert last.task["accuracy"] > 0.8
