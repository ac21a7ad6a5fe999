"""A Ray of its own for tests, started and stopped by the script that ``make quickstart`` uses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / "infra/local_ray.sh")


@contextmanager
def running_ray(
    home: Path, known: Mapping[str, str] | None = None, cpus: int = 2
) -> Generator[dict[str, str]]:
    """Start a Ray, and stop it in the end.

    Args:
        home: Folder for its token and addresses.
        known: Variables that its nodes are to have beside those of this process.
        cpus: That it may use.

    Yields:
        The environment in which ``ray`` and the jobs find it.
    """
    # MLflow leaves its servers in the environment: jobs must find theirs by their own settings.
    own = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    own |= known or {}
    script = {**own, "STRSWEEP_RESULTS": str(home), "LOCAL_RAY_CPUS": str(cpus)}
    subprocess.run([SCRIPT, "start"], env=script, check=True, cwd=ROOT)
    exports = (home / "ray/env").read_text()
    try:
        yield {**own, **dict(re.findall(r"(RAY_\w+)='?([^' \n]+)'?", exports))}
    finally:
        subprocess.run([SCRIPT, "stop"], env=script, check=True, cwd=ROOT)
