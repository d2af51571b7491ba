"""One run of a pipeline at a time: a lock of the operating system, and the heartbeat of whoever holds it.

The system frees the lock when its process ends, however it does: what it says about processes of this
machine is true. What it cannot say is whether another machine runs the pipeline, where a network share keeps
locks to each machine, or has none. There the heartbeat decides: beside the lock stands a file that tells who
holds it, and that its process touches every few seconds. One that is touched no more was left by a crash.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from wats_extract import events
from wats_extract.errors import DestinationError, PipelineLocked

BEAT_SECONDS = 3.0
"""From one sign of life to the next."""

DEAD_SECONDS = 15.0
"""Silence for so long, five beats, is taken for a crash."""

_NAP_SECONDS = 0.2
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems say that have no locks."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: The process.
        host: Its machine.
        since: When it began, in UTC.
        mark: Tells it from all others.
    """

    pid: int
    host: str
    since: str
    mark: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Sighting:
    """A holder, and when it was last alive.

    Attributes:
        holder: ``None`` where the file does not tell.
        touched: When its file was last touched, in nanoseconds by the clock of the file system.
    """

    holder: Holder | None
    touched: int

    @property
    def silent(self) -> float:
        """Seconds since the last sign of life, as far as clocks agree."""
        return max(0.0, time.time() - self.touched / 1e9)

    @property
    def beats(self) -> bool:
        """Whether it is alive, as far as clocks agree and this machine knows its process."""
        return self.silent < DEAD_SECONDS and not (self.is_here and _is_gone(self.holder))

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, where clocks agree."""
        return self.holder is not None and self.holder.host == socket.gethostname()

    def __str__(self) -> str:
        if self.holder is None:
            return "which process is not known"
        return f"{self.holder}, last sign of life {self.silent:,.0f} s ago"


class Hold:
    """A pipeline's lock while it is held."""

    def __init__(self, lock: Path, pipeline: str, me: Holder) -> None:
        self._lock, self._pipeline, self._me = lock, pipeline, me
        self._path = _beside(lock)
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def check(self) -> None:
        """See that it is still held. Ask before each commit: a process may have been suspended for hours.

        Raises:
            PipelineLocked: it was taken for dead, and another process runs the pipeline by now.
        """
        if not self._is_mine():
            seen = sighted(self._lock)
            raise PipelineLocked(
                f"pipeline {self._pipeline!r} was taken over, for this process gave no sign of life for a "
                f"while: {seen or 'its lock is gone'}",
                hint="What was committed stays; the other one goes on from there.",
            )

    def begin(self) -> None:
        """Give signs of life from now on."""
        self._heart.start()

    def end(self) -> None:
        """Give none any more, and leave nothing behind."""
        self._over.set()
        self._heart.join()
        if self._is_mine():
            with suppress(OSError):  # then it is silent, and that says the same
                self._path.unlink()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS) and self._is_mine():
            with suppress(OSError):  # a share that is gone for a moment; the next beat tells
                os.utime(self._path)

    def _is_mine(self) -> bool:
        try:
            return _told(self._path.read_text(encoding="utf-8")) == self._me
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError):
            return True  # nobody can tell; the operating system's lock is held all the same


@contextmanager
def only_run(
    path: Path,
    pipeline: str,
    *,
    check: Callable[[], None] = lambda: None,
    listen: events.Listener = events.nobody,
) -> Iterator[Hold]:
    """Hold the pipeline's lock.

    Args:
        path: Where the lock is; beside it stands who holds it.
        pipeline: The name that messages have.
        check: Called several times a second while it is found out whether another machine's holder is
            alive; raises to end that.
        listen: Told of that wait.

    Raises:
        PipelineLocked: another process holds it.
        DestinationError: the folder of the lock cannot be written.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        certain = _acquired(lock)
        _wait_for_a_sign(path, pipeline, certain=certain, check=check, listen=listen)
        hold = Hold(path, pipeline, _claimed(_beside(path)))
    except Timeout:
        lock.release()
        raise _locked(pipeline, path) from None
    except OSError as error:
        lock.release()
        raise DestinationError(f"{path.parent} cannot be written: {error.strerror or error}") from error
    except BaseException:
        lock.release()
        raise
    hold.begin()
    try:
        yield hold
    finally:
        hold.end()
        lock.release()


def sighted(path: Path) -> Sighting | None:
    """Who holds the lock at a path, by what stands beside it; ``None`` where nobody does."""
    try:
        with _beside(path).open(encoding="utf-8") as file:  # only then do network shares look again
            return Sighting(_told(file.read()), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return Sighting(None, 0)


def _beside(path: Path) -> Path:
    """Where the holder of the lock at a path stands."""
    return path.with_name(path.name + ".holder")


def _acquired(lock: FileLock) -> bool:
    """Take the operating system's lock; false where the file system has none.

    Raises:
        Timeout: another process has it.
    """
    try:
        lock.acquire(timeout=0)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _wait_for_a_sign(
    path: Path, pipeline: str, *, certain: bool, check: Callable[[], None], listen: events.Listener
) -> None:
    """Watch a holder that the lock says nothing of: one on another machine, or where there are no locks.

    No clock is compared: either its file is touched meanwhile, or it was left by a crash.

    Raises:
        PipelineLocked: it is alive.
    """
    first = sighted(path)
    if first is None or (certain and (first.holder is None or first.is_here)):
        return
    reason = f"{first.holder or 'another process'} held pipeline {pipeline!r}: is it alive?"
    listen(events.Waiting(reason, DEAD_SECONDS))
    end = time.monotonic() + DEAD_SECONDS
    while time.monotonic() < end:
        check()
        time.sleep(_NAP_SECONDS)
        now = sighted(path)
        if now is None:
            break  # it has just ended
        if now != first:
            raise _locked(pipeline, path)
    listen(events.Waiting(reason, 0))


def _claimed(holder: Path) -> Holder:
    """Say that it is ours.

    Raises:
        Timeout: another process was quicker, where no lock kept it out.
    """
    me = Holder(
        os.getpid(),
        socket.gethostname(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        secrets.token_hex(8),
    )
    holder.unlink(missing_ok=True)
    try:
        with holder.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(me)))
    except FileExistsError:
        raise Timeout(str(holder)) from None
    return me


def _is_gone(holder: Holder | None) -> bool:
    if holder is None or os.name != "posix":
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's
    return False


def _told(text: str) -> Holder | None:
    try:
        told = json.loads(text)
        return Holder(int(told["pid"]), str(told["host"]), str(told["since"]), str(told["mark"]))
    except (ValueError, KeyError, TypeError):
        return None


def _locked(pipeline: str, path: Path) -> PipelineLocked:
    seen = sighted(path) or Sighting(None, 0)
    suspended = ": it is suspended, or hangs" if seen.is_here and not seen.beats else ""
    return PipelineLocked(
        f"another process runs pipeline {pipeline!r}: {seen}{suspended}",
        hint=f"Wait for it, or end it. The lock is {path}.",
    )
