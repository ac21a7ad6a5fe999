"""What the first worker of a run writes down: rows, checkpoints, the end."""

from __future__ import annotations

from functools import partial
from types import TracebackType

from strsweep.config import Experiment
from strsweep.journal import EpochFinished, ImagesUnreadable, Journal, RunFinished
from strsweep.storage import SweepStorage
from strsweep.training.checkpoint import copied
from strsweep.training.checkpoints import RunCheckpoints
from strsweep.training.layer_rows import layer_rows
from strsweep.training.outbox import Outbox
from strsweep.training.run import EpochMetrics, TrainingRun


class RunWriter:
    """Writes journal and checkpoints of one run while it trains on.

    As a context manager it has stored everything when it ends; an outage of the storage is ridden
    out in the background. What a killed process had not stored yet is trained again.

    Args:
        storage: Of the sweep.
        experiment: Of the run.
        run_id: Of the run.
    """

    def __init__(self, storage: SweepStorage, experiment: Experiment, run_id: str) -> None:
        self._run_id = run_id
        self._journal = Journal(storage, writer=run_id)
        self._checkpoints = RunCheckpoints(storage, run_id, experiment.storage.checkpoints_kept)
        self._outbox = Outbox()
        self._named: set[str] = set()
        """Images that were told to be unreadable."""

    def __enter__(self) -> RunWriter:
        """Start to write."""
        self._outbox.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is left."""
        self._outbox.__exit__(kind, error, traceback)

    def epoch(self, run: TrainingRun, metrics: EpochMetrics) -> None:
        """Put one epoch into the journal, and images that it was the first not to be able to read.

        Its row comes before its checkpoint: a crash in between repeats an epoch instead of losing
        its row.

        Raises:
            StorageError: The storage refused, or stayed away too long.
        """
        row = EpochFinished(run_id=self._run_id, metrics=dict(vars(metrics)))
        self._outbox.put(partial(self._journal.append, row))
        if new := tuple(name for name in run.unreadable if name not in self._named):
            self._named.update(new)
            told = ImagesUnreadable(run_id=self._run_id, names=new)
            self._outbox.put(partial(self._journal.append, told))

    def checkpoint(self, run: TrainingRun, epoch: int) -> None:
        """Store a copy of the state of ``run`` after ``epoch``.

        Raises:
            StorageError: The storage refused, or stayed away too long.
        """
        state = copied(run.state())
        self._outbox.put(partial(self._checkpoints.save, epoch, state), replaceable=True)

    def finish(self, run: TrainingRun) -> None:
        """Note the end of the run, once everything else is stored.

        Raises:
            StorageError: The storage refused, or stayed away too long.
        """
        metrics = run.history[-1]
        self._journal.append(
            RunFinished(
                run_id=self._run_id,
                metrics=dict(vars(metrics)),
                layers=layer_rows(run.report()),
                checkpoint=self._checkpoints.folder(metrics.epoch),
            )
        )
