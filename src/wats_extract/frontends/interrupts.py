"""Ctrl-C, or the stop button of a notebook, in a function that runs a pipeline: the run ends at a commit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wats_extract.errors import WatsExtractError

PATIENCE_SECONDS = 10.0
"""Further interrupts take effect at once after this time, in case the run hangs."""


@contextmanager
def deferred() -> Iterator[threading.Event]:
    """Set an event if Ctrl-C is pressed in the block, and raise ``KeyboardInterrupt`` at its end.

    A ``KeyboardInterrupt`` between any two instructions would leave files open and locks held. Outside of the
    main thread, and where Ctrl-C is ignored, nothing changes.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed. Errors that followed from it are dropped.
    """
    stopping = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield stopping
        return
    asked: float | None = None  # the client sets the event, too, when it is closed

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signature of a handler
        nonlocal asked
        if asked is None:
            asked = time.monotonic()
            stopping.set()
        elif time.monotonic() > asked + PATIENCE_SECONDS:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, ask)
    try:
        yield stopping
    except WatsExtractError:
        if asked is None:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if asked is not None:
        if before is not signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)  # a notebook or an event loop waits for it
        raise KeyboardInterrupt
