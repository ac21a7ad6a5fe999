"""Values that tests of several folders take: a problem, what a journal holds, a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.errors import InvalidExperimentError, SettingError
from strsweep.journal import EpochFinished, ModelLanded, RunFinished, RunProposed, SweepStarted
from strsweep.packages.receipt import LandedFrom, Receipt
from strsweep.settings import Metric, RunSettings, Target
from strsweep.storage import Store

if TYPE_CHECKING:
    from strsweep.cluster.searcher import TargetSearcher

DIGITS = Path(__file__).parents[1] / "jobs/configs/digits.yaml"
ACCURACY = Metric(name="accuracy")
RMSE = Metric(name="rmse", higher_is_better=False, is_share=False)
PROBLEM = Problem(
    steps_per_epoch=11,
    weights=69_904,
    dense_macs=452_224,
    weight_scale=0.0245,
    metric=ACCURACY,
)
"""Of digits."""
NINETY, NINETY_FIVE, LEAN = Target(sparsity=0.9), Target(sparsity=0.95), Target(macs=0.05)
LATE = RunSettings(threshold_init=-10, weight_decay=5e-4, threshold_decay=0.02, onset=10)
"""Of a run whose thresholds act after a third of its epochs."""
METRICS = (
    "epoch",
    "sparsity",
    "accuracy",
    "train_loss",
    "val_loss",
    "learning_rate",
    "macs",
    "weight_decay",
    "threshold_decay",
)
"""Of every epoch, as MLflow shows them."""
CHARTS = {
    "front-sparsity",
    "front-macs",
    "layer-sparsity",
    "layer-macs",
    "sparsity-epochs",
    "score-epochs",
    "thresholds",
}
"""What a report of a sweep draws, by element id."""
METHOD = "str, own threshold decay, led to the target"


def load(*overrides: str) -> Experiment:
    """Return the experiment of digits with ``overrides``."""
    return load_experiment(DIGITS, overrides)


def refusal(*overrides: str) -> str:
    """Return why the experiment of digits is refused with ``overrides``."""
    with pytest.raises((SettingError, InvalidExperimentError)) as caught:
        load(*overrides)
    return str(caught.value)


def started(**event: Any) -> SweepStarted:
    """Return the start of a sweep of digits."""
    known = {"experiment": {}, "version": "0.2.7", "problem": PROBLEM}
    return SweepStarted.model_validate({**known, **event})


def proposed(
    run_id: str = "run-001",
    target: Target | None = NINETY_FIVE,
    *,
    settings: RunSettings = LATE,
    reason: str = "a test",
    **more: Any,
) -> RunProposed:
    """Return the proposal of a run."""
    return RunProposed(run_id=run_id, settings=settings, target=target, reason=reason, **more)


def epoch(number: int, run_id: str = "run-001", **metrics: float) -> EpochFinished:
    """Return an epoch with no more metrics than are given."""
    return EpochFinished(run_id=run_id, metrics={"epoch": number, **metrics})


def finished(run_id: str = "run-001", **event: Any) -> RunFinished:
    """Return the end of a run without layers."""
    known = {"metrics": {}, "layers": (), "checkpoint": "x", **event}
    return RunFinished.model_validate({"run_id": run_id, **known})


def landed(target: Target = NINETY_FIVE, run_id: str = "run-001") -> ModelLanded:
    """Return the landing of a run, without layers."""
    metrics = {"sparsity": 0.95, "macs": 25_000.0, "accuracy": 0.98, "val_loss": 0.2}
    return ModelLanded(
        target=target, run_id=run_id, checkpoint="x", metrics=metrics, layers=(), shift=-0.03
    )


def receipt(target: Target | None = NINETY_FIVE, **changes: Any) -> Receipt:
    """Return the receipt of a landed model with 10,000 weights."""
    known: dict[str, Any] = {
        "target": target,
        "sparsity": 0.95,
        "zeros": 9_500,
        "weights": 10_000,
        "macs": 25_000,
        "dense_macs": 500_000,
        "metric": ACCURACY,
        "model_options": {},
        "score": 0.9812,
        "landed": LandedFrom(
            shift=-0.02, sparsity_before=0.9531, macs_before=26_000, score_before=0.983
        ),
        "mode": "str",
        "method": METHOD,
        "settings": LATE,
        "sweep_id": "digits-1",
        "run_id": "run-001",
        "weights_sha256": "ab" * 32,
    }
    return Receipt(**{**known, **changes})


def searched(searcher: TargetSearcher) -> Iterator[tuple[str, RunSettings]]:
    """Yield id and settings of run after run; a run is over when the next one is taken."""
    number = 0
    while isinstance(config := searcher.suggest(f"t{number}"), dict):
        yield config["run_id"], RunSettings.model_validate(config["settings"])
        searcher.on_trial_complete(f"t{number}")
        number += 1


def folders(storage: Store, folder: str) -> list[str]:
    """Return the names of the folders directly in ``folder``, sorted."""
    depth = folder.count("/") + 1
    return sorted({name.split("/")[depth] for name in storage.sizes(folder)})
