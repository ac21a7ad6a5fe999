"""The shape of the package: layers that point one way, small files, silent imports."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import tomllib
from commands import ran

from strsweep.sparsity.methods import BUILT_IN

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
DISTRIBUTIONS = {
    "PIL": "pillow",
    "pydantic_core": "pydantic-core",
    "ruamel": "ruamel.yaml",
    "sklearn": "scikit-learn",
}
"""Names on PyPI, where they are not those that are imported."""
Imports = dict[str, dict[str, set[str]]]
"""Layer -> file in it, or "" for all of them -> libraries that it may import."""


def layer_table(page: str) -> Imports:
    """Return the rows of the table of layers, from the first layer to the last."""
    table: Imports = {}
    for names, libraries in re.findall(r"^\| (`[^|]*) \|[^|]*\|([^|]*)\|$", page, re.MULTILINE):
        allowed: dict[str, set[str]] = {}
        for part in libraries.split(";"):
            file, _, listed = part.rpartition(".py`:")
            allowed[file.strip(" `")] = set(re.findall(r"\w+", listed))
        table |= dict.fromkeys(re.findall(r"`(.*?)`", names), allowed)
    return table


TABLE = layer_table(PAGE)
LAYERS = [name for name in TABLE if "/" not in name]
"""A module imports its own layer and earlier ones; the last ones are the front of the jobs."""
METHODS = "strsweep.sparsity.methods"
"""They are settings, too; whoever uses one takes it from here, and knows none by name."""
MAX_FILE, MAX_FUNCTION = 300, 40

FILES = sorted(SERVICE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    parts = path.relative_to(SERVICE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that is imported; a relative import starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def is_within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def layer(name: str) -> str:
    """Return the part after ``strsweep.``; empty for the package itself, e.g. its version."""
    part = name.partition(".")[2].partition(".")[0]
    return part if part in LAYERS or not part.startswith("__") else ""


def row_of(module: str) -> str:
    """Return the name of the row of the table that holds ``module``."""
    inner = module.partition(".")[2].replace(".", "/")
    return max((n for n in TABLE if f"{inner}/".startswith(f"{n}/")), key=len, default="")


def libraries(module: str) -> set[str]:
    """Return the libraries that ``module`` may import."""
    allowed = TABLE.get(row_of(module), {})
    return allowed.get("", set()) | allowed.get(module.rpartition(".")[2], set())


def violation(module: str, imported: str) -> str | None:
    is_method = is_within(module, METHODS)
    if imported.startswith("."):
        return f"{module} has the relative import {imported}"
    if is_within(imported, "strsweep"):
        mine, theirs = layer(module), layer(imported)
        if theirs and (not mine or LAYERS.index(theirs) > LAYERS.index(mine)):
            return f"{module} points down to {imported}"
        if mine == "sparsity" != theirs and not is_method:
            return f"{module} must stand alone but imports {imported}"
        if is_within(imported, METHODS) and not is_method and imported.count(".") > 3:
            return f"{module} knows a method: {imported}"
        return None
    top = imported.partition(".")[0]
    if top not in {*sys.stdlib_module_names, *libraries(module)}:
        return f"{module} must not import {imported}"
    return None


def violations(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    if module == "strsweep":  # it names for type checkers what it imports when asked
        tree.body = [node for node in tree.body if not is_for_type_checkers(node)]
    found = (violation(module, name) for name in imports(tree))
    return [text for text in found if text]


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def too_long(source: str) -> list[str]:
    lines = len(source.splitlines())
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, Function)
    }
    found = [] if lines <= MAX_FILE else [f"{lines} lines"]
    return found + [f"{name} has {n} lines" for name, n in lengths.items() if n > MAX_FUNCTION]


def undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    """Yield the module, and its public classes, functions and methods without a docstring."""
    if isinstance(node, ast.Module) and not ast.get_docstring(node):
        yield "module"
    for child in node.body:
        if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
            if not ast.get_docstring(child):
                yield prefix + child.name
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{child.name}.")


SOURCES = {module_name(path): path.read_text() for path in FILES}


def test_the_walk_sees_the_package() -> None:
    names = {module_name(path) for path in FILES}
    assert {"strsweep", "strsweep.errors", "strsweep.search", "strsweep.training.worker"} <= names
    assert {layer(name) for name in names} == {"", *LAYERS}


def test_the_table_names_no_library_that_is_not_imported_and_pyproject_declares_all() -> None:
    used = {
        (row_of(module), name.partition(".")[0])
        for module, source in SOURCES.items()
        for name in imports(ast.parse(source))
    }
    listed = {(row, library) for row in TABLE for library in set().union(*TABLE[row].values())}
    assert listed - used == set()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[\[<>=;]", one)[0] for group in groups for one in group}
    assert {DISTRIBUTIONS.get(library, library) for _, library in listed} <= declared


def circle(sources: Mapping[str, str]) -> list[str]:
    """Return modules that import each other while they are imported; empty if none do."""
    graph = {
        module: {
            origin
            for node in ast.parse(source).body
            if isinstance(node, ast.Import | ast.ImportFrom)  # not in functions, or for types
            for name in imports(node)
            for origin in (name, name.rpartition(".")[0])
            if origin in sources and origin != module and not is_within(module, origin)
        }
        for module, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_modules_import_each_other() -> None:
    assert circle(SOURCES) == []
    planted = {"s.a": "from s.b import x", "s.b": "import s.c", "s.c": "from s import a"}
    assert sorted(set(circle(planted))) == ["s.a", "s.b", "s.c"]
    lazy = "def f():\n    from s.b import x"
    assert circle(planted | {"s.a": lazy}) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_module_keeps_the_rules(path: Path) -> None:
    source = path.read_text()
    assert violations(module_name(path), source) == []
    assert too_long(source) == []
    assert [*undocumented(ast.parse(source))] == []


@pytest.mark.parametrize(
    ("module", "source", "is_allowed"),
    [
        ("errors", "from strsweep.config import Experiment", False),
        ("config.load", "import strsweep.storage", False),
        ("data.loader", "from strsweep import cluster", False),
        ("training.run", "def f():\n    from strsweep.search.space import LawSpace", False),
        ("cluster.run", "import strsweep.registry.publish as p", False),
        ("", "from strsweep.config import Experiment", False),
        ("data.loader", "from .batches import TrainingBatches", False),
        ("data.loader", "from . import batches", False),
        ("sparsity.convert", "from strsweep.errors import SettingError", False),
        ("sparsity.convert", "import numpy as np", False),
        ("data.loader", "import raytracer", False),
        ("training.run", "if True:\n    from ray import train", False),
        ("journal", "import boto3", False),
        ("registry.server", "import os, boto3", False),
        ("packages.export", "import onnxruntime", False),
        ("export", "from strsweep.data import load_data", False),
        ("training.run", "from strsweep.sparsity.methods.learned import Str", False),
        ("cluster.run", "from strsweep import __version__", True),
        ("cluster.run", "import ray.tune", True),
        ("training.worker", "from ray import train", True),
        ("config.load", "from strsweep.config.experiment import Experiment", True),
        ("sparsity.convert", "import math\nfrom torch import nn", True),
    ],
)
def test_planted_violations_are_found_and_no_more(
    module: str, source: str, is_allowed: bool
) -> None:
    assert len(violations(f"strsweep.{module}".rstrip("."), source)) == 1 - is_allowed


def test_planted_lengths_and_missing_docstrings_are_found() -> None:
    long = "def f():\n" + "    x = 1\n" * MAX_FUNCTION
    assert too_long(long) == [f"f has {MAX_FUNCTION + 1} lines"]
    assert too_long("x = 1\n" * (MAX_FILE + 1)) == [f"{MAX_FILE + 1} lines"]
    assert too_long("x = 1\n" * MAX_FILE) == []
    planted = ast.parse("class A:\n    def b(self): ...\n    def _c(self): ...")
    assert [*undocumented(planted)] == ["module", "A", "A.b"]


def names_a_mode(source: str) -> list[str]:
    """Return the modes that are compared with, or looked for, outside of the methods."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "mode" for side in sides):
                values = [
                    v.value for s in sides for v in ast.walk(s) if isinstance(v, ast.Constant)
                ]
                found += [value for value in values if value in BUILT_IN]
    return found


