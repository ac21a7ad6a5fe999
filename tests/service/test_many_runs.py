"""Two sweeps of 200 runs at once into one server: all there, few requests, pages that open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from mlflow_service import Service
from recorded_sweep import RecordedSweep

from strsweep.registry import Tracking

RUNS, EPOCHS = 200, 10
NAMES = ("crowd-a", "crowd-b")
MOST_REQUESTS_PER_RUN = 5
"""To make a run, send its values, find where its file goes, send that, and end it."""


@pytest.mark.timeout(400, func_only=True)
def test_two_sweeps_at_once(
    service: Service,
    recorded: Callable[..., RecordedSweep],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweeps = [recorded(name, "tracking.experiment=crowd", runs=0) for name in NAMES]
    for sweep in sweeps:
        for number in range(1, RUNS + 1):
            sweep.fake_run(number, EPOCHS)
    requested = count_requests(monkeypatch)
    trackings = [Tracking(sweep.experiment) for sweep in sweeps]
    started = time.monotonic()
    threads = [threading.Thread(target=tracking.deliver) for tracking in trackings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, calls = time.monotonic() - started, len(requested)
    assert_nothing_is_lost(service, sweeps)
    pages = load_times(service, trackings[0].runs.place)
    with capsys.disabled():
        print(
            f"\n2 x {RUNS} runs at once: {took:.1f} s, {calls / (2 * RUNS):.2f} requests per run; "
            + ", ".join(f"{page} {seconds:.2f} s" for page, seconds in pages.items())
        )
    assert calls / (2 * RUNS) < MOST_REQUESTS_PER_RUN
    assert max(pages.values()) < 10


def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    requested: list[str] = []
    request = requests.Session.request

    def counted(self: requests.Session, method: str, url: str, **named: Any) -> requests.Response:
        requested.append(url)
        return request(self, method, url, **named)

    monkeypatch.setattr(requests.Session, "request", counted)
    return requested


def assert_nothing_is_lost(service: Service, sweeps: list[RecordedSweep]) -> None:
    """Compare with PostgreSQL itself, not through the server."""
    for sweep in sweeps:
        told = service.sql(
            "SELECT t.value, r.status, "
            "(SELECT string_agg(m.step::text, ',' ORDER BY m.step) FROM metrics m "
            " WHERE m.run_uuid = r.run_uuid AND m.key = 'sparsity') "
            "FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'strsweep.run_id' "
            "JOIN tags s ON s.run_uuid = r.run_uuid AND s.key = 'strsweep.sweep_id' "
            f"WHERE s.value = '{sweep.experiment.sweep_id}' AND t.value <> 'sweep' "
            "AND r.lifecycle_stage = 'active' ORDER BY t.value"
        )
        steps = ",".join(map(str, range(1, EPOCHS + 1)))
        assert told == [
            (run_id, "KILLED" if run.stopped else "FINISHED", steps)
            for run_id, run in sorted(sweep.record.runs.items())
        ]


def load_times(service: Service, place: str) -> dict[str, float]:
    """Return the seconds of what the page of an experiment asks for."""
    base = "/ajax-api/2.0/mlflow"
    asked = {
        "page": ("GET", "/", None),
        "experiment": ("GET", f"{base}/experiments/get?experiment_id={place}", None),
        "runs": ("POST", f"{base}/runs/search", {"experiment_ids": [place], "max_results": 100}),
        "models": ("GET", f"{base}/registered-models/search?max_results=25", None),
    }
    known, seconds = service.environment, {}
    auth = (known["MLFLOW_TRACKING_USERNAME"], known["MLFLOW_TRACKING_PASSWORD"])
    for name, (method, path, body) in asked.items():
        started = time.monotonic()
        answer = requests.request(method, service.uri + path, json=body, auth=auth, timeout=60)
        answer.raise_for_status()
        seconds[name] = time.monotonic() - started
    return seconds
