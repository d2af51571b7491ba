"""Parquet files that readers may be scanning: how they are named, encoded, written and replaced.

A scan (Polars, Spark) lists the files and reads their footers when it is planned, and reads the pages when it
runs. A file that is deleted or changed in between would break the scan. So files only ever *grow*:

- Each label has two *slots*, ``LABEL.parquet`` and ``LABEL~.parquet``. A rewritten file moves to the other
  slot.
- The old file is *retired*: its bytes stay, and a new footer behind them says that it has no rows. A scan
  planned earlier still finds every page in its place, and a scan planned later finds no rows.
- Retired files are deleted after :data:`GRACE` seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GRACE = 600.0
"""Seconds for which a retired file is kept, for scans in progress."""

SCHEMA_FILE = "+schema.parquet"
"""A file without rows in every table's folder, so that a table can be scanned before it has rows. Its name
sorts before all labels, because readers take the schema from the first file."""

_MAGIC = 4
"""Length of ``PAR1``, the first bytes of a file."""

_MAX_DEAD_BYTES = 1 << 18
"""A slot that is filled again keeps at most this many bytes of earlier versions for scans in progress."""

_ROW_GROUP = 131_072
_SAMPLE = 4_096
"""Number of rows that the encoding of a column is chosen by."""
_CONCLUSIVE = 200
"""Number of rows from which on that choice is final."""
_PARALLEL_SYNCS = 8
_LOOKS = 10
"""Maximum number of looks at a label that keeps changing."""
_RETRY_WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to replace a file that a reader has open, which fails on Windows."""


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def safe_label(label: str) -> str:
    """Encode a label as a file name for every system; letters, digits, ``_``, ``-`` and ``.`` are kept."""
    return quote(label, safe="").replace("~", "%7E")


class Slots(NamedTuple):
    """The two files of a label.

    Attributes:
        live: The file that has the rows, or ``None``.
        free: The file for new rows. It may exist, retired.
        twin: Whether ``free`` has rows as well, because somebody laid an older copy over the folder.
    """

    live: Path | None
    free: Path
    twin: bool = False


def slots(folder: Path, label: str) -> Slots:
    """Find out which of the two files of a label has rows."""
    first, second = slot_paths(folder, label)
    filled = [path for path in (first, second) if row_count(path)]
    if not filled:
        return Slots(None, first)
    return Slots(filled[0], second if filled[0] == first else first, twin=len(filled) == 2)


def opened(folder: Path, label: str) -> list[pa.NativeFile]:
    """Open the files of a label that have rows, for readers without a lock: usually one.

    A commit may move the rows between looking at one slot and at the other, or delete a retired file. So an
    answer other than one file is given only if it comes twice.
    """
    found: list[Path] = []
    for again in range(_LOOKS):
        before, found = found, [path for path in slot_paths(folder, label) if row_count(path)]
        if len(found) == 1 or (again and found == before):
            with suppress(FileNotFoundError):
                return [pa.OSFile(str(path)) for path in found]
    return [pa.OSFile(str(path)) for path in found]


def slot_paths(folder: Path, label: str) -> tuple[Path, Path]:
    """The two files of a label, whether or not they exist."""
    return folder / f"{label}.parquet", folder / f"{label}~.parquet"


def label_of(path: Path) -> str:
    """The label that a file belongs to."""
    return path.stem.removesuffix("~")


def data_files(folder: Path, *, pattern: str = "*.parquet") -> list[Path]:
    """All files of a table but the schema file, ordered by name."""
    return [path for path in sorted(folder.glob(pattern)) if path.name != SCHEMA_FILE]


def labels(folder: Path, *, pattern: str = "*.parquet") -> set[str]:
    """The labels of all files of a table, or of those that match a pattern."""
    return {label_of(path) for path in data_files(folder, pattern=pattern)}


