"""A sweep whose search is real and whose runs follow the law: the journal that it leaves."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.planted import PlantedRuns
from benchmarks.recorded import Epoch
from samples import ACCURACY, PROBLEM, finished, load, proposed, receipt, searched, started

from strsweep.auto import resolve
from strsweep.cluster.searcher import TargetSearcher
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
    SweepRecord,
    replay,
)
from strsweep.packages.receipt import RECEIPT, LandedFrom, Receipt
from strsweep.report import SweepContents, contents_of, report_files
from strsweep.report.rows import Link
from strsweep.search.outcome import dense_score, outcomes_of
from strsweep.search.runs import read_state
from strsweep.settings import Metric, RunSettings, Target
from strsweep.storage import storage_of
from strsweep.training.law import expit, logit

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


@dataclass(frozen=True, kw_only=True)
class _Runs(PlantedRuns):
    """This network is harder than the law expects: the search has to find it."""

    hardness: float = 1.2
    rows: Callable[[float], Sequence[LayerRow]]

    def row(self, sparsity: float, decay: float) -> Epoch:
        pruned, macs = _totals(self.rows(sparsity))
        return Epoch(sparsity=pruned, macs=macs, accuracy=0.0, threshold_decay=decay)


class SimulatedSweep:
    """One sweep in ``folder``, as the searcher and the workers of a job would leave it."""

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        layers: Layers = DIGITS_LAYERS,
        metric: Metric = ACCURACY,
    ) -> None:
        self.layers, self.metric = layers, metric
        weights = sum(weights for _, weights, _, _ in layers)
        dense = sum(weights * positions for _, weights, positions, _ in layers)
        sizes = {"weights": weights, "dense_macs": dense, "metric": metric}
        self.problem = PROBLEM.model_copy(update=sizes)
        asked = ("search.targets=[0.8, 0.9, 0.95, 0.98, {macs: 0.05}]", "search.max_runs=24")
        loaded = load(f"storage.path={folder}", *asked, *overrides)
        self.experiment = resolve(loaded, self.problem)
        self.journal = Journal(storage_of(self.experiment))
        self.receipts: list[Receipt] = []

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def contents(self, link: Link | None = None) -> SweepContents:
        return contents_of(self.experiment, self.record, self.receipts, link)

    def files(self, link: Link | None = None) -> dict[str, bytes]:
        """Return the files of the report."""
        return report_files(self.contents(link))

    def page(self, link: Link | None = None) -> str:
        """Return the page of the report."""
        return self.files(link)["report.html"].decode()

    def start(self) -> SimulatedSweep:
        """Write what a job writes before anything is trained."""
        dumped = self.experiment.model_dump(mode="json")
        self.journal.append(started(experiment=dumped, problem=self.problem))
        return self

    def search(self, fails: Callable[[int], str] = lambda _: "") -> SimulatedSweep:
        """Run the search to its end; run ``n`` fails for the reason ``fails(n)``, if any."""
        self.start()
        searcher = TargetSearcher(self.experiment, self.journal, lambda: 1)
        for number, (run_id, settings) in enumerate(searched(searcher), start=1):
            if reason := fails(number):
                self.epochs(run_id, settings, count=3)
                self.journal.append(RunFailed(run_id=run_id, reason=reason))
            else:
                self.train(run_id, settings, partial(searcher.stops, run_id))
        return self

    def deliver(self) -> SimulatedSweep:
        """Land and publish what was hit; the version is the number of the model."""
        hits = [state for state in outcomes_of(self.record, self.experiment) if state.run]
        for version, state in enumerate(hits, start=1):
            assert state.run is not None
            self.land(state.target, state.run.run_id, str(version))
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

    def train(self, run_id: str, settings: RunSettings, stops: Callable[[int], bool]) -> None:
        """Write what a worker would write; ask after every checkpoint whether that is the end."""
        journal = Journal(storage_of(self.experiment), writer=run_id)
        every, known = self.experiment.training.checkpoint_every, self.record.runs[run_id].epochs
        event = None
        for event in islice(self._epochs(run_id, settings), len(known), None):
            journal.append(event)
            epoch = int(event.metrics["epoch"])
            if epoch == settings.shared_epoch:
                folder = f"runs/{run_id}/epoch_{epoch:05d}"
                journal.append(PrefixTrained(run_id=run_id, epoch=epoch, checkpoint=folder))
            if epoch % every == 0 and stops(epoch):
                return
        assert event is not None
        journal.append(self._finished(event))

    def whole_run(self, run_id: str, settings: RunSettings) -> list[Event]:
        """Return a run from its proposal to its end, without writing anything."""
        epochs = list(self._epochs(run_id, settings))
        return [proposed(run_id, None, settings=settings), *epochs, self._finished(epochs[-1])]

    def _epochs(self, run_id: str, settings: RunSettings) -> Iterator[EpochFinished]:
        """Yield what a run trains itself, to its end: it leads itself as a real one does."""
        runs = _Runs(experiment=self.experiment, problem=self.problem, rows=self.rows)
        begun = settings.fork.epoch if settings.fork else 0
        for epoch, row in islice(enumerate(runs.train(settings).epochs, 1), begun, None):
            metrics = self._metrics(row.sparsity, row.macs, epoch)
            metrics["weight_decay"] = settings.weight_decay
            metrics["threshold_decay"] = row.threshold_decay
            thresholds = tuple(layer.threshold for layer in self.rows(row.sparsity))
            yield EpochFinished(run_id=run_id, metrics=metrics, thresholds=thresholds)

    def _finished(self, last: EpochFinished) -> RunFinished:
        layers, folder = self.rows(last.metrics["sparsity"]), f"runs/{last.run_id}/last"
        return finished(last.run_id, metrics=last.metrics, layers=layers, checkpoint=folder)

    def _metrics(self, sparsity: float, macs: int, epoch: int) -> dict[str, float]:
        accuracy = 0.995 - 0.02 * max(0.0, sparsity - 0.7) / 0.3 - 0.4 / (epoch + 1) ** 2
        return {
            "epoch": epoch,
            "train_loss": 0.6,
            "val_loss": 0.2,
            self.metric.name: accuracy if self.metric.higher_is_better else 100 * (1 - accuracy),
            "sparsity": sparsity,
            "macs": macs,
            "dense_macs": self.problem.dense_macs,
            "learning_rate": 0.1,
            "seconds": 0.5,
        }

    def land(self, target: Target, run_id: str, version: str) -> None:
        """Land a finished run on the target, and publish the model."""
        run = self.record.runs[run_id]
        assert run.finished is not None
        before, rows = run.finished.metrics, self._landed_rows(target)
        sparsity, macs = _totals(rows)
        score, shift = self.metric.of(before) - 0.001, -0.01
        metrics = {"sparsity": sparsity, "macs": macs, self.metric.name: score, "val_loss": 0.2}
        folder = f"models/{target.label}/{run_id}"
        landed = ModelLanded(
            target=target,
            run_id=run_id,
            checkpoint="landed/x",
            layers=rows,
            shift=shift,
            metrics=metrics,
        )
        published = ModelPublished(
            target=target, run_id=run_id, folder=folder, model_uri="m", version=version
        )
        for event in (landed, published):
            self.journal.append(event)
        shown = receipt(
            target,
            sparsity=sparsity,
            zeros=sum(row.zeros for row in rows),
            weights=self.problem.weights,
            macs=macs,
            dense_macs=self.problem.dense_macs,
            metric=self.metric,
            score=score,
            dense_score=dense_score(read_state(self.record, self.experiment)),
            landed=LandedFrom(
                shift=shift,
                sparsity_before=before["sparsity"],
                macs_before=int(before["macs"]),
                score_before=self.metric.of(before),
            ),
            settings=run.settings,
            sweep_id=self.experiment.sweep_id,
            run_id=run_id,
            weights_sha256=hashlib.sha256(target.label.encode()).hexdigest(),
        )
        self.receipts.append(shown)
        content = shown.model_dump_json().encode()
        storage_of(self.experiment).write(f"{folder}/{RECEIPT}", content)

    def _landed_rows(self, target: Target) -> tuple[LayerRow, ...]:
        """Return the least sparse layers, in steps of 1e-5, that have what is asked."""

        def pruned(step: int) -> float:
            sparsity, macs = _totals(self.rows(step * 1e-5))
            return sparsity if target.sparsity else 1 - macs / self.problem.dense_macs

        wanted = target.pruned(self.problem.dense_macs)
        return self.rows(bisect_left(range(1, 100_000), wanted, key=pruned) * 1e-5)


def _totals(rows: Sequence[LayerRow]) -> tuple[float, int]:
    """Return sparsity and multiply-adds of a network with these layers."""
    zeros, weights = sum(row.zeros for row in rows), sum(row.weights for row in rows)
    return zeros / weights, sum(row.macs for row in rows)


def under_way(folder: Path) -> SimulatedSweep:
    """Return a sweep of five targets: two are hit, one of those landed, two runs are open."""
    whole = SimulatedSweep(folder / "whole", "search.baseline=true").search()
    ids = list(whole.record.runs)
    sweep, last = SimulatedSweep(folder, "search.baseline=true"), {ids[3]: 22, ids[4]: 14}
    for event in whole.journal.read():
        run_id: str | None = getattr(event, "run_id", None)
        epoch = getattr(event, "metrics", {}).get("epoch", 0)
        if run_id is None or (ids.index(run_id) < 5 and epoch <= last.get(run_id, math.inf)):
            sweep.journal.append(event)
    run = sweep.record.runs[ids[1]]
    assert run.target is not None
    sweep.land(run.target, run.run_id, "1")
    return sweep
