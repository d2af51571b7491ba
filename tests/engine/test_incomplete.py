"""Verify notices child rows that are gone or doubled, repairs them, and is then content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.conftest import Server
from tests.engine.test_verifying import found, verified
from tests.extraction import Extraction, assert_same, expected_tables

from wats_extract.fake.plant.data import Plant
from wats_extract.resources.catalogue import RESOURCES

REPORTS = 30


def extracted(kind: str, url: str, folder: Path, **options: Any) -> Extraction:
    """Three commits, so that Parquet has three files per table."""
    extraction = Extraction(url, folder, kind, names=["reports"], **options)
    for _ in range(3):
        assert extraction.run(limit=REPORTS // 3).exit_code == 0
    return extraction


def sql(extraction: Extraction, statement: str) -> None:
    with duckdb.connect(str(extraction.folder / "wats.duckdb")) as tables:
        tables.execute(statement)


def files_of(extraction: Extraction, table: str) -> list[Path]:
    folder = extraction.folder / "wats" / table
    return sorted(path for path in folder.glob("*.parquet") if pq.read_metadata(path).num_rows)


def lose(
    extraction: Extraction, table: str, column: str, gone: Sequence[str], *, rows: int = 1_000_000
) -> None:
    """Delete the first rows of some items by hand, as another program might."""
    if extraction.kind == "duckdb":
        keys = ", ".join(f"'{key}'" for key in gone)
        chosen = f"SELECT rowid FROM {table} WHERE CAST({column} AS VARCHAR) IN ({keys}) LIMIT {rows}"
        sql(extraction, f"DELETE FROM {table} WHERE rowid IN ({chosen})")
        return
    for path in files_of(extraction, table):
        content = pq.read_table(path, partitioning=None)
        matches = pc.is_in(content[column].cast(pa.string()), pa.array(gone, pa.string()))
        places = pc.indices_nonzero(matches)[:rows].to_pylist()
        kept = [place for place in range(content.num_rows) if place not in set(places)]
        if len(kept) < content.num_rows:
            pq.write_table(content.take(pa.array(kept, pa.int64())), path)
            rows -= content.num_rows - len(kept)


def steps_of_some_reports(extraction: Extraction, plant: Plant) -> None:
    lose(extraction, "steps", "report_uuid", plant.uuids()[5:9])


def one_step(extraction: Extraction, plant: Plant) -> None:
    lose(extraction, "steps", "report_uuid", plant.uuids()[5:6], rows=1)


def rows_of_two_tables(extraction: Extraction, plant: Plant) -> None:
    lose(extraction, "steps", "report_uuid", plant.uuids()[5:9])
    lose(extraction, "misc_infos", "report_uuid", plant.uuids()[3:12])


def a_whole_table(extraction: Extraction, plant: Plant) -> None:
    lose(extraction, "numeric_measurements", "report_uuid", plant.uuids())


def a_dropped_table(extraction: Extraction, plant: Plant) -> None:
    if extraction.kind == "duckdb":
        sql(extraction, "DROP TABLE steps")
    else:
        shutil.rmtree(extraction.folder / "wats" / "steps")


def a_file_of_steps(extraction: Extraction, plant: Plant) -> None:
    if extraction.kind == "duckdb":
        steps_of_some_reports(extraction, plant)
    else:
        files_of(extraction, "steps")[1].unlink()


def a_file_of_reports(extraction: Extraction, plant: Plant) -> None:
    """Their steps remain."""
    if extraction.kind == "duckdb":
        lose(extraction, "reports", "uuid", plant.uuids()[5:9])
    else:
        files_of(extraction, "reports")[1].unlink()


def the_dropped_table_of_reports(extraction: Extraction, plant: Plant) -> None:
    if extraction.kind == "duckdb":
        sql(extraction, "DROP TABLE reports")
    else:
        shutil.rmtree(extraction.folder / "wats" / "reports")


def rows_twice(extraction: Extraction, plant: Plant) -> None:
    if extraction.kind == "duckdb":
        sql(extraction, "INSERT INTO steps FROM steps LIMIT 7")
    else:
        path = files_of(extraction, "steps")[0]
        shutil.copy(path, path.with_name("a copy.parquet"))


DAMAGES: list[Callable[[Extraction, Plant], None]] = [
    steps_of_some_reports,
    one_step,
    rows_of_two_tables,
    a_whole_table,
    a_dropped_table,
    a_file_of_steps,
    a_file_of_reports,
    the_dropped_table_of_reports,
    rows_twice,
]


@pytest.mark.parametrize(
    ("damage", "disposition"),
    [
        *((damage, "merge") for damage in DAMAGES),
        *((damage, "append") for damage in (one_step, a_file_of_reports, rows_twice)),
    ],
    ids=lambda given: given if isinstance(given, str) else given.__name__,
)
def test_child_rows_that_are_gone_are_noticed_and_repaired(
    damage: Callable[[Extraction, Plant], None], disposition: str, kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted(kind, url, tmp_path, disposition=disposition)
    assert verified(extraction).status == "equal"
    damage(extraction, plant)
    report = verified(extraction)
    assert (report.status, report.exit_code) == ("different", 3)
    assert found(report).keys() <= {"missing", "incomplete", "duplicated"}
    repaired = verified(extraction, repair=True)
    assert (repaired.status, repaired.exit_code) == ("equal", 0), repaired.message
    assert (verified(extraction).status, verified(extraction).exit_code) == ("equal", 0)
    tables = expected_tables(plant)
    del tables["report_headers"]
    assert_same(extraction, tables)


def test_the_report_says_how_many_rows_of_which_table_are_gone(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted(kind, url, tmp_path)
    gone = plant.uuids()[5:9]
    before = len(extraction.table("steps"))
    lose(extraction, "steps", "report_uuid", gone)
    lost = before - len(extraction.table("steps"))
    each = verified(extraction).resources["reports"]
    assert (each.incomplete, each.differences, each.rows_missing) == (4, 4, {"steps": lost})
    assert sorted(each.keys["incomplete"]) == sorted(gone)


def test_each_row_records_its_rows_in_other_tables(kind: str, server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    expand = RESOURCES["report_headers"].expand
    extraction = Extraction(
        url, tmp_path, kind, names=["reports", "report_headers"], options={"expand": expand}
    )
    extraction.run()
    for name in extraction.names:
        main, *others = RESOURCES[name].tables
        recorded = {row["uuid"]: json.loads(row["_wats_rows"]) for row in extraction.table(main.name)}
        assert len(recorded) == 20
        for table in others:
            owners = [row[table.owner] for row in extraction.table(table.name)]
            for uuid, counts in recorded.items():
                assert counts.get(table.name, 0) == owners.count(uuid), table.name


@pytest.mark.parametrize("name", RESOURCES)
def test_a_resource_with_several_tables_counts_their_rows(name: str) -> None:
    main, *others = RESOURCES[name].tables
    assert main.counted is bool(others)
    assert not any(table.counted for table in others)


@pytest.mark.parametrize(
    ("name", "child"),
    [
        ("processes", "repair_codes"),
        ("ticket_histories", "ticket_updates"),
        ("unit_verifications", "unit_verification_results"),
        ("users", "user_emails"),
        ("units", "unit_sub_units"),
        ("packages", "package_tags"),
        ("tickets", "ticket_tags"),
        ("product_groups", "product_group_filters"),
    ],
)
def test_tables_of_other_resources_are_checked_too(
    name: str, child: str, kind: str, server: Server, tmp_path: Path
) -> None:
    _, url = server(Plant(40))
    extraction = Extraction(url, tmp_path, kind, names=[name], options={})
    assert extraction.run().exit_code == 0
    (table,) = [table for table in RESOURCES[name].tables if table.name == child]
    before = extraction.table(child)
    assert before
    equal = verified(extraction)
    assert (equal.status, equal.requests, equal.resources[name].server) == ("equal", 0, None)
    assert equal.not_compared == [name]
    key = str(before[0][table.owner])
    lose(extraction, child, table.owner, [key])
    report = verified(extraction)
    assert (found(report, name), report.exit_code) == ({"incomplete": 1}, 3)
    assert verified(extraction, repair=True).exit_code == 0
    assert verified(extraction).status == "equal"
    assert len(extraction.table(child)) == len(before)


def shorter(plant: Plant, uuid: str) -> None:
    """Let a report come again without steps."""
    root = {"id": 1, "group": "M", "name": "only", "status": "P", "stepType": "SequenceCall"}
    plant.receive_again(uuid, plant.document(uuid) | {"root": root, "miscInfos": [], "subUnits": []})


@pytest.mark.parametrize("tables", [["steps"], ["steps", "numeric_measurements", "misc_infos"]])
def test_an_older_child_file_is_noticed_and_repaired(
    tables: list[str], server: Server, tmp_path: Path
) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted("parquet", url, tmp_path)
    for table in tables:
        shutil.copytree(tmp_path / "wats" / table, tmp_path / "older" / table)
    for uuid in plant.uuids()[10:18]:
        shorter(plant, uuid)
    assert extraction.run().resources["reports"].items == 8
    assert verified(extraction).status == "equal"
    for table in tables:
        shutil.copytree(tmp_path / "older" / table, tmp_path / "wats" / table, dirs_exist_ok=True)
    assert verified(extraction).exit_code == 3
    assert verified(extraction, repair=True).exit_code == 0
    assert verified(extraction).exit_code == 0
    expected = expected_tables(plant)
    del expected["report_headers"]
    assert_same(extraction, expected)


@pytest.mark.parametrize("with_index", [True, False])
def test_an_older_copy_laid_over_the_folder_is_noticed_and_repaired(
    with_index: bool, server: Server, tmp_path: Path
) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted("parquet", url, tmp_path)
    home = "" if with_index else "_wats"
    shutil.copytree(tmp_path / "wats", tmp_path / "older", ignore=lambda folder, names: {home} & {*names})
    for uuid in plant.uuids()[10:18]:
        shorter(plant, uuid)
    extraction.run()
    shutil.copytree(tmp_path / "older", tmp_path / "wats", dirs_exist_ok=True)
    assert found(verified(extraction)).keys() == {"duplicated"}
    assert verified(extraction, repair=True).exit_code == 0
    assert verified(extraction).exit_code == 0
    expected = expected_tables(plant)
    del expected["report_headers"]
    assert_same(extraction, expected)


def test_an_item_that_is_gone_from_the_server_stays_extra(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted(kind, url, tmp_path)
    gone, hurt = plant.uuids()[5], plant.uuids()[6]
    lose(extraction, "steps", "report_uuid", [gone, hurt])
    plant.delete(gone)
    report = verified(extraction, repair=True)
    assert (found(report), report.exit_code) == ({"extra": 1, "incomplete": 1}, 3)
    assert gone in {row["uuid"] for row in extraction.table("reports")}


def test_a_report_outside_the_filter_is_repaired(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant)
    extraction = extracted(kind, url, tmp_path)
    headers = {header["uuid"]: header["result"] for header in plant.headers()}
    passed = [uuid for uuid, result in headers.items() if result in ("P", "Passed")][:3]
    assert passed
    lose(extraction, "steps", "report_uuid", passed)
    selection = {"filter": "result eq 'Failed'"}
    assert found(verified(extraction, **selection)) == {"incomplete": len(passed)}
    assert verified(extraction, repair=True, **selection).exit_code == 0
    assert verified(extraction, **selection).exit_code == 0


def test_what_somebody_wrote_into_the_record_is_not_compared(
    kind: str, server: Server, tmp_path: Path
) -> None:
    _, url = server(Plant(12))
    extraction = Extraction(url, tmp_path, "duckdb", names=["reports"])
    extraction.run()
    for text in ("NULL", "'no JSON'"):
        sql(extraction, f"UPDATE reports SET _wats_rows = {text}")
        assert verified(extraction).status == "equal"
    sql(extraction, "UPDATE reports SET _wats_rows = '[]'")
    assert verified(extraction).exit_code == 3
