"""A model's name becomes a network, or an error that names the setting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import ran

from strsweep.errors import SettingError
from strsweep.models import build, check_options

OWN_MODEL = """
from torch import nn

def tiny(num_classes, *, width=3):
    return nn.Linear(width, num_classes)
"""


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_digits_cnn_has_the_weights_of_its_description(norm: str) -> None:
    width = 16
    model = build("digits_cnn", num_classes=7, width=width, norm=norm)
    w = width
    convolutions = 9 * (w + w * 2 * w + 2 * w * 2 * w + 2 * w * 4 * w + 4 * w * 4 * w)
    normalization = 2 * (w + 2 * w + 2 * w + 4 * w + 4 * w)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == convolutions + normalization + 4 * w * 7
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_a_torchvision_name_is_torchvisions_network() -> None:
    model = build("torchvision:resnet18", num_classes=3)
    assert type(model).__module__ == "torchvision.models.resnet"
    # 11,689,512 with 1000 classes; a class costs 512 weights and a bias.
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == 11_689_512 - 997 * 513


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Put a file where torchvision keeps ResNet18's published weights once it has them."""
    torch.manual_seed(3)
    state = build("torchvision:resnet18", num_classes=1000).state_dict()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return state


@pytest.mark.parametrize("weights", ["DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"])
@pytest.mark.parametrize("classes", [1000, 10])
def test_published_weights_start_a_network_of_any_classes(
    published: dict[str, torch.Tensor], classes: int, weights: str
) -> None:
    model = build("torchvision:resnet18", num_classes=classes, weights=weights)
    own = model.state_dict()
    differing = {name for name, tensor in published.items() if not torch.equal(own[name], tensor)}
    assert differing == (set() if classes == 1000 else {"fc.weight", "fc.bias"})
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


def test_weights_that_nobody_publishes_are_refused() -> None:
    with pytest.raises(SettingError, match=r"publishes \['IMAGENET1K_V1', 'DEFAULT'\], not 'V9'"):
        build("torchvision:resnet18", num_classes=10, weights="V9")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a module of a user's own, by name and content."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)

    return write


def test_an_import_path_is_the_users_factory(module: Callable[[str, str], None]) -> None:
    module("own_model_for_build", OWN_MODEL)
    model: Any = build("own_model_for_build:tiny", num_classes=4, width=5)
    assert (model.in_features, model.out_features) == (5, 4)


def test_a_module_beside_the_job_is_found(tmp_path: Path) -> None:
    (tmp_path / "own_model_of_the_job.py").write_text(OWN_MODEL)
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    # As with `python jobs/sweep.py`: jobs/ is on the path, the folder we stand in is not.
    (jobs / "sweep.py").write_text(
        "import sys; from strsweep.models import build\n"
        "assert not {'', sys.argv[1]} & set(sys.path)\n"
        "for _ in range(2): model = build('own_model_of_the_job:tiny', num_classes=4)\n"
        "print(model.out_features, sys.path.index(sys.argv[1]) == len(sys.path) - 1)\n"
    )
    done = ran([sys.executable, "jobs/sweep.py", str(tmp_path)], cwd=tmp_path, timeout=600)
    assert (done.stdout, done.stderr) == ("4 True\n", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [("def tiny(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("import nowhere", "nowhere")],
)
def test_a_module_that_fails_is_told(
    content: str, message: str, module: Callable[[str, str], None]
) -> None:
    name = f"broken_{message.lower()}"
    module(name, content)
    with pytest.raises(SettingError, match=message) as caught:
        build(f"{name}:tiny", num_classes=3)
    assert caught.value.setting == "model.name"


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [("googlenet", {}, 32), ("inception_v3", {"init_weights": False}, 80)],
)
def test_networks_with_auxiliary_heads_give_logits_in_training_too(
    name: str, options: dict[str, Any], size: int
) -> None:
    model = build(f"torchvision:{name}", num_classes=10, **options)
    images = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        for mode in (True, False):
            assert model.train(mode)(images).shape == (2, 10)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match="aux_logits") as caught:
        build(f"torchvision:{name}", num_classes=10, aux_logits=True)
    assert caught.value.setting == "model.options"
    model = build(f"torchvision:{name}", num_classes=10, aux_logits=False, init_weights=False)
    assert not any("aux" in key.lower() for key in model.state_dict())


def test_a_factory_of_something_else_is_told(module: Callable[[str, str], None]) -> None:
    module("no_network", "def factory(num_classes): return num_classes\n")
    with pytest.raises(SettingError, match=r"returned int, not a torch\.nn\.Module") as caught:
        build("no_network:factory", num_classes=3)
    assert caught.value.setting == "model.name"


@pytest.mark.parametrize(
    "name",
    [
        "resnet19",
        "torchvision:resnet19",
        "no_such_module:factory",
        "math:no_such_factory",
        ":factory",
        "..relative.module:factory",
        "math:pi",
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        build(name, num_classes=3)
    assert caught.value.setting == "model.name"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits_cnn", {"depth": 3}),
        ("digits_cnn", {"width": 0}),
        ("digits_cnn", {"norm": "layer"}),
        ("resnet18", {"stem": "mnist"}),
        ("resnet50", {"width": 2}),
        ("mobilenet_v1", {"width": 0}),
        ("mobilenet_v1", {"width": float("nan")}),
        ("torchvision:resnet18", {"depth": 3}),
        ("torchvision:resnet18", {"weights": "NO_SUCH_WEIGHTS"}),
    ],
)
def test_an_option_that_cannot_be_is_told(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        build(name, num_classes=3, **options)
    assert caught.value.setting == "model.options"


def test_a_callable_without_a_signature_is_a_setting_error() -> None:
    with pytest.raises(SettingError) as caught:
        check_options("builtins:dict", {})
    assert caught.value.setting.startswith("model.")
