"""A sweep on separate hosts: started by ``ray up``, submitted from another host."""

from __future__ import annotations

import pytest
from cluster_sweep import EPOCHS, Stored

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_every_run_spans_two_hosts_and_its_model_is_on_s3(undisturbed: Stored) -> None:
    (receipt,) = undisturbed.receipts
    assert receipt["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert undisturbed.epochs == [[list(range(1, EPOCHS + 1)), EPOCHS]]