def says(source: str, word: str) -> list[str]:
    """Return the names and texts with ``word``; docstrings and comments are not looked at."""
    tree = ast.parse(source)
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = [
        getattr(node, key)
        for node in ast.walk(tree)
        for key in ("id", "attr", "arg", "name", "value")
        if isinstance(getattr(node, key, None), str) and id(node) not in texts
    ]
    return [text for text in found if word in text.lower()]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_nobody_else_names_a_mode_or_the_metric_of_a_task(path: Path) -> None:
    source, module = path.read_text(), module_name(path)
    assert is_within(module, METHODS) or names_a_mode(source) == []
    assert is_within(module, "strsweep.tasks") or says(source, "accuracy") == []


def test_a_planted_mode_and_metric_are_found() -> None:
    modes = names_a_mode("if e.sparsity.mode != 'str': pass\nx = s.mode in {'gmp', 'dnw'}")
    assert modes == ["str", "gmp", "dnw"]
    planted = "'''accuracy'''\ndef f(accuracy): return row.accuracy, 'the Accuracy'"
    assert says(planted, "accuracy") == ["accuracy", "accuracy", "the Accuracy"]
    assert names_a_mode("if image.mode == 'F': pass") == says("# accuracy", "accuracy") == []


THIRD_PARTY = ["mlflow", "mlflow.pytorch", "ray.train", "ray.tune", "sklearn"]
"""They may change the environment on their own: they are imported before we look."""

