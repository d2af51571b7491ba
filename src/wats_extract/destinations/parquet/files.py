"""Parquet files that somebody may be reading: how they are named, encoded, written and replaced.

A scan (Polars, Spark) lists files and reads their footers when it is planned, and their pages when it runs.
In between a file must neither go nor change, or the scan fails. So a file only ever *grows*:

- What is to be rewritten moves to the other of two *slots*, ``LABEL.parquet`` and ``LABEL~.parquet``.
- The old one is *retired*: it keeps its bytes, and a footer behind them says that it has no rows. Whoever
  planned before still finds every page in its place; whoever plans now finds nothing in it.
- After :data:`GRACE` it is deleted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GRACE = 600.0
"""Seconds for which a retired file stays, for scans that are under way."""

SCHEMA_FILE = "+schema.parquet"
"""A file without rows in every table's folder, so that a table can be scanned before it has any. It sorts
before all labels, because readers take the schema from the first file."""

_MAGIC = 4
"""Length of ``PAR1``, with which a file begins."""

_DEAD = 1 << 18
"""So many bytes of earlier versions are kept in a slot that is filled again while readers may be at it."""

_ROW_GROUP = 131_072
_SAMPLE = 4_096
"""Rows that are looked at to choose how a column is written."""
_TELLING = 200
"""Rows that are enough to choose once for all."""
_SYNCED_AT_ONCE = 8
_PATIENCE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to replace a file that a reader has open; only Windows minds."""


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def safe_label(label: str) -> str:
    """The label as a file name on every system; letters, digits, ``_``, ``-`` and ``.`` stay as they are."""
    return quote(label, safe="").replace("~", "%7E")


def slots(folder: Path, label: str) -> tuple[Path, Path]:
    """The two files of which at most one has the label's rows."""
    return folder / f"{label}.parquet", folder / f"{label}~.parquet"


def label_of(path: Path) -> str:
    """The label whose slot this file is."""
    return path.stem.removesuffix("~")


def live(folder: Path, label: str) -> Path | None:
    """The file that has the label's rows, if there are any."""
    return next((path for path in slots(folder, label) if path.exists() and row_count(path)), None)


def data_files(folder: Path) -> list[Path]:
    """All of a table's files, in order of their names, without the schema file."""
    return [path for path in sorted(folder.glob("*.parquet")) if path.name != SCHEMA_FILE]


def staged_path(target: Path, token: str) -> Path:
    """Where a file is written before it is published: hidden, and never two commits to the same place."""
    return target.with_name(f".{target.name}.{token}.tmp")


# ── reading and writing ─────────────────────────────────────────────────────────────────────────


def row_count(path: Path) -> int:
    """The rows of a file, by its footer."""
    return int(pq.read_metadata(path).num_rows)


def read(path: Path) -> pa.Table:
    """All rows of a file; it is closed again, which Windows wants before it is replaced."""
    with pq.ParquetFile(path) as file:
        return file.read()


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly these columns; those that they lack are null."""
    present = dict(zip(rows.schema.names, rows.columns, strict=True))
    return pa.table(
        [
            present[column.name] if column.name in present else pa.nulls(rows.num_rows, column.type)
            for column in schema
        ],
        schema=schema,
    )


class Encodings:
    """How the columns of each table are written; found out once, where there are rows enough to tell."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, pa.Schema], dict[str, Any]] = {}

    def of(self, folder: Path, rows: pa.Table) -> dict[str, Any]:
        """What a writer of such rows is told."""
        place = folder, rows.schema
        encoding = self._known.get(place) or _encoding(rows)
        if rows.num_rows >= _TELLING:
            self._known[place] = encoding
        return encoding


def write(path: Path, rows: pa.Table, encodings: Encodings, *, behind: Path | None = None) -> None:
    """Write a file; it is not durable yet.

    Args:
        path: The (staged) file.
        rows: Its contents.
        encodings: Those of the folder.
        behind: A file whose bytes come first, each at its old place, before those of ``rows``.
    """
    encoding = encodings.of(path.parent, rows)
    with pa.OSFile(str(path), "wb") as sink, pq.ParquetWriter(sink, rows.schema, **encoding) as writer:
        if behind is not None:
            with behind.open("rb") as earlier:
                earlier.seek(_MAGIC)  # the writer has written its own already
                shutil.copyfileobj(earlier, sink, 1 << 20)
        write_rows(writer, rows)


def write_rows(writer: pq.ParquetWriter, rows: pa.Table) -> None:
    """Add rows to a file, in parts of a size that readers like."""
    writer.write_table(rows, _ROW_GROUP)


def room_behind(slot: Path) -> Path | None:
    """What to write behind when a slot is filled: its last version, unless so much is dead in it already."""
    return slot if slot.exists() and slot.stat().st_size <= _DEAD else None


def _encoding(rows: pa.Table) -> dict[str, Any]:
    """Dictionaries where a column has few values, else what suits the type: a third less than the default."""
    few = [name for name in rows.schema.names if _has_few_values(rows[name])]
    by_type = {
        path: encoding
        for field in rows.schema
        if field.name not in few
        for path, encoding in _plain_encoding(field)
    }
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": few,
        "column_encoding": by_type,
    }


def _has_few_values(column: pa.ChunkedArray) -> bool:
    if pa.types.is_list(column.type) or pa.types.is_boolean(column.type):
        return False
    sample = column.slice(0, _SAMPLE)
    return int(pc.count_distinct(sample).as_py()) * 4 <= len(sample)


def _plain_encoding(field: pa.Field) -> Iterator[tuple[str, str]]:
    if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
        yield f"{field.name}.list.element", "BYTE_STREAM_SPLIT"
    elif pa.types.is_floating(field.type):
        yield field.name, "BYTE_STREAM_SPLIT"
    elif pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type):
        yield field.name, "DELTA_BINARY_PACKED"


# ── durable steps ───────────────────────────────────────────────────────────────────────────────


def at_once(sync: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Sync several files or folders: a disk that is asked for all of them together waits little longer."""
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        for _ in pool.map(sync, paths):
            pass


def sync_file(path: Path) -> None:
    """Wait until a file's contents are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk; Windows does that by itself, and has no call for it."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(staged: Path, target: Path) -> None:
    """Publish a file under its name; on Windows wait for readers to let go of it.

    Raises:
        PermissionError: a program keeps the file open.
    """
    for pause in _PATIENCE:
        try:
            staged.replace(target)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    staged.replace(target)
