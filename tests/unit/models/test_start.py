"""Trained networks in the layouts of the authors' code and of other scripts: all in its place."""

from __future__ import annotations

import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, resnet18

from strsweep.errors import CheckpointError
from strsweep.models import Start, load_start
from strsweep.sparsity.convert import bake, sparsify, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure

CLASSES = 5
State = dict[str, Tensor]


class TheirMobileNet(nn.Module):
    """Key names, shapes and the forward pass of their MobileNetV1, with two blocks."""

    def __init__(self) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> list[nn.Module]:
            layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
            layer.bias = None
            return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.model = nn.Sequential(
            nn.Sequential(*conv(3, 8, 3)),
            nn.Sequential(*conv(8, 8, 3, groups=8), *conv(8, 8, 1)),
            nn.Sequential(*conv(8, 8, 3, groups=8), *conv(8, 8, 1)),
            nn.AdaptiveAvgPool2d(1),
        )
        self.fc = nn.Conv2d(8, CLASSES, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.model(images)).flatten(1)


def loaded(path: Path, model: nn.Module) -> nn.Module:
    load_start(path, model)
    return model


def our_mobilenet() -> nn.Module:
    def block(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
        return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))

    separable = (nn.Sequential(block(8, 8, 3, groups=8), block(8, 8, 1)) for _ in range(2))
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES, bias=False)]
    return nn.Sequential(block(3, 8, 3), *separable, *tail)


def our_resnet() -> nn.Module:
    model = resnet18(weights=None)
    model.fc = nn.Linear(512, CLASSES, bias=False)
    return model


def their_state(model: nn.Module, dense: tuple[str, ...] = ()) -> State:
    """Imitate the file: random values under their keys; layers in ``dense`` get no threshold."""
    generator = torch.Generator().manual_seed(1)
    state: State = {}
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            if tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor = torch.randn(tensor.shape, generator=generator) / fan_in**0.5
            else:
                tensor = torch.rand(tensor.shape, generator=generator) + 0.5
        if key == "fc.weight":
            tensor = tensor.reshape(CLASSES, -1, 1, 1)
        state[f"module.{key}"] = tensor
        if tensor.dim() == 4 and key.removesuffix(".weight") not in dense:
            parameter = -3 - 2 * torch.rand(1, 1, generator=generator)
            state[f"module.{key.removesuffix('weight')}sparseThreshold"] = parameter
    return state


def formula(model: nn.Module, state: State) -> nn.Module:
    """Return a dense copy of ``model`` whose weights are the paper's equation 1, written out."""
    plain: State = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        threshold = state.get(key.removesuffix("weight") + "sparseThreshold")
        if threshold is not None and name.endswith("weight"):
            value = torch.sign(value) * F.relu(value.abs() - torch.sigmoid(threshold))
        if not name.endswith("sparseThreshold"):
            plain[name] = value
    copy = deepcopy(model)
    copy.load_state_dict({
        key: plain[key].reshape(tensor.shape) for key, tensor in copy.state_dict().items()
    })
    return copy.eval()


def assert_close(logits: Tensor, expected: Tensor) -> None:
    """A linear layer and a 1x1 convolution round apart; the logits must depend on the images."""
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def two_images() -> Tensor:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    return images * torch.tensor([1.0, 9.0]).reshape(2, 1, 1, 1)


def written(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def their_file(state: State) -> dict[str, Any]:
    """What their ``save_checkpoint`` is given: after warm-up the learning rate is NumPy's."""
    rates = {"lr": np.float64(0.128 * (1 + np.cos(np.pi * 3 / 95))), "momentum": 0.875}
    moments = {number: {"momentum_buffer": torch.ones(2)} for number in range(2)}
    return {
        "epoch": 100,
        "arch": "Net",
        "state_dict": state,
        "best_acc1": 7.5,
        "best_train_acc1": np.float32(7.5),
        "optimizer": {"state": moments, "param_groups": [rates | {"params": [0, 1]}]},
        "curr_acc1": np.int64(7),
    }


def by_old_numpy(path: Path) -> Path:
    """Rename NumPy's module to what it was called before version 2, as their files have it."""
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    if not zipfile.is_zipfile(path):
        path.write_bytes(path.read_bytes().replace(new, old))
        return path
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content.replace(new, old))
    return path


