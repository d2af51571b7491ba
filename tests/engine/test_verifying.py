"""Verify finds lost, changed, deleted and duplicated reports, and repairs them where possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.extraction import Extraction

from wats_extract.engine.comparison import KINDS, Comparison, ledger
from wats_extract.engine.run import execute
from wats_extract.engine.verifying import VerifyReport, verify
from wats_extract.errors import Interrupted
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Commit, Destination
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Table

Server = Callable[..., tuple[App, str]]


@pytest.fixture(params=["duckdb", "parquet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verified(
    extraction: Extraction, *, deep: bool = False, repair: bool = False, **selection: Any
) -> VerifyReport:
    with extraction.client() as client:
        return verify(extraction.job(**selection), client, deep=deep, repair=repair)


def found(report: VerifyReport, name: str = "reports") -> dict[str, int]:
    """The numbers of differences that are not 0."""
    each = report.resources[name]
    numbers = {kind: getattr(each, kind) for kind in (*KINDS, "failed")}
    return {kind: number for kind, number in numbers.items() if number}


def delete_rows(extraction: Extraction, *uuids: str) -> None:
    """Delete rows by hand, as another program might; in Parquet by rewriting their files."""
    if extraction.kind == "duckdb":
        import duckdb

        with duckdb.connect(str(extraction.folder / "wats.duckdb")) as connection:
            for uuid in uuids:
                connection.execute("delete from reports where uuid = ?", [uuid])
        return
    import polars as pl
    import pyarrow.parquet as pq

    for path in (extraction.folder / "wats" / "reports").glob("*.parquet"):
        rows = pq.read_table(path)
        kept = rows.filter((~pl.Series(rows["uuid"].to_pylist(), dtype=pl.String).is_in(uuids)).to_arrow())
        if kept.num_rows < rows.num_rows:
            pq.write_table(kept, path)
    (extraction.folder / "wats" / "_wats" / "keys.sqlite").unlink()


def duplicate_rows(extraction: Extraction, uuid: str) -> None:
    """Commit the rows of an item once more, with the stamp of another run."""
    table = RESOURCES["reports"].table
    destination = extraction.destination()
    destination.open()
    rows = _rows(destination, table, uuid)
    destination.commit(Commit("twice", {table: rows}, {uuid: 1}, frozenset(), {}))
    destination.close()


def _rows(destination: Destination, table: Table, uuid: str) -> list[Any]:
    import pyarrow as pa

    rows = destination.read(table, uuid=uuid)
    place = rows.schema.get_field_index("_wats_run_id")
    return rows.set_column(place, rows.schema.field(place), pa.array(["another"])).to_batches()


def test_there_is_no_difference_after_a_run(kind: str, server: Server, tmp_path: Path) -> None:
    app, url = server(Plant(120), page_cap=50)
    extraction = Extraction(url, tmp_path, kind)
    extraction.run()
    asked = app.total
    report = verified(extraction)
    assert (report.status, report.exit_code) == ("equal", 0)
    assert report.requests == app.total - asked < 12
    assert report.resources["reports"].server == report.resources["reports"].landed == 120


def test_everything_is_missing_before_the_first_run(kind: str, server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(30))
    report = verified(Extraction(url, tmp_path, kind))
    assert found(report) == found(report, "report_headers") == {"missing": 30}
    assert report.exit_code == 3
    assert not list(tmp_path.iterdir()), "verify without repair creates nothing"


def test_each_kind_of_difference_is_found_and_repaired(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(90)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 20})
    extraction.run()
    uuids = plant.uuids()
    delete_rows(extraction, *uuids[3:7])
    duplicate_rows(extraction, uuids[30])
    for uuid in uuids[10:13]:
        plant.receive_again(uuid)
    plant.delete(uuids[20])
    plant.grow(2)
    report = verified(extraction)
    assert found(report) == {"missing": 4 + 2, "outdated": 3, "extra": 1, "duplicated": 1}
    each = report.resources["reports"]
    assert each.new == 2 + 3, "received after the last run"
    assert each.keys["extra"] == [uuids[20]]
    assert each.keys["duplicated"] == [uuids[30]]
    assert each.keys["missing"][:4] == uuids[3:7], "the oldest first"
    assert set(each.keys["outdated"]) == set(uuids[10:13])

    before = extraction.table("_wats_state")
    repaired = verified(extraction, repair=True)
    assert repaired.repair is not None
    assert repaired.repair.resources["reports"].items == 6 + 3 + 1
    assert (repaired.status, repaired.exit_code) == ("different", 3), "extra reports stay"
    assert found(verified(extraction)) == {"extra": 1}
    assert extraction.table("_wats_state") == before, "cursors do not move"
    plant.receive(document_of(extraction, plant, uuids[20]))
    assert extraction.run().exit_code == 0
    assert verified(extraction).exit_code == 0


def document_of(extraction: Extraction, plant: Plant, uuid: str) -> dict[str, Any]:
    """The deleted report, as a station would send it again."""
    document = plant.document(plant.uuids()[0])
    return document | {"id": uuid}


def test_a_repair_of_missing_reports_makes_both_sides_equal(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(60)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, options={"chunk_size": 20})
    extraction.run()
    delete_rows(extraction, *plant.uuids()[:50])
    report = verified(extraction, repair=True)
    assert (found(report), report.exit_code) == ({"missing": 50}, 0)
    assert verified(extraction).status == "equal"
    assert [row["command"] for row in extraction.table("_wats_runs")] == ["run", "verify"]


def test_open_failures_are_counted_separately_and_left_to_retry(server: Server, tmp_path: Path) -> None:
    plant = Plant(40)
    faults = Faults(broken={plant.uuids()[4]: "404"})
    _, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path)
    assert extraction.run().exit_code == 3
    report = verified(extraction, repair=True)
    assert (found(report), report.status, report.repair) == ({"failed": 1}, "failures", None)
    assert (report.exit_code, report.open_failures) == (3, 1)
    assert faults.broken
    faults.mend()
    extraction.retry()
    assert (verified(extraction).status, verified(extraction).exit_code) == ("equal", 0)


def test_an_open_failure_of_a_report_that_is_loaded_is_not_equal(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(20)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, max_failures="5")
    assert extraction.run().exit_code == 0
    app.faults = Faults(broken={plant.uuids()[4]: "garbage"})
    app.faults.settle(len(plant), plant.uuid)
    assert extraction.run(full_refresh=True).exit_code == 0, "within max_failures"
    report = verified(extraction)
    assert (found(report), report.status, report.exit_code) == ({"failed": 1}, "failures", 3)


def test_an_open_failure_of_a_resource_that_is_not_compared_counts(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, names=["product_details"], options={}, max_failures="50%")
    assert extraction.run().failures > 0
    report = verified(extraction)
    assert (report.status, report.exit_code) == ("failures", 3)
    assert report.open_failures == report.resources["product_details"].failed > 0


def test_a_failure_during_repair_is_reported(server: Server, tmp_path: Path) -> None:
    plant = Plant(40)
    broken, lost = plant.uuids()[4:6]
    _, url = server(plant, faults=Faults(broken={broken: "404"}))
    plant.hide(broken)
    extraction = Extraction(url, tmp_path, names=["reports"])
    assert extraction.run().exit_code == 0
    plant.show(broken)
    delete_rows(extraction, lost)
    report = verified(extraction, repair=True)
    assert found(report) == {"missing": 2}
    assert report.repair is not None
    assert (report.repair.resources["reports"].items, report.repair.failures, report.exit_code) == (1, 1, 3)
    assert found(verified(extraction)) == {"failed": 1}


def test_reports_outside_the_selection_are_not_extra(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(80)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["report_headers"])
    extraction.run()
    header = next(iter(plant.headers()))
    part = header["partNumber"]
    uuid = next(each["uuid"] for each in plant.headers() if each["partNumber"] != part)
    plant.delete(uuid)
    report = verified(extraction, filter=f"partNumber eq '{part}'")
    assert report.resources["report_headers"].server < 80
    assert found(report, "report_headers") == {"extra": 1}, (
        "the deleted report is extra, although it is not in the selection"
    )


def test_a_range_of_start_limits_the_comparison(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(80)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["report_headers"])
    extraction.run()
    starts = sorted(row["start"] for row in extraction.table("report_headers"))
    report = verified(extraction, since=starts[20], until=starts[40])
    compared = report.resources["report_headers"]
    assert (compared.server, compared.landed, compared.differences) == (20, 20, 0)
    assert compared.requests <= 3, "reports outside the range are not requested"


def test_verify_is_incomplete_if_max_requests_is_reached(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(120), page_cap=20)
    extraction = Extraction(url, tmp_path)
    with extraction.client(max_requests=4) as client:
        report = verify(extraction.job(), client)
    assert (report.status, report.exit_code, report.resources) == ("incomplete", 4, {})


def test_appended_items_may_have_several_rows(server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["reports"], disposition="append")
    extraction.run()
    plant.receive_again(plant.uuids()[3])
    extraction.run()
    assert len(extraction.table("reports")) == 31
    assert verified(extraction).status == "equal"


def test_only_reports_are_compared(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(5))
    extraction = Extraction(url, tmp_path, names=["processes", "report_headers"])
    with extraction.client() as client:
        execute(extraction.job(), client)
    report = verified(extraction)
    assert report.not_compared == ["processes"]
    assert {name: each.server for name, each in report.resources.items()} == {
        "processes": None,
        "report_headers": 5,
    }


@pytest.mark.parametrize("error", [Interrupted("stop"), KeyboardInterrupt()])
def test_a_long_query_can_be_interrupted(tmp_path: Path, error: BaseException) -> None:
    stopping: list[BaseException] = []

    def check() -> None:
        if stopping:
            raise stopping[0]

    def compare() -> None:
        with ledger(str(tmp_path / "wats.duckdb"), check=check) as both:
            both.has_landed((str(number), 1, True, '{"steps": 1}') for number in range(50_000))
            stopping.append(error)
            both.find_incomplete("steps", [], listed=True)

    with pytest.raises(type(error)) as caught:
        compare()
    assert caught.value is error


def test_a_comparison_counts_all_differences_but_not_failures() -> None:
    assert Comparison(missing=1, outdated=2, extra=3, duplicated=4, failed=5).differences == 10
