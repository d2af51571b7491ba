"""Runs a pipeline against a server's address into a temporary destination, and reads its tables back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from tests import expected
from tests.conftest import TOKEN, Json
from tests.retrying import IMPATIENT
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.job import Job, RunReport, Task, Tolerance
from wats_extract.engine.run import execute, repair, retry
from wats_extract.fake.plant.data import Plant
from wats_extract.filters.wats_filter import asked
from wats_extract.flow import Destination, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.http.retry import RetryPolicy
from wats_extract.resources.catalogue import RESOURCES

Rows = list[dict[str, Any]]


@dataclass
class Extraction:
    """A pipeline against one server.

    Attributes:
        url: Address of the server.
        folder: Holds the destination.
        kind: Type of the destination.
        names: Resources to extract.
        options: Options of every resource.
        disposition: Write disposition of every resource.
        max_failures: As in the pipeline file.
        stop_at_failures: As in the pipeline file.
        token: Token of the server.
        policy: When and how often a request is retried.
    """

    url: str
    folder: Path
    kind: str = "duckdb"
    names: Sequence[str] = ("report_headers", "reports")
    options: dict[str, Any] = field(default_factory=lambda: {"attachments": "content"})
    disposition: str = "merge"
    max_failures: str = "0"
    stop_at_failures: str = "20%"
    token: str = TOKEN
    policy: RetryPolicy = IMPATIENT
    _read: tuple[Any, dict[str, pl.DataFrame]] = field(default=(None, {}), init=False, repr=False)

    # ── runs ──

    def destination(self) -> Destination:
        """A new handle on the destination."""
        if self.kind == "duckdb":
            return DuckDB(self._file)
        return Parquet(self.folder / "wats")

    def job(
        self,
        *,
        full_refresh: bool = False,
        filter: Json | str = "",  # noqa: A002 - the name in the pipeline file
        **selection: Any,
    ) -> Job:
        """The job of one run.

        Args:
            full_refresh: Whether to read everything again.
            filter: OData text, or values by column for resources that take a WATS filter.
            selection: Further fields of `Selection`.
        """
        if isinstance(filter, str):
            selection["filter"] = filter
        else:
            selection["asked"] = asked(filter, RESOURCES[self.names[0]].filters)
        select = Selection(options=self.options, **selection)
        fingerprint = str(sorted((name, str(value)) for name, value in selection.items() if name != "limit"))
        tasks = [Task(RESOURCES[name], select, fingerprint, self.disposition) for name in self.names]
        tolerances = Tolerance.parse(self.max_failures), Tolerance.parse(self.stop_at_failures)
        return Job("test", tasks, self.destination(), *tolerances, full_refresh=full_refresh)

    def client(self, **limits: Any) -> Client:
        """A client without a request budget that hardly waits between attempts."""
        connection = Connection(
            self.url, self.token, **{"requests_per_minute": None, "timeout": 5.0, **limits}
        )
        return Client(connection, policy=self.policy)

    def run(self, *, limits: dict[str, Any] | None = None, **selection: Any) -> RunReport:
        """Run the pipeline once."""
        with self.client(**(limits or {})) as client:
            return execute(self.job(**selection), client)

    def retry(self, **wanted: Any) -> RunReport:
        """Fetch failed items again, as ``wats-extract retry`` does."""
        with self.client() as client:
            return retry(self.job(), client, **wanted)

    def repair(self, keys: Mapping[str, Sequence[str]]) -> RunReport:
        """Fetch items by resource and key, as ``wats-extract verify --repair`` does."""
        with self.client() as client:
            return repair(self.job(), client, keys)

    # ── tables ──

    def table(self, name: str) -> Rows:
        """A table's rows, sorted by key."""
        frame = self.frame(name)
        rows = frame.to_dicts()
        keys = [column for column in frame.columns if column.endswith(("uuid", "_index", "key"))][:3]
        return sorted(rows, key=lambda row: tuple(str(row[key]).rjust(40) for key in keys))

    def frame(self, name: str) -> pl.DataFrame:
        """A table, read as other programs read it."""
        if self.kind == "parquet":
            return pl.scan_parquet(self.folder / "wats" / name / "*.parquet").collect()
        stamp = _stamp(self._file)
        if stamp is None or stamp != self._read[0]:
            self._read = stamp, _read_all(self._file)
        return self._read[1][name]

    @property
    def _file(self) -> Path:
        return self.folder / "wats.duckdb"


def _stamp(file: Path) -> tuple[int, int] | None:
    """Changes with the content of a DuckDB file; ``None`` where its write-ahead log holds more."""
    if Path(f"{file}.wal").exists():
        return None
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _read_all(file: Path) -> dict[str, pl.DataFrame]:
    """All tables of a DuckDB file. Opening it takes longer than reading every table."""
    with duckdb.connect(str(file), read_only=True) as connection:
        names = connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()
        return {name: _frame(connection, name) for (name,) in names}


def _frame(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(connection.sql(f'FROM "{name}"').to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


# ── comparing ──


def expected_tables(plant: Plant, *, expanded: Sequence[str] = ()) -> dict[str, Rows]:
    """The rows that every table must hold after everything on the server was extracted."""
    tables: dict[str, Rows] = {}
    for header in plant.headers():
        document = plant.document(header["uuid"])
        found = {"report_headers": [expected.header_row(header)]}
        found |= expected.report_rows(document, header["timeStamp"])
        if expanded:
            found |= expected.header_children(header)
        for name, rows in found.items():
            tables.setdefault(name, []).extend(rows)
    return tables


def assert_same(extraction: Extraction, tables: Mapping[str, Rows]) -> None:
    """Check that every table holds exactly the expected rows, value by value."""
    for name, rows in tables.items():
        landed = extraction.frame(name).to_dicts()
        assert len(landed) == len(rows), name
        if not rows:
            continue
        keys = _key_columns(rows[0])
        found = {tuple(row[key] for key in keys): row for row in landed}
        assert len(found) == len(landed), f"{name} has rows twice"
        for row in rows:
            _assert_row(name, row, found[tuple(row[key] for key in keys)])


def report_uuid(row: Mapping[str, Any]) -> str:
    """The report that a row of any table belongs to."""
    return str(row["report_uuid"] if "report_uuid" in row else row["uuid"])


def _key_columns(row: Mapping[str, Any]) -> list[str]:
    """The columns that identify a row of a table."""
    uuid = "report_uuid" if "report_uuid" in row else "uuid"
    if own := next((index for index in _OWN_INDEXES if index in row), None):
        return [uuid, own]
    return [uuid, *(name for name in row if name.endswith("_index") and name not in _NOT_KEYS)]


_OWN_INDEXES = ("attachment_index", "additional_data_index")
"""Indexes that identify a row within its report; a ``step_index`` beside them is data."""

_NOT_KEYS = {
    "batch_loop_index",
    "loop_index",
    "parent_index",
    "parent_step_index",
    "replaced_index",
    "test_socket_index",
}


def _assert_row(table: str, row: Mapping[str, Any], landed: Mapping[str, Any]) -> None:
    if all(landed[name] == value for name, value in row.items()):
        return
    for name, value in row.items():
        other = landed[name]
        if name == "properties":
            other = None if other is None else json.loads(other)
        if isinstance(value, float) and math.isnan(value):
            assert math.isnan(other), (table, name)
        else:
            assert other == value, (table, name, row)
