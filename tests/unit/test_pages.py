"""README and docs show what is there: links, code, settings and commands are tried."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import tomllib
import torch
import typer
from click import Command
from commands import ran
from ruamel.yaml import YAML
from samples import epoch, proposed

from strsweep.cli.commands import app
from strsweep.config import Experiment, load_experiment
from strsweep.journal import replay
from strsweep.models import build
from strsweep.preflight import check_sweep
from strsweep.settings import RunSettings
from strsweep.training.attached import Assignment, loop_run
from strsweep.training.loop import InputPipeline
from strsweep.training.run import TrainingRun

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "infra/README.md"])
    if path.name != "CHANGELOG.md"
}
PROGRAMS = {"aws", "kubectl", "k", "docker", "sbatch", "squeue", "scancel", "ssh", "ray", "openssl"}
"""Programs for clouds and clusters; tests/infra starts what it can as the pages do."""
NOT_RUN = PROGRAMS | {"for", "do", "done", "umask", "random", "alias", "export", "mlflow"}
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FRAGMENT: dict[str, Any] = {
    "name": "fragment",
    "model": {"name": "digits_cnn"},
    "data": {"name": "digits"},
    "search": {"targets": [0.9]},
}
"""What a fragment of an experiment is completed by, section by section."""
MISSING = {"mlflow.pytorch.load_model": "a registered model, which tests/integration loads"}
"""What python code needs that a test of seconds has not: of that only imports are run."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    title: str
    text: str


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for found in re.finditer(r'^```(\w*)(?: title="(.*?)")?\n(.*?)^```$', text, re.M | re.S):
        yield Block(page, found[1], found[2] or "", found[3])


BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]