NETWORKS = {
    "resnet18": (our_resnet, our_resnet, "layer1.0.conv1"),
    "mobilenet_v1": (TheirMobileNet, our_mobilenet, "model.1.0"),
}
Maker = Callable[[], nn.Module]


@pytest.mark.parametrize(("theirs", "ours", "dense"), NETWORKS.values(), ids=NETWORKS)
def test_import_evaluates_bakes_and_writes_back_the_same(
    theirs: Maker, ours: Maker, dense: str, tmp_path: Path
) -> None:
    state = their_state(theirs(), dense=(dense,))
    images = two_images()
    expected = formula(theirs(), state)(images)

    model = loaded(written(tmp_path / "theirs.pth", their_file(state)), ours())
    assert len(threshold_parameters(model)) == len(weight_tensors(model)) - 1
    logits = model.eval()(images)
    assert_close(logits, expected)
    sparsity = measure(model).sparsity
    assert 0.02 < sparsity < 0.9

    kept = model.state_dict()
    for weight in weight_tensors(model):
        key = next(k for k in state if torch.equal(state[k].flatten(), weight.original.flatten()))
        assert state[key].dtype == weight.original.dtype
    assert len(kept) == len(state)

    assert torch.equal(bake(model)(images), logits)
    assert measure(model).sparsity == sparsity


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {key.removeprefix("module."): value for key, value in state.items()},
        their_file,
        lambda state: state | {"module.model.0.0.mask": torch.ones(8, 3, 3, 3)},
    ],
    ids=["bare", "ordered", "one_gpu", "optimizer", "extra_tensor"],
)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("by_numpy", [lambda path: path, by_old_numpy], ids=["new", "old"])
def test_every_shape_of_the_file_is_read(
    wrap: Callable[[State], Any], zipped: bool, by_numpy: Callable[[Path], Path], tmp_path: Path
) -> None:
    state = their_state(TheirMobileNet())
    path = written(tmp_path / "x.pth", wrap(state), _use_new_zipfile_serialization=zipped)
    model = our_mobilenet()
    start = load_start(by_numpy(path), model)
    assert start.unused == ("model.0.0.mask",) * ("module.model.0.0.mask" in wrap(state))
    model.eval()
    images = two_images()
    assert_close(model(images), formula(TheirMobileNet(), state)(images))


def test_a_file_without_thresholds_is_dense_and_told_to_hold_no_mask(tmp_path: Path) -> None:
    layers = tuple(weight.name for weight in weight_tensors(TheirMobileNet()))
    for dense, is_dense in ((layers, True), ((), False)):
        state, model = their_state(TheirMobileNet(), dense=dense), our_mobilenet()
        start = load_start(written(tmp_path / "x.pth", their_file(state)), model)
        assert ("those of DNW or GMP have no mask" in str(start)) == is_dense
        assert (measure(model).zeros == 0) == (threshold_parameters(model) == []) == is_dense


def test_names_win_over_the_order_of_the_file(tmp_path: Path) -> None:
    state = their_state(our_resnet())
    shuffled = dict(reversed(state.items()))
    model = loaded(written(tmp_path / "x.pth", shuffled), our_resnet()).eval()
    images = two_images()
    assert_close(model(images), formula(our_resnet(), state)(images))