def states(root: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and time of change of the files that exist, by their paths within the destination."""
    found = {}
    for name in names:
        with suppress(FileNotFoundError):
            status = (root / name).stat()
            found[name] = status.st_size, status.st_mtime_ns
    return found


def listing(root: Path, table: str) -> dict[str, tuple[int, int]]:
    """Size and time of change of all files of a table but the schema file."""
    return states(root, (f"{table}/{path.name}" for path in data_files(root / table)))


def staged_path(target: Path, token: str) -> Path:
    """The hidden path at which a file is written before it is published, different for each commit."""
    return target.with_name(f".{target.name}.{token}.tmp")


def is_staged(path: Path) -> bool:
    """Whether a path is one of :func:`staged_path`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{32}\.tmp", path.name) is not None


# ── reading and writing ─────────────────────────────────────────────────────────────────────────


def row_count(path: Path) -> int:
    """The number of rows of a file, from its footer. A missing file has none: a deleted one was retired."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        return 0


def largest(path: Path, column: str) -> int | None:
    """The largest value in a column of whole numbers, from the statistics in the footer."""
    metadata = pq.read_metadata(path)
    place = metadata.schema.to_arrow_schema().get_field_index(column)
    found: list[int] = []
    for group in range(metadata.num_row_groups if place >= 0 else 0):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is not None and statistics.has_min_max:
            found.append(statistics.max)
    return max(found, default=None)


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all rows of a file, or some of its columns, and close it; Windows cannot replace an open file."""
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def read_live(slots: Slots, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Read all rows of a label, or some of their columns; ``None`` if it has none."""
    if slots.live is None:
        return None
    rows = read(slots.live, columns)
    if slots.twin:
        rows = pa.concat_tables([rows, read(slots.free, columns)], promote_options="default")
    return rows


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the rows with exactly the columns of a schema; missing columns are null."""
    if rows.schema.equals(schema):
        return rows
    present = dict(zip(rows.schema.names, rows.columns, strict=True))
    return pa.table(
        [
            present[column.name] if column.name in present else pa.nulls(rows.num_rows, column.type)
            for column in schema
        ],
        schema=schema,
    )


class Encodings:
    """Chooses how the columns of each table are encoded: once per table, as soon as it has enough rows."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, pa.Schema], dict[str, Any]] = {}

    def of(self, folder: Path, rows: pa.Table) -> dict[str, Any]:
        """Options of ``ParquetWriter`` for such rows."""
        place = folder, rows.schema
        encoding = self._known.get(place) or _encoding(rows)
        if rows.num_rows >= _CONCLUSIVE:
            self._known[place] = encoding
        return encoding


def write(path: Path, rows: pa.Table, encodings: Encodings, *, behind: Path | None = None) -> None:
    """Write a file, without syncing it to disk.

    Args:
        path: The (staged) file.
        rows: Its rows.
        encodings: The encodings of the destination.
        behind: A file whose bytes are copied to the front, so that its pages keep their positions.
    """
    encoding = encodings.of(path.parent, rows)
    with pa.OSFile(str(path), "wb") as sink, pq.ParquetWriter(sink, rows.schema, **encoding) as writer:
        if behind is not None:
            with behind.open("rb") as earlier:
                earlier.seek(_MAGIC)  # the writer has already written its own
                shutil.copyfileobj(earlier, sink, 1 << 20)
        writer.write_table(rows, _ROW_GROUP)


def room_behind(slot: Path) -> Path | None:
    """The last version of a slot, to be kept in front of new rows; ``None`` if it is too large."""
    return slot if slot.exists() and slot.stat().st_size <= _MAX_DEAD_BYTES else None


def _encoding(rows: pa.Table) -> dict[str, Any]:
    """Dictionaries for columns with few distinct values, else by type: a third smaller than the default."""
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


# ── durability ──────────────────────────────────────────────────────────────────────────────────


def sync_all(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Sync files and folders to disk, in parallel, which takes little longer than a single one."""
    with ThreadPoolExecutor(_PARALLEL_SYNCS) as pool:
        pending = [pool.submit(sync_file, path) for path in files]
        pending += [pool.submit(sync_folder, path) for path in folders]
        for each in pending:
            each.result()


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on disk."""
    _sync(path, os.O_RDWR)  # Windows syncs only files that are open for writing


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk; Windows does this by itself and has no call for it."""
    if os.name != "nt":
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(staged: Path, target: Path) -> None:
    """Publish a staged file under its name; on Windows, wait until readers close the old one.

    Raises:
        PermissionError: A program keeps the old file open.
    """
    for wait in _RETRY_WAITS:
        try:
            staged.replace(target)
        except PermissionError:
            time.sleep(wait)
        else:
            return
    staged.replace(target)
