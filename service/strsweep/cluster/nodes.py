"""Check that every node that may train sees the data that the job sees."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from strsweep.cluster.connection import num_workers_that_fit, worker_size
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.tasks import task_of

_TIMEOUT_S = 300.0


def check_data_on_nodes(experiment: Experiment) -> None:
    """Open the data set once on every other node that holds a worker, before the first one starts.

    Raises:
        SettingError: A node lacks the folder, or holds other data than this one.
    """
    if experiment.data.path is None:
        return
    asked = _ask(experiment)
    if not asked:
        return  # this node alone, and it was checked before: a million files are listed once
    here = task_of(experiment).describe()
    for address, seen in asked.items():
        if seen != here:
            told = f"It has {seen}, the node of this job {here}: is the copy complete?"
            remedy = seen.remedy if isinstance(seen, SettingError) else told
            path = str(experiment.data.path)
            raise SettingError("data.path", path, f"On node {address}: {remedy}")


def _ask(experiment: Experiment) -> dict[str, str | SettingError]:
    """Return the address of every node that may train -> what it sees, or what is wrong there."""
    own = ray.get_runtime_context().get_node_id()
    nodes: dict[str, str] = {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] != own
        and num_workers_that_fit([node["Resources"]], worker_size(experiment))
    }
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_look)
    config = experiment.model_dump(mode="json")
    answers = ray.get(
        [
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
            ).remote(config)
            for node_id in nodes
        ],
        timeout=_TIMEOUT_S,
    )
    return dict(zip(nodes.values(), answers, strict=True))


def _look(config: dict[str, Any]) -> str | SettingError:
    """Return what the data are here, or what is wrong with them."""
    try:
        return task_of(Experiment.model_validate(config)).describe()
    except SettingError as error:
        return error
