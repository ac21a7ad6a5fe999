"""What would fail at the end of a sweep is refused, or told, before anything is trained."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from samples import load

from strsweep.errors import SettingError
from strsweep.export import FORMATS
from strsweep.preflight import check_run, check_sweep
from strsweep.training import rehearsal

TWO = ("workers.count=2",)
NORMS = "model={{name: 'brought_networks:WithNorm', options: {{kind: {}}}}}"


def check(network: str, *overrides: str) -> None:
    check_sweep(load(f"model.name=brought_networks:{network}", *overrides))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "overrides"),
    [
        ("Tied", TWO),
        ("Repeated", TWO),
        ("OwnAutocast", ()),
        ("Normed", ("sparsity.skip=[wide]", "search.targets=[0.4]")),
        ("Unused", ("sparsity.skip=[projection]", "search.targets=[0.05]")),
        ("WithNorm", TWO),
        ("Classifier", (NORMS.format("'own statistics'"),)),
        ("Classifier", (*TWO, NORMS.format("'own statistics'"), "training.sync_batchnorm=false")),
        ("Classifier", (*TWO, NORMS.format("flat"))),
        ("Classifier", (*TWO, NORMS.format("own"), "training.sync_batchnorm=false")),
        ("Classifier", (NORMS.format("untracked"),)),
    ],
)
def test_what_can_be_delivered_passes_and_is_a_program(
    network: str, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    check(network, *overrides)
    said = capsys.readouterr().out
    assert "for 60 s at most" in said
    assert "cannot be exported" not in said


@pytest.mark.parametrize(
    ("network", "overrides", "message"),
    [
        ("ExtraState", (), r"^model\.name: .*no tensor, _extra_state: .*make it a buffer"),
        ("Projected", (), r"^model\.name: .*is not what it was, .*parameters and buffers"),
        ("Noisy", (), r"^model\.name: .*is not what it was, .*parameters and buffers"),
        ("Standardizes", (), r"^sparsity\.skip: .*_Standardized: it mult.*skip=\['stem'\]"),
        ("Unused", (), r"^sparsity\.skip: .*does not multiply with its.*skip=\['projection'\]"),
        (
            "Unused",
            ("sparsity.skip=[projection]", "search.targets=[0.05, 0.2]"),
            r"^search\.targets: got '20 %'\. The layers that are pruned hold 6\.91 % of them",
        ),
        (
            "Normed",
            ("sparsity.skip=[wide]", "search.targets=[{macs: 0.001}]"),
            r"^search\.targets: got '0\.1 % MACs'.*leave fewer dense, or ask for less",
        ),
        ("LateState", (), r"^model\.name: .*'dict' object has no attribute"),
        ("PlainAverage", (), r"^model\.name: .*is not what it was, .*parameters and buffers"),
        ("Expanded", (), r"^model\.name: .*no run could resume: .*expand\(\) needs a clone"),
        (
            "Classifier",
            (NORMS.format("sample"),),
            r"^model\.name: .*does not compute a single input: ValueError: Expected more than 1",
        ),
        ("LeavesOut", TWO, r"^workers\.count: got 2\. extra: a batch gives it no gradient"),
        ("Unused", TWO, r"^workers\.count: got 2\. projection: a batch gives it no gradient"),
        (
            "Unused",
            ("sparsity.skip=[projection]", "search.targets=[0.05]", *TWO),
            r"^workers\.count: got 2\. projection: a batch gives it no gradient",
        ),
        (
            "Classifier",
            (*TWO, NORMS.format("untracked")),
            r"^workers\.count: got 2\. norm: without running statistics",
        ),
        (
            "Classifier",
            (*TWO, NORMS.format("own")),
            r"^training\.sync_batchnorm: got True\. OwnNorm has a forward of its own.*write false",
        ),
        (
            "Classifier",
            (*TWO, NORMS.format("'own statistics'")),
            r"^training\.sync_batchnorm: got True\. norm\.mean, norm\.variance: F\.batch_norm on",
        ),
    ],
)
def test_what_cannot_be_delivered_is_refused(
    network: str, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        check(network, *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["DataDependent", "Loops"])
def test_what_is_no_program_is_told(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(network)
    said = capsys.readouterr()
    assert f"brought_networks:{network} cannot be exported as a program" in said.out
    assert "registered as weights" in said.out
    assert "def forward" not in said.out + said.err, "no graph of torch's"


def test_an_export_without_end_is_left_to_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any) -> None:
        time.sleep(30)

    monkeypatch.setattr(rehearsal, "_LIMIT_S", 0.2)
    monkeypatch.setattr(type(FORMATS["program"]), "export", never)
    check("Classifier")
    assert "takes longer than 0.2 s to export: that is left to the end" in capsys.readouterr().out


def test_dense_runs_claim_no_zeros() -> None:
    with pytest.raises(SettingError, match="use strsweep train"):
        check("Standardizes", "sparsity.mode=dense")
    check_run(load("model.name=brought_networks:Standardizes", "sparsity.mode=dense"))


def test_preflight_draws_nothing_from_the_random_state() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    check("Classifier")
    assert torch.equal(torch.randn(3), expected)
