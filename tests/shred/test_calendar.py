"""Timestamps at both ends of the calendar: .NET's smallest and largest ones, with an offset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import DESTINATIONS, TOKEN
from tests.extraction import Extraction

from wats_extract.engine.verifying import verify
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.frontends.session import connect
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.header_tables import HEADERS
from wats_extract.shred.instants import in_calendar, instants
from wats_extract.shred.wsjf import steps as native_steps
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred
from wats_extract.tables import TIMESTAMP

OUTSIDE = [
    "0001-01-01T00:00:00+01:00",
    "0001-01-01T00:00:00.0000000+00:01",
    "0001-01-01T13:59:59.9999999+14:00",
    "9999-12-31T23:59:59.9999999-05:00",
    "9999-12-31T23:59:59-00:01",
    "9999-12-31T12:00:00-12:00",
]
INSIDE = {
    "0001-01-01T00:00:00": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00-01:00": datetime(1, 1, 1, 1, tzinfo=UTC),
    "0001-01-01T14:00:00+14:00": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59.9999999Z": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    "9999-12-31T23:59:59.9999999+05:00": datetime(9999, 12, 31, 18, 59, 59, 999999, UTC),
}
KEYS = {text: str(UUID(int=number, version=4)) for number, text in enumerate([*OUTSIDE, *INSIDE])}


def document(key: str, text: str) -> bytes:
    """A report with the same text in every timestamp."""
    return json.dumps(
        {
            "type": "R",
            "id": key,
            "pn": "P",
            "sn": "S",
            "result": "P",
            "start": text,
            "uur": {"user": "u", "confirmDate": text, "finalizeDate": text},
            "root": {"id": 0, "name": "r", "start": text, "steps": [{"id": 1, "name": "s", "start": text}]},
        }
    ).encode()


@dataclass
class Loaded:
    """A run over these documents, and its server, which is still there."""

    extraction: Extraction
    exit_code: int
    message: str

    def rows(self, table: str, key: str) -> list[dict[str, Any]]:
        owner = "report_uuid" if table == "steps" else "uuid"
        return [row for row in self.extraction.table(table) if row[owner] == key]


@pytest.fixture(scope="module", params=DESTINATIONS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    plant = Plant(3)
    for text, key in KEYS.items():
        plant.receive(document(key, text), uuid=key, start=text)
    with serve(App(plant, token=TOKEN)) as server:
        extraction = Extraction(server.url, tmp_path_factory.mktemp("calendar"), request.param)
        report = extraction.run()
        yield Loaded(extraction, report.exit_code, report.message)


def test_all_reports_land(loaded: Loaded) -> None:
    assert (loaded.exit_code, loaded.message) == (0, "")


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_timestamp_outside_the_calendar_is_null_and_stays_in_extra(loaded: Loaded, text: str) -> None:
    (report,) = loaded.rows("reports", KEYS[text])
    assert (report["start"], report["confirmed_at"], report["finalized_at"]) == (None, None, None)
    uur = {"confirmDate": text, "finalizeDate": text}
    assert json.loads(report["_extra"]) == {"start": text, "uur": uur}
    steps = loaded.rows("steps", KEYS[text])
    assert [(row["start"], json.loads(row["_extra"])) for row in steps] == [(None, {"start": text})] * 2


@pytest.mark.parametrize("text", INSIDE)
def test_a_timestamp_within_the_calendar_is_kept(loaded: Loaded, text: str) -> None:
    (report,) = loaded.rows("reports", KEYS[text])
    assert (report["start"], report["confirmed_at"], report["_extra"]) == (INSIDE[text], INSIDE[text], None)
    assert [row["start"] for row in loaded.rows("steps", KEYS[text])] == [INSIDE[text]] * 2


def test_verify_and_repair_read_them(loaded: Loaded) -> None:
    for repair in (False, True):
        with loaded.extraction.client() as client:
            report = verify(loaded.extraction.job(), client, repair=repair)
        assert (report.status, report.exit_code) == ("equal", 0)


@pytest.mark.parametrize(
    "broken", [-(2**63) + 1, 2**63 - 1, -62_135_596_800_000_001, 253_402_300_800_000_000]
)
def test_verify_survives_what_a_table_holds(loaded: Loaded, broken: int, tmp_path: Path) -> None:
    extraction = Extraction(loaded.extraction.url, tmp_path, loaded.extraction.kind, ["report_headers"])
    assert extraction.run().exit_code == 0
    overwrite_starts(extraction, broken)
    for repair in (False, True):
        with extraction.client() as client:
            report = verify(extraction.job(), client, repair=repair)
        assert (report.status, report.exit_code) == ("equal", 0)
    destination = extraction.destination()
    destination.open(read_only=True)
    assert set(destination.read(HEADERS)["start"].to_pylist()) == {None}
    assert {x for batch in destination.scan(HEADERS, ["start"]) for x in batch["start"].to_pylist()} == {None}
    destination.close()


def overwrite_starts(extraction: Extraction, moment: int) -> None:
    """Write a ``start`` into all rows, as an older version or another program may have done."""
    if extraction.kind == "duckdb":
        with duckdb.connect(extraction.folder / "wats.duckdb") as connection:
            moments = pa.table({"start": pa.array([moment], pa.int64()).cast(TIMESTAMP)})
            connection.register("moments", moments)
            connection.execute("UPDATE report_headers SET start = (SELECT start FROM moments)")
        return
    for path in (extraction.folder / "wats" / "report_headers").glob("*.parquet"):
        rows = pq.ParquetFile(path).read()
        moments = pa.array([moment] * rows.num_rows, pa.int64()).cast(TIMESTAMP)
        rows = rows.set_column(rows.schema.get_field_index("start"), rows.schema.field("start"), moments)
        pq.write_table(rows, path)


def test_native_and_python_steps_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for way in ("native", "python"):
        if way == "python":
            monkeypatch.setattr(native_steps, "_native", None)
        decoded = [decode(key, 1, document(key, text)) for text, key in KEYS.items()]
        assert way == "python" or native_steps._native is None or all(each.steps for each in decoded)
        found[way] = {table.name: batch.to_pylist() for table, batch in shred(decoded, WsjfOptions()).items()}
    assert found["native"] == found["python"]


def test_rows_of_lists_keep_them_in_extra() -> None:
    shredder = FlatShredder(HEADERS)
    text = OUTSIDE[0]
    rows = shredder.rows(json.dumps([{"uuid": "a", "timeStamp": 1, "start": text, "new": 1}]).encode())
    (row,) = shredder.shred([each.record for each in rows])[HEADERS].to_pylist()
    assert (row["start"], json.loads(row["_extra"])) == (None, {"start": text, "new": 1})


def test_a_report_whose_only_start_is_utc_keeps_it_in_extra() -> None:
    raw = json.dumps({"id": "a", "start": "2026-01-01T00:00:00", "startUTC": OUTSIDE[0]}).encode()
    (batch,) = shred([decode("a", 1, raw)], WsjfOptions()).values()
    (row,) = batch.to_pylist()
    assert row["start"] is None
    assert json.loads(row["_extra"]) == {"start": "2026-01-01T00:00:00", "startUTC": OUTSIDE[0]}


def test_the_calendar_ends_with_year_9999() -> None:
    moments = instants(list(INSIDE)).cast(pa.int64()).to_pylist()
    assert all(map(in_calendar, moments))
    assert not in_calendar(min(moments) - 1)
    assert not in_calendar(max(moments) + 1)
    assert instants([*OUTSIDE, None]).null_count == len(OUTSIDE) + 1


@pytest.mark.parametrize("table", ["reports", "steps"])
def test_streams_read_them(loaded: Loaded, table: str) -> None:
    with connect(loaded.extraction.url, token=TOKEN) as wats:
        rows = [row for batch in wats.stream("reports", table=table) for row in batch.to_pylist()]
    assert {row["start"] for row in rows} >= {None, *INSIDE.values()}
