"""Store what a run gives in the background, so that no step waits for the storage."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

Delivery = Callable[[], None]


class Outbox:
    """Makes deliveries one after the other, in the order they were put.

    A delivery that can be replaced, such as a checkpoint, gives way to a newer one that is put
    while it still waits: what waits stays small however long the storage is away. As a context
    manager it makes all deliveries before it ends, but none that is left after an error inside.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Delivery, bool]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._deliver_all, name="outbox", daemon=True)

    def __enter__(self) -> Outbox:
        """Start to deliver."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deliver what is left; raises what the last delivery raised."""
        with self._changed:
            self._is_closed = True
            if error is not None:
                self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()
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
        with self._changed:
            self._raise_failure()
            if replaceable:
                self._waiting = deque(entry for entry in self._waiting if not entry[1])
            self._waiting.append((delivery, replaceable))
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _deliver_all(self) -> None:
        try:
            while (delivery := self._next()) is not None:
                delivery()
        except BaseException as error:  # it is raised where training can end
            with self._changed:
                self._error = error
                self._waiting.clear()

    def _next(self) -> Delivery | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return self._waiting.popleft()[0] if self._waiting else None