def test_an_imported_network_goes_on_training(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pth", their_state(TheirMobileNet()))
    model = loaded(path, our_mobilenet()).train()
    before = [s.item() for s in threshold_parameters(model)]
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    after = [s.item() for s in threshold_parameters(model)]
    assert all(one != other for one, other in zip(before, after, strict=True))


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


def swapped_layers(state: State) -> State:
    """Misplace fc: its name is known to both sides, its place is not."""
    fc = {key: state[key] for key in ("module.fc.weight", "module.fc.sparseThreshold")}
    return {**fc, **without(state, *fc)}


MISMATCHES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing_layer": (
        lambda s: without(s, "module.fc.weight", "module.fc.sparseThreshold"),
        ["has 10 layers, the model 11. In order, 5.weight [5, 8] is missing"],
    ),
    "unknown_layer": (
        lambda s: {**s, "module.extra.weight": torch.ones(2, 2)},
        ["has 12 layers, the model 11. In order, extra.weight [2, 2] is left over"],
    ),
    "wrong_shape": (
        lambda s: {**s, "module.model.0.0.weight": torch.ones(8, 4, 3, 3)},
        ["model.0.0.weight [8, 4, 3, 3] has the shape [8, 3, 3, 3] in the model"],
    ),
    "unknown_key": (
        lambda s: {**s, "module.fc.bias": torch.ones(5)},
        ["fc.bias [5] has no counterpart"],
    ),
    "missing_key": (
        lambda s: without(s, "module.model.2.4.running_var"),
        ["model.2.4.running_var [8] is missing"],
    ),
    "threshold_per_filter": (
        lambda s: {**s, "module.fc.sparseThreshold": torch.ones(5, 1)},
        ["fc.sparseThreshold [5, 1] is not one threshold per layer"],
    ),
    "threshold_on_batch_norm": (
        lambda s: {**s, "module.model.0.1.sparseThreshold": torch.ones(1, 1)},
        ["model.0.1.sparseThreshold [1, 1] has no counterpart"],
    ),
    "layers_shifted": (
        lambda s: dict(sorted(s.items(), key=lambda item: ".model.1." not in item[0])),
        ["model.1.0.weight [8, 1, 3, 3] has the shape [8, 3, 3, 3] in the model"],
    ),
}


