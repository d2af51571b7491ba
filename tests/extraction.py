"""A pipeline as tests run it: against a server's address, into a temporary destination, and read back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tests import expected
from tests.conftest import TOKEN
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.job import Job, RunReport, Task, Tolerance
from wats_extract.engine.run import execute, retry
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Destination, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.http.retry import RetryPolicy
from wats_extract.resources.catalogue import RESOURCES

IMPATIENT = RetryPolicy(first_wait=0.001, longest_wait=0.01, random=random.Random(1))
"""As many tries as usual, without the waiting."""


@dataclass
class Extraction:
    """A pipeline against one server."""

    url: str
    folder: Path
    kind: str = "duckdb"
    names: Sequence[str] = ("report_headers", "reports")
    options: dict[str, Any] = field(default_factory=lambda: {"attachments": "content"})
    disposition: str = "merge"
    max_failures: str = "0"
    stop_at_failures: str = "20%"
    token: str = TOKEN

    def destination(self) -> Destination:
        """A new handle on the destination."""
        if self.kind == "duckdb":
            return DuckDB(self.folder / "wats.duckdb")
        return Parquet(self.folder / "wats")

    def job(self, *, full_refresh: bool = False, **selection: Any) -> Job:
        """What a run has to do."""
        select = Selection(options=self.options, **selection)
        fingerprint = str(sorted((name, str(value)) for name, value in selection.items() if name != "limit"))
        tasks = [Task(RESOURCES[name], select, fingerprint, self.disposition) for name in self.names]
        tolerances = Tolerance.parse(self.max_failures), Tolerance.parse(self.stop_at_failures)
        return Job("test", tasks, self.destination(), *tolerances, full_refresh=full_refresh)

    def client(self, **limits: Any) -> Client:
        """A client that does not wait."""
        connection = Connection(
            self.url, self.token, **{"requests_per_minute": None, "timeout": 5.0, **limits}
        )
        return Client(connection, policy=IMPATIENT)

    def run(self, *, limits: dict[str, Any] | None = None, **selection: Any) -> RunReport:
        """One run."""
        with self.client(**(limits or {})) as client:
            return execute(self.job(**selection), client)

    def retry(self, **wanted: Any) -> RunReport:
        """Fetch again what failed."""
        with self.client() as client:
            return retry(self.job(), client, **wanted)

    def table(self, name: str) -> list[dict[str, Any]]:
        """A table's rows, in the order of their keys, as an analyst would read them."""
        frame = self.frame(name)
        rows = frame.to_dicts()
        keys = [column for column in frame.columns if column.endswith(("uuid", "_index", "key"))][:3]
        return sorted(rows, key=lambda row: tuple(str(row[key]).rjust(40) for key in keys))

    def frame(self, name: str) -> pl.DataFrame:
        """A table."""
        if self.kind == "parquet":
            return pl.scan_parquet(self.folder / "wats" / name / "*.parquet").collect()
        import duckdb

        with duckdb.connect(str(self.folder / "wats.duckdb"), read_only=True) as connection:
            found = connection.sql(f'from "{name}"').to_arrow_table()
        assert isinstance(found, pa.Table)
        frame = pl.from_arrow(found)
        assert isinstance(frame, pl.DataFrame)
        return frame


def expected_tables(plant: Plant, *, expanded: Sequence[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """What all tables must hold after everything on the server was extracted."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for header in plant.headers():
        document = plant.document(header["uuid"])
        found = {"report_headers": [expected.header_row(header)]}
        found |= expected.report_rows(document, header["timeStamp"])
        if expanded:
            found |= expected.header_children(header)
        for name, rows in found.items():
            tables.setdefault(name, []).extend(rows)
    return tables
