"""Standard streams that never fail: output that nobody can read is dropped, and the command goes on.

Services and ``pythonw`` start programs without streams, a disk is full, or the reader of a pipe has ended.
None of that may change what a command does or its exit code.
"""

from __future__ import annotations

import io
import os
import select
import sys
from contextlib import suppress
from typing import Any, TextIO, cast


def prepare() -> None:
    """Make writing to stdout and stderr safe, whatever they are, and let a missing stdin be empty.

    Characters that a stream cannot encode become question marks.
    """
    _occupy_descriptors()
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(_nothing()), encoding="utf-8")
    sys.stdout = _safe(sys.stdout)
    sys.stderr = _safe(sys.stderr)


def _occupy_descriptors() -> None:
    """Open what is closed of the descriptors 0 to 2.

    Otherwise the next file that is opened gets such a number, and receives what libraries print to stderr.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)


def _nothing() -> io.FileIO:
    return io.FileIO(os.open(os.devnull, os.O_RDWR), "r+", closefd=False)


def _safe(stream: TextIO | None) -> TextIO:
    """The stream, with a raw stream that never fails below it."""
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(_nothing()), encoding="utf-8")
    text = cast(io.TextIOWrapper, stream)
    buffer = getattr(text, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is no buffer in between
    if not isinstance(raw, io.RawIOBase):  # a test captures the output
        return stream
    safe = _NeverFails(raw)
    return io.TextIOWrapper(
        cast(io.BufferedWriter, safe) if buffer is raw else io.BufferedWriter(safe),
        encoding="utf-8" if os.name == "nt" else text.encoding,
        errors="replace",
        line_buffering=text.line_buffering,
        write_through=text.write_through,
    )


class _NeverFails(io.RawIOBase):
    """A raw stream for writing that drops what the stream below it cannot write."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw.isatty()

    def fileno(self) -> int:
        return self._raw.fileno()

    def write(self, data: Any, /) -> int:
        whole = left = memoryview(data).cast("B")
        with suppress(OSError, ValueError):  # no space, no reader, or closed
            while left:
                written = self._raw.write(left)
                if written is None:  # the pipe does not block, and is full
                    select.select([], [self._raw], [])
                else:
                    left = left[written:]
        return whole.nbytes