@pytest.mark.parametrize(("change", "texts"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_mismatch_names_keys_and_shapes_and_changes_nothing(
    change: Callable[[State], State], texts: list[str], tmp_path: Path
) -> None:
    path = written(tmp_path / "x.pth", change(their_state(TheirMobileNet())))
    model = our_mobilenet()
    before = deepcopy(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_start(path, model)
    for text in (str(path), *texts):
        assert text in str(caught.value)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_another_network_is_told_in_one_bounded_message(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pth", their_state(our_resnet()))
    with pytest.raises(CheckpointError, match="belongs to another network") as caught:
        load_start(path, our_mobilenet())
    told = str(caught.value)
    assert "In order, conv1.weight [64, 3, 7, 7] would be 0.conv.weight [8, 3, 3, 3]" in told
    assert "more" in told
    assert "skip_head" not in told
    assert len(told) < 2500


def test_a_known_name_must_meet_itself(tmp_path: Path) -> None:
    state = swapped_layers(their_state(our_resnet()))
    renamed = {key.replace("layer4.1.bn2", "other"): value for key, value in state.items()}
    path = written(tmp_path / "x.pth", renamed)
    with pytest.raises(CheckpointError, match=r"Only in the model: layer4\.1\.bn2"):
        load_start(path, our_resnet())


def test_layers_in_other_places_are_told_though_every_shape_fits(tmp_path: Path) -> None:
    state = their_state(our_resnet())
    swap = {"conv1": "conv2", "conv2": "conv1"}
    renamed: State = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[1:3] == ["layer1", "0"]:
            parts[3] = swap.get(parts[3], parts[3])
        renamed[".".join(parts).replace("module.fc.", "module.head.")] = value
    path = written(tmp_path / "x.pth", renamed)
    with pytest.raises(CheckpointError, match="known names are in other places"):
        load_start(path, our_resnet())


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("payload-was-run",)


def test_a_file_that_needs_unpickling_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": their_state(TheirMobileNet()), "args": Payload()}
    with pytest.raises(CheckpointError, match="would run code"):
        load_start(written(tmp_path / "x.pth", content), our_mobilenet())
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        *[
            (damaged, "damaged or no checkpoint")
            for damaged in (b"", b"no checkpoint", b"\x80\x02h\x05.", b"PK\x03\x04")
        ],
        *[
            (other, "holds no state_dict")
            for other in ([1], {}, {"state_dict": {}}, {"epoch": 3}, 7)
        ],
        ({"state_dict": {1: torch.ones(1)}}, "holds no state_dict"),
        (None, "No such file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    if content is not None:
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=told):
        load_start(path, our_mobilenet())


def test_a_model_with_thresholds_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pth", their_state(TheirMobileNet()))
    with pytest.raises(ValueError, match="already"):
        load_start(path, sparsify(our_mobilenet(), threshold_init=-5))


@pytest.mark.parametrize("with_bias", [True, False])
def test_other_networks_keep_their_names_and_biases(with_bias: bool, tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, bias=with_bias), nn.Flatten(), nn.Linear(16, 2))

    dense = make()
    model = sparsify(deepcopy(dense), threshold_init=-2.5, skip=["2"])
    state = dense.state_dict() | {"0.sparseThreshold": torch.full((1, 1), -2.5)}
    written(tmp_path / "x.pth", {f"module.{key}": value for key, value in state.items()})
    again = loaded(tmp_path / "x.pth", make())
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(again(images), model(images))
    assert measure(again).layers[0].threshold is not None


def test_a_model_that_is_one_layer_is_read(tmp_path: Path) -> None:
    dense = nn.Linear(4, 3)
    model = sparsify(deepcopy(dense), threshold_init=-2)
    state = dense.state_dict()
    state["weight"] = state["weight"][..., None, None]
    written(tmp_path / "x.pth", state | {"sparseThreshold": torch.full((1, 1), -2.0)})
    again = loaded(tmp_path / "x.pth", nn.Linear(4, 3))
    assert torch.equal(again(torch.ones(1, 4)), model(torch.ones(1, 4)))


def network(num_classes: int = 2) -> ResNet:
    torch.manual_seed(num_classes)
    return resnet18(num_classes=num_classes)


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "state dict": lambda state: state,
    "torchvision's and timm's scripts": lambda state: {"model": state, "epoch": 3},
    "tutorials": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "lightning": lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    "data parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "compiled, distributed": lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
    "before torch 0.4.1": lambda state: {k: v for k, v in state.items() if "batches" not in k},
    "a numpy number beside it": lambda state: {"state_dict": state, "best": np.float64(0.7)},
    "a learning rate of numpy": lambda state: {
        "state_dict": state,
        "optimizer": {"param_groups": [{"lr": np.float64(0.1)}]},
    },
    "random states of numpy": lambda state: {
        "state_dict": state,
        "rng": np.random.get_state(),
        "best": [np.complex64(1j), np.longdouble(1), np.str_("a"), np.datetime64("2026-01-01")],
    },
    "half precision": lambda state: {
        k: v.half() if v.is_floating_point() else v for k, v in state.items()
    },
    "more than the model has": lambda state: state | {"teacher.weight": torch.ones(3)},
    "an average beside it": lambda state: (
        {f"average.{k}": torch.zeros_like(v) for k, v in state.items()} | state
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_in_its_place(layout: str, tmp_path: Path) -> None:
    trained, model = network(), network()
    with torch.no_grad():
        for tensor in trained.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape)) if tensor.is_floating_point() else None
    content = LAYOUTS[layout](trained.state_dict())
    torch.save(content, tmp_path / "trained.pth")
    start = load_start(tmp_path / "trained.pth", model)
    wanted = trained.state_dict()
    for name, tensor in model.state_dict().items():
        expected = wanted[name].half().float() if "half" in layout else wanted[name]
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, expected), name
    assert bool(start.anew) == (layout == "before torch 0.4.1")
    beside = tuple(f"average.{name}" for name in wanted)
    assert start.unused == {"more": ("teacher.weight",), "an a": beside}.get(layout[:4], ())
    assert start.renamed == ()


def test_safetensors_with_a_prefix_are_matched_by_name_not_by_the_alphabet(tmp_path: Path) -> None:
    trained = nn.Sequential(*[nn.Linear(32, 32) for _ in range(12)])  # "10" sorts before "2"
    model = deepcopy(trained)
    for layer in model:
        assert isinstance(layer, nn.Linear)
        nn.init.zeros_(layer.weight)
    save_file(
        {f"model.{k}": v for k, v in trained.state_dict().items()}, tmp_path / "x.safetensors"
    )
    load_start(tmp_path / "x.safetensors", model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_two_networks_in_a_file_are_refused(suffix: str, tmp_path: Path) -> None:
    """Which of them was loaded was decided by the hashes of the prefixes, anew in every process."""
    state, path = network().state_dict(), tmp_path / f"x{suffix}"
    both = {f"{part}.{k}": v.clone() for part in ("student", "teacher") for k, v in state.items()}
    save_file(both, path) if suffix == ".safetensors" else torch.save(both, path)
    with pytest.raises(CheckpointError, match=r"2 times, as student\., teacher\.: save the one"):
        load_start(path, network())


def chain(names: Sequence[str]) -> nn.Module:
    """Return layers of one shape with these names."""
    return nn.Sequential(OrderedDict((name, nn.Linear(8, 8)) for name in names))


NUMBERED = [f"block{number}" for number in range(12)]


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (sorted(NUMBERED), [f"layer{number}" for number in range(12)], "by name, so their order"),
        (sorted(NUMBERED), [f"layer{number}" for number in range(1, 13)], "by name, so their"),
        (["q", "k", "v"], ["key", "query", "value"], "q would be key, and k query. Rename them."),
        (["out", "inner"], ["inside", "output"], "out would be inside, and inner output"),
        (["layer2", "layer1"], ["block1", "block2"], "layer2 would be block1, and layer1 block2"),
    ],
)
def test_layers_of_one_shape_in_another_order_are_refused(
    theirs: list[str], ours: list[str], told: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.pth", chain(theirs).state_dict())
    with pytest.raises(CheckpointError, match=re.escape(told)):
        load_start(path, chain(ours))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (NUMBERED, [f"layer{number}" for number in range(12)]),
        (NUMBERED, [f"layer{number}" for number in range(1, 13)]),
        (["q", "k", "v"], ["query", "key", "value"]),
        (["a", "b", "c"], ["stem", "body", "head"]),
    ],
)
def test_layers_that_meet_by_order_are_named(
    theirs: list[str], ours: list[str], tmp_path: Path
) -> None:
    trained, model = chain(theirs), chain(ours)
    start = load_start(written(tmp_path / "x.pth", trained.state_dict()), model)
    assert start.renamed == tuple(f"{a} as {b}" for a, b in zip(theirs, ours, strict=True))
    assert f"by their order, as names differ: {theirs[0]} as {ours[0]}, " in str(start)
    values = zip(trained.state_dict().values(), model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in values)


