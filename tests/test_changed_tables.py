"""Tables that somebody changed by hand: nothing lands twice, and errors say what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.engine.test_extraction import assert_same
from tests.extraction import Extraction, expected_tables
from wats_extract.engine import cursors
from wats_extract.engine.run import repair
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Commit
from wats_extract.state.tables import STATE

HOW: dict[str, Callable[[Extraction, list[str]], object]] = {
    "the next run": lambda extraction, keys: extraction.run(),
    "a full refresh": lambda extraction, keys: extraction.run(full_refresh=True),
    "verify --repair": lambda extraction, keys: repaired(extraction, keys),
}


def repaired(extraction: Extraction, keys: list[str]) -> object:
    with extraction.client() as client:
        return repair(extraction.job(), client, {"reports": keys})


def changed(extraction: Extraction, sql: str) -> list[str]:
    """The table of reports is changed; the keys that are gone."""
    with duckdb.connect(extraction.folder / "wats.duckdb") as tables:
        before = {uuid for (uuid,) in tables.execute("SELECT uuid FROM reports").fetchall()}
        tables.execute(sql)
        there = tables.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reports'").fetchall()
        after = tables.execute("SELECT uuid FROM reports").fetchall() if there[0][0] else []
    return sorted(before - {uuid for (uuid,) in after})


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "sql", ["DELETE FROM reports WHERE result <> 'Passed'", "ALTER TABLE reports RENAME TO old_reports"]
)
def test_steps_of_reports_that_were_deleted_alone_do_not_land_twice(
    sql: str, how: str, server: Any, tmp_path: Path
) -> None:
    plant = Plant(30)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["reports"])
    assert extraction.run().status == "succeeded"
    gone = changed(extraction, sql)
    assert gone
    HOW[how](extraction, gone)
    assert_same(
        extraction, {name: rows for name, rows in expected_tables(plant).items() if name != "report_headers"}
    )


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_a_cursor_that_cannot_be_read_is_named_and_can_be_cleared(
    kind: str, server: Any, tmp_path: Path
) -> None:
    _, url = server(Plant(10))
    extraction = Extraction(url, tmp_path, kind, names=["reports"])
    assert extraction.run().status == "succeeded"
    destination = extraction.destination()
    destination.open()
    try:
        spoiled = [row | {"cursor": "42 or so"} for row in destination.read(STATE).to_pylist()]
        destination.commit(Commit("by hand", {}, {}, frozenset(), {STATE: spoiled}))
    finally:
        destination.close()

    report = extraction.run()
    assert (report.status, report.exit_code) == ("failed", 1)
    assert "the cursor of reports is not a JSON object" in report.message
    assert "wats-extract state FILE" in report.message
    with cursors.changing(destination, "test") as write:
        (before,) = cursors.stored(destination, "test")
        assert before.cursor == {"unreadable": "42 or so"}
        write([cursors.Change(before.cursor, cursors.Stored("reports", before.selection, {}))])
    assert extraction.run().status == "succeeded"
    assert len(extraction.table("reports")) == 10
