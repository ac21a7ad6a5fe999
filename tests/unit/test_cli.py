"""The command line: quick help, the jobs as its commands, answers for programs, a first file."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from commands import called, ran
from PIL import Image

from strsweep import __version__
from strsweep.cli.options import SetOption
from strsweep.config import load_experiment

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "jobs/configs/digits.yaml")
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
COMMANDS = [*JOBS, "status", "report", "init", "config"]
HEAVY = ("torch", "ray", "mlflow", "plotly", "pydantic", "numpy")
OWN = """
import strsweep
import torch
from torch import nn

def network(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))

def samples():
    images = torch.randn(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    both = [(image, index % 3) for index, image in enumerate(images)]
    return both[:90], both[90:]

class Errors(strsweep.Task):
    def __init__(self):
        self.train, self.val = samples()

    @property
    def model_options(self):
        return {"num_classes": 1}

    def loss(self, outputs, batch):
        return (outputs[:, 0] - batch[1]).square().sum(), len(outputs)
"""


def text_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_it_ends(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command, "--help") == 0
    text = text_of(capsys)
    assert f"Usage: strsweep {command} " in text
    assert "Exit code 0:" in text
    assert "2:" in text


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_the_command_of_its_name(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"jobs/{job}.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / f"jobs/{job}.py"), run_name="__main__")
    assert f"Usage: strsweep {job} " in text_of(capsys)


def test_help_needs_nothing_that_takes_long_to_import() -> None:
    code = f"import strsweep.cli, sys; print([n for n in {HEAVY} if n in sys.modules])"
    assert ran([sys.executable, "-c", code]).stdout.strip() == "[]"


def test_the_module_is_the_command() -> None:
    done = ran([sys.executable, "-m", "strsweep", "--version"])
    assert (done.returncode, done.stdout) == (0, f"strsweep {__version__}\n")


def test_shells_complete_settings() -> None:
    option: Any = get_args(SetOption)[1]
    assert option.autocompletion("search.ta") == ["search.targets="]
    assert {"training.epochs=", "training.seed="} < set(option.autocompletion("training."))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["config", "search.target"], "Did you mean search.targets?"),
        (["train", "--config", DIGITS, "--method", "dnw"], "name one by --budget"),
        (
            ["train", "--config", DIGITS, "--budget", "x.json", "--method", "gpm"],
            "--method: got 'gpm'. Did you mean 'gmp'? These obey a budget: gmp, dnw.",
        ),
        (["status"], "Name the sweep, or else its file with --config."),
        (["status", "digits-1", "--config", DIGITS], "SWEEP: got 'digits-1'. Name the sweep, or"),
        (["init", "--model", "my:net"], "--data: got None. Name the data"),
        (["init", "--task", "my:Task"], "--model: got None. Name the network"),
        (["init", "--task", "my:Task", "--data", "digits"], "--data: got 'digits'. A task brings"),
        (["init", "--data", "no/where"], "--data: got 'no/where'. There is no such folder"),
        (["init", "--out", "no/my.yaml"], "--out: got 'no/my.yaml'. Name a file in a folder that"),
        (["init", "--out", "/", "--force"], "--out: got '/'. Name a file in a folder that is"),
        (["init", "--out", "/proc/my.yaml"], "--out: got '/proc/my.yaml'. No such file or dir"),
        (["init", "--data", "digit"], "data.name: got 'digit'. Did you mean 'digits'?"),
        (["init", "--data", "digits_rows"], "--model: got None. Name a network for inputs"),
        (
            ["plan", f"--config={DIGITS}", "--json", "--set=search.targets=[]"],
            "search.targets: got",
        ),
    ],
)
def test_a_wrong_input_ends_with_2_and_one_message(
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.count("wrong input: ") == 1
    assert told in said.err
    assert "--json" not in arguments or said.out == ""
    assert not (tmp_path / "my.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["init", "--out=~/no/my.yaml"], "--out"),
        (["init", "--data=~/no"], "--data"),
        (["plan", "--config=~/no/my.yaml"], "--config"),
        (["status", "--config=~/no/my.yaml"], "--config"),
        (["train", f"--config={DIGITS}", "--budget=~/no/budget.csv"], "--budget"),
        (["train", f"--config={DIGITS}", "--budget=~/no/table.csv#90.23"], "--budget"),
        (["evaluate", "--model=~/no"], "--model"),
        (["export", "--model=models:/a/1", "--out=~/file"], "--out"),
        (["compare", "--sweep=~/no"], "--sweep"),
    ],
)
def test_home_is_found_where_a_shell_leaves_it_to_us(
    arguments: list[str],
    option: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert called(*arguments) == 2
    assert f"wrong input: {option}: got '{tmp_path}/" in capsys.readouterr().err


def test_a_user_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("init", "--out=~nobodyhere/my.yaml") == 2
    assert "~nobodyhere/my.yaml begins with a user" in capsys.readouterr().err


def test_a_plan_as_json_is_all_that_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path))
    assert called("plan", "--config", DIGITS, "--minutes-per-epoch", "2", "--json") == 0
    said = capsys.readouterr()
    planned: dict[str, Any] = json.loads(said.out)
    assert (planned["runs"], planned["epochs"]) == ([4, 4.8], [90, 106])
    assert planned["hours"] == pytest.approx([3, 106 / 30])
    assert planned["problem"]["weights"] == 69_904
    assert [run["target"] for run in planned["first_runs"]] == ["80 %", "90 %", "95 %", "98 %"]
    assert said.err.startswith("checking model and data")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand beside a module of one's own, and folders of gray and of coloured images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    Path("mine.py").write_text(OWN)
    for mode, size in (("L", (9, 8)), ("RGB", (120, 100))):
        for place in ("train/cats", "train/dogs", "val/cats", "val/dogs"):
            (folder := Path(mode, place)).mkdir(parents=True)
            for number in range(12):
                Image.effect_noise(size, 50).convert(mode).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("given", "model", "found", "samples"),
    [
        ("", "digits_cnn", {"name": "digits"}, "1,400 training and 397 val"),
        (
            "--data mine:samples --model mine:network",
            "mine:network",
            {"name": "mine:samples", "num_classes": 3},
            "90 training and 30 validation",
        ),
        ("--task mine:Errors --model mine:network", "mine:network", {}, "90 training and 30 val"),
        (
            "--data L --model mine:network",
            "mine:network",
            {"image_size": 8, "channels": 1, "augment": "shift", "name": "imagefolder"},
            "24 training and 24 validation",
        ),
        (
            "--data RGB",
            "resnet18",
            {"image_size": 96, "augment": "imagenet", "name": "imagefolder"},
            "24 training and 24 validation",
        ),
    ],
    ids=["digits", "own", "task", "gray", "rgb"],
)
@pytest.mark.usefixtures("own")
def test_a_first_file_says_what_was_found_and_passes_as_it_is(
    given: str,
    model: str,
    found: dict[str, Any],
    samples: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_own = "mine" in given
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9" if is_own else "")
    assert called("init", *given.split()) == 0
    assert "my.yaml can be swept. Next: strsweep plan --config my.yaml" in capsys.readouterr().out
    experiment = load_experiment("my.yaml")
    assert experiment.model.name == model
    assert experiment.data.model_dump(exclude_defaults=True, exclude={"path"}) == found
    assert (experiment.task is not None) == ("--task" in given)
    kind = "task" if "--task" in given else "data"
    assert f"{kind}:  # {samples}" in Path("my.yaml").read_text()
    assert (experiment.tracking.uri == "http://127.0.0.1:9") == is_own
    assert called("init", *given.split()) == 2
    assert "--out: got 'my.yaml'. It is there: add --force" in capsys.readouterr().err