def of(language: str) -> list[Any]:
    named = {f"{b.page}-{b.title or n}": b for n, b in enumerate(BLOCKS) if b.language == language}
    return [pytest.param(block, id=name) for name, block in named.items()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to stand in that holds the files that pages show, and those they need."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    titled = [block for block in BLOCKS if block.title]
    for block in titled:
        (tmp_path / block.title).write_text(block.text)
    yield tmp_path
    for block in titled:
        sys.modules.pop(block.title.removesuffix(".py"), None)


def prose_of(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


# Links


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(text), re.M)
    plain = (re.sub(r"[^\w -]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken(page: str, text: str) -> list[str]:
    """Return the links and images of a page that lead nowhere in the repository."""
    links = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', prose_of(text))
    found: list[str] = []
    for link in (first or second for first, second in links):
        name, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in slugs(path.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken(page, PAGES[page]) == []


def test_planted_broken_links_are_found() -> None:
    text = "[a](docs/no.md) [b](ARCHITECTURE.md#no) [c](ARCHITECTURE.md#decisions) [d](https://x.y)"
    assert broken("README.md", text) == ["docs/no.md", "ARCHITECTURE.md#no"]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = ran(build, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    named = re.findall(r"\w[\w-]*\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(named) == sorted(path.name for path in ROOT.glob("docs/*.md"))
    pages = [path.read_text() for path in tmp_path.glob("*.html")]
    assert not any(re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', page) for page in pages)


@pytest.mark.parametrize(
    ("schema", "files"),
    [("citation-file-format", "CITATION.cff"), ("github-issue-forms", ".github/*/[!c]*.yml")],
)
def test_citation_and_issue_forms_are_what_their_readers_take(schema: str, files: str) -> None:
    named = [str(path) for path in ROOT.glob(files)]
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    assert named
    assert ran([*check, *named]).returncode == 0


# Settings


def experiment_of(block: Block, folder: Path, *overrides: str) -> Experiment:
    """Load the experiment of a block, a fragment completed."""
    content = YAML(typ="safe").load(block.text)
    values = content if "name" in content else FRAGMENT | content
    if "task" in values:
        values.pop("data", None)
    with (folder / "experiment.yaml").open("w") as file:
        YAML(typ="safe").dump(values, file)
    return load_experiment(folder / "experiment.yaml", overrides)


@pytest.mark.parametrize("block", of("yaml"))
def test_experiments_and_their_fragments_are_valid(block: Block, folder: Path) -> None:
    experiment_of(block, folder)


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in of("yaml") if b.values[0].title])
def test_whole_experiments_of_ones_own_pass_every_check(block: Block, folder: Path) -> None:
    _, problem = check_sweep(experiment_of(block, folder, f"storage.path={folder}"))
    assert problem.weights > 0


@pytest.mark.slow
@pytest.mark.parametrize("named", ["my_recipe:nadam", "random_mask:RandomMask"])
def test_recipes_and_methods_of_ones_own_train(named: str, folder: Path) -> None:
    (block,) = [b for b in BLOCKS if b.language == "yaml" and named in b.text]
    short = ("training.epochs=3", "training.warmup_epochs=0", "training.batch_size=350")
    experiment = experiment_of(block, folder, *short)
    settings = RunSettings(weight_decay=0, threshold_init=-20, sparsity=0.7)
    last = [*TrainingRun(experiment, settings, device=torch.device("cpu")).epochs()][-1]
    assert last.sparsity == pytest.approx(0.7 if "Mask" in named else 0, abs=0.02)


def test_the_tracker_shows_a_record(folder: Path) -> None:
    record = replay([proposed(), epoch(1, accuracy=0.5)])
    module: Any = ModuleType("table")
    exec((folder / "table.py").read_text(), vars(module))
    module.Table(SimpleNamespace(name="shown")).show(record)
    assert (folder / "shown.csv").read_text().split() == ["run,epoch,accuracy", "run-001,1.0,0.5"]


# Code


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in of("python") if "own-loop" not in str(b.id)])
def test_code_runs(block: Block, folder: Path) -> None:
    if "model_best" in block.text:
        torch.save(build("mobilenet_v1", num_classes=1000).state_dict(), "model_best.pth")
    if "from_authors_csv" in block.text:
        table = (ROOT / "tests/data/paper_table6_resnet50.csv").read_text()
        Path("STR_Budgets_ResNet50.csv").write_text(table)
    is_run = not any(call in block.text for call in MISSING)
    imports = [line for line in block.text.splitlines() if line.startswith(("import", "from"))]
    exec(block.text if is_run else "\n".join(imports), {"__name__": "shown"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("number", range(3), ids=["torch", "lightning", "transformers"])
def test_the_loops_of_the_page_train(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    page = [block for block in BLOCKS if block.page == "docs/own-loop.md"]
    (settings,) = [block.text for block in page if block.language == "yaml"]
    code = [block.text for block in page if block.language == "python"]
    assert len(code) == 3
    module = ModuleType("my_training")
    exec(code[number], vars(module))
    monkeypatch.setitem(sys.modules, "my_training", module)
    values = YAML(typ="safe").load(settings)
    values["training"] |= {"epochs": 2, "warmup_epochs": 0}
    values["search"]["targets"] = tuple(values["search"]["targets"])
    experiment = Experiment.model_validate(values)
    run = loop_run(
        Assignment(
            experiment=experiment,
            settings=RunSettings(threshold_init=-5, weight_decay=0, threshold_decay=0.5),
            images=InputPipeline(experiment, 0, 1),
            begin=lambda _: None,
            note=lambda *_: True,
        )
    )
    assert run.is_complete
    assert run.thresholds[0] != pytest.approx(1 / (1 + 2.718281828**5), rel=1e-3)


# Commands


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the commands of a script as words; variables in front are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|(){}")
        lexer.whitespace_split, lexer.commenters, words = True, "", list[str]()
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|(){}"):
                yield from [words] if words else []
                words = []
            elif words or not re.match(r"\w+=", word):
                words.append(word)


def wrong(words: list[str]) -> str:
    """Return what of a command does not exist; empty if all does, or the program is not ours."""
    program, *rest = words
    if program == "ray" and "--" in rest:
        return wrong(rest[rest.index("--") + 1 :])
    if program == "python":
        return wrong(rest)
    if program == "make":
        return " ".join(set(rest) - set(re.findall(r"^([\w-]+):", MAKEFILE, re.M)))
    if program == "pip":
        return " ".join(set(re.findall(r"\[(.*?)\]", rest[-1])) - set(EXTRAS))
    if program == "strsweep" or program == "jobs/submit.sh":
        return wrong_arguments(*rest)
    is_file = (ROOT / program).is_file()
    if is_file and program.endswith(".py"):
        return wrong_arguments(Path(program).stem, *rest)
    files = [word for word in rest if word.startswith(("infra/", "docker/", "jobs/"))]
    missing = [file for file in files if not (ROOT / file).exists()]
    return " ".join(missing if is_file or program in NOT_RUN else [program, *missing])


def wrong_arguments(name: str, *rest: str) -> str:
    """Return what a command of ours does not take; raises if a setting that it sets is none."""
    group: Any = typer.main.get_command(app)
    command: Command | None = group if name.startswith("--") else group.commands.get(name)
    if command is None:
        return f"strsweep {name}"
    known = {"--help", *(option for param in command.params for option in param.opts)}
    overrides = [word for flag, word in pairwise(rest) if flag == "--set" and "uri=" not in word]
    base = "imagenet_resnet50" if "preset" in "".join(overrides) else "digits"
    load_experiment(ROOT / f"jobs/configs/{base}.yaml", overrides)
    options = (word.partition("=")[0] for word in (name, *rest) if word.startswith("--"))
    return " ".join(option for option in options if option not in known)


def inline(page: str) -> str:
    """Return the commands in the sentences of a page, one a line."""
    ours = r"`((?:make|strsweep|pip install|jobs/[\w.]+|python jobs/[\w.]+) [^`]+)`"
    return "\n".join(re.findall(ours, prose_of(PAGES[page])))


@pytest.mark.parametrize("page", [page for page in PAGES if inline(page)])
def test_commands_in_sentences_exist(page: str) -> None:
    assert [found for words in commands_of(inline(page)) if (found := wrong(words))] == []


@pytest.mark.parametrize("block", of("bash"))
def test_commands_and_their_options_exist(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch")
    assert [found for words in commands_of(block.text) if (found := wrong(words))] == []
    # zsh takes these for patterns of file names, refuses what none matches, and has no comments.
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", block.text)
    assert not re.search(r"[\[\]*?]|(^|\s)#", unquoted)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("make nothing", "nothing"),
        ("strsweep swep --config x", "strsweep swep"),
        ("A=1 strsweep plan --confg x && make test", "--confg"),
        ("ray job submit -- python jobs/sweep.py --set-all", "--set-all"),
        ("python jobs/no.py", "jobs/no.py"),
        ("pip install '.[no]'", "no"),
        ("ray up infra/no.yaml", "infra/no.yaml"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_planted_wrong_commands_are_found(script: str, found: str) -> None:
    assert [text for words in commands_of(script) if (text := wrong(words))] == [found]


def test_every_block_is_checked() -> None:
    assert {block.language for block in BLOCKS} == {"bash", "python", "text", "yaml"}
    indented = r"^(?!\s*[-*|]).*\n\n {4}\S"
    pages = [page for page, text in PAGES.items() if re.search(indented, prose_of(text), re.M)]
    assert pages == ["ARCHITECTURE.md"]  # the life of a sweep, which is no code