STATE = """
import io, json, logging, os, sys
import importlib, ray, torch
for name in json.loads(sys.argv[2]):
    importlib.import_module(name)
def state():
    return dict(
        argv=list(sys.argv), handlers=[repr(h) for h in logging.root.handlers],
        level=logging.root.level, environ=dict(os.environ), cwd=os.getcwd(),
        rng=torch.get_rng_state().tolist(), cuda=torch.cuda.is_initialized(),
        ray=ray.is_initialized(), threads=torch.get_num_threads(),
        dtype=str(torch.get_default_dtype()),
    )
sys.stdout.flush(), sys.stderr.flush()
out, err = os.dup(1), os.dup(2)
said = os.memfd_create("said")
os.dup2(said, 1), os.dup2(said, 2)
before = state()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
after = state()
sys.stdout.flush(), sys.stderr.flush()
os.dup2(out, 1), os.dup2(err, 2)
changed = sorted(key for key in before if before[key] != after[key])
printed = os.pread(said, 100000, 0).decode()
print(json.dumps(dict(changed=changed, printed=printed, ray=after["ray"], cuda=after["cuda"])))
"""

LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps([name for name in ("ray", "mlflow", "onnx", "torch") if name in sys.modules]))
"""


def answer(code: str, *arguments: str, cwd: Path) -> object:
    done = ran([sys.executable, "-c", code, *arguments], cwd=cwd, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_importing_everything_is_silent_and_changes_nothing(tmp_path: Path) -> None:
    names = [module_name(path) for path in FILES]
    assert answer(STATE, json.dumps(names), json.dumps(THIRD_PARTY), cwd=tmp_path) == {
        "changed": [],
        "printed": "",
        "ray": False,
        "cuda": False,
    }
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_silence_check_hears_a_noisy_module(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(
        "import logging, os, sys, torch\n"
        "print('hello')\n"
        "os.environ['NOISY'] = '1'\n"
        "logging.getLogger().addHandler(logging.NullHandler())\n"
        "torch.manual_seed(7)\n"
        "sys.argv.append('x')\n"
        "os.chdir('/')\n"
    )
    heard = answer(STATE, json.dumps(["noisy"]), "[]", cwd=tmp_path)
    assert isinstance(heard, dict)
    assert heard["changed"] == ["argv", "cwd", "environ", "handlers", "rng"]
    assert heard["printed"] == "hello\n"


CORE = ("sparsity", "models", "export", "training.run", "preflight")
NEEDED = [(CORE, ["torch"]), (("registry",), ["mlflow", "torch"])]


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "heavy"), NEEDED)
def test_the_numerical_core_and_the_registry_load_no_more_than_they_need(
    parts: tuple[str, ...], heavy: list[str], tmp_path: Path
) -> None:
    names = [f"strsweep.{part}" for part in parts]
    assert answer(LOADED, json.dumps(names), cwd=tmp_path) == heavy
