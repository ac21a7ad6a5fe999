"""A sweep whose search is real and whose runs follow the law: the journal that it leaves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from strsweep.auto import resolve
from strsweep.cluster.searcher import TargetSearcher
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    LayerRow,
    ModelLanded,
    ModelPublished,
    PrefixTrained,
    RunFailed,
    RunFinished,
    RunProposed,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.registry.receipt import LandedFrom, Receipt
from strsweep.search.outcome import dense_score, outcomes_of
from strsweep.search.runs import read_state
from strsweep.search.space import LawSpace
from strsweep.settings import Metric, RunSettings, Target
from strsweep.storage import storage_of
from strsweep.training.law import Leader, expit, logit

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
ACCURACY = Metric(name="accuracy")
RMSE = Metric(name="rmse", higher_is_better=False, is_share=False)
Layers = Sequence[tuple[str, int, int, float]]


_HARDER = 1.2
"""This network differs from what the law expects by a factor: the search has to find it."""


class SimulatedSweep:
    """One sweep in ``folder``, as the searcher and the workers of a job would leave it."""

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        config: Path = DIGITS,
        layers: Layers = DIGITS_LAYERS,
        metric: Metric = ACCURACY,
    ) -> None:
        self.layers, self.metric = layers, metric
        self.problem = Problem(
            steps_per_epoch=11,
            weights=sum(weights for _, weights, _, _ in layers),
            dense_macs=sum(weights * positions for _, weights, positions, _ in layers),
            weight_scale=0.0245,
            metric=self.metric,
        )
        asked = ("search.targets=[0.8, 0.9, 0.95, 0.98, {macs: 0.05}]", "search.max_runs=24")
        loaded = load_experiment(config, [f"storage.path={folder}", *asked, *overrides])
        self.experiment: Experiment = resolve(loaded, self.problem)
        self.journal = Journal(storage_of(self.experiment))
        self.receipts: list[Receipt] = []

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def start(self) -> SimulatedSweep:
        """Write what a job writes before anything is trained."""
        dumped = self.experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=dumped, version="0", problem=self.problem))
        return self

    def search(self, fails: Callable[[int], str] = lambda _: "") -> SimulatedSweep:
        """Run the search to its end; run ``n`` fails for the reason ``fails(n)``, if any."""
        self.start()
        searcher = TargetSearcher(self.experiment, self.journal, lambda: 1)
        number = 0
        while isinstance(config := searcher.suggest(f"t{number}"), dict):
            run_id: str = config["run_id"]
            settings = RunSettings.model_validate(config["settings"])
            if reason := fails(number + 1):
                self.epochs(run_id, settings, count=3)
                self.journal.append(RunFailed(run_id=run_id, reason=reason))
            else:
                self.train(run_id, settings, partial(_stops, searcher, run_id))
            searcher.on_trial_complete(f"t{number}")
            number += 1
        return self

    def deliver(self) -> SimulatedSweep:
        """Land and publish what was hit; the version is the number of the model."""
        record = self.record
        states = outcomes_of(record, self.experiment)
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
                threshold=0.02 * sparsity * (1 + sparsity) ** 2 / math.sqrt(positions),
            )
            for name, weights, positions, less in self.layers
        )

    def epochs(self, run_id: str, settings: RunSettings, *, skip: int = 0, count: int) -> None:
        """Write epochs of a run, beginning after the first ``skip`` that it trains itself."""
        for event in islice(self._epochs(run_id, settings), skip, skip + count):
            self.journal.append(event)

    def train(
        self, run_id: str, settings: RunSettings, stops: Callable[[dict[str, float]], bool]
    ) -> None:
        """Write what a worker would write; ask after every checkpoint whether that is the end."""
        journal = Journal(storage_of(self.experiment), writer=run_id)
        every = self.experiment.training.checkpoint_every
        done = len(self.record.runs[run_id].epochs)
        for event in islice(self._epochs(run_id, settings), done, None):
            journal.append(event)
            epoch = int(event.metrics["epoch"])
            if epoch == settings.shared_epoch:
                folder = f"runs/{run_id}/epoch_{epoch:05d}"
                journal.append(PrefixTrained(run_id=run_id, epoch=epoch, checkpoint=folder))
            if epoch % every == 0 and stops(event.metrics):
                return
        journal.append(self._finished(run_id, event))

    def whole_run(self, run_id: str, settings: RunSettings) -> list[Event]:
        """Return a run from its proposal to its end, without writing anything."""
        proposed = RunProposed(run_id=run_id, settings=settings, target=None, reason="a test")
        epochs = list(self._epochs(run_id, settings))
        return [proposed, *epochs, self._finished(run_id, epochs[-1])]

    def _epochs(self, run_id: str, settings: RunSettings) -> Iterator[EpochFinished]:
        """Yield what a run trains itself, to its end: it leads itself as a real one does."""
        space, lead = LawSpace(self.experiment, self.problem), settings.lead
        leader = lead and Leader(
            lead=lead, law=space.law, clock=space.clock, first_decay=settings.first_decay
        )
        assert settings.threshold_init is not None
        exposure, sparsity, pruned = -space.delay(settings.threshold_init), 0.0, 0.0
        begun = settings.fork.epoch if settings.fork else 0
        for epoch in range(1, (settings.last_epoch or self.experiment.training.epochs) + 1):
            acts, decay = epoch > settings.onset and not settings.is_dense, 0.0
            if acts:
                decay = settings.first_decay
                decay = leader.next_decay(epoch - 1, exposure, pruned) if leader else decay
                exposure += decay * space.clock.of_epoch(epoch)
                sparsity = expit(space.law.level(exposure, _HARDER * space.expected))
            metrics = self._metrics(sparsity, epoch)
            metrics |= {"weight_decay": settings.weight_decay, "threshold_decay": decay}
            is_macs = lead is not None and lead.quantity == "macs"
            pruned = 1 - metrics["macs"] / self.problem.dense_macs if is_macs else sparsity
            if epoch > begun:
                thresholds = tuple(row.threshold for row in self.rows(sparsity))
                yield EpochFinished(run_id=run_id, metrics=metrics, thresholds=thresholds)

    def _finished(self, run_id: str, last: EpochFinished) -> RunFinished:
        return RunFinished(
            run_id=run_id,
            metrics=last.metrics,
            layers=self.rows(last.metrics["sparsity"]),
            checkpoint=f"runs/{run_id}/last",
        )

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
            self.metric.name: accuracy if self.metric.higher_is_better else 100 * (1 - accuracy),
            "sparsity": zeros / self.problem.weights,
            "macs": macs,
            "dense_macs": self.problem.dense_macs,
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
            self.metric.name: self.metric.of(finished.metrics) - 0.001,
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
            metric=self.metric,
            model_options={},
            score=self.metric.of(landed.metrics),
            dense_score=dense_score(read_state(self.record, self.experiment)),
            landed=LandedFrom(
                shift=landed.shift,
                sparsity_before=finished.metrics["sparsity"],
                macs_before=int(finished.metrics["macs"]),
                score_before=self.metric.of(finished.metrics),
            ),
            mode="str",
            method=self.experiment.method,
            settings=self.record.runs[landed.run_id].proposed.settings,
            sweep_id=self.experiment.sweep_id,
            run_id=landed.run_id,
            weights_sha256=hashlib.sha256(landed.target.label.encode()).hexdigest(),
        )


def _stops(searcher: TargetSearcher, run_id: str, metrics: dict[str, float]) -> bool:
    return searcher.stops(run_id, int(metrics["epoch"]))
