"""Whatever the clock says, within and between runs, tables and `status` are those of a right clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.command_line import CommandLine
from tests.conftest import DESTINATIONS, TOKEN, fewer_examples
from tests.extraction import Extraction, Rows, expected_tables

from wats_extract.engine.job import RunReport
from wats_extract.engine.run import execute, retry
from wats_extract.engine.stamping import Stamper
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.flow import Commit
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.state.runs import next_number
from wats_extract.state.tables import RUNS

REPORTS = 24
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Clock = Callable[[], datetime]

CLOCKS = st.lists(
    st.sampled_from([0.0, 0.2, 60.0, 3e7, 2e8]).flatmap(lambda size: st.sampled_from([size, -size])),
    min_size=1,
    max_size=6,
)
"""Readings of a clock, in seconds from noon, which it repeats: backwards, years ahead, equal."""

ACTIONS = st.lists(
    st.sampled_from(["run", "part of a run", "delete", "break", "mend", "retry", "receive", "refresh"]),
    min_size=1,
    max_size=7,
)


@dataclass
class World:
    """A server and a pipeline that replaces its tables, with a clock of its own."""

    folder: Path
    kind: str
    clock: Clock
    disposition: str
    plant: Plant = field(default_factory=lambda: Plant(REPORTS))
    outcomes: list[tuple[Any, ...]] = field(default_factory=list)

    def play(self, actions: Sequence[str]) -> dict[str, Rows]:
        """Do these things in turn, then run once more; returns all rows, without run and time."""
        app = App(self.plant, token=TOKEN)
        with serve(app) as server:
            options = {"chunk_size": 4}
            extraction = Extraction(
                server.url,
                self.folder,
                self.kind,
                options=options,
                disposition=self.disposition,
                stop_at_failures="50%",
            )
            for number, action in enumerate([*actions, "run"]):
                self._do(action, number, extraction, app)
            tables = [table.name for name in extraction.names for table in RESOURCES[name].tables]
            assert [row["status"] for row in self._runs(extraction)] == [each[0] for each in self.outcomes]
            return {name: [_timeless(row) for row in extraction.table(name)] for name in tables}

    def _runs(self, extraction: Extraction) -> Rows:
        return sorted(extraction.table("_wats_runs"), key=lambda row: row["number"])

    def _do(self, action: str, number: int, extraction: Extraction, app: App) -> None:
        uuid = self.plant.uuids()[number]
        match action:
            case "delete":
                self.plant.delete(uuid)
            case "receive":
                self.plant.receive_again(uuid)
            case "break":
                app.faults = Faults(broken={uuid: "garbage"})
                app.faults.settle(len(self.plant), self.plant.uuid)
            case "mend":
                app.faults.mend()
            case "retry":
                with extraction.client() as client:
                    self._ended(retry(extraction.job(), client, now=self.clock))
            case _:
                limit = 7 if action == "part of a run" else None
                job = extraction.job(limit=limit, full_refresh=action == "refresh")
                with extraction.client() as client:
                    self._ended(execute(job, client, now=self.clock))

    def _ended(self, report: RunReport) -> None:
        items = {name: each.items for name, each in report.resources.items()}
        assert 0 <= report.seconds < 60
        self.outcomes.append((report.status, report.failures, report.open_failures, items))


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("_wats_run_id", "_wats_extracted_at")}


def right_clock() -> Clock:
    seconds = count()
    return lambda: NOON + timedelta(seconds=next(seconds))


def wrong_clock(readings: Sequence[float]) -> Clock:
    offsets = cycle(readings)
    return lambda: NOON + timedelta(seconds=next(offsets))


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("disposition", ["replace", "merge", "append"])
@fewer_examples(12)
@given(ACTIONS, CLOCKS)
@example(["run", "delete", "run"], [0.0, -0.2])
@example(["run", "delete", "part of a run", "retry"], [2e8, 0.0, 0.0, -3e7])
@example(["break", "part of a run", "mend", "retry"], [0.0])
def test_no_clock_decides_what_stays(
    destination: str, disposition: str, actions: Sequence[str], readings: Sequence[float]
) -> None:
    with TemporaryDirectory() as right_folder, TemporaryDirectory() as wrong_folder:
        right = World(Path(right_folder), destination, right_clock(), disposition)
        wrong = World(Path(wrong_folder), destination, wrong_clock(readings), disposition)
        tables = right.play(actions)
        assert wrong.play(actions) == tables
        assert wrong.outcomes == right.outcomes


def test_a_clock_that_goes_back_during_a_full_pass_removes_nothing(kind: str, tmp_path: Path) -> None:
    world = World(tmp_path, kind, wrong_clock([3600.0, 0.0, -0.2, -60.0]), "replace")
    tables = world.play(["run", "delete", "run"])
    assert {row["uuid"] for row in tables["reports"]} == set(world.plant.uuids())
    assert len(tables["steps"]) == len(expected_tables(world.plant)["steps"])


def test_what_retry_loads_during_a_full_pass_stays(kind: str, tmp_path: Path) -> None:
    world = World(tmp_path, kind, wrong_clock([0.0]), "replace")
    tables = world.play(["break", "part of a run", "mend", "retry", "run"])
    assert {row["uuid"] for row in tables["reports"]} == set(world.plant.uuids())


def test_a_pass_begins_again_if_the_runs_are_unknown(kind: str, command_line: CommandLine) -> None:
    place = command_line.folder / ("wats.duckdb" if kind == "duckdb" else "wats")
    file = command_line.pipeline(
        url="demo?reports=12",
        kind=kind,
        path=place.as_posix(),
        resources="[{name: report_headers, write_disposition: replace}]",
    )
    assert command_line.wats("run", file, "-q").code == 0
    assert command_line.wats("run", file, "-q", "--limit", "5").code == 0
    if kind == "duckdb":
        with duckdb.connect(place) as tables:
            tables.execute("DELETE FROM _wats_runs")
    else:
        for path in (place / "_wats_runs").glob("*.parquet"):
            path.unlink()
    assert command_line.wats("run", file, "-q").code == 0
    assert "12" in command_line.wats("status", file).out


def test_status_shows_the_last_run_although_an_earlier_one_is_from_the_future(
    kind: str, command_line: CommandLine
) -> None:
    place = command_line.folder / ("wats.duckdb" if kind == "duckdb" else "wats")
    file = command_line.pipeline(
        url="demo?reports=12", kind=kind, path=place.as_posix(), resources="[{name: report_headers}]"
    )
    assert command_line.wats("run", file, "-q").code == 0
    destination = destination_of(load(command_line.folder / file, catalogue=RESOURCES, environ={}))
    destination.open()
    try:
        (first,) = destination.read(RUNS).to_pylist()
        number = next_number(destination)
        future = first | {"started_at": first["started_at"] + timedelta(days=2_000)}
        failed = first | {
            "run_id": "later",
            "number": number,
            "status": "failed",
            "message": "the disk is full",
        }
        destination.commit(Commit("by hand", {}, {}, frozenset(), {RUNS: [future]}))
        destination.commit(Commit("by hand", {}, {}, frozenset(), {RUNS: [failed]}))
        assert (first["number"], number) == (1, 2)
    finally:
        destination.close()
    assert "The last run did not complete: failed" in command_line.wats("status", file).out


def test_no_two_chunks_of_a_run_have_the_same_stamps() -> None:
    table = RESOURCES["report_headers"].table
    stamp = Stamper("run")
    row = dict.fromkeys(table.shredded_schema.names) | {"uuid": "a"}
    rows = {table: [pa.RecordBatch.from_pylist([row], schema=table.shredded_schema)]}
    stamps = [
        stamp([table], rows, now=NOON + timedelta(seconds=seconds))[table][0]["_wats_extracted_at"][0].as_py()
        for seconds in (0, 0, -5, 3, 3, -1e8)
    ]
    assert stamps == sorted(set(stamps))
