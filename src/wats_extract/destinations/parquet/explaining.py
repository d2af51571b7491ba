"""Turns errors of the libraries below the Parquet destination into ours."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from wats_extract.errors import DestinationError, OutOfMemory

_HINTS = (
    (
        r"\.commit\.lock. could not be acquired",
        "another process has been committing into this folder for minutes; check whether it hangs",
    ),
    (r"Permission denied|Access is denied|Read-only file system", "make the folder and its files writable"),
    (
        r"No space left|not enough space|disk full|disk is full|disk I/O error|File too large",
        "free some disk space and run again",
    ),
    (r"\+schema\.parquet", "call prepare first"),
)


@contextmanager
def explaining(root: Path, operation: str) -> Iterator[None]:
    """Turn errors of Arrow, SQLite and the file system into a ``DestinationError`` with a hint."""
    try:
        yield
    except (pa.ArrowException, sqlite3.Error, OSError, MemoryError) as error:
        kind = OutOfMemory if isinstance(error, MemoryError) else DestinationError
        raise kind(f"{root}: {operation}: {error}", hint=_hint(str(error))) from error


def _hint(message: str) -> str:
    return next((hint for pattern, hint in _HINTS if re.search(pattern, message, re.IGNORECASE)), "")
