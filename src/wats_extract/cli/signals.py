"""Ctrl-C and SIGTERM: the first asks a run to stop at the next commit, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
_SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """Whether a run is asked to stop.

    Attributes:
        event: Set when it is.
        signal: Which signal asked, or ``None``.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """143 for SIGTERM, else 130."""
        return 128 + (signal.SIGTERM if self.signal == signal.SIGTERM else signal.SIGINT)

    def wait(self) -> bool:
        """Wait until a signal asks (true), or until there is nothing left to stop."""
        self.event.wait()
        return self.signal is not None

    def ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's signature
        """A signal arrived. It says nothing itself: it may have come in the middle of a line."""
        if self.signal is not None:
            _end_at_once(128 + number)
        self.signal = number
        self.event.set()


@contextmanager
def caught() -> Iterator[Stop]:
    """Catch the signals inside; also where a shell started the process with Ctrl-C ignored."""
    stop = Stop()
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, stop.ask) for number in numbers}
    try:
        yield stop
    finally:
        stop.event.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(exit_code: int) -> None:
    """A destination survives this as it survives a power cut; a terminal wants its cursor back."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), f"{_SHOW_CURSOR}\n".encode())
    os._exit(exit_code)
