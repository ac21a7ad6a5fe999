"""What dies while a sweep, submitted from another host, runs on those that ``ray up`` started.

It ends as if nothing had happened.

Every test prints how long nothing was trained and how many epochs were trained twice (pytest -rP).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from cluster_hosts import Hosts, ray_up
from cluster_sweep import EPOCHS, WORKERS, ClusterSweep, Stored

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900, func_only=True)]

MOST_REPEATED = 3
"""Epochs: the one under way, and those whose checkpoint was still on its way."""


def ray_list(hosts: Hosts, what: str, *filters: str) -> list[dict[str, str]]:
    chosen = " ".join(f"--filter '{text}'" for text in filters)
    command = f"ray list {what} {chosen} --format json --limit 500"
    address = "RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265"
    done = hosts.run("client", f"{address} {command} --address http://127.0.0.1:8265")
    found = done.stdout.strip()
    return [] if found == "No resource in the cluster" else json.loads(found)


def await_workers(hosts: Hosts, count: int = len(WORKERS)) -> None:
    """Wait until the head and so many workers are there."""
    deadline = time.monotonic() + 300
    while len(ray_list(hosts, "nodes", "state=ALIVE")) != count + 1:
        assert time.monotonic() < deadline, ray_list(hosts, "nodes")
        time.sleep(2)


@pytest.fixture(autouse=True)
def whole_cluster(cluster: Hosts) -> None:
    """All hosts are up; those that a test lost came back by themselves."""
    for host in WORKERS:
        cluster.link(host, "up")
        if cluster.run(host, "true", check=False).returncode:
            cluster.boot(host)
    await_workers(cluster)


def assert_nothing_is_left(hosts: Hosts) -> None:
    """No placement group, no actor and no process of the sweep outlives it."""
    deadline = time.monotonic() + 60
    while left := left_behind(hosts):
        assert time.monotonic() < deadline, left
        time.sleep(2)


RAYS_OWN = "IDLE|DashboardAgent|RuntimeEnvAgent|_AutoscalingCoordinatorActor"
"""Workers that wait for a task, one agent of each kind per node, and one actor per cluster."""


def left_behind(hosts: Hosts) -> list[str]:
    groups = ray_list(hosts, "placement-groups", "state!=REMOVED")
    actors = ray_list(hosts, "actors", "state!=DEAD")
    found = [f"group {group['placement_group_id']}" for group in groups]
    names = [actor["class_name"] for actor in actors]
    found += [f"actor {name}" for name in names if name not in RAYS_OWN.split("|")]
    for host in ("head", *WORKERS):
        look = f"pgrep -af '^ray::' | grep -vE 'ray::({RAYS_OWN})' || true"
        done = hosts.run(host, look, check=False)  # a host that is down has no processes
        found += [f"{host}: {line}" for line in done.stdout.splitlines()]
    return found


def assert_undisturbed(
    sweep: ClusterSweep, struck: float, undisturbed: Stored, most: int = MOST_REPEATED
) -> None:
    found = sweep.stored()
    pause = found.longest_pause(after=struck)
    print(f"{sweep.name}: training again after {pause:.0f} s, {found.repeated} epochs repeated")
    ((epochs, _),) = found.epochs
    assert epochs == list(range(1, EPOCHS + 1))
    assert found.repeated <= most
    (one,), (other,) = undisturbed.receipts, found.receipts
    assert other["weights_sha256"] == one["weights_sha256"]
    assert_nothing_is_left(sweep.hosts)


def kill(hosts: Hosts, host: str, process: str) -> None:
    hosts.run(host, f"pkill -KILL -f '{process}'")


def worker_process(hosts: Hosts, sweep: ClusterSweep) -> None:
    kill(hosts, sweep.trains_on()[-1], "[r]ay::RayTrainWorker")


def actor_process(hosts: Hosts, name: str) -> None:
    """Kill the only process of an actor of the sweep, on whatever host it is."""
    look = f"pgrep -f '[r]ay::{name}' >/dev/null"
    (host,) = [h for h in ("head", *WORKERS) if hosts.run(h, look, check=False).returncode == 0]
    kill(hosts, host, f"[r]ay::{name}")


def trial(hosts: Hosts, sweep: ClusterSweep) -> None:
    actor_process(hosts, "ResourceTrainable")  # a LaneTrial, as Tune wraps it


def controller(hosts: Hosts, sweep: ClusterSweep) -> None:
    actor_process(hosts, "TrainController")


def desk(hosts: Hosts, sweep: ClusterSweep) -> None:
    actor_process(hosts, "Desk")


def raylet(hosts: Hosts, sweep: ClusterSweep) -> None:
    kill(hosts, sweep.trains_on()[-1], "[r]aylet/raylet")


def whole_host(hosts: Hosts, sweep: ClusterSweep) -> None:
    hosts.crash(sweep.trains_on()[-1])


def silent_cut(hosts: Hosts, sweep: ClusterSweep) -> None:
    hosts.link(sweep.trains_on()[-1], "down")


def short_cut(hosts: Hosts, sweep: ClusterSweep) -> None:
    host = sweep.trains_on()[-1]
    hosts.link(host, "down")
    time.sleep(20)
    hosts.link(host, "up")


def test_every_run_spans_two_hosts_and_its_model_is_on_s3(undisturbed: Stored) -> None:
    (receipt,) = undisturbed.receipts
    assert receipt["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert undisturbed.epochs == [[list(range(1, EPOCHS + 1)), EPOCHS]]


@pytest.mark.parametrize(
    "fault",
    [worker_process, trial, controller, desk, raylet, whole_host, silent_cut, short_cut],
)
def test_the_job_goes_on_by_itself(
    cluster: Hosts, undisturbed: Stored, fault: Callable[[Hosts, ClusterSweep], None]
) -> None:
    sweep = ClusterSweep(cluster, fault.__name__.replace("_", "-")).submit().until(epochs=5)
    assert len(sweep.trains_on()) == 2
    struck = time.time()
    fault(cluster, sweep)
    sweep.ended()
    assert_undisturbed(sweep, struck, undisturbed)


def test_the_driver_of_the_sweep_dies(cluster: Hosts, undisturbed: Stored) -> None:
    sweep = ClusterSweep(cluster, "sweep-driver").submit().until(epochs=5)
    struck = time.time()
    kill(cluster, "head", "[j]obs/sweep.py")
    said, code = sweep.died()
    assert code != 0, said
    sweep.submit().ended()
    assert_undisturbed(sweep, struck, undisturbed)


def test_the_head_dies_and_is_started_again(cluster: Hosts, undisturbed: Stored) -> None:
    sweep = ClusterSweep(cluster, "head-dies").submit().until(epochs=5)
    struck = time.time()
    cluster.crash("head")
    said, code = sweep.died()
    assert code != 0, said
    cluster.boot("head")
    ray_up(cluster)
    await_workers(cluster)
    sweep.submit().ended()
    assert_undisturbed(sweep, struck, undisturbed)


def test_a_host_comes_and_goes_while_the_sweep_runs(cluster: Hosts) -> None:
    cluster.crash("w3")
    await_workers(cluster, 2)
    targets = (0.8, 0.85, 0.9, 0.95, 0.97, 0.98)
    overrides = (f"search.targets={list(targets)}", "workers={count: 1, cpus: 2}")
    sweep = ClusterSweep(cluster, "comes-and-goes", overrides).submit()
    sweep.until(epochs=5, runs=2)
    sweep.until_trains_on("w1", "w2")
    cluster.boot("w3")
    booted = time.monotonic()
    sweep.until_trains_on("w3")
    print(f"a host that came was used after {time.monotonic() - booted:.0f} s")
    cluster.crash("w3")
    said = sweep.ended()
    found = sweep.stored()
    assert all(done == list(range(1, EPOCHS + 1)) for done, _ in found.epochs)
    assert sorted(receipt["target"] for receipt in found.receipts) == list(targets)
    assert said.count("@sparsity-") == len(targets)
    assert_nothing_is_left(cluster)
