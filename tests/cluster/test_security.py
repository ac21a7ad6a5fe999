"""What a stranger on the network can do to a cluster: look at closed doors."""

from __future__ import annotations

import json

import pytest
from cluster_hosts import ROOT, Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]

STRANGER = "store"
"""A host that is not part of the cluster and has no token."""
without_the_token = pytest.mark.parametrize(
    "token", ["RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong"]
)
_SCAN = """
import asyncio, json, sys

async def answers(port, gate):
    async with gate:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(sys.argv[1], port), 5)
        except (OSError, asyncio.TimeoutError):
            return None
        writer.close()
        return port

async def main():
    gate = asyncio.Semaphore(400)
    found = await asyncio.gather(*(answers(port, gate) for port in range(1, 65536)))
    print(json.dumps([port for port in found if port]))

asyncio.run(main())
"""
_ASK = """
import json, sys, urllib.request

host, ports, paths = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
found = {}
for port in ports:
    for path in paths:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=3) as answer:
                found[f"{port}{path}"] = answer.read(60).decode("latin-1")
        except Exception:
            pass  # refused, or it does not speak HTTP
print(json.dumps(found))
"""
_PATHS = (
    "/",
    "/metrics",
    "/api/version",
    "/api/jobs/",
    "/api/job_agent/jobs/",
    "/nodes?view=summary",
)


def on(hosts: Hosts, host: str, script: str, *arguments: str) -> object:
    given = " ".join(f"'{argument}'" for argument in arguments)
    done = hosts.run(host, f"python - {given} <<'PYTHON'\n{script}\nPYTHON")
    return json.loads(done.stdout)


@pytest.mark.parametrize("host", ["head", "w1"])
def test_no_port_that_answers_does_anything_without_the_token(cluster: Hosts, host: str) -> None:
    address = cluster.address(host)
    ports = on(cluster, STRANGER, _SCAN, address)
    assert isinstance(ports, list)
    listeners = cluster.run(host, "ss -Hltnp").stdout
    owners = {
        port: next((line for line in listeners.splitlines() if f":{port} " in line), "").split()[-1]
        for port in ports
    }
    print(f"{host}: " + ", ".join(f"{port} {owner}" for port, owner in owners.items()))
    assert 22 in ports
    assert 8265 not in ports, "the dashboard listens on the head's loopback"
    answers = on(cluster, STRANGER, _ASK, address, json.dumps(ports), json.dumps(_PATHS))
    assert isinstance(answers, dict)
    # Prometheus reads its figures without a token, under whatever path; nothing else is told.
    assert not {place: text for place, text in answers.items() if not text.startswith("# HELP ")}


@without_the_token
def test_the_control_store_refuses(cluster: Hosts, token: str) -> None:
    head = cluster.address("head")
    done = cluster.run(
        STRANGER, f"{token} timeout 60 ray status --address {head}:6379", check=False
    )
    assert done.returncode != 0
    assert "uthenticat" in done.stdout + done.stderr
    join = f"{token} timeout 60 ray start --address {head}:6379 --num-cpus 1 --block"
    done = cluster.run(STRANGER, join, check=False)
    assert done.returncode != 0
    assert "uthenticat" in done.stdout + done.stderr


@without_the_token
def test_the_client_server_refuses(cluster: Hosts, token: str) -> None:
    """Ray's own remote prompt, which would run any code."""
    connect = f"import ray; ray.init('ray://{cluster.address('head')}:10001'); print('got in')"
    refused = "Ray Client connection timed out"  # all that it says of a token that is wrong
    done = cluster.run("client", f'RAY_AUTH_MODE=token python -c "{connect}"', check=False)
    assert refused not in done.stderr
    done = cluster.run(STRANGER, f'{token} timeout 90 python -c "{connect}"', check=False)
    assert "got in" not in done.stdout
    assert refused in done.stderr


@without_the_token
def test_the_jobs_api_refuses(cluster: Hosts, token: str) -> None:
    """Even of whoever has come as far as the tunnel."""
    server = "RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265"
    for command in ("list", "submit -- touch /tmp/got-in", "logs sweep-undisturbed"):
        done = cluster.run("client", f"{token} {server} timeout 60 ray job {command}", check=False)
        assert done.returncode != 0, command
        assert "uthenticat" in done.stdout + done.stderr, command
    assert cluster.run("head", "test -e /tmp/got-in", check=False).returncode != 0


def test_our_own_submission_needs_the_token(cluster: Hosts) -> None:
    command = "RAY_AUTH_TOKEN_PATH=/tmp/none jobs/submit.sh plan --config jobs/configs/digits.yaml"
    done = cluster.run("client", f"cd {ROOT} && {command}", check=False)
    assert done.returncode == 2
    assert "no token there" in done.stderr


_LIST = """
import boto3, botocore, botocore.exceptions, sys
from botocore.config import Config

keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), sys.argv[2:]))
config = None if keys else Config(signature_version=botocore.UNSIGNED)
address = f"http://{sys.argv[1]}:9000"
client = boto3.client("s3", "us-east-1", endpoint_url=address, config=config, **keys)
try:
    client.list_objects_v2(Bucket="sweeps")
    print("null")
except botocore.exceptions.ClientError as error:
    print(error.response["ResponseMetadata"]["HTTPStatusCode"])
"""


def test_storage_refuses_a_wrong_secret(cluster: Hosts) -> None:
    store = cluster.address("store")
    assert on(cluster, STRANGER, _LIST, store, "strsweep:sweep", "wrong") == 403


def test_storage_refuses_who_does_not_sign(cluster: Hosts) -> None:
    # Swift takes what is not signed for its own protocol, and finds no account in the address.
    assert on(cluster, STRANGER, _LIST, cluster.address("store")) in {401, 403, 412}
