"""How many workers a cluster holds, checked against placing them one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import load

from strsweep.cluster import connection
from strsweep.cluster.connection import connected, num_workers_that_fit
from strsweep.config import Experiment
from strsweep.errors import SettingError

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

quarters = st.integers(0, 40).map(lambda n: n / 4)
nodes_of = st.lists(st.fixed_dictionaries({"CPU": quarters, "GPU": quarters}), max_size=4)


def size_of(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus} | ({"GPU": gpus} if gpus else {})


def placed_one_by_one(nodes: list[dict[str, float]], cpus: float, gpus: float) -> int:
    left = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    count = 0
    while True:
        place = next((i for i, (c, g) in enumerate(left) if c >= cpus and g >= gpus), None)
        if place is None:
            return count
        cpu, gpu = left[place]
        left[place] = (cpu - cpus, gpu - gpus)
        count += 1


@unhurried
@given(
    nodes_of,
    st.integers(1, 12).map(lambda n: n / 4),
    st.integers(0, 12).map(lambda n: n / 4),
)
def test_fit_equals_placing_one_by_one(
    nodes: list[dict[str, float]], cpus: float, gpus: float
) -> None:
    assert num_workers_that_fit(nodes, size_of(cpus, gpus)) == placed_one_by_one(nodes, cpus, gpus)


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "fit"),
    [
        ([], 1, 0, 0),
        ([{"CPU": 2}], 1, 0, 2),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # 6 CPUs in all, but no worker spans two nodes
        ([{"CPU": 1}, {"CPU": 1}], 2, 0, 0),
        ([{"CPU": 16, "GPU": 2}], 1, 1, 2),
        ([{"CPU": 16, "GPU": 2}], 10, 1, 1),
        ([{"CPU": 16}], 1, 1, 0),
        ([{"GPU": 4}], 1, 1, 0),
        ([{}, {"memory": 1e9}], 1, 0, 0),
        ([{"CPU": 8, "GPU": 1}], 1, 0.25, 4),
        ([{"CPU": 1}], 0.1, 0, 10),
        ([{"CPU": 0.3}], 0.1, 0, 3),  # 0.3 / 0.1 is 2.9999999999999996
    ],
)
def test_fit_by_hand(nodes: list[dict[str, float]], cpus: float, gpus: float, fit: int) -> None:
    assert num_workers_that_fit(nodes, size_of(cpus, gpus)) == fit


NODE = {"Alive": True, "Resources": {"CPU": 4.0}}


def growing(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[list[dict[str, Any]]]
) -> list[list[dict[str, float]]]:
    """Let a cluster answer like this, one after the other; returns what is asked of it."""
    asked: list[list[dict[str, float]]] = []
    left = list(answers)
    monkeypatch.setattr(ray, "nodes", lambda: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr(connection, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return asked


def workers(*overrides: str) -> Experiment:
    return load("workers={count: 2, cpus: 2, wait_minutes: 5}", *overrides)


def test_nodes_that_are_to_come_are_asked_for_once_and_awaited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = growing(monkeypatch, [[], [], [NODE, NODE]])
    assert connection.wait_for_slots(workers()) == 2
    assert asked == [[{"CPU": 2.0}, {"CPU": 2.0}]]
    assert capsys.readouterr().out.count("waiting up to 5 minutes for nodes") == 1


def test_a_cluster_grows_to_the_runs_that_may_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = growing(monkeypatch, [[], [NODE]])
    assert connection.wait_for_slots(workers("search.max_concurrent=3")) == 3
    assert len(asked[0]) == 6


def test_without_patience_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = growing(monkeypatch, [[]])
    with pytest.raises(SettingError, match=r"set workers\.wait_minutes"):
        connection.wait_for_slots(workers("workers.wait_minutes=0"))
    assert asked == []


@pytest.mark.parametrize(
    ("count", "min_count", "slots"),
    [(2, None, 1), (3, 1, 1), (4, 2, 1), (2, 1, 1), (1, 1, 2)],
)
def test_a_run_with_fewer_workers_than_it_wants_is_one_run(
    monkeypatch: pytest.MonkeyPatch, count: int, min_count: int | None, slots: int
) -> None:
    growing(monkeypatch, [[NODE]])  # it holds two workers of two CPUs
    least = "" if min_count is None else f", min_count: {min_count}"
    experiment = load("training.batch_size=12", f"workers={{count: {count}, cpus: 2{least}}}")
    assert connection.wait_for_slots(experiment) == connection.free_slots(experiment) == slots


def test_too_few_for_the_least_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    growing(monkeypatch, [[NODE]])
    experiment = load("workers={count: 4, min_count: 3, cpus: 2}")
    with pytest.raises(SettingError, match=r"workers\.min_count: got 3\. The cluster holds 2"):
        connection.wait_for_slots(experiment)


@pytest.mark.parametrize(
    ("nodes", "overrides", "slots"),
    [
        ([NODE] * 3, (), 3),
        ([NODE] * 3, ("search.max_concurrent=2",), 2),
        ([NODE], ("search.max_concurrent=2",), 1),
        ([{**NODE, "Alive": False}], (), 0),
        ([], (), 0),
        # Nodes that are to come are counted in: what does not fit yet makes the cluster grow.
        ([NODE], ("search.max_concurrent=2", "workers.wait_minutes=5"), 2),
    ],
)
def test_runs_that_the_cluster_holds_now(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, Any]],
    overrides: tuple[str, ...],
    slots: int,
) -> None:
    growing(monkeypatch, [nodes])
    assert connection.free_slots(workers("workers.wait_minutes=0", *overrides)) == slots


def test_a_temporary_folder_with_too_long_a_name_for_ray_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))
    with pytest.raises(SettingError, match=r"TMPDIR: got .*export RAY_TMPDIR=/tmp"), connected():
        pass
