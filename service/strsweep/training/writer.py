"""What the first worker of a run writes down, in the background: rows, checkpoints, the end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

from strsweep.journal import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    Journal,
    LayerRow,
    PrefixTrained,
    RunFinished,
)
from strsweep.sparsity.measure import SparsityReport
from strsweep.training.checkpoints import RunCheckpoints, copied
from strsweep.training.controlled import ControlledRun, EpochMetrics

Delivery = Callable[[], None]


class Outbox:
    """Makes deliveries one after the other, in the order they were put.

    A delivery that can be replaced, such as a checkpoint, gives way to a newer one that is put
    while it still waits: what waits stays small however long the storage is away. As a context
    manager it makes all deliveries before it ends, but none that is left after an error inside.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._replaceable: list[Delivery] = []
        """The newest of this kind."""
        self._error: BaseException | None = None
        self.tell: Callable[[BaseException], None] = lambda _: None
        """Called with what a delivery raised, at once and in the other thread."""

    def __enter__(self) -> Outbox:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deliver what is left; raises what the last delivery raised."""
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            self._raise_failure()

    def put(self, delivery: Delivery, *, replaceable: bool = False) -> None:
        """Have ``delivery`` called later, in another thread.

        Args:
            delivery: What it closes over must not change any more.
            replaceable: It need not be made once a newer replaceable one waits.

        Raises:
            StorageError: An earlier delivery failed for good; so does whatever else one raised.
        """
        self._raise_failure()
        waiting = [delivery]
        if replaceable:
            self._replaceable.clear()
            self._replaceable = waiting
        self._thread.submit(self._deliver, waiting)

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _deliver(self, waiting: list[Delivery]) -> None:
        if self._error is not None:
            return
        try:
            while waiting:  # none any more once it was replaced
                waiting.pop()()  # what is delivered is kept no longer: it may be a whole state
        except BaseException as error:  # it is raised where training can end
            self._error = error
            self.tell(error)


class RunWriter:
    """Writes journal and checkpoints of one run while it trains on.

    It writes during the ``with`` block of its ``outbox``, and has stored everything when that ends;
    an outage of the storage is ridden out in the background. What a killed process had not stored
    yet is trained again.

    Its methods raise ``StorageError`` once the storage refused, or was unavailable too long.
    """

    def __init__(self, run_id: str, journal: Journal, checkpoints: RunCheckpoints) -> None:
        self._run_id = run_id
        self._journal = journal
        self._checkpoints = checkpoints
        self.outbox = Outbox()
        self._named: set[str] = set()
        """Images that were reported as unreadable."""

    def epoch(self, run: ControlledRun, metrics: EpochMetrics) -> None:
        """Put one epoch into the journal, and store the state after it where that is due.

        Its row comes before its checkpoint: a crash in between repeats an epoch instead of losing
        its row.
        """
        self._note(
            EpochFinished(
                run_id=self._run_id,
                metrics=metrics.row,
                # Five digits: a large network has many thresholds, and every epoch is noted.
                thresholds=tuple(None if t is None else float(f"{t:.5g}") for t in run.thresholds),
            )
        )
        if new := tuple(name for name in run.unreadable if name not in self._named):
            self._named.update(new)
            self._note(ImagesUnreadable(run_id=self._run_id, names=new))
        if run.is_stored(metrics.epoch):
            self._store(run, metrics.epoch)

    def _store(self, run: ControlledRun, epoch: int) -> None:
        """Store the state; where other runs begin with it, say then that it is there."""
        is_shared, folder = run.is_shared(epoch), self._checkpoints.folder(epoch)
        save = partial(self._checkpoints.save, epoch, copied(run.state()))
        self.outbox.put(save, replaceable=not is_shared)
        if is_shared:
            self._note(PrefixTrained(run_id=self._run_id, epoch=epoch, checkpoint=folder))

    def _note(self, event: Event) -> None:
        self.outbox.put(partial(self._journal.append, event))

    def finish(self, run: ControlledRun) -> None:
        """Note the end of the run; it is written after everything else."""
        metrics = run.history[-1]
        self._note(
            RunFinished(
                run_id=self._run_id,
                metrics=metrics.row,
                layers=layer_rows(run.report()),
                checkpoint=self._checkpoints.folder(metrics.epoch),
            )
        )


def layer_rows(report: SparsityReport) -> tuple[LayerRow, ...]:
    """Return the layers of ``report``, which was measured with an input shape, for the journal."""
    return tuple(LayerRow.model_validate(one, from_attributes=True) for one in report.layers)
