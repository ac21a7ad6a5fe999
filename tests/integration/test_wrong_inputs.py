"""Wrong inputs end in exit code 2 within seconds; the message names key, value and remedy."""

from __future__ import annotations

import functools
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ran

ROOT = Path(__file__).parents[2]
CONFIG = "jobs/configs/digits.yaml"
LIMIT = 5.0
"""Times what importing torch and torchvision costs on this machine: Ray and MLflow cost more."""

SHARED = "search.decay=shared; search.weight_decay=auto; "

# overrides, the key that the message must name, the value, a word of the remedy
WRONG_SWEEPS = [
    ("training.epoch=30", "training.epoch", "30", "Did you mean training.epochs?"),
    ("trainig.epochs=30", "trainig", "30", "Did you mean training?"),
    ("training.epochs=ten", "training.epochs", "'ten'", "valid integer"),
    ("training.epochs=true", "training.epochs", "True", "valid integer"),
    ("training.epochs=0", "training.epochs", "0", "greater than or equal to 1"),
    ("training.epochs=1.5", "training.epochs", "1.5", "valid integer"),
    ("training.learning_rate=-0.1", "training.learning_rate", "-0.1", "greater than 0"),
    ("training.learning_rate=.nan", "training.learning_rate", "nan", "finite"),
    ("training.momentum=1", "training.momentum", "1", "less than 1"),
    ("training.precision=int8", "training.precision", "'int8'", "'bfloat16'"),
    ("training.precision=float16", "training.precision", "'float16'", "workers.gpus"),
    ("training.warmup_epochs=30", "training.warmup_epochs", "30", "less than"),
    ("training.batch_size=2000", "training.batch_size", "2000", "smaller batch"),
    ("workers.count=3", "training.batch_size", "128", "multiple of workers.count (3)"),
    ("workers.count=256", "training.batch_size", "128", "multiple of workers.count"),
    ("search.targets=[1.2]", "search.targets", "1.2", "fraction"),
    ("search.targets=[90]", "search.targets", "90", "write 0.9 for 90 %"),
    ("search.targets=[0.9, 0.9]", "search.targets", "[0.9, 0.9]", "once"),
    ("search.targets=[]", "search.targets", "[]", "Name the sparsities"),
    ("search.targets=0.9", "search.targets", "0.9", "valid array"),
    ("search.tolerance=0", "search.tolerance", "0", "greater than 0"),
    ("search.weight_decay=[1e-2, 1e-3]", "search.weight_decay", "[0.01", "lower end first"),
    ("search.threshold_decay=[0, 1e-3]", "search.threshold_decay", "[0", "above 0"),
    ("search.weight_decay=auto", "search.weight_decay", "'auto'", "search.decay=shared"),
    (f"{SHARED}search.threshold_decay=1", "search.threshold_decay", "1", "leave it out"),
    (f"{SHARED}search.baseline=true", "search.baseline", "True", "search.decay=own"),
    (f"{SHARED}sparsity.mode=dense", "search.weight_decay", "'auto'", "write one number"),
    (
        "search.threshold_init=[-20, -5]; search.threshold_decay=0.1",
        "search.threshold_init",
        "[-20",
        "led=false",
    ),
    (
        "search.led=false; search.threshold_init=[-20, -5]",
        "search.threshold_init",
        "[-20",
        "write one threshold_init",
    ),
    (
        "search.led=false; search.threshold_init=-20; search.threshold_decay=[1e-6, 2e-6]",
        "search.threshold_decay",
        "[1e-06",
        "Nothing would be pruned",
    ),
    ("search.correct=true", "search.correct", "True", "There is no such setting"),
    ("search.weight_decay=-1e-3", "search.weight_decay", "-0.001", "greater than"),
    ("search.threshold_decay=1e-3", "search.threshold_decay", "0.001", "strsweep train"),
    ("search.threshold_init=10", "search.threshold_init", "10", "negative"),
    ("search.max_runs=2", "search.max_runs", "2", "at least 5"),
    ("sparsity.granularity=kernel", "sparsity.granularity", "'kernel'", "'layer'"),
    ("sparsity.mode=foo", "sparsity.mode", "'foo'", "'gmp'"),
    ("sparsity.mode=gmp", "sparsity.budget", "None", "It must be set. A rule that"),
    ("sparsity.mode=dense", "sparsity.mode", "'dense'", "strsweep train"),
    ("sparsity.budget=uniform", "sparsity.budget", "'uniform'", "no such setting"),
    ("sparsity={mode: dnw, budget: {fc: 2}}", "sparsity.budget.fc", "2", "equal to 1"),
    ("sparsity.preset=resnet50-50", "sparsity.preset", "'resnet50-50'", "resnet50-90.23"),
    ("sparsity.preset=resnet50-90.23", "sparsity.preset", "'resnet50", "model.name="),
    ("sparsity={mode: steered, ramp: [0.8, 0.2]}", "sparsity.ramp", "[0.8, 0.2]", "before it ends"),
    ("sparsity={mode: steered, ramp: [0.5, 2]}", "sparsity.ramp", "2", "equal to 1"),
    ("sparsity.scale=0", "sparsity.scale", "0", "greater than 0"),
    ("search.threshold_init=null", "search.threshold_init", "None", "valid number"),
    ("sparsity.skip=[conv9]", "sparsity.skip", "['conv9']", "matches no layer"),
    ("model.name=resnet9", "model.name", "'resnet9'", "digits_cnn"),
    ("model.name=no.such:thing", "model.name", "'no.such:thing'", "importable"),
    ("model.options={depth: 3}", "model.options", "{'depth': 3}", "width"),
    ("model.name=torchvision:resnet18", "model.name", "resnet18", "does not take"),
    ("data.name=mnist", "data.name", "'mnist'", "imagefolder"),
    ("data.name=imagefolder", "data.path", "None", "needs the folder"),
    ("data.num_images=100", "data.num_images", "100", "only synthetic takes it"),
    ("data.num_classes=5", "data.num_classes", "5", "only synthetic takes it"),
    ("data.name=imagenet", "data.path", "None", "needs the folder"),
    ("data={name: imagefolder, path: /nowhere}", "data.path", "/nowhere", "no such folder"),
    ("storage.path=/proc/strsweep", "storage.path", "/proc/strsweep", "can write to"),
    ("tracking.uri=ftp://mlflow", "tracking.uri", "'ftp://mlflow'", "http://"),
    ("name=my sweep", "name", "'my sweep'", "letters, digits"),
    ("training.epochs", "--set", "'training.epochs'", "section.key=value"),
]
WRONG_RUNS = [
    ("sparsity.mode=gmp", "sparsity.budget", "None", "It must be set. A rule that"),
    ("training.seed=1", "search.threshold_decay", "'auto'", "strsweep plan"),
    (
        "search.threshold_decay=[0.004, 0.024]",
        "search.threshold_decay",
        "[0.004, 0.024]",
        "strsweep sweep",
    ),
]
WRONG = [*(("sweep", *row) for row in WRONG_SWEEPS), *(("train", *row) for row in WRONG_RUNS)]


