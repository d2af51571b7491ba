"""Tables that a user changed by hand: no row is loaded twice, and errors say what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.command_line import CommandLine
from tests.conftest import Server
from tests.extraction import Extraction, assert_same, expected_tables
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Commit
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.state.tables import STATE

HOW: dict[str, Callable[[Extraction, list[str]], object]] = {
    "the next run": lambda extraction, keys: extraction.run(),
    "a full refresh": lambda extraction, keys: extraction.run(full_refresh=True),
    "verify --repair": lambda extraction, keys: extraction.repair({"reports": keys}),
}


def change(file: Path, sql: str) -> list[str]:
    """Change the table of reports; returns the keys of the reports that are gone."""
    with duckdb.connect(file) as tables:
        before = {uuid for (uuid,) in tables.execute("SELECT uuid FROM reports").fetchall()}
        tables.execute(sql)
        there = tables.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reports'").fetchall()
        after = tables.execute("SELECT uuid FROM reports").fetchall() if there[0][0] else []
    return sorted(before - {uuid for (uuid,) in after})


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "sql", ["DELETE FROM reports WHERE result <> 'Passed'", "ALTER TABLE reports RENAME TO old_reports"]
)
def test_after_only_reports_were_deleted_their_steps_are_not_loaded_twice(
    sql: str, how: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(30)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["reports"])
    assert extraction.run().status == "succeeded"
    gone = change(tmp_path / "wats.duckdb", sql)
    assert gone
    HOW[how](extraction, gone)
    tables = expected_tables(plant)
    del tables["report_headers"]
    assert_same(extraction, tables)


def test_a_cursor_that_is_not_json_is_named_and_can_be_cleared(kind: str, command_line: CommandLine) -> None:
    place = command_line.folder / ("wats.duckdb" if kind == "duckdb" else "wats")
    file = command_line.pipeline(
        url="demo?reports=10", kind=kind, path=place.as_posix(), resources="[{name: report_headers}]"
    )
    assert command_line.wats("run", file, "-q").code == 0
    break_cursors(command_line.folder / file)

    ended = command_line.wats("run", file, "--json")
    assert ended.code == 1
    assert "the cursor of report_headers was changed" in ended.err
    assert "wats-extract state" in ended.err
    assert "42 or so" in command_line.wats("state", file, "show").out
    assert command_line.wats("state", file, "clear", "--yes").code == 0
    assert command_line.wats("run", file, "-q").code == 0
    assert "10" in command_line.wats("status", file).out


def break_cursors(file: Path) -> None:
    """Replace the cursors of a pipeline by something that is not JSON."""
    pipeline = load(file, catalogue=RESOURCES, environ={})
    destination = destination_of(pipeline)
    destination.open()
    try:
        rows = [row | {"cursor": "42 or so"} for row in destination.read(STATE).to_pylist()]
        destination.commit(Commit("by hand", {}, {}, frozenset(), {STATE: rows}))
    finally:
        destination.close()
