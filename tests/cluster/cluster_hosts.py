"""Hosts of a cluster on this machine: started, crashed and used by hosts.sh."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from commands import ran
from s3_server import SHARED_VENV

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/cluster/hosts.sh"
BIN = Path(sys.executable).parent
NETWORK = f"10.79.{os.getpid() % 250}"
"""Two runs of the tests do not meet."""
NAMES = ("head", "w1", "w2", "w3", "client", "store")


@dataclass(frozen=True)
class Hosts:
    """Six hosts; ``folder`` holds their disks."""

    folder: Path

    @property
    def key(self) -> Path:
        """The ssh key of root on all hosts with sshd."""
        return self.folder / "id"

    def up(self) -> None:
        """Start all hosts."""
        self._script("up", *NAMES)
        self._script("sshd", "head", "w1", "w2", "w3")

    def down(self) -> None:
        """Remove them."""
        self._script("down")

    def crash(self, host: str) -> None:
        """Kill a host with all that runs on it."""
        self._script("crash", host)

    def boot(self, host: str) -> None:
        """Start a host again that was crashed; its disk was kept."""
        self._script("boot", host)
        self._script("sshd", host)

    def link(self, host: str, state: str) -> None:
        """Pull the network cable of a host (``down``), or plug it in (``up``)."""
        self._script("link", host, state)

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return self._script("ip", host).stdout.strip()

    def run(
        self, host: str, command: str, *, check: bool = True, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a host."""
        return self._script("exec", host, "bash", "-c", command, check=check, timeout=timeout)

    def start(self, host: str, command: str) -> subprocess.Popen[str]:
        """Start a shell command on a host; its output is one text."""
        return subprocess.Popen(
            [str(SCRIPT), "exec", host, "bash", "-c", command],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write(self, host: str, path: str, content: str) -> None:
        """Write a file that only root can read."""
        folder = path.rpartition("/")[0]
        subprocess.run(
            [str(SCRIPT), "exec", host, "bash", "-c", f"umask 077; mkdir -p {folder}; cat >{path}"],
            env=self._environment,
            input=content,
            text=True,
            check=True,
        )

    def _script(
        self, *arguments: str, check: bool = True, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        done = ran([str(SCRIPT), *arguments], env=self._environment, timeout=timeout)
        assert done.returncode == 0 or not check, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def _environment(self) -> dict[str, str]:
        # Hosts see the machine's disk, but not what is below /tmp and /root.
        hidden = {ROOT.resolve(), BIN.parent.resolve(), SHARED_VENV.resolve()}
        binds = sorted(str(path) for path in hidden if path.parts[1] in {"tmp", "root"})
        return {
            "PATH": os.environ["PATH"],
            "HOSTS_ROOT": str(self.folder),
            "HOSTS_NET": NETWORK,
            "HOSTS_BINDS": " ".join(binds),
            "HOSTS_PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }


def ray_up(hosts: Hosts) -> None:
    """Start Ray on all hosts as the README says, and a tunnel from the client to its dashboard."""
    up = "RAY_UP_enable_autoscaler_v2=0 ray up -y --no-config-cache /root/onprem.yaml"
    hosts.run("client", f"cd {ROOT} && {up}")
    hosts.run("client", "pkill -f 'ssh -fNL'", check=False)
    tunnel = "ssh -fNL 8265:127.0.0.1:8265 -i /root/.ssh/id -o StrictHostKeyChecking=no head"
    hosts.run("client", f"{tunnel} >/dev/null 2>&1 </dev/null")