def cpu_seconds() -> float:
    """Return what all processes that were waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@functools.cache
def import_seconds() -> float:
    """Return what the imports cost that a check of the network cannot do without."""
    started = cpu_seconds()
    subprocess.run([sys.executable, "-c", "import torch, torchvision"], check=True)
    return cpu_seconds() - started


def run(job: str, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    import_seconds()
    started = cpu_seconds()
    done = ran(
        [sys.executable, f"jobs/{job}.py", *arguments], cwd=ROOT, env=environment, timeout=600
    )
    # Its own time: how busy the machine is with other things says nothing.
    assert cpu_seconds() - started < LIMIT * import_seconds()
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An address where no Ray is: whoever starts Ray before the input is checked fails otherwise.

    Returns:
        The results folder.
    """
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(ROOT)
    return tmp_path / "results"


def told(
    job: str, overrides: list[str], capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, str]:
    """Call a job as its script does, but in this process: torch is imported once for all."""
    settings = [part for override in overrides for part in ("--set", override)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"jobs/{job}.py", "--config", CONFIG, *settings, *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(f"jobs/{job}.py", run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("job", "overrides", "key", "value", "remedy"), WRONG, ids=[row[1] for row in WRONG]
)
def test_one_message_names_key_value_and_remedy(
    job: str,
    overrides: str,
    key: str,
    value: str,
    remedy: str,
    without_ray: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, message = told(job, overrides.split("; "), capsys)
    assert code == 2, message
    assert f"{key}: got {value}" in message.replace('"', "'") or (
        f"{key}: got" in message and value in message
    )
    assert remedy in message
    assert message.count("wrong input") == 1
    assert not (without_ray / "sweeps").exists()


TABLE = "tests/data/paper_table6_resnet50.csv"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("nowhere", "--budget: got 'nowhere'"),
        ("nowhere.json", "No such file or directory: name a budget"),
        (f"{TABLE}#50", "has no model '50'"),
        (TABLE, "this is the authors' table: name one of its models"),
        (f"{TABLE}#90.23", "the budget and the model differ in their layers"),
        ("tests/data/paper_table8_mobilenet_v1.csv", "not a layer budget"),
    ],
)
def test_wrong_budgets_are_told(
    budget: str, message: str, without_ray: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told_message = told("train", [], capsys, "--budget", budget)
    assert code == 2, told_message
    assert message in told_message


def test_a_run_with_a_budget_searches_nothing(
    without_ray: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["search.decay=shared", "search.weight_decay=auto"]
    code, message = told("train", overrides, capsys, "--budget", "nowhere")
    assert code == 2, message
    assert "nothing is searched: write one number" in message


@pytest.mark.parametrize(
    "override",
    ["training.epochs=ten", "training.batch_size=2000", "model.name=torchvision:resnet18"],
)
def test_it_is_told_before_ray_and_mlflow_are_imported(override: str, without_ray: Path) -> None:
    code, message = run("sweep", "--config", CONFIG, "--set", override)
    assert code == 2, message
    assert message.count("wrong input") == 1


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (None, "No such file"),
        (b"model: [", "not valid YAML"),
        (b"", "must hold sections"),
        (b"name: a\nname: b\n", "not valid YAML"),
        (b"\xff\xfe\x00", "not text"),
        (b"name: x\n", "model: got None. It must be set"),
    ],
    ids=["missing", "broken", "empty", "key_twice", "binary", "incomplete"],
)
def test_wrong_files(content: bytes | None, remedy: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    if content is not None:
        path.write_bytes(content)
    code, message = run("sweep", "--config", str(path))
    assert code == 2
    assert remedy in message


@pytest.mark.parametrize("job", ["sweep", "train", "evaluate"])
def test_help_explains_itself(job: str) -> None:
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Exit code 0" in " ".join(done.stdout.split())


@pytest.mark.ray
@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("workers.gpus=4", "workers.gpus: got 4"),
        ("workers.cpus=64", "workers.cpus: got 64"),
        ("workers.count=64", "workers.count: got 64"),
    ],
)
def test_more_than_the_cluster_has(
    override: str, key: str, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**ray_environment, "STRSWEEP_RESULTS": str(tmp_path)}
    code, message = run("sweep", "--config", CONFIG, "--set", override, environment=environment)
    assert code == 2, message
    assert key in message
    assert "2 CPUs, 0 GPUs" in message
