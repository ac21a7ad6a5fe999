"""What a job says: a line when a step begins, and a sign of life while the step takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

_SILENCE_S = 10.0


def printable(text: str) -> str:
    """Return ``text`` with bytes of file names that are no UTF-8 written as hexadecimal escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class _Voice:
    """Of this process; steps lie within each other, and the innermost one is told."""

    def __init__(self) -> None:
        self._said = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self._watch: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Print a line at once."""
        self._said = time.monotonic()
        print(printable(text), flush=True)

    @contextmanager
    def doing(self, step: str) -> Generator[None]:
        """Print a line, and another one whenever nothing was said for long, until the block ends.

        Args:
            step: What is done, e.g. ``connecting to Ray``.
        """
        self.say(step)
        self._steps.append((step, self._said))
        if self._watch is None:
            self._watch = threading.Thread(target=self._break_silence, daemon=True)
            self._watch.start()
        try:
            yield
        finally:
            self._steps.pop()

    def is_silent(self) -> bool:
        """Return whether nothing was said for so long that a sign of life is due."""
        return time.monotonic() - self._said >= _SILENCE_S

    def _break_silence(self) -> None:
        while True:
            time.sleep(max(self._said + _SILENCE_S - time.monotonic(), 0.1))
            if self._steps and self.is_silent():
                step, since = self._steps[-1]
                self.say(f"{step}: {time.monotonic() - since:.0f} s so far")


_voice = _Voice()
say, doing, is_silent = _voice.say, _voice.doing, _voice.is_silent
