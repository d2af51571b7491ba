"""Tables with columns of every type, commits of them, and an in-memory model of a destination.

Run as a program, this is a child process that commits and is killed:

    python destination_samples.py KIND PATH die STEP        one commit, os._exit(9) at this step
    python destination_samples.py KIND PATH many FIRST      commits FIRST, FIRST + 1, … until it is killed
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.flow import Commit
from wats_extract.state.tables import BOOKKEEPING, STATE
from wats_extract.tables import TIMESTAMP, Column, Table

KINDS = ("duckdb", "parquet")
START = datetime(2026, 1, 1, tzinfo=UTC)

REPORTS = Table(
    "reports",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    columns=(
        Column("uuid", pa.string()),
        Column("time_stamp", pa.int64()),
        Column("name", pa.string()),
        Column("start", TIMESTAMP),
    ),
)
STEPS = Table(
    "steps",
    key=("report_uuid", "step_index"),
    owner="report_uuid",
    columns=(
        Column("report_uuid", pa.string()),
        Column("step_index", pa.int32()),
        Column("value", pa.float64()),
        Column("passed", pa.bool_()),
    ),
)
CHARTS = Table(
    "chart series",  # a name that needs quotes in SQL
    key=("report_uuid", "series_index"),
    owner="report_uuid",
    columns=(
        Column("report_uuid", pa.string()),
        Column("series_index", pa.int32()),
        Column("from", pa.list_(pa.float64())),
        Column('a "quoted" one', pa.binary()),
    ),
)
FAMILY = (REPORTS, STEPS, CHARTS)
ALL = (*FAMILY, *BOOKKEEPING)

Items = Mapping[str, tuple[int, int, int]]
"""uuid → version, number of steps, number of charts."""


def make(kind: str, path: Path, **options: Any) -> DuckDB | Parquet:
    if kind == "duckdb":  # so few rows that the file is opened again after nearly every commit
        return DuckDB(path / "a.duckdb", **({"reopen_rows": 5} | options))
    return Parquet(path / "files", **options)


def opened(kind: str, path: Path, **options: Any) -> DuckDB | Parquet:
    destination = make(kind, path, **options)
    destination.open()
    destination.prepare(ALL)
    return destination


def native(kind: str, path: Path, table: Table) -> pa.Table:
    """Read a table as other programs do, without our code."""
    if kind == "parquet":
        files = sorted((path / "files" / table.name).glob("*.parquet"))
        return pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    with duckdb.connect(path / "a.duckdb", read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f'FROM "{table.name}"').to_arrow_table()


# ── commits ─────────────────────────────────────────────────────────────────────────────────────


def run_at(moment: datetime) -> str:
    """The run that loads rows at this moment: there is one per minute."""
    return f"run {(moment - START) // timedelta(minutes=1)}"


def runs_from(minute: int, until: int) -> frozenset[str]:
    """The runs from one minute to another."""
    return frozenset(run_at(START + timedelta(minutes=each)) for each in range(minute, until + 1))


def rows_of(table: Table, items: Items, at: datetime) -> list[dict[str, Any]]:
    stamps = {"_extra": None, "_wats_run_id": run_at(at), "_wats_extracted_at": at}
    rows: list[dict[str, Any]] = []
    for uuid, (version, steps, charts) in items.items():
        if table is REPORTS:
            start = START + timedelta(microseconds=version)
            rows.append({"uuid": uuid, "time_stamp": version, "name": f"«{uuid}» {version}", "start": start})
        elif table is STEPS:
            rows += [
                {"report_uuid": uuid, "step_index": i, "value": version + i / 7, "passed": i % 2 == 0}
                for i in range(steps)
            ]
        else:
            rows += [
                {
                    "report_uuid": uuid,
                    "series_index": i,
                    "from": [float(version)] * i,
                    'a "quoted" one': bytes([0, version % 256]),
                }
                for i in range(charts)
            ]
    return [row | stamps for row in rows]


def batches(table: Table, rows: Iterable[Mapping[str, Any]]) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist(list(rows), schema=table.schema)]


def state(cursor: object, **other: Any) -> dict[str, Any]:
    row = {"pipeline": "p", "resource": "reports", "selection": "{}", "cursor": str(cursor), "run_id": "r1"}
    return row | other


def commit_of(
    label: str,
    items: Items,
    *,
    replaced: Iterable[str] = (),
    minute: int = 0,
    sweep_except: frozenset[str] | None = None,
    kept: Iterable[str] = (),
    book: Mapping[Table, Sequence[Mapping[str, Any]]] | None = None,
    upsert: bool = False,
) -> Commit:
    at = START + timedelta(minutes=minute)
    return Commit(
        label=label,
        rows={table: batches(table, rows_of(table, items, at)) for table in FAMILY},
        landed={uuid: version for uuid, (version, _, _) in items.items()},
        replaced=frozenset(replaced),
        book={STATE: [state(label)]} if book is None else book,
        sweep_except=sweep_except,
        kept=frozenset(kept),
        upsert=upsert,
    )


def contents(destination: DuckDB | Parquet, tables: Iterable[Table] = (*FAMILY, STATE)) -> dict[str, Any]:
    return {table.name: destination.read(table).to_pylist() for table in tables}


class Model:
    """A destination in plain Python: the reference for what commits do to tables."""

    def __init__(self) -> None:
        self.tables: defaultdict[Table, list[dict[str, Any]]] = defaultdict(list)

    def commit(self, commit: Commit) -> None:
        replaced = set(commit.replaced)
        if commit.upsert and commit.rows:
            replaced |= self.landed(next(iter(commit.rows)), list(commit.landed)).keys()
        for table, incoming in commit.rows.items():
            rows = pa.Table.from_batches(incoming, table.schema).to_pylist()
            same = {self._identity(table, row) for row in rows}
            kept = [
                row
                for row in self.tables[table]
                if row[table.owner] not in replaced and self._identity(table, row) not in same
            ]
            self.tables[table] = [row for row in kept + rows if not self._is_swept(table, row, commit)]
        for table, booked in commit.book.items():
            gone = {self._identity_of_booked(table, row) for row in booked}
            stays = [row for row in self.tables[table] if self._identity_of_booked(table, row) not in gone]
            by_key = {
                self._key(table, row): {name: row.get(name) for name in table.schema.names} for row in booked
            }
            self.tables[table] = [*stays, *by_key.values()]

    def landed(
        self, table: Table, keys: Sequence[str], *, versions: tuple[int, int] | None = None
    ) -> dict[str, int | None]:
        """``versions`` is a hint, which this one ignores."""
        rows = [row for row in self.tables[table] if row[table.owner] in keys]
        rows.sort(key=lambda row: row[table.version] if table.version else 0)
        return {row[table.owner]: row[table.version] if table.version else None for row in rows}

    def contents(self, tables: Iterable[Table] = (*FAMILY, STATE)) -> dict[str, Any]:
        return {
            table.name: sorted(self.tables[table], key=lambda row, table=table: self._key(table, row))
            for table in tables
        }

    @staticmethod
    def _key(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in table.key)

    @staticmethod
    def _identity_of_booked(table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in table.scope or table.key)

    def _identity(self, table: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return *self._key(table, row), row["_wats_run_id"], row["_wats_extracted_at"]

    @staticmethod
    def _is_swept(table: Table, row: Mapping[str, Any], commit: Commit) -> bool:
        runs = commit.sweep_except
        return runs is not None and row["_wats_run_id"] not in runs and row[table.owner] not in commit.kept


# ── the child process ───────────────────────────────────────────────────────────────────────────


def child(kind: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, kind, str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


BEFORE: Items = {"a": (1, 3, 2), "b": (1, 1, 1), "c": (1, 2, 0)}
AFTER: Items = {"a": (2, 1, 0), "d": (1, 4, 1)}


def first_commit() -> Commit:
    return commit_of("p-reports-1", BEFORE)


def second_commit() -> Commit:
    return commit_of("p-reports-2", AFTER, replaced=["a"], minute=1)


def nth_commit(number: int) -> Commit:
    """A commit of a new item that replaces the item of three commits ago. Odd ones are upserts."""
    items = {f"item {number}": (number, number % 5, number % 3)}
    earlier = f"item {number - 3}"
    if number >= 3:
        items[earlier] = (number, number % 2, 1)
    upsert = number % 2 == 1
    replaced = [] if upsert or number < 3 else [earlier]
    return commit_of(f"{number:06d}", items, replaced=replaced, minute=number, upsert=upsert)


def dying_at(step: str) -> Callable[[str], None]:
    def die(now: str) -> None:
        if now == step:
            os._exit(9)

    return die


def main(kind: str, path: str, command: str, argument: str) -> None:
    if command == "die":
        destination = make(kind, Path(path), on_step=dying_at(argument))
        destination.open()
        destination.commit(second_commit())
    else:
        destination = opened(kind, Path(path))
        print("ready", flush=True)
        for number in range(int(argument), 100_000):
            destination.commit(nth_commit(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
