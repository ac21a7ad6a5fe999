"""What the README shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from strsweep.config import load_experiment
from strsweep.models import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_experiment_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "my.yaml"
    path.write_text(block)
    experiment = load_experiment(path)
    assert [str(target) for target in experiment.search.targets] == ["80 %", "95 %", "5 % MACs"]


@pytest.mark.parametrize("override", re.findall(r"--set (\S+)", README))
def test_every_override_names_a_setting(override: str) -> None:
    config = "imagenet_resnet50" if "preset" in override else "digits"
    needed = {"mode=gmp": ["sparsity.budget=erk"], "budget": ["sparsity.mode=gmp"]}
    others = next((given for part, given in needed.items() if part in override), [])
    load_experiment(ROOT / f"jobs/configs/{config}.yaml", [*others, override])


def test_every_job_and_every_make_target_exists() -> None:
    for job in re.findall(r"jobs/\w+\.py", README):
        assert (ROOT / job).is_file(), job
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+(?:-[a-z]+)?)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_what_it_imports_is_there(block: str) -> None:
    imports = [line for line in block.splitlines() if line.startswith(("import", "from"))]
    assert imports
    exec("\n".join(imports), {})


@pytest.mark.slow
def test_the_library_as_it_is_shown() -> None:
    (block,) = [block for block in PYTHON if "sparsify(" in block]
    model: nn.Module = build("resnet18", num_classes=10)
    exec(block, {"model": model})
    assert not any("parametrizations" in name for name in model.state_dict())
