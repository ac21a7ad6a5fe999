"""What the first worker of a run writes down: rows, checkpoints, the end."""

from __future__ import annotations

from functools import partial

from strsweep.journal import (
    EpochFinished,
    ImagesUnreadable,
    Journal,
    LayerRow,
    PrefixTrained,
    RunFinished,
)
from strsweep.sparsity.measure import SparsityReport
from strsweep.training.checkpoint import copied
from strsweep.training.checkpoints import RunCheckpoints
from strsweep.training.outbox import Outbox
from strsweep.training.run import EpochMetrics, TrainingRun


class RunWriter:
    """Writes journal and checkpoints of one run while it trains on.

    It writes during the ``with`` block of its ``outbox``, and has stored everything when that ends;
    an outage of the storage is ridden out in the background. What a killed process had not stored
    yet is trained again.

    Args:
        run_id: Of the run.
        journal: To write to.
        checkpoints: Of the run.
    """

    def __init__(self, run_id: str, journal: Journal, checkpoints: RunCheckpoints) -> None:
        self._run_id = run_id
        self._journal = journal
        self._checkpoints = checkpoints
        self.outbox = Outbox()
        self._named: set[str] = set()
        """Images that were told to be unreadable."""

    def epoch(self, run: TrainingRun, metrics: EpochMetrics) -> None:
        """Put one epoch into the journal, and store the state after it where that is due.

        Its row comes before its checkpoint: a crash in between repeats an epoch instead of losing
        its row.

        Raises:
            StorageError: The storage refused, or stayed away too long.
        """
        self._write(run, metrics)
        if run.is_shared(metrics.epoch):
            self._share(run, metrics.epoch)
        elif run.is_stored(metrics.epoch):
            state = copied(run.state())
            save = partial(self._checkpoints.save, metrics.epoch, state)
            self.outbox.put(save, replaceable=True)

    def _write(self, run: TrainingRun, metrics: EpochMetrics) -> None:
        row = EpochFinished(
            run_id=self._run_id,
            metrics=metrics.row,
            thresholds=tuple(map(_short, run.thresholds)),
        )
        self.outbox.put(partial(self._journal.append, row))
        if new := tuple(name for name in run.unreadable if name not in self._named):
            self._named.update(new)
            told = ImagesUnreadable(run_id=self._run_id, names=new)
            self.outbox.put(partial(self._journal.append, told))

    def _share(self, run: TrainingRun, epoch: int) -> None:
        """Store the state that other runs begin with, and then say that it is there."""
        state, folder = copied(run.state()), self._checkpoints.folder(epoch)
        self.outbox.put(partial(self._checkpoints.save, epoch, state))
        event = PrefixTrained(run_id=self._run_id, epoch=epoch, checkpoint=folder)
        self.outbox.put(partial(self._journal.append, event))

    def finish(self, run: TrainingRun) -> None:
        """Note the end of the run; it is written after everything else.

        Raises:
            StorageError: The storage refused, or stayed away too long.
        """
        metrics = run.history[-1]
        end = RunFinished(
            run_id=self._run_id,
            metrics=metrics.row,
            layers=layer_rows(run.report()),
            checkpoint=self._checkpoints.folder(metrics.epoch),
        )
        self.outbox.put(partial(self._journal.append, end))


def _short(threshold: float | None) -> float | None:
    """Return five digits: a large network has many thresholds, and every epoch is written down."""
    return None if threshold is None else float(f"{threshold:.5g}")


def layer_rows(report: SparsityReport) -> tuple[LayerRow, ...]:
    """Return the layers of ``report``, which was measured with an input shape, for the journal."""
    return tuple(
        LayerRow(
            name=layer.name,
            parameter=layer.parameter,
            weights=layer.weights,
            zeros=layer.zeros,
            sparsity=layer.sparsity,
            dense_macs=layer.dense_macs or 0,
            macs=layer.macs or 0,
            threshold=layer.threshold,
        )
        for layer in report.layers
    )
