"""Ctrl-C and SIGTERM: the first stops a run at the next commit, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
_SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """A request to stop, made by a signal.

    Attributes:
        event: Set when a run should stop, or has ended by itself.
        signal: The number of the signal, or ``None`` before one arrives.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """143 after SIGTERM, otherwise 130."""
        return 128 + (signal.SIGTERM if self.signal == signal.SIGTERM else signal.SIGINT)

    def wait(self) -> bool:
        """Wait for a signal, or for the end of the run; return whether there was a signal."""
        self.event.wait()
        return self.signal is not None

    def request(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature of a handler
        """Handle a signal. A handler must not print: it may interrupt another write to the same stream."""
        if self.signal is not None:
            _end_at_once(128 + number)
        self.signal = number
        self.event.set()


@contextmanager
def caught() -> Iterator[Stop]:
    """Turn signals inside the block into a ``Stop``, even if the process started with Ctrl-C ignored."""
    stop = Stop()
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, stop.request) for number in numbers}
    try:
        yield stop
    finally:
        stop.event.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_once(exit_code: int) -> None:
    """Exit without clean-up, apart from showing the terminal's cursor again. Commits are atomic."""
    if sys.stderr.isatty():
        with suppress(OSError):  # the terminal has gone
            os.write(sys.stderr.fileno(), f"{_SHOW_CURSOR}\n".encode())
    os._exit(exit_code)
