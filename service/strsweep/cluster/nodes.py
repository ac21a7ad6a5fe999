"""Check that every node that may train sees the data that the job sees."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from strsweep.cluster.connection import num_workers_that_fit
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
    for address, answer in asked.items():
        if not answer[0]:
            raise _on_node(experiment, address, answer[1])
        if answer[1] != here:
            remedy = f"It has {answer[1]}, the node of this job {here}: is the copy complete?"
            raise _on_node(experiment, address, remedy)


def _ask(experiment: Experiment) -> dict[str, tuple[bool, str]]:
    """Return the address of every node that may train -> what it sees, or what is wrong there."""
    own = ray.get_runtime_context().get_node_id()
    workers = experiment.workers
    nodes: dict[str, str] = {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"]
        and node["NodeID"] != own
        and num_workers_that_fit([node["Resources"]], cpus=workers.cpus, gpus=workers.gpus)
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


def _look(config: dict[str, Any]) -> tuple[bool, str]:
    """Return what the data are here, or False and what is wrong with them."""
    try:
        return True, task_of(Experiment.model_validate(config)).describe()
    except SettingError as error:
        return False, error.remedy


def _on_node(experiment: Experiment, address: str, remedy: str) -> SettingError:
    return SettingError("data.path", str(experiment.data.path), f"On node {address}: {remedy}")
