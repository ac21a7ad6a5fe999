"""What a stranger on the network can do to a cluster: look at closed doors."""

from __future__ import annotations

import json

import pytest
from cluster_hosts import ROOT, Hosts

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600, func_only=True)]

STRANGER = "store"
"""A host that is not part of the cluster and has no token."""
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
import json, sys, urllib.error, urllib.request

host, ports, paths = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
found = {}
for port in ports:
    for path in paths:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=3) as answer:
                found[f"{port}{path}"] = answer.status
        except urllib.error.HTTPError as error:
            found[f"{port}{path}"] = error.code
        except Exception:
            pass  # it does not speak HTTP
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
    statuses = on(cluster, STRANGER, _ASK, address, json.dumps(ports), json.dumps(_PATHS))
    assert isinstance(statuses, dict)
    open_to_all = sorted(place for place, status in statuses.items() if status < 400)
    # Prometheus reads these, and there is nothing else at them.
    assert {place.lstrip("0123456789") for place in open_to_all} <= {"/", "/metrics"}, open_to_all


@pytest.mark.parametrize(
    "token", ["RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong"]
)
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


@pytest.mark.parametrize(
    "token", ["RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong"]
)
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


@pytest.mark.parametrize(
    "keys", ["", "AWS_ACCESS_KEY_ID=strsweep:sweep AWS_SECRET_ACCESS_KEY=wrong"]
)
def test_storage_refuses(cluster: Hosts, keys: str) -> None:
    ask = (
        "import boto3, botocore, botocore.exceptions\n"
        "from botocore.config import Config\n"
        f"unsigned = Config(signature_version=botocore.UNSIGNED) if {not keys} else None\n"
        f"address = 'http://{cluster.address('store')}:9000'\n"
        "client = boto3.client('s3', 'us-east-1', endpoint_url=address, config=unsigned)\n"
        "try:\n    print(client.list_objects_v2(Bucket='sweeps'))\n"
        "except botocore.exceptions.ClientError as error:\n"
        "    print('refused', error.response['ResponseMetadata']['HTTPStatusCode'])\n"
    )
    done = cluster.run(STRANGER, f"{keys} python - <<'PYTHON'\n{ask}PYTHON")
    assert done.stdout.split()[0] == "refused"
    assert done.stdout.split()[1] in {"401", "403"}
