"""A real S3 server for tests, started, crashed and stopped by the script that people use."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.session import Session
from commands import ran

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "infra/local_s3.sh"
SHARED_VENV = ROOT / ".venv/s3"
"""Installed once per clone; ``make clean`` removes it."""


@dataclass(frozen=True)
class S3Server:
    """A server below ``home``; its data outlive a crash."""

    home: Path
    port: int | None = None
    """None: a free one, which stays the same."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that clients need, the secret among them."""
        return dict(re.findall(r"(\w+)='?([^' \n]+)'?", self.run("env")))

    @property
    def endpoint(self) -> str:
        """Its address."""
        return self.environment["AWS_ENDPOINT_URL_S3"]

    def client(self) -> Any:
        """Return a boto3 client with the right credentials."""
        known = self.environment
        session: Any = Session(
            aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        return session.client("s3", endpoint_url=self.endpoint)

    def start(self) -> None:
        """Start it, again after a crash."""
        self.run("start")

    def crash(self) -> None:
        """Kill all of its processes."""
        self.run("kill9")

    def stop(self) -> None:
        """End it; what was stored stays."""
        self.run("stop")

    def run(self, command: str) -> str:
        """Give the script a command; return what it says."""
        environment = {**os.environ, "S3_HOME": str(self.home), "S3_VENV": str(SHARED_VENV)}
        if self.port is not None:
            environment["S3_PORT"] = str(self.port)
        done = ran([str(SCRIPT), command], env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def install() -> None:
    """Install the server: the hosts of tests/cluster have no way out to do it themselves."""
    S3Server(SHARED_VENV).run("install")


@contextmanager
def running_server(home: Path) -> Generator[S3Server]:
    """Start a server with the bucket ``sweeps``, and stop it in the end."""
    server = S3Server(home)
    try:
        server.start()
        server.client().create_bucket(Bucket="sweeps")
        yield server
    finally:
        server.stop()


def crash_for(server: S3Server, seconds: float) -> None:
    """Let ``server`` be away for that long."""
    server.crash()
    time.sleep(seconds)
    server.start()
