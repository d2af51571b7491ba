"""Share the request budget of a token between this user's processes on this machine: a small file and a lock.

The file's name is a slow one-way hash of server and token, so that neither can be read from it or guessed in
reasonable time; see docs/decisions/0012-throttle.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from wats_extract.http.budget import SlidingWindow

LOCK_SECONDS = 1.0
"""How long to wait for the lock. It is held for less than a millisecond, unless its process was stopped."""

KEPT_SECONDS = 24 * 3600.0
"""Files that were not written for this long are deleted by the next process that opens one."""

_DERIVATIONS = 200_000
"""Rounds of the hash: about 60 ms, once per process."""


def folder() -> Path:
    """The folder of this user's budgets; the same for terminals, cron jobs and services.

    It is below the temporary folder, because cron has no ``XDG_RUNTIME_DIR`` and several machines may share a
    home. The folder need not exist, nor be writable.
    """
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or _temporary()) / "wats-extract" / "budgets"
    return _temporary() / f"wats-extract-{os.getuid()}"


def _temporary() -> Path:
    """The system's temporary folder.

    ``tempfile`` raises an error if none is writable, or falls back to the current folder, which other
    processes do not share.
    """
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    folders = [Path(each) for each in (*named, "/tmp", "/var/tmp") if each and Path(each).is_absolute()]  # noqa: S108
    return next((each for each in folders if os.access(each, os.W_OK | os.X_OK)), Path("/tmp"))  # noqa: S108


def file_name(url: str, token: str) -> str:
    """The file's name for a server and a token: the same in every process, and not reversible."""
    salt = b"wats-extract request budget of " + url.rstrip("/").lower().encode()
    return (
        hashlib.pbkdf2_hmac(
            "sha256", token.encode(errors="surrogatepass"), salt, _DERIVATIONS, dklen=16
        ).hex()
        + ".budget"
    )


class SharedBudget:
    """Keeps a sliding window in step with those of other processes.

    If the file cannot be used, this process counts alone for a minute and then tries again; it says so once.
    Not thread-safe.

    Args:
        folder: The folder of the file; created if it is missing.
        url: The server's address.
        token: The token that the budget belongs to.
        note: Told why this process counts alone.
    """

    def __init__(self, folder: Path, *, url: str, token: str, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._path = folder / file_name(url, token)
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=0o600)
        self._alone_until = float("-inf")
        self._noted = False
        self._ready = False

    @contextmanager
    def synchronised(self, window: SlidingWindow, now: float) -> Iterator[None]:
        """Read the window that all processes share, and write it back when the block ends."""
        file = self._open(window, now)
        try:
            yield
        finally:
            if file is not None:
                self._close(file, window, now)

    def _open(self, window: SlidingWindow, now: float) -> int | None:
        """Lock the file and read it; ``None`` if it cannot be used."""
        if now < self._alone_until:
            return None
        try:
            if not self._ready:
                _prepare(self._folder)
                self._ready = True
            self._lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.002)
            file = _opened(self._path)
        except (OSError, Timeout) as error:
            self._count_alone(error, window, now)
            return None
        try:
            data = os.read(file, 1 << 16)
            if data:
                window.decode(data, now)
        except ValueError as error:
            os.ftruncate(file, 0)
            self._note_once(f"{self._path} is replaced: {error}")
        except OSError as error:
            os.close(file)
            self._count_alone(error, window, now)
            return None
        return file

    def _close(self, file: int, window: SlidingWindow, now: float) -> None:
        try:
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, window.encode())
        except OSError as error:
            self._count_alone(error, window, now)
        finally:
            os.close(file)
            self._lock.release()

    def _count_alone(self, error: OSError | Timeout, window: SlidingWindow, now: float) -> None:
        self._lock.release()
        self._alone_until, self._ready = now + window.seconds, False
        why = f"{self._path} is locked" if isinstance(error, Timeout) else (error.strerror or str(error))
        self._note_once(f"other processes with the same token are not counted: {why}")

    def _note_once(self, message: str) -> None:
        if not self._noted:
            self._noted = True
            self._note(message)


def _prepare(folder: Path) -> None:
    """Create the folder for this user alone, and delete old files in it.

    Raises:
        PermissionError: the folder is a link, or belongs or is open to another user.
        OSError: it cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.name != "nt" and _foreign(found)):
        raise PermissionError(0, f"{folder} is not a folder of this user alone")
    for each in folder.glob("*.budget"):
        with suppress(OSError):
            if each.stat().st_mtime < time.time() - KEPT_SECONDS:
                each.unlink()
                each.with_suffix(".lock").unlink()


def _foreign(found: os.stat_result) -> bool:
    return found.st_uid != os.geteuid() or bool(found.st_mode & 0o077)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o600)
