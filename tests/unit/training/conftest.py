"""Runs on digits, and networks of the tests by import path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``model.name`` be ``tiny_models:tiny``."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
