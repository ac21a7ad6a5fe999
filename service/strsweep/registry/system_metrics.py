"""What the machine of the job is doing: MLflow's own monitors, without a thread for each run."""

from __future__ import annotations

import time
from typing import Any

from mlflow.entities import Metric
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

_EVERY_S = 60.0


class SystemMetrics:
    """Samples whenever it is asked, and gives the means of a minute as metrics of the sweep.

    They are those of the machine that drives the sweep; workers elsewhere are seen in Ray.
    """

    def __init__(self) -> None:
        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpus()]
        self._given = time.time()

    def sample(self, started: float) -> list[Metric]:
        """Take a sample.

        Args:
            started: When the sweep began, in seconds since 1970.

        Returns:
            Metrics ``system/...`` once a minute, their step being the minute; else nothing.
        """
        for monitor in self._monitors:
            monitor.collect_metrics()
        now = time.time()
        if now - self._given < _EVERY_S:
            return []
        self._given = now
        step = int((now - started) / _EVERY_S)
        values = [item for monitor in self._monitors for item in _means(monitor).items()]
        return [Metric(f"system/{key}", value, int(now * 1000), step) for key, value in values]


def _means(monitor: Any) -> dict[str, float]:
    means: dict[str, float] = monitor.aggregate_metrics()
    monitor.clear_metrics()
    return means


def _gpus() -> list[GPUMonitor]:
    try:
        return [GPUMonitor()]
    except (ImportError, RuntimeError):  # its library is not installed, or there is no GPU
        return []
