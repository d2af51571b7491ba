"""One run of a pipeline at a time, on this machine: a file lock that a crash releases by itself."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from wats_extract.errors import DestinationError, PipelineLocked


@contextmanager
def only_run(path: Path, pipeline: str) -> Iterator[None]:
    """Hold the pipeline's lock.

    Beside the lock stands who holds it; the operating system frees the lock itself when its process ends.

    Raises:
        PipelineLocked: another process holds it.
        DestinationError: the folder of the lock cannot be written.
    """
    holder = path.with_name(path.name + ".holder")
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        holder.write_text(_me(), encoding="utf-8")
    except Timeout:
        raise PipelineLocked(
            f"another process runs pipeline {pipeline!r}: {_who(holder)}",
            hint=f"Wait for it, or end it. The lock is {path}.",
        ) from None
    except OSError as error:
        lock.release()
        raise DestinationError(f"{path.parent} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # it only informs; the next holder writes over it
            holder.unlink()
        lock.release()


def _me() -> str:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})


def _who(holder: Path) -> str:
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which process is not known"
