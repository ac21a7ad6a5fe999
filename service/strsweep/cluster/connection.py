"""The Ray cluster as a sweep sees it: the runs it holds, the data on it, and who has the sweep."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from strsweep.config import Experiment
from strsweep.errors import SettingError, SweepRunningError
from strsweep.progress import doing
from strsweep.tasks import task_of
from strsweep.training.desk import Desk

_NAMESPACE = "strsweep"
_RELEASE_S = 20.0
"""Ray needs some seconds to notice that a killed job is gone."""
_LOOK_S = 300.0
"""A million files on a busy disk are listed by then."""

Resources = dict[str, float]


@contextmanager
def connected() -> Generator[None]:
    """Connect to the cluster this job was submitted to, or else start one on this machine.

    Raises:
        SettingError: The temporary folder has too long a name for it.
    """
    if ray.is_initialized():
        yield
        return
    # Workers' output and Ray's own notes would bury the status lines; they stay in Ray's logs.
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, namespace=_NAMESPACE)
    except OSError as error:
        if "AF_UNIX" not in str(error):
            raise
        name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        remedy = "Ray's sockets lie in it, and their paths get too long: export RAY_TMPDIR=/tmp."
        raise SettingError(name, os.environ.get(name), remedy) from None
    try:
        yield
    finally:
        ray.shutdown()


def wait_for_slots(experiment: Experiment) -> int:
    """Return how many runs may train at the same time.

    Where nodes are still to come (``workers.wait_minutes``), the autoscaler is asked for them, and
    this waits until the first run fits.

    Raises:
        SettingError: Not even one run fits.
    """
    nodes = _alive()
    if (missing := _missing(nodes, experiment)) is not None:
        if not experiment.workers.wait_minutes:
            raise missing
        _wait_for_nodes(nodes, experiment)
    return free_slots(experiment)


def _wait_for_nodes(nodes: Sequence[Resources], experiment: Experiment) -> None:
    workers = experiment.workers
    count = workers.count * (experiment.search.max_concurrent or 1)
    request_resources(bundles=[worker_size(experiment)] * count)
    deadline = time.monotonic() + workers.wait_minutes * 60
    with doing(
        f"waiting up to {workers.wait_minutes:g} minutes for nodes: {workers.count} workers of "
        f"{workers.cpus:g} CPUs and {workers.gpus:g} GPUs; the nodes have {_describe(nodes)}"
    ):
        while (missing := _missing(_alive(), experiment)) is not None:
            if time.monotonic() >= deadline:
                raise missing
            time.sleep(1)


def _missing(nodes: Sequence[Resources], experiment: Experiment) -> SettingError | None:
    workers = experiment.workers
    fitting = num_workers_that_fit(nodes, worker_size(experiment))
    later = "If nodes are still to come, set workers.wait_minutes."
    if fitting == 0:
        key, value = _scarce(nodes, experiment)
        has = f"No node of the cluster has that many; the nodes have {_describe(nodes)}."
        return SettingError(key, value, f"{has} {later}")
    if fitting < workers.least:
        return SettingError(
            "workers.count" if workers.min_count is None else "workers.min_count",
            workers.least,
            f"The cluster holds {fitting} such workers at once ({_describe(nodes)}): use fewer "
            f"workers, make them smaller, or add nodes. {later}",
        )
    return None


def free_slots(experiment: Experiment) -> int:
    """Return how many runs the cluster holds now; 0: not even one."""
    workers, most = experiment.workers, experiment.search.max_concurrent
    if workers.wait_minutes and most:
        return most  # what does not fit yet makes the cluster grow
    fitting = num_workers_that_fit(_alive(), worker_size(experiment))
    runs = max(fitting // workers.count, 1 if fitting >= workers.least else 0)
    return min(runs, most or runs)


def _alive() -> list[Resources]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def worker_size(experiment: Experiment) -> Resources:
    """Return the Ray resources of one worker."""
    workers = experiment.workers
    return {"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {})


def num_workers_that_fit(nodes: Sequence[Resources], size: Resources) -> int:
    """Return how many workers of one ``size`` the nodes hold; a worker never spans two nodes."""
    return sum(
        min(math.floor(node.get(kind, 0) / needed + 1e-9) for kind, needed in size.items())
        for node in nodes
    )


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
        timeout=_LOOK_S,
    )
    return dict(zip(nodes.values(), answers, strict=True))


def _look(config: dict[str, Any]) -> str | SettingError:
    """Return what the data are here, or what is wrong with them."""
    try:
        return task_of(Experiment.model_validate(config)).describe()
    except SettingError as error:
        return error


@contextmanager
def sweep_desk(sweep_id: str) -> Generator[Any]:
    """Hold the sweep for this job, cluster-wide; freed when the job ends, however it ends.

    Yields:
        The actor that is the sweep's desk; who has made it holds the sweep.

    Raises:
        SweepRunningError: Another job holds it.
    """
    desk = _acquired(sweep_id, ray.get_runtime_context())
    try:
        yield desk
    finally:
        ray.kill(desk)


def _acquired(sweep_id: str, job: Any) -> Any:
    deadline = time.monotonic() + _RELEASE_S
    owner, here = job.get_job_id(), NodeAffinitySchedulingStrategy(job.get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Desk)
    while True:
        # get_if_exists makes the look-up and the creation one step: two jobs cannot both win.
        desk = actor.options(
            name=f"sweep:{sweep_id}",
            namespace=_NAMESPACE,
            get_if_exists=True,
            scheduling_strategy=here,
        ).remote(owner)
        other = _owner(desk)
        if other == owner:
            return desk
        if time.monotonic() > deadline:
            raise SweepRunningError(
                f"the sweep {sweep_id} is already running in Ray job {other}: wait for it, or stop "
                "it with 'ray job stop'"
            )
        time.sleep(1)


def _owner(desk: Any) -> str | None:
    try:
        return ray.get(desk.owner.remote())
    except RayActorError:  # it died with its job just now
        return None


def _scarce(nodes: Sequence[Resources], experiment: Experiment) -> tuple[str, float]:
    workers = experiment.workers
    if workers.gpus and workers.gpus > max((node.get("GPU", 0) for node in nodes), default=0):
        return "workers.gpus", workers.gpus
    return "workers.cpus", workers.cpus


def _describe(nodes: Sequence[Resources]) -> str:
    return "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
