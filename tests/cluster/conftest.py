"""A cluster of hosts without a shared disk, made by ``ray up``; storage is a real S3 server."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import run as call

import pytest

sys.path.append(str(Path(__file__).parent))  # tests of this folder share its other files

from cluster_hosts import ROOT, Hosts, ray_up
from cluster_sweep import WORKERS, ClusterSweep, Stored
from s3_server import SHARED_VENV, install

_NEEDED = ("ip", "nsenter", "unshare", "sshd", "ssh", "rsync")


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Six hosts: head, three workers, a client, and one with the S3 server."""
    if reason := _missing():
        pytest.skip(reason)
    install()
    folder = Path(tempfile.mkdtemp(prefix="strsweep-hosts-"))
    found = Hosts(folder)
    try:
        found.up()
        yield found
    finally:
        found.down()
        shutil.rmtree(folder, ignore_errors=True)


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if absent := [name for name in _NEEDED if shutil.which(name, path=path) is None]:
        return f"{', '.join(absent)} must be installed: tests/system_packages.sh does"
    probe = call(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return "this machine lets nobody make network namespaces" if probe.returncode else None


@pytest.fixture(scope="session")
def cluster(hosts: Hosts) -> Iterator[Hosts]:
    """The hosts with S3 on ``store``, and Ray started by ``ray up infra/onprem.yaml``."""
    _start_store(hosts)
    _give_token(hosts)
    hosts.write("client", "/root/onprem.yaml", _config(hosts))
    hosts.write("client", "/root/.ssh/id", hosts.key.read_text())
    ray_up(hosts)
    yield hosts
    hosts.run("client", f"cd {ROOT} && ray down -y /root/onprem.yaml")


@pytest.fixture(scope="session")
def undisturbed(cluster: Hosts) -> Stored:
    """A sweep that nobody disturbs."""
    sweep = ClusterSweep(cluster, "undisturbed").submit()
    assert "sparsity-90" in sweep.ended()
    return sweep.stored()


def _start_store(hosts: Hosts) -> None:
    address = hosts.address("store")
    settings = f"S3_HOST={address} S3_PORT=9000 S3_HOME=/tmp/s3 S3_VENV={SHARED_VENV}"
    script = f"{settings} {ROOT}/infra/local_s3.sh"
    hosts.run("store", f"{script} start")
    known = dict(re.findall(r"(\w+)='?([^' \n]+)'?", hosts.run("store", f"{script} env").stdout))
    keys = (known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"])
    for host in ("head", *WORKERS, "client"):
        hosts.write(
            host,
            "/root/.aws/credentials",
            f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n",
        )
        hosts.write(
            host,
            "/root/.aws/config",
            f"[default]\nregion = us-east-1\nendpoint_url = http://{address}:9000\n",
        )
    make = "import boto3; boto3.client('s3').create_bucket(Bucket='sweeps')"
    hosts.run("client", f'python -c "{make}"')


def _give_token(hosts: Hosts) -> None:
    hosts.run(
        "client", "umask 077; mkdir -p ~/.ray; RAY_AUTH_MODE=token ray get-auth-token --generate"
    )
    for host in ("head", *WORKERS):  # the machines have Ray and strsweep already
        hosts.run(host, f"mkdir -p ~/strsweep; ln -s {sys.prefix} ~/strsweep/.venv")


def _config(hosts: Hosts) -> str:
    """Return the file that is shipped, with the addresses, the key and the sizes of these hosts."""
    text = (ROOT / "infra/onprem.yaml").read_text()
    workers = "".join(f"    - {hosts.address(worker)}\n" for worker in WORKERS)
    text = re.sub(r"(worker_ips:\n)(    - \S+\n)+", rf"\g<1>{workers}", text)
    text = text.replace("192.0.2.10", hosts.address("head"))
    text = text.replace("ssh_user: ubuntu", "ssh_user: root")
    text = text.replace("~/.ssh/strsweep_ed25519", "/root/.ssh/id")
    # Every host believes that it has the whole machine.
    size = "--object-store-memory=150000000"
    text = text.replace("--disable-usage-stats", f"--disable-usage-stats {size}")
    assert text.count(size) == 2
    assert all(text.count(f"    - {hosts.address(worker)}\n") == 1 for worker in WORKERS)
    return text
