"""The request budget of a token, shared by this user's processes on this machine: a small file and a lock.

The file's name is derived from server and token slowly and one way, so that neither can be read from it,
nor guessed in reasonable time; see docs/decisions/0012-throttle.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from wats_extract.http.budget import Window

LOCK_SECONDS = 1.0
"""The file is locked for a fraction of a millisecond; whoever holds it so long was stopped in the middle."""

KEPT_SECONDS = 24 * 3600.0
"""Files that nobody has written for so long are swept away by the next one that makes one."""

_DERIVATIONS = 200_000
"""Rounds: some 60 ms, once in a process."""


def folder() -> Path:
    """Where the budgets of this user are: the same for a terminal, for cron and for services.

    That is the reason for the temporary folder: ``XDG_RUNTIME_DIR`` is missing in some of these, a home
    may be shared by machines.
    """
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or tempfile.gettempdir()) / "wats-extract" / "budgets"
    return Path(tempfile.gettempdir()) / f"wats-extract-{os.getuid()}"


def file_name(url: str, token: str) -> str:
    """The name for a server and a token; the same forevery process, and nothing can be read from it."""
    salt = b"wats-extract request budget of " + url.rstrip("/").lower().encode()
    return (
        hashlib.pbkdf2_hmac(
            "sha256", token.encode(errors="surrogatepass"), salt, _DERIVATIONS, dklen=16
        ).hex()
        + ".budget"
    )


class SharedBudget:
    """Keeps a window the same as that of other processes.

    Where the file cannot be used, this process counts alone for a minute and then tries again; that is
    said once. Not thread-safe.

    Args:
        folder: Where the file is; made where it is missing.
        url: The server's address.
        token: Whose budget it is.
        note: Told why this process counts alone.
    """

    def __init__(self, folder: Path, *, url: str, token: str, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self._path = folder / file_name(url, token)
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=0o600)
        self._alone_until = float("-inf")
        self._said = False
        self._ready = False

    @contextmanager
    def synchronised(self, window: Window, now: float) -> Iterator[None]:
        """Inside, the window is what all processes have counted; what changes it there is written back."""
        file = self._open(window, now)
        try:
            yield
        finally:
            if file is not None:
                self._close(file, window, now)

    def _open(self, window: Window, now: float) -> int | None:
        """The locked file, after it has been read; or nothing, where it cannot be used."""
        if now < self._alone_until:
            return None
        try:
            if not self._ready:
                _prepare(self._folder)
                self._ready = True
            self._lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.002)
            file = _opened(self._path)
        except (OSError, Timeout) as error:
            self._alone(error, window, now)
            return None
        try:
            data = os.read(file, 1 << 16)
            if data:
                window.decode(data, now)
        except ValueError as error:
            os.ftruncate(file, 0)
            self._say(f"{self._path} begins anew: {error}")
        except OSError as error:
            os.close(file)
            self._alone(error, window, now)
            return None
        return file

    def _close(self, file: int, window: Window, now: float) -> None:
        try:
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, window.encode())
        except OSError as error:
            self._alone(error, window, now)
        finally:
            os.close(file)
            self._lock.release()

    def _alone(self, error: OSError | Timeout, window: Window, now: float) -> None:
        self._lock.release()
        self._alone_until, self._ready = now + window.seconds, False
        why = f"{self._path} is locked" if isinstance(error, Timeout) else (error.strerror or str(error))
        self._say(f"other processes with the same token are not counted: {why}")

    def _say(self, message: str) -> None:
        if not self._said:
            self._said = True
            self._note(message)


def _prepare(folder: Path) -> None:
    """Make the folder, for this user alone, and sweep it.

    Raises:
        PermissionError: somebody else's folder, or a link, is in its place.
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (os.name != "nt" and _foreign(found)):
        raise PermissionError(0, f"{folder} is not this user's own folder")
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
