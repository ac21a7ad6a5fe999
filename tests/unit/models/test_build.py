"""A model's name becomes a network, or an error that names the setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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


def test_an_import_path_is_the_users_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_model_for_build.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
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
    done = subprocess.run(
        [sys.executable, "jobs/sweep.py", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("4 True\n", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [("def tiny(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("import nowhere", "nowhere")],
)
def test_a_module_that_fails_is_told(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{message.lower()}"
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match=message) as caught:
        build(f"{name}:tiny", num_classes=3)
    assert caught.value.setting == "model.name"


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("resnet18", {}, 32),
        ("resnext50_32x4d", {}, 32),
        ("densenet121", {}, 32),
        ("mobilenet_v2", {}, 32),
        ("mobilenet_v3_small", {}, 32),
        ("efficientnet_b0", {}, 32),
        ("convnext_tiny", {}, 32),
        ("vit_b_16", {"image_size": 32}, 32),
        ("swin_t", {}, 32),
        ("regnet_x_400mf", {}, 32),
        ("shufflenet_v2_x0_5", {}, 32),
        ("squeezenet1_1", {}, 32),
        ("vgg11", {}, 32),
        ("googlenet", {}, 32),
        ("inception_v3", {"init_weights": False}, 80),
    ],
)
def test_torchvisions_classifiers_give_logits_in_training_too(
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


def test_a_factory_of_something_else_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_network.py").write_text("def factory(num_classes): return num_classes\n")
    monkeypatch.syspath_prepend(tmp_path)
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
