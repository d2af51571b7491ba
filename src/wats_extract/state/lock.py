"""A lock that allows one run of a pipeline at a time: an operating system lock and a heartbeat.

The operating system releases its lock when the process ends, even after a crash. So among the processes of
one machine the lock is reliable. A network share may keep locks per machine, or have no locks at all. The
heartbeat covers these cases: a file next to the lock names the lock holder, and the holder touches it every
few seconds. A file that is no longer touched was left behind by a crash.
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
"""Seconds between two heartbeats."""

DEAD_SECONDS = 15.0
"""A lock holder without a heartbeat for this many seconds (five beats) has crashed."""

_POLL_SECONDS = 0.2
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems that do not support locks."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its process id.
        host: The host name of its machine.
        since: When it took the lock, in UTC.
        mark: A random token that identifies this holder.
    """

    pid: int
    host: str
    since: str
    mark: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Sighting:
    """A lock holder and the time of its last heartbeat.

    Attributes:
        holder: The holder, or ``None`` if its file is not readable.
        touched: The last heartbeat, in nanoseconds by the clock of the file system.
    """

    holder: Holder | None
    touched: int

    @property
    def silent(self) -> float:
        """Seconds since the last heartbeat, assuming that the clocks agree."""
        return max(0.0, time.time() - self.touched / 1e9)

    @property
    def beats(self) -> bool:
        """Whether the holder seems to be alive: recent heartbeat, and not a dead process of this machine."""
        return self.silent < DEAD_SECONDS and not (self.is_here and _is_gone(self.holder))

    @property
    def is_here(self) -> bool:
        """Whether the holder is a process of this machine."""
        return self.holder is not None and self.holder.host == socket.gethostname()

    def __str__(self) -> str:
        if self.holder is None:
            return "unknown process"
        return f"{self.holder}, last heartbeat {self.silent:,.0f} s ago"


class Hold:
    """A pipeline lock that this process holds; a background thread sends the heartbeats."""

    def __init__(self, lock: Path, pipeline: str, me: Holder) -> None:
        self._lock, self._pipeline, self._me = lock, pipeline, me
        self._path = _holder_file(lock)
        self._ended = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def check(self) -> None:
        """Check that this process still holds the lock.

        Call this before each commit: the process may have been suspended for hours.

        Raises:
            PipelineLocked: Another process has taken over because this one sent no heartbeat.
        """
        if not self._is_mine():
            raise PipelineLocked(
                f"another process took over pipeline {self._pipeline!r} because this one sent no heartbeat "
                f"for a while: {read_holder(self._lock) or 'its lock was deleted'}",
                hint="Committed rows are kept, and the other process continues from there.",
            )

    def begin(self) -> None:
        """Start the heartbeat."""
        self._heartbeat.start()

    def end(self) -> None:
        """Stop the heartbeat and delete the holder file."""
        self._ended.set()
        self._heartbeat.join()
        if self._is_mine():
            with suppress(OSError):  # a leftover file without heartbeats counts as abandoned
                self._path.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS) and self._is_mine():
            with suppress(OSError):  # a network share may be gone for a moment; the next beat tries again
                os.utime(self._path)

    def _is_mine(self) -> bool:
        try:
            return _parsed(self._path.read_text(encoding="utf-8")) == self._me
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError):
            return True  # unreadable, so ownership is unknown; the operating system lock is still held


class PipelineLocks:
    """The pipeline locks of one destination that are files.

    Args:
        path: Returns the path of a pipeline's lock.
    """

    def __init__(self, path: Callable[[str], Path]) -> None:
        self._path = path
        self._holds: list[Hold] = []

    @contextmanager
    def exclusive(
        self, pipeline: str, *, check: Callable[[], None], listen: events.Listener
    ) -> Iterator[None]:
        """Hold a pipeline's lock; see :func:`hold_lock`."""
        with hold_lock(self._path(pipeline), pipeline, check=check, listen=listen) as hold:
            self._holds.append(hold)
            try:
                yield
            finally:
                self._holds.remove(hold)

    def check(self) -> None:
        """Check every lock that this destination holds.

        Raises:
            PipelineLocked: Another process has taken one over.
        """
        for hold in self._holds:
            hold.check()

    def holder(self, pipeline: str) -> Sighting | None:
        """Which process holds a pipeline's lock, or ``None``."""
        return read_holder(self._path(pipeline))