def test_a_prefix_of_the_model_is_taken_away_too(tmp_path: Path) -> None:
    model: Any = nn.Sequential(OrderedDict(net=network()))
    load_start(written(tmp_path / "x.pth", network().state_dict()), model)
    assert torch.equal(model.net.conv1.weight, network().conv1.weight)


def test_another_head_is_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "x.pth", network(1000).state_dict())
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    told = r"fc\.weight \[1000, 512\] has the shape \[2, 512\].*try model\.skip_head=true"
    with pytest.raises(CheckpointError, match=told):
        load_start(path, model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    head = model.fc.weight.detach().clone()
    start = load_start(path, model, skip_head=True)
    assert start.anew == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.conv1.weight, network(1000).conv1.weight)


def test_a_file_without_a_head_is_refused_with_the_remedy(tmp_path: Path) -> None:
    body = {name: value for name, value in network().state_dict().items() if "fc" not in name}
    save_file(body, tmp_path / "x.safetensors")
    for path in (written(tmp_path / "x.pth", body), tmp_path / "x.safetensors"):
        with pytest.raises(CheckpointError, match=r"model\.skip_head=true"):
            load_start(path, network())
        assert load_start(path, network(), skip_head=True).anew == ("fc.weight", "fc.bias")


def test_what_was_loaded_is_said_in_one_line() -> None:
    start = Start(
        loaded=120, anew=("fc.weight", "fc.bias"), unused=tuple(f"t{i}" for i in range(9))
    )
    assert str(start) == (
        "120 tensors loaded; initialized anew: fc.weight, fc.bias; "
        "of the file not used: t0, t1, t2, t3, t4, t5, and 3 more"
    )
