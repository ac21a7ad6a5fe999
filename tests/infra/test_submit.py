"""jobs/submit.sh: what it refuses, what it carries, and submitting an ended job again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ran

CONFIG = "jobs/configs/digits.yaml"
SWEEP = ["sweep", "--config", CONFIG]
RAY = r"""#!/usr/bin/env bash
# Stands in for the command line of Ray: remembers one job, and says what Ray 2.60 says.
state=$FAKE/state
case "$2" in
delete)
    [ -e "$state" ] || { echo "RuntimeError: status code 404: Job $3 does not exist."; exit 1; }
    [ "$(cat "$state")" != RUNNING ] || { echo "it is in a non-terminal state RUNNING."; exit 1; }
    rm "$state"
    ;;
submit)
    [ ! -e "$state" ] || { echo "Job already exists." >&2; exit 1; }
    printf '%s\n' "$@" >"$FAKE/arguments"
    while [ $# -gt 0 ]; do
        [ "$1" != --working-dir ] || cp -R "$2" "$FAKE/work"
        [ "$1" != --runtime-env-json ] || printf '%s' "$2" >"$FAKE/runtime.json"
        shift
    done
    python - <<'PYTHON'
import json, os, shutil
modules = json.load(open(os.environ["FAKE"] + "/runtime.json"))["py_modules"]
for module in modules:
    shutil.copytree(module, os.environ["FAKE"] + "/module")
PYTHON
    printenv >"$FAKE/environment"
    echo RUNNING >"$state"
    ;;
logs) printf '%s\n' "$@" >"$FAKE/followed" ;;
status) echo "Job '$3' $(cat "$FAKE/end")" ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """A client's environment with a token, and a command line of Ray that remembers."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ray").write_text(RAY)
    (tmp_path / "bin/ray").chmod(0o755)
    (tmp_path / "token").write_text("recognisable-token")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "STRSWEEP_"))}
    return {
        **inherited,
        "FAKE": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
    }


def submit(root: Path, fake: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["jobs/submit.sh", *arguments]
    return ran(command, cwd=root, env=fake)


def kept(fake: dict[str, str], name: str) -> str:
    return Path(fake["FAKE"], name).read_text()


def test_a_job_carries_little_and_no_secret(fake: dict[str, str], root: Path) -> None:
    fake["STRSWEEP_RESULTS"] = "/shared/results"
    done = submit(root, fake, "sweep", "--config", CONFIG, "--set", "search.targets=[0.9, 0.95]")
    assert done.returncode == 0, done.stderr
    work = Path(fake["FAKE"], "work")
    files = {str(path.relative_to(work)) for path in work.rglob("*") if path.is_file()}
    assert {"experiment.yaml", "jobs/sweep.py"} <= files
    assert {Path(name).suffix for name in files - {"submission.txt"}} == {".py", ".yaml"}
    assert sum(path.stat().st_size for path in work.rglob("*")) < 200_000
    module = Path(fake["FAKE"], "module")
    assert (module / "__init__.py").exists()
    assert not list(module.rglob("__pycache__"))
    runtime = json.loads(kept(fake, "runtime.json"))
    assert Path(runtime["py_modules"][0]).name == "strsweep"
    assert runtime["env_vars"] == {"STRSWEEP_RESULTS": "/shared/results"}
    assert "recognisable-token" not in kept(fake, "arguments") + kept(fake, "runtime.json")
    after = kept(fake, "arguments").split("\n--\n")[1].splitlines()
    assert after == [
        *["python", "jobs/sweep.py", "--config", "experiment.yaml"],
        *["--set", "search.targets=[0.9, 0.95]"],
    ]
    environment = kept(fake, "environment").splitlines()
    assert "RAY_AUTH_MODE=token" in environment
    assert "RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265" in environment


def submission_id(fake: dict[str, str]) -> str:
    arguments = kept(fake, "arguments").splitlines()
    return arguments[arguments.index("--submission-id") + 1]


def test_an_ended_job_is_submitted_again_under_its_id_and_a_running_one_followed(
    fake: dict[str, str], root: Path
) -> None:
    assert submit(root, fake, *SWEEP).returncode == 0
    name = submission_id(fake)
    # It runs: one more target is the same sweep, and does not start a second job.
    Path(fake["FAKE"], "arguments").unlink()
    for end, code in (("failed", 1), ("succeeded", 0)):
        Path(fake["FAKE"], "end").write_text(end)
        done = submit(root, fake, *SWEEP, "--set=search.targets=[0.9]")
        assert done.returncode == code
        assert "it runs already, with what it was told first" in done.stdout
    assert not Path(fake["FAKE"], "arguments").exists()
    assert kept(fake, "followed").split() == ["job", "logs", "--follow", name]
    # It was stopped: the same id again.
    Path(fake["FAKE"], "state").write_text("STOPPED")
    for copied in ("work", "module"):
        Path(fake["FAKE"], copied).rename(Path(fake["FAKE"], f"{copied}-1"))
    assert submit(root, fake, *SWEEP).returncode == 0
    assert submission_id(fake) == name
    for copied in ("work", "module"):  # Ray takes no package for the one that it just removes
        before, after = (kept(fake, f"{each}/submission.txt") for each in (f"{copied}-1", copied))
        assert before != after


def test_other_settings_are_another_sweep(fake: dict[str, str], root: Path) -> None:
    names = set()
    for setting in ("training.epochs=30", "training.epochs=31"):
        for copied in ("work", "module", "state"):
            path = Path(fake["FAKE"], copied)
            if path.exists():
                path.rename(Path(fake["FAKE"], f"{copied}-{len(names)}"))
        submit(root, fake, "sweep", "--config", CONFIG, "--set", setting)
        names.add(submission_id(fake))
    assert len(names) == 2


def test_the_image_can_bring_the_code(fake: dict[str, str], root: Path) -> None:
    fake |= {"STRSWEEP_UPLOAD": "no", "STRSWEEP_FOLLOW": "no"}
    assert submit(root, fake, "train", "--config", CONFIG).returncode == 0
    assert json.loads(kept(fake, "runtime.json"))["py_modules"] == []
    assert "--no-wait" in kept(fake, "arguments").splitlines()


def test_own_modules_and_a_relative_checkpoint_go_along(
    fake: dict[str, str], root: Path, tmp_path: Path
) -> None:
    """Submitted from a folder of one's own; the same sweep at every submission."""
    here, names = tmp_path / "own", set()
    (here / "blocks").mkdir(parents=True)
    (here / "wandb").mkdir()
    (here / "wandb/log.bin").write_bytes(b"0" * 9)
    (here / "own_nets.py").write_text(
        "import math\nimport torch\ntry:\n    import wandb\nexcept ImportError:\n    pass\n"
        "def net(num_classes):\n    from blocks.wide import block\n    return block\n"
    )
    (here / "blocks/__init__.py").write_text("from own_width import WIDTH\n")
    (here / "blocks/wide.py").write_text("block = 1\n")
    (here / "own_width.py").write_text("WIDTH = 3\n")
    (here / "not_used.py").write_text("")
    (here / "start.pth").write_bytes(b"weights")
    own = ["--set", "model={name: 'own_nets:net', checkpoint: start.pth}"]
    for number in range(2):
        command = [root / "jobs/submit.sh", "sweep", "--config", root / CONFIG, *own]
        done = ran(command, cwd=here, env=fake)
        assert done.returncode == 0, done.stderr
        names.add(submission_id(fake))
        work = tmp_path / "work"
        files = {str(path.relative_to(work)) for path in work.rglob("*") if path.is_file()}
        assert {name for name in files if not name.startswith("jobs/")} == {
            *{"experiment.yaml", "own_nets.py", "own_width.py", "start.pth", "submission.txt"},
            *{"blocks/__init__.py", "blocks/wide.py"},
        }
        uploaded = work.rename(tmp_path / f"_ray_pkg_{number}")
        for copied in ("module", "state"):
            (tmp_path / copied).rename(tmp_path / f"{copied}-{number}")
        arguments = [uploaded / "experiment.yaml", own[1], "storage.path=/r"]
        code = "import sys, pathlib, strsweep; print(strsweep.load_experiment(pathlib.Path("
        code += "sys.argv[1]), [*sys.argv[2:], 'tracking.uri=sqlite:////r/m.db']).sweep_id)"
        known = {**fake, "PYTHONPATH": str(root / "service")}
        seen = ran([sys.executable, "-c", code, *arguments], cwd=uploaded, env=known)
        names.add(f"sweep-{seen.stdout.strip()}")
    assert len(names) == 1, "the job's own id is that of its submission"


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["nope", "--config", CONFIG], {}, "nope"),
        (["../jobs/sweep", "--config", CONFIG], {}, "../jobs/sweep"),
        (["sweep"], {}, "--config"),
        (["sweep", "--config", "missing.yaml"], {}, "missing.yaml"),
        (["sweep", "--config"], {}, "--config"),
        ([*SWEEP, "--set", "training.epoch=3"], {}, "Did you mean training.epochs"),
        ([*SWEEP, "--set", "model.name=no_such:net"], {}, "no_such"),
        ([*SWEEP, "--set", "model.checkpoint=no.pth"], {}, "below this folder"),
        ([*SWEEP, "--set", "model.checkpoint=../x"], {}, "below this folder"),
        (SWEEP, {"RAY_AUTH_TOKEN_PATH": "/missing"}, "RAY_AUTH_TOKEN_PATH"),
        (SWEEP, {"STRSWEEP_RESULTS": 'a"b'}, "STRSWEEP_RESULTS"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    arguments: list[str],
    environment: dict[str, str],
    named: str,
    fake: dict[str, str],
    root: Path,
) -> None:
    done = submit(root, fake | environment, *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert not Path(fake["FAKE"], "arguments").exists()


@pytest.mark.ray
@pytest.mark.long
def test_a_wrong_input_stops_the_job_and_any_other_failure_fails_it(
    tmp_path: Path, root: Path
) -> None:
    shutil.copy(root / "jobs/once.sh", tmp_path)
    (tmp_path / "exits.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    known = {**os.environ, "STRSWEEP_RESULTS": str(tmp_path), "LOCAL_RAY_CPUS": "1"}
    entry = f"ray job submit -- {tmp_path}/once.sh exits"
    entries = f"{entry} 0; {entry} 1; {entry} 2"
    done = ran([root / "infra/local_ray.sh", "run", "bash", "-c", entries], cwd=root, env=known)
    ends = re.findall(
        r"Job 'raysubmit_\w+' (succeeded|failed|was stopped)", done.stdout + done.stderr
    )
    assert ends[:2] == ["succeeded", "failed"], done.stdout + done.stderr
    assert set(ends[2:]) == {"was stopped"}, "KubeRay would try a failed one again"


@pytest.mark.ray
def test_a_real_cluster_runs_it_twice(tmp_path: Path, root: Path) -> None:
    results = {**os.environ, "STRSWEEP_RESULTS": str(tmp_path), "LOCAL_RAY_CPUS": "1"}
    script = root / "infra/local_ray.sh"
    twice = f"for _ in 1 2; do jobs/submit.sh plan --config {CONFIG}; done"
    command = f'source "{tmp_path}/ray/env" && {twice}'
    done = ran([script, "run", "bash", "-ec", command], cwd=root, env=results)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("first runs") >= 2
    assert done.stdout.count("succeeded") == 2
    names = {
        line.split()[2] for line in done.stdout.splitlines() if line.startswith("submission id:")
    }
    assert len(names) == 1
