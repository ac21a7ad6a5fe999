"""What is measured of network and data, by hand."""

from __future__ import annotations

import random
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from samples import load
from torch import nn

from strsweep.settings import RunSettings
from strsweep.tasks import Task, task_of
from strsweep.training import problem as problem_module
from strsweep.training.problem import measure_problem, seconds_per_epoch

TINY = ("model.name=tiny_models:tiny", "model.options={channels: 1}")


def zeros(num_classes: int) -> nn.Module:
    layer = nn.Linear(64, num_classes, bias=False)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(nn.Flatten(), layer)


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of(load())


def test_a_tiny_network_by_hand(task: Task) -> None:
    problem = measure_problem(load(*TINY), task)
    assert len(task.train) == 1400
    assert problem.steps_per_epoch == 11  # ten of 128 and one of 120 images
    assert problem.weights == 9 * 8 + 8 * 10  # of batch norm and biases none
    assert problem.dense_macs == 9 * 8 * 64 + 8 * 10
    # PyTorch draws both layers evenly from +-1 / sqrt(fan-in): 1/3 and 0.354, half of it is median.
    assert problem.weight_scale == pytest.approx(0.17, abs=0.03)


def test_the_digits_network_is_what_the_examples_say(task: Task) -> None:
    problem = measure_problem(load(), task)
    assert (problem.weights, problem.dense_macs) == (69_904, 452_224)
    assert problem.steps_per_epoch == 11
    assert problem.weight_scale == pytest.approx(0.0245, rel=0.05)


def test_smaller_batches_are_more_steps(task: Task) -> None:
    few, many = (measure_problem(load(f"training.batch_size={n}"), task) for n in (128, 16))
    assert few.steps_per_epoch * 7 < many.steps_per_epoch <= len(task.train) // 16 + 1
    assert many.model_copy(update={"steps_per_epoch": few.steps_per_epoch}) == few


def test_measuring_is_repeatable_and_leaves_the_random_numbers_alone(task: Task) -> None:
    torch.manual_seed(7)
    random.seed(7)
    before = torch.random.get_rng_state()
    one = measure_problem(load(), task)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    assert measure_problem(load(), task) == one
    other = measure_problem(load("training.seed=1"), task)
    assert other.weight_scale != one.weight_scale
    assert other.weight_scale == pytest.approx(one.weight_scale, rel=0.05)


def test_how_it_becomes_sparse_does_not_matter(task: Task) -> None:
    dense = load("sparsity.mode=dense", "search.weight_decay=0")
    assert measure_problem(dense, task) == measure_problem(load(), task)


def test_a_network_that_starts_at_zero_has_a_scale(task: Task) -> None:
    problem = measure_problem(load(f"model.name={__name__}:zeros"), task)
    assert problem.weights == problem.dense_macs == 640
    assert problem.weight_scale == 1e-6


@pytest.mark.parametrize(
    ("batch_size", "seconds"),
    [
        # A clock that counts how often somebody looks: the beginning of every step, the end, and
        # before and after at most 8 batches of the 397 validation images.
        (128, (10 - 2) / 8 * 11 + 1),  # 8 of 11 steps are timed, and all of 4 batches
        (16, (10 - 2) / 8 * 88 + 1 / 8 * 25),
        (700, (2 - 1) / 1 * 2 + 1),  # the first of two warms up
        (1400, 1 + 1),
    ],
)
def test_the_seconds_of_an_epoch_by_hand(
    batch_size: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count()
    monkeypatch.setattr(problem_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    experiment = load(*TINY, f"training.batch_size={batch_size}")
    settings = RunSettings(threshold_init=-5, weight_decay=0)
    assert seconds_per_epoch(experiment, settings) == pytest.approx(seconds)