@contextmanager
def hold_lock(
    path: Path,
    pipeline: str,
    *,
    check: Callable[[], None] = lambda: None,
    listen: events.Listener = events.nobody,
) -> Iterator[Hold]:
    """Acquire a pipeline's lock and hold it until the block ends.

    Args:
        path: The lock file. The holder file is created next to it.
        pipeline: The pipeline's name, for messages.
        check: Called several times per second while waiting for a heartbeat from another machine. May raise
            to stop the wait.
        listen: Receives an event when that wait begins and ends.

    Raises:
        PipelineLocked: Another process holds the lock.
        DestinationError: The folder of the lock is not writable.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        reliable = _acquired(lock)
        _wait_for_heartbeat(path, pipeline, reliable=reliable, check=check, listen=listen)
        hold = Hold(path, pipeline, _claimed(_holder_file(path)))
    except Timeout:
        lock.release()
        # filelock times out, too, where no file can be created, such as in /proc
        if not path.exists() and read_holder(path) is None:
            raise DestinationError(
                f"{path.parent} is not writable: no file can be created in it",
                hint="Name a place on a disk as destination.path.",
            ) from None
        raise _locked(pipeline, path) from None
    except OSError as error:
        lock.release()
        raise DestinationError(f"{path.parent} is not writable: {error.strerror or error}") from error
    except BaseException:
        lock.release()
        raise
    hold.begin()
    try:
        yield hold
    finally:
        hold.end()
        lock.release()


def read_holder(path: Path) -> Sighting | None:
    """Read who holds the lock at a path from its holder file; ``None`` if there is no such file."""
    try:
        with _holder_file(path).open(encoding="utf-8") as file:  # opening makes network shares refresh it
            return Sighting(_parsed(file.read()), os.fstat(file.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return Sighting(None, 0)


def _holder_file(path: Path) -> Path:
    return path.with_name(path.name + ".holder")


def _acquired(lock: FileLock) -> bool:
    """Acquire the operating system lock; return false if the file system does not support locks.

    Raises:
        Timeout: Another process holds it.
    """
    try:
        lock.acquire(timeout=0)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _wait_for_heartbeat(
    path: Path, pipeline: str, *, reliable: bool, check: Callable[[], None], listen: events.Listener
) -> None:
    """Watch the holder file if the lock proves nothing: holder on another machine, or no locks at all.

    The clocks of two machines differ, so no times are compared. The file is either touched during the wait,
    or a crash has left it behind.

    Raises:
        PipelineLocked: The holder is alive.
    """
    first = read_holder(path)
    if first is None or (reliable and (first.holder is None or first.is_here)):
        return
    reason = f"checking whether {first.holder or 'another process'} still runs pipeline {pipeline!r}"
    listen(events.Waiting(reason, DEAD_SECONDS))
    end = time.monotonic() + DEAD_SECONDS
    while time.monotonic() < end:
        check()
        time.sleep(_POLL_SECONDS)
        now = read_holder(path)
        if now is None:
            break  # the other run has just ended
        if now != first:
            raise _locked(pipeline, path)
    listen(events.Waiting(reason, 0))


def _claimed(holder_file: Path) -> Holder:
    """Write this process into the holder file.

    Raises:
        Timeout: Another process was faster, on a file system without locks.
    """
    me = Holder(
        os.getpid(),
        socket.gethostname(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        secrets.token_hex(8),
    )
    holder_file.unlink(missing_ok=True)
    try:
        with holder_file.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(me)))
    except FileExistsError:
        raise Timeout(str(holder_file)) from None
    return me


def _is_gone(holder: Holder | None) -> bool:
    if holder is None or os.name != "posix":
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # a process of another user
    return False


def _parsed(text: str) -> Holder | None:
    try:
        fields = json.loads(text)
        return Holder(int(fields["pid"]), str(fields["host"]), str(fields["since"]), str(fields["mark"]))
    except (ValueError, KeyError, TypeError):
        return None


def _locked(pipeline: str, path: Path) -> PipelineLocked:
    seen = read_holder(path) or Sighting(None, 0)
    suspended = ". It is suspended or hangs" if seen.is_here and not seen.beats else ""
    return PipelineLocked(
        f"another process runs pipeline {pipeline!r}: {seen}{suspended}",
        hint=f"Wait until it ends, or stop it. The lock is {path}.",
    )
