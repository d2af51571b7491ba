"""Which paths a destination accepts, and which entries of a folder it refuses to follow."""

from __future__ import annotations

import re
from pathlib import Path

from wats_extract.errors import DestinationError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""One letter is a drive of Windows."""


def local_path(path: str | Path) -> Path:
    """Return a path on this machine or a share, with ``~`` expanded.

    Raises:
        DestinationError: The path begins with a scheme, such as ``s3:`` or ``sqlite:``. DuckDB would look for
            an extension that reads it, and would ask the internet for it.
    """
    if scheme := _SCHEME.match(str(path)):
        raise DestinationError(
            f"{path}: a destination is a path on this machine or a share, and {scheme[0]} is neither",
            hint=f"write to a local path and copy it from there; a file whose name begins so is ./{path}",
        )
    return Path(path).expanduser()


def own_folder(root: Path, name: str) -> Path:
    """Return the folder of a table, or of the bookkeeping, within a destination. It need not exist.

    Raises:
        DestinationError: It is a link, or the name leads out of the destination. What is behind a link may be
            anybody's, and is never renamed or deleted.
    """
    if name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise DestinationError(
            f"{root}: {name!r} is not the name of a table, but a file of the folder names it so",
            hint="another program changed the folder; restore it from a backup",
        )
    if is_link(folder := root / name):
        raise DestinationError(
            f"{folder} is a link, and what it leads to is not changed",
            hint="replace it by the folder itself; the whole destination may be behind a link",
        )
    return folder


def is_link(path: Path) -> bool:
    """Whether a path is a symbolic link, or a junction of Windows."""
    junction = getattr(path, "is_junction", None)  # Python 3.12
    return path.is_symlink() or bool(junction and junction())
