"""A model's name becomes a network, or an error that names the setting."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
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
