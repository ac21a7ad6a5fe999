"""A sweep whose search is real and whose runs follow a curve: the journal that it leaves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from strsweep.config import Experiment, Problem, RunSettings, Target, load_experiment
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    LayerRow,
    ModelLanded,
    ModelPublished,
    RunFailed,
    RunFinished,
    RunProposed,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.registry.receipt import LandedFrom, Receipt
from strsweep.storage import storage_of
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.outcome import outcomes
from strsweep.sweep.record_view import finished_runs, goal_of
from strsweep.sweep.searcher import TargetSearcher

DIGITS = Path(__file__).parents[4] / "jobs/configs/digits.yaml"
DIGITS_LAYERS = [
    ("block1.conv", 144, 64, 1.5),
    ("block2.conv", 4608, 16, 0.5),
    ("block3.conv", 9216, 16, 0.3),
    ("block4.conv", 18432, 4, -0.1),
    ("block5.conv", 36864, 4, -0.3),
    ("fc", 640, 1, 1.8),
]
"""Name, weights, positions, and how much less sparse than the whole, in logit."""
Layers = Sequence[tuple[str, int, int, float]]


class SimulatedSweep:
    """One sweep in ``folder``, as the searcher and the workers of a job would leave it."""

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        config: Path = DIGITS,
        layers: Layers = DIGITS_LAYERS,
        steepness: float = 2.4,
    ) -> None:
        asked = ("search.targets=[0.8, 0.9, 0.95, 0.98, {macs: 0.05}]", "search.max_runs=24")
        self.experiment: Experiment = load_experiment(
            config, [f"storage.path={folder}", *asked, *overrides]
        )
        self.layers, self.steepness = layers, steepness
        self.journal = Journal(storage_of(self.experiment))
        self.receipts: list[Receipt] = []
        self.problem = Problem(
            steps_per_epoch=11,
            weights=sum(weights for _, weights, _, _ in layers),
            dense_macs=sum(weights * positions for _, weights, positions, _ in layers),
            weight_scale=0.0245,
        )

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def search(self, fails: Callable[[int], str] = lambda _: "") -> SimulatedSweep:
        """Run the search to its end; run ``n`` fails for the reason ``fails(n)``, if any."""
        dumped = self.experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=dumped, version="0", problem=self.problem))
        searcher = TargetSearcher(self.experiment, self.journal, lambda: 1)
        number = 0
        while isinstance(config := searcher.suggest(f"t{number}"), dict):
            run_id: str = config["run_id"]
            if reason := fails(number + 1):
                self.epochs(run_id, config["weight_decay"], until=3)
                self.journal.append(RunFailed(run_id=run_id, reason=reason))
            else:
                self._train(searcher, run_id, config["weight_decay"])
            searcher.on_trial_complete(f"t{number}")
            number += 1
        return self

    def deliver(self) -> SimulatedSweep:
        """Land and publish what was hit; the version is the number of the model."""
        record = self.record
        states = outcomes(goal_of(record, self.experiment), finished_runs(record, self.experiment))
        for version, state in enumerate((s for s in states if s.run), start=1):
            assert state.run is not None
            self._land(state.target, state.run.run_id, str(version))
        return self

    def rows(self, sparsity: float) -> tuple[LayerRow, ...]:
        """Return the layers of a network that is about this sparse."""
        return tuple(
            LayerRow(
                name=name,
                parameter=f"{name}.weight",
                weights=weights,
                zeros=(zeros := round(weights * expit(logit(sparsity) - less))),
                sparsity=zeros / weights,
                dense_macs=weights * positions,
                macs=(weights - zeros) * positions,
                threshold=0.02 * (1 + sparsity) ** 2 / math.sqrt(positions),
            )
            for name, weights, positions, less in self.layers
        )

    def epochs(self, run_id: str, weight_decay: float, *, first: int = 1, until: int) -> None:
        """Write epochs of a run that has this weight decay."""
        for event in self._epochs(run_id, weight_decay, first, until):
            self.journal.append(event)

    def whole_run(self, run_id: str, weight_decay: float) -> list[Event]:
        """Return a run from its proposal to its end, without writing anything."""
        epochs = self.experiment.training.epochs
        settings = RunSettings(threshold_init=-10, weight_decay=weight_decay)
        proposed = RunProposed(run_id=run_id, settings=settings, target=None, reason="a test")
        finished = self._finished(run_id, weight_decay)
        return [proposed, *self._epochs(run_id, weight_decay, 1, epochs), finished]

    def _epochs(
        self, run_id: str, weight_decay: float, first: int, until: int
    ) -> list[EpochFinished]:
        final = self._final(weight_decay)
        share = [epoch / self.experiment.training.epochs for epoch in range(first, until + 1)]
        levels = [logit(final) - 4 * (1 - done) ** 2 for done in share]
        return [
            EpochFinished(
                run_id=run_id,
                metrics=self._metrics(expit(level), epoch),
                thresholds=tuple(row.threshold for row in self.rows(expit(level))),
            )
            for epoch, level in enumerate(levels, start=first)
        ]

    def _finished(self, run_id: str, weight_decay: float) -> RunFinished:
        final = self._final(weight_decay)
        return RunFinished(
            run_id=run_id,
            metrics=self._metrics(final, self.experiment.training.epochs),
            layers=self.rows(final),
            checkpoint=f"runs/{run_id}/last",
        )

    def _train(self, searcher: TargetSearcher, run_id: str, weight_decay: float) -> None:
        training = self.experiment.training
        done = len(self.record.runs[run_id].epochs)
        while done < training.epochs:
            until = min(done + training.checkpoint_every, training.epochs)
            self.epochs(run_id, weight_decay, first=done + 1, until=until)
            done = until
            if searcher.stops(run_id, done):
                return
        self.journal.append(self._finished(run_id, weight_decay))

    def _final(self, weight_decay: float) -> float:
        lowest, _ = self.experiment.search.weight_decay  # type: ignore[misc]
        return expit(self.steepness * math.log(weight_decay / lowest) - 0.4)

    def _metrics(self, sparsity: float, epoch: int) -> dict[str, float]:
        level = logit(sparsity)
        zeros_of = [round(weights * expit(level - less)) for _, weights, _, less in self.layers]
        zeros = sum(zeros_of)
        macs = sum(
            (weights - own) * positions
            for (_, weights, positions, _), own in zip(self.layers, zeros_of, strict=True)
        )
        accuracy = 0.995 - 0.02 * max(0.0, sparsity - 0.7) / 0.3 - 0.4 / (epoch + 1) ** 2
        return {
            "epoch": epoch,
            "train_loss": 0.6,
            "val_loss": 0.2,
            "accuracy": accuracy,
            "sparsity": zeros / self.problem.weights,
            "macs": macs,
            "learning_rate": 0.1,
            "seconds": 0.5,
        }

    def _land(self, target: Target, run_id: str, version: str) -> None:
        finished = self.record.runs[run_id].finished
        assert finished is not None
        rows = self._landed_rows(target)
        weights, zeros, macs = (
            sum(getattr(row, key) for row in rows) for key in ("weights", "zeros", "macs")
        )
        metrics = {
            "sparsity": zeros / weights,
            "macs": float(macs),
            "accuracy": finished.metrics["accuracy"] - 0.001,
            "val_loss": 0.2,
        }
        landed = ModelLanded(
            target=target,
            run_id=run_id,
            checkpoint="landed/x",
            metrics=metrics,
            layers=rows,
            shift=-0.01,
        )
        self.journal.append(landed)
        self.journal.append(
            ModelPublished(
                target=target, run_id=run_id, folder="models/x", model_uri="m", version=version
            )
        )
        self.receipts.append(self._receipt(landed, finished, zeros, macs))

    def _landed_rows(self, target: Target) -> tuple[LayerRow, ...]:
        low, high = 1e-3, 1 - 1e-5
        wanted = target.pruned(self.problem.dense_macs)
        for _ in range(60):
            rows = self.rows((low + high) / 2)
            pruned = {
                "sparsity": sum(row.zeros for row in rows) / self.problem.weights,
                "macs": 1 - sum(row.macs for row in rows) / self.problem.dense_macs,
            }
            if pruned[target.quantity] < wanted:
                low = (low + high) / 2
            else:
                high = (low + high) / 2
        return self.rows(high)

    def _receipt(
        self, landed: ModelLanded, finished: RunFinished, zeros: int, macs: int
    ) -> Receipt:
        return Receipt(
            target=landed.target,
            sparsity=zeros / self.problem.weights,
            zeros=zeros,
            weights=self.problem.weights,
            macs=macs,
            dense_macs=self.problem.dense_macs,
            accuracy=landed.metrics["accuracy"],
            landed=LandedFrom(
                shift=landed.shift,
                sparsity_before=finished.metrics["sparsity"],
                macs_before=int(finished.metrics["macs"]),
                accuracy_before=finished.metrics["accuracy"],
            ),
            mode="str",
            settings=self.record.runs[landed.run_id].proposed.settings,
            sweep_id=self.experiment.sweep_id,
            run_id=landed.run_id,
            weights_sha256=hashlib.sha256(landed.target.label.encode()).hexdigest(),
        )
