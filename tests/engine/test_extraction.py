"""Runs end to end: the tables hold exactly what the server holds, whatever happens on the way."""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from tests.conftest import TOKEN
from tests.extraction import Extraction, assert_same, expected_tables, report_uuid

from wats_extract import events
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.commit import CommitStager
from wats_extract.engine.job import RunReport
from wats_extract.engine.run import execute
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.flow import Commit
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.time_window import TimeWindows
from wats_extract.resources.catalogue import RESOURCES

Server = Callable[..., tuple[App, str]]
KINDS = ["duckdb", "parquet"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_everything_lands_as_it_is(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(150)
    app, url = server(plant)
    expand = RESOURCES["report_headers"].expand
    extraction = Extraction(
        url, tmp_path, kind, options={"attachments": "content", "expand": expand, "keep_raw": True}
    )
    report = extraction.run()
    assert (report.status, report.exit_code) == ("succeeded", 0)
    assert_same(extraction, expected_tables(plant))
    assert_same(extraction, expanded_headers(app, plant))
    assert report.requests <= 2 * (1 + 2) + len(plant)
    for each in report.resources.values():
        for name, count in each.tables.items():
            assert len(extraction.table(name)) == count, name


def expanded_headers(app: App, plant: Plant) -> dict[str, list[dict[str, Any]]]:
    from tests import expected

    tables: dict[str, list[dict[str, Any]]] = {}
    expand = ",".join(RESOURCES["report_headers"].expand)
    answer = app(
        Request(
            "GET",
            "/api/Report/Query/Header",
            f"$expand={expand}&$top=10000",
            {"authorization": f"Basic {TOKEN}"},
        )
    )
    headers = json.loads(answer.body)
    assert len(headers) == len(plant)
    for header in headers:
        for name, rows in expected.header_children(header).items():
            tables.setdefault(name, []).extend(rows)
    assert all(tables.values()), "the demo data should have all four kinds"
    return tables


def test_captured_documents_are_loaded_exactly_as_they_are(
    kind: str, server: Server, tmp_path: Path, samples: dict[str, dict[str, Any]]
) -> None:
    plant = Plant(0)
    for document in samples.values():
        plant.receive(document)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, options={"attachments": "content"})
    assert extraction.run().exit_code == 0
    assert_same(extraction, expected_tables(plant))
    assert len(extraction.table("reports")) == len(samples) == 4


def test_a_second_run_takes_two_requests_per_resource_and_loads_nothing(
    kind: str, server: Server, tmp_path: Path
) -> None:
    _, url = server(Plant(80))
    extraction = Extraction(url, tmp_path, kind)
    first = extraction.run()
    second = extraction.run()
    assert second.status == "succeeded"
    for name, report in second.resources.items():
        assert report.requests <= 2, name
        assert report.rows == 0, name
        assert report.cursor == first.resources[name].cursor


def test_new_late_and_resent_reports_are_loaded(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(80)
    app, url = server(plant)
    late = plant.uuids()[70]
    plant.hide(late)
    extraction = Extraction(url, tmp_path, kind)
    extraction.run()
    assert late not in {row["uuid"] for row in extraction.table("reports")}
    plant.show(late)
    plant.grow(5)
    for uuid in plant.uuids()[10:13]:
        plant.receive_again(uuid, comment="again")
    asked = app.total
    report = extraction.run()
    assert report.resources["reports"].items == report.resources["report_headers"].items == 1 + 5 + 3
    assert_same(extraction, expected_tables(plant))
    assert app.total - asked == 9 + 2 * 2


def test_a_resent_document_replaces_all_its_child_rows(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(20)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind)
    extraction.run()
    uuid = next(uuid for uuid in plant.uuids() if plant.document(uuid).get("root"))
    document = plant.document(uuid)
    document["root"] = {"id": 1, "group": "M", "name": "only", "status": "P", "stepType": "SequenceCall"}
    document["miscInfos"] = document["subUnits"] = []
    plant.receive_again(uuid, document)
    extraction.run()
    assert_same(extraction, expected_tables(plant))


@pytest.mark.parametrize(
    "quirks",
    [
        {"page_cap": 25},
        {"page_cap": 10},
        {"refuse_keyset": True},
        {"refuse_keyset": True, "page_cap": 25},
        {"pascal_case": True},
        {"gzip": False},
    ],
    ids=lambda quirks: "-".join(quirks),
)
def test_unusual_servers_give_the_same_tables(server: Server, tmp_path: Path, quirks: dict[str, Any]) -> None:
    plant = Plant(120)
    _, url = server(plant, **quirks)
    extraction = Extraction(url, tmp_path)
    assert extraction.run().exit_code == 0
    tables = expected_tables(plant)
    if quirks.get("pascal_case"):
        del tables["additional_data"]  # holds JSON exactly as the server writes it
    assert_same(extraction, tables)
    again = extraction.run()
    assert sum(report.rows for report in again.resources.values()) == 0
    if not quirks.get("refuse_keyset"):
        assert all(report.requests <= 2 for report in again.resources.values())


def test_ties_in_the_sort_key_are_read_completely(server: Server, tmp_path: Path) -> None:
    plant = Plant(130, ties=40)
    _, url = server(plant, page_cap=25)
    extraction = Extraction(url, tmp_path, names=["report_headers"])
    assert extraction.run().exit_code == 0
    assert_same(extraction, {"report_headers": expected_tables(plant)["report_headers"]})


FAULTS = (
    "429",
    "429-date",
    "429-none",
    "500",
    "502",
    "503",
    "504",
    "html",
    "empty",
    "truncated",
    "short",
    "drop",
)


def test_five_percent_transient_faults_and_ten_broken_reports_lose_nothing_else(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(200)
    broken = dict(
        zip(
            plant.uuids()[3:200:20],
            ["404", "500", "403", "garbage", "truncated", "wrong-type", "html", "drop", "null", "500"],
            strict=True,
        )
    )
    codes = {
        "404": "NOT_FOUND",
        "500": "API_ERROR",
        "403": "FORBIDDEN",
        "garbage": "INVALID_RECORD",
        "truncated": "INVALID_RECORD",
        "wrong-type": "INVALID_RECORD",
        "html": "INVALID_RESPONSE",
        "drop": "CONNECTION_ERROR",
        "null": "NOT_FOUND",
    }
    faults = Faults(rate=0.05, kinds=FAULTS, broken=broken, retry_after=0, seed=2)
    _, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path, kind, options={"attachments": "content"})
    report = extraction.run()
    assert (report.status, report.exit_code, report.failures) == ("failures", 3, 10)
    failed = {row["key"]: row for row in extraction.table("_wats_failures")}
    cut_off = {uuid for uuid, how in broken.items() if how == "truncated"}
    # If one of its tries hits another fault, it is unknown whether the document or the transfer is truncated.
    assert {failed[uuid]["error_code"] for uuid in cut_off} <= {"INVALID_RECORD", "INVALID_RESPONSE"}
    assert {key: row["error_code"] for key, row in failed.items() if key not in cut_off} == {
        uuid: codes[how] for uuid, how in broken.items() if uuid not in cut_off
    }
    assert {row["status"] for row in failed.values()} == {"open"}
    tables = expected_tables(plant)
    without = {
        name: [row for row in rows if name == "report_headers" or report_uuid(row) not in broken]
        for name, rows in tables.items()
    }
    assert_same(extraction, without)

    again = extraction.run()
    assert (again.exit_code, again.failures, again.open_failures) == (3, 0, 10)
    assert again.resources["reports"].items == 0

    faults.mend()
    retried = extraction.retry()
    assert (retried.status, retried.exit_code, retried.open_failures) == ("succeeded", 0, 0)
    assert retried.resources["reports"].items == 10
    rows = extraction.table("_wats_failures")
    assert len(rows) == 10
    assert all(row["status"] == "resolved" and row["resolved_at"] is not None for row in rows)
    assert_same(extraction, tables)


def test_failures_that_may_be_transient_are_fetched_again_at_the_end(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(60)
    busy, odd = plant.uuids()[10:13], plant.uuids()[5]
    app, url = server(plant, faults=Faults(broken=dict.fromkeys(busy, "500") | {odd: "garbage"}))
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 20})

    def recover(event: events.Event) -> None:
        if isinstance(event, events.Committed) and event.failures:
            app.faults.mend()

    report = run_while(extraction, recover)
    statuses = {row["key"]: row["status"] for row in extraction.table("_wats_failures")}
    assert statuses == dict.fromkeys(busy, "resolved") | {odd: "open"}
    assert (report.exit_code, report.failures) == (3, 1)
    landed = [row for row in expected_tables(plant)["reports"] if row["uuid"] != odd]
    assert_same(extraction, {"reports": landed})


def test_a_document_that_is_too_large_is_fetched_once(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    large = plant.uuids()[7]
    size = max(len(json.dumps(plant.document(uuid))) for uuid in plant.uuids())
    plant.receive_again(large, plant.document(large) | {"comment": "x" * 2 * size})
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 10})
    report = extraction.run(limits={"largest_response": 2 * size})
    assert (report.exit_code, report.failures) == (3, 1)
    (row,) = extraction.table("_wats_failures")
    assert (row["key"], row["error_code"], row["attempts"]) == (large, "INVALID_RESPONSE", 1)
    assert sum(large in request.path for request in app.requests) == 1
    landed = [row for row in expected_tables(plant)["reports"] if row["uuid"] != large]
    assert_same(extraction, {"reports": landed})
    assert extraction.retry().exit_code == 0, "the limit is larger now"


def test_documents_that_grow_too_much_when_shredded_take_no_others_down(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(40)
    long_name = {"name": "x" * 1_000_000, "steps": [{}] * 20_000}
    long_label = {"chart": {"label": "x" * 1_000_000, "series": [{}] * 60_000}}
    empty = {"steps": [{}] * 400_000}
    hostile = dict(zip(plant.uuids()[3::10], (long_name, long_label, empty), strict=False))
    tables = expected_tables(plant)
    for uuid, root in hostile.items():
        plant.receive_again(uuid, plant.document(uuid) | {"root": root})
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 15})
    report = extraction.run()
    assert (report.exit_code, report.failures) == (3, 3)
    failures = extraction.table("_wats_failures")
    assert {row["key"] for row in failures} == hostile.keys()
    assert {(row["error_code"], row["stage"]) for row in failures} == {("INVALID_RECORD", "shred")}
    assert all("it is too large when" in row["message"] for row in failures)
    assert_same(
        extraction,
        {
            name: [row for row in tables[name] if report_uuid(row) not in hostile]
            for name in ("reports", "steps")
        },
    )
    assert extraction.run().open_failures == 3
    assert extraction.retry().open_failures == 3


def test_a_report_that_does_not_fit_into_memory_takes_no_others_down(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "duckdb":  # its memory is limited to less than the file below
        monkeypatch.setattr("wats_extract.destinations.duckdb.file.RAISED_LIMIT", "28MB")
    else:
        stage = CommitStager.stage

        def stage_little(self: CommitStager, commit: Commit, staging: Any) -> None:
            if sum(batch.nbytes for batches in commit.rows.values() for batch in batches) > 28_000_000:
                raise pa.ArrowMemoryError("malloc of size 28000000 failed")
            stage(self, commit, staging)

        monkeypatch.setattr(CommitStager, "stage", stage_little)
    plant = Plant(40)
    tables = expected_tables(plant)
    large = plant.uuids()[17]
    file = {
        "name": "trace.bin",
        "contentType": "x/y",
        "data": base64.b64encode(os.urandom(40_000_000)).decode(),
    }
    plant.receive_again(large, plant.document(large) | {"binaryData": [file]})
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind)
    report = extraction.run()
    assert (report.exit_code, report.failures) == (3, 1)
    (failure,) = extraction.table("_wats_failures")
    assert (failure["key"], failure["error_code"]) == (large, "INVALID_RECORD")
    assert "do not fit into memory" in failure["message"]
    landed = {
        name: [row for row in rows if name == "report_headers" or report_uuid(row) != large]
        for name, rows in tables.items()
    }
    assert report.resources["reports"].items == len(landed["reports"])
    assert report.resources["reports"].tables["steps"] == len(landed["steps"])
    assert_same(extraction, {name: rows for name, rows in landed.items() if name != "report_headers"})
    again = extraction.run()
    assert (again.open_failures, again.resources["reports"].items) == (1, 0)
    monkeypatch.undo()
    assert extraction.retry().exit_code == 0, "there is enough memory now"


def test_retry_can_be_limited_to_codes_and_keys(server: Server, tmp_path: Path) -> None:
    plant = Plant(40)
    uuids = plant.uuids()
    faults = Faults(broken={uuids[1]: "404", uuids[2]: "500", uuids[3]: "500"})
    _, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path)
    extraction.run()
    faults.mend()
    assert extraction.retry(code="NOT_FOUND").open_failures == 2
    assert extraction.retry(keys=[uuids[3]]).open_failures == 1
    still = [row for row in extraction.table("_wats_failures") if row["status"] == "open"]
    assert [row["key"] for row in still] == [uuids[2]]


def test_a_failure_is_resolved_when_the_report_is_sent_again(server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    broken = plant.uuids()[4]
    faults = Faults(broken={broken: "500"})
    _, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path)
    assert extraction.run().exit_code == 3
    faults.mend()
    plant.receive_again(broken)
    assert extraction.run().exit_code == 0
    assert_same(extraction, expected_tables(plant))


def test_a_repeated_failure_keeps_its_first_time_and_adds_up_attempts(server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    faults = Faults(broken={plant.uuids()[4]: "500"})
    _, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path)
    extraction.run()
    (first,) = extraction.table("_wats_failures")
    assert extraction.retry().exit_code == 3
    (second,) = extraction.table("_wats_failures")
    assert second["first_failed_at"] == first["first_failed_at"]
    assert second["last_failed_at"] > first["last_failed_at"]
    assert second["attempts"] > first["attempts"] >= 2
    assert (second["stage"], second["http_status"]) == ("fetch", 500)


def test_failures_within_max_failures_exit_0(server: Server, tmp_path: Path) -> None:
    plant = Plant(60)
    faults = Faults(broken=dict.fromkeys(plant.uuids()[:2], "404"))
    _, url = server(plant, faults=faults)
    assert Extraction(url, tmp_path, max_failures="2").run().exit_code == 0
    assert Extraction(url, tmp_path, max_failures="1").run().exit_code == 3


def test_too_many_failures_stop_the_run(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(400)
    faults = Faults(broken=dict.fromkeys(plant.uuids()[100:], "404"))
    app, url = server(plant, faults=faults)
    extraction = Extraction(url, tmp_path, kind, names=["reports"])
    report = extraction.run()
    assert (report.status, report.exit_code) == ("incomplete", 4)
    assert "stop_at_failures" in report.message
    assert report.failures == 20, "20 of the last 100 items"
    assert len(extraction.table("reports")) == 100
    assert app.total < 400
    faults.mend()
    assert extraction.run().exit_code == 3, "failed reports are left to retry"
    assert extraction.retry().exit_code == 0
    assert_same(extraction, {"reports": expected_tables(plant)["reports"]})


def test_max_requests_stops_cleanly_and_the_next_run_continues(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(100)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 20})
    landed = 0
    for _ in range(4):
        before = app.total
        report = extraction.run(limits={"max_requests": 45})
        assert app.total - before <= 45
        landed += report.resources["reports"].items
        if report.exit_code == 0:
            break
        assert report.exit_code == 4
    assert report.exit_code == 0
    assert landed == 100
    assert_same(extraction, {"reports": expected_tables(plant)["reports"]})


def test_a_limited_run_stops_and_the_next_one_continues(server: Server, tmp_path: Path) -> None:
    plant = Plant(90)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path)
    counts = [extraction.run(limit=40).resources for _ in range(4)]
    assert [each["reports"].items for each in counts] == [40, 40, 10, 0]
    assert [each["report_headers"].items for each in counts] == [40, 40, 10, 0]
    assert_same(extraction, expected_tables(plant))


def test_a_refused_token_stops_the_run_at_once(server: Server, tmp_path: Path) -> None:
    app, url = server(Plant(30))
    report = Extraction(url, tmp_path, token="wrong").run()
    assert (report.status, report.exit_code, report.failures) == ("refused", 2, 0)
    assert app.total == 1
    assert "WATS_TOKEN" in report.message


def test_a_server_that_cannot_be_reached_exits_5(server: Server, tmp_path: Path) -> None:
    report = Extraction("http://127.0.0.1:9", tmp_path).run()
    assert (report.status, report.exit_code) == ("unreachable", 5)
    assert Extraction("http://127.0.0.1:9", tmp_path).table("_wats_runs")[-1]["status"] == "unreachable"


def test_append_keeps_every_version(server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, disposition="append")
    extraction.run()
    plant.receive_again(plant.uuids()[3])
    extraction.run()
    extraction.run()
    assert len(extraction.table("reports")) == len(extraction.table("report_headers")) == 31


def test_replace_removes_reports_that_the_server_no_longer_has(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(40)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, disposition="replace")
    extraction.run()
    for uuid in plant.uuids()[5:9]:
        plant.delete(uuid)
    report = extraction.run()
    assert report.resources["reports"].items == 36
    assert_same(extraction, expected_tables(plant))


def test_replace_removes_nothing_until_its_pass_is_complete(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(40)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, disposition="replace")
    extraction.run()
    gone = plant.uuids()[30]
    plant.delete(gone)
    extraction.run(limit=10)
    assert len(extraction.table("reports")) == len(extraction.table("report_headers")) == 40
    extraction.run()
    assert gone not in {row["uuid"] for row in extraction.table("reports")}
    assert_same(extraction, expected_tables(plant))


def test_replace_keeps_reports_that_failed_and_removes_those_that_are_gone(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(40)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, disposition="replace")
    extraction.run()
    tables = expected_tables(plant)
    broken, gone = plant.uuids()[3:6], plant.uuids()[7]
    app.faults = Faults(broken=dict.fromkeys(broken, "garbage"))
    app.faults.settle(len(plant), plant.uuid)
    plant.delete(gone)
    assert extraction.run().exit_code == 3
    assert_same(
        extraction,
        {name: [row for row in rows if report_uuid(row) != gone] for name, rows in tables.items()},
    )
    plant.delete(broken[0])
    extraction.run()
    assert {row["uuid"] for row in extraction.table("reports")} == set(plant.uuids())


def test_replace_removes_nothing_if_its_list_was_cut(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(20)
    _, url = server(plant)
    for document in [plant.document(uuid) for uuid in plant.uuids()[:3]]:
        same = {"start": "2026-03-01T12:00:00.5Z", "startUTC": "2026-03-01T12:00:00.5Z"}
        plant.receive(document | {"id": str(uuid4())} | same)
    extraction = Extraction(url, tmp_path, kind, names=["uut_reports"], options={}, disposition="replace")
    assert extraction.run().exit_code == 0
    everything = {row["uuid"] for row in extraction.table("uut_reports")}
    resource = RESOURCES["uut_reports"]
    assert isinstance(resource.reader, PagedReader)
    assert isinstance(resource.reader.listing, TimeWindows)
    capped = replace(resource.reader, listing=replace(resource.reader.listing, cap=2))
    monkeypatch.setitem(RESOURCES, "uut_reports", replace(resource, reader=capped))
    assert extraction.run().exit_code == 4
    assert {row["uuid"] for row in extraction.table("uut_reports")} == everything


def test_full_refresh_reads_everything_again_without_duplicates(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(40)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind)
    extraction.run()
    report = extraction.run(full_refresh=True)
    assert report.resources["reports"].items == report.resources["report_headers"].items == 40
    assert_same(extraction, expected_tables(plant))


def test_a_changed_selection_leaves_no_gap_and_fetches_nothing_twice(server: Server, tmp_path: Path) -> None:
    plant = Plant(120)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path)
    some = extraction.run(filter="result eq 'Failed'").resources["reports"].items
    assert 0 < some < 120
    assert extraction.run().resources["reports"].items == 120 - some
    assert_same(extraction, expected_tables(plant))
    assert app.per_route.total() <= 120 + 4 * 3


def test_malformed_records_do_not_affect_the_rest_of_their_page(server: Server, tmp_path: Path) -> None:
    plant = Plant(30)
    good = plant.uuids()
    odd = plant.receive({}, uuid="00000000-0000-4000-8000-00000000000a", start=["not a date"], reportType="T")
    plant.grow(5)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["report_headers"])
    assert extraction.run().exit_code == 3
    (failure,) = extraction.table("_wats_failures")
    assert (failure["key"], failure["error_code"], failure["stage"]) == (odd, "INVALID_RECORD", "shred")
    assert "not a date" in failure["message"]
    assert (
        {row["uuid"] for row in extraction.table("report_headers")} == set(plant.uuids()) - {odd} >= set(good)
    )


# ── changes during a run ────────────────────────────────────────────────────────────────────────


def run_while(extraction: Extraction, happens: Callable[[events.Event], None]) -> RunReport:
    """A run with a listener that changes the server."""
    with extraction.client() as client:
        return execute(extraction.job(), client, listen=happens)


def test_reports_deleted_between_header_and_document_are_failures(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(60)
    _, url = server(plant)
    gone = plant.uuids()[7:60:20]

    def delete(event: events.Event) -> None:
        if isinstance(event, events.ItemsListed) and event.resource == "reports" and event.items:
            for uuid in gone:
                plant.delete(uuid)

    extraction = Extraction(url, tmp_path, kind)
    report = run_while(extraction, delete)
    assert (report.status, report.exit_code, report.failures) == ("failures", 3, 3)
    failures = {row["key"]: row["error_code"] for row in extraction.table("_wats_failures")}
    assert failures == dict.fromkeys(gone, "NOT_FOUND")
    assert {row["uuid"] for row in extraction.table("reports")} == set(plant.uuids())
    assert len(extraction.table("report_headers")) == 60


def test_a_run_succeeds_if_duckdb_runs_out_of_memory(server: Server, tmp_path: Path) -> None:
    plant = Plant(150)
    app, url = server(plant, faults=Faults(broken={plant.uuids()[3]: "garbage"}))
    extraction = Extraction(url, tmp_path, "duckdb", names=["reports"], options={"chunk_size": 10})
    small = DuckDB(tmp_path / "wats.duckdb", memory_limit="4MB")
    with extraction.client() as client:
        report = execute(replace(extraction.job(), destination=small), client)
    assert (report.exit_code, report.resources["reports"].items, report.failures) == (3, 149, 1), (
        report.message
    )
    tables = {name: rows for name, rows in expected_tables(plant).items() if name == "reports"}
    landed = [row for row in tables["reports"] if row["uuid"] != plant.uuids()[3]]
    assert_same(extraction, {"reports": landed})
    covered = {row["field"]: row for row in extraction.table("_wats_coverage")}
    assert covered.keys() == {"time_stamp", "start"}
    for row in covered.values():
        assert (row["range_start"], row["rows"], row["complete"]) == ("", 149, True)
    last = max(header["timeStamp"] for header in plant.headers())
    assert covered["time_stamp"]["range_end"] == str(last)
    before = app.total
    assert sum(each.rows for each in extraction.run().resources.values()) == 0
    assert app.total - before <= 2


def test_reports_that_arrive_or_are_resent_during_a_run_are_loaded(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(60)
    _, url = server(plant, page_cap=45)
    late = plant.uuids()[57]
    plant.hide(late)
    fetched, moves = itertools.count(1), iter(range(6))

    def move(event: events.Event) -> None:
        if not isinstance(event, events.ItemsFetched) or next(fetched) % 10:
            return  # ten reports are a chunk
        if (number := next(moves, None)) is not None:
            plant.grow(4)
            plant.receive_again(plant.uuids()[number], comment=f"move {number}")
            if number == 1:
                plant.show(late)

    extraction = Extraction(url, tmp_path, kind, options={"chunk_size": 10, "attachments": "content"})
    assert run_while(extraction, move).exit_code == 0
    assert extraction.run().exit_code == 0
    assert_same(extraction, expected_tables(plant))
    assert sum(each.rows for each in extraction.run().resources.values()) == 0


def test_new_fields_go_into_extra_and_changed_types_are_failures(
    kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(30)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind)
    assert extraction.run().exit_code == 0
    newer, changed = plant.uuids()[2], plant.uuids()[4]
    document = plant.document(newer)
    document |= {"carbonFootprint": {"grams": 12.5}}
    document["root"] |= {"operatorMood": "fine"}
    plant.receive_again(newer, document, siteCode="NO-1")
    plant.receive_again(changed, plant.document(changed) | {"processCode": {"code": 20}}, testSocketIndex=[1])
    report = extraction.run()
    assert (report.exit_code, report.failures) == (3, 2)
    failures = {(row["resource"], row["key"]): row for row in extraction.table("_wats_failures")}
    assert set(failures) == {("report_headers", changed), ("reports", changed)}
    assert {row["error_code"] for row in failures.values()} == {"INVALID_RECORD"}
    assert "processCode" in failures["reports", changed]["message"]
    assert "testSocketIndex" in failures["report_headers", changed]["message"]

    def extra(table: str, key: str) -> list[Any]:
        rows = [row["_extra"] for row in extraction.table(table) if row[key] == newer]
        return [json.loads(text) for text in rows if text is not None]

    assert extra("report_headers", "uuid") == [{"siteCode": "NO-1"}]
    assert {"carbonFootprint": {"grams": 12.5}} in extra("reports", "uuid")
    assert {"operatorMood": "fine"} in extra("steps", "report_uuid")
    before = {row["uuid"]: row["process_code"] for row in extraction.table("reports")}
    assert before[changed] == plant.find(changed).fields["processCode"], "the earlier row stays"


@pytest.mark.parametrize("options", [{}, {"attachments": "metadata"}, {"charts": False}], ids=str)
def test_options_choose_the_level_of_detail(server: Server, tmp_path: Path, options: dict[str, Any]) -> None:
    plant = Plant(150)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["reports"], options=options)
    extraction.run()
    tables = expected_tables(plant)
    attachments, charts = extraction.table("attachments"), extraction.table("chart_series")
    assert len(charts) == (0 if options.get("charts") is False else len(tables["chart_series"]))
    assert len(attachments) == (len(tables["attachments"]) if "attachments" in options else 0)
    assert all(row["content"] is None and row["sha256"] for row in attachments)


def test_raw_documents_are_kept_compressed(server: Server, tmp_path: Path) -> None:
    import pyarrow as pa

    plant = Plant(10)
    _, url = server(plant)
    extraction = Extraction(
        url, tmp_path, names=["reports"], options={"keep_raw": True, "attachments": "content"}
    )
    extraction.run()
    for row in extraction.table("raw_reports"):
        text = pa.decompress(
            row["document"], decompressed_size=row["size_bytes"], codec=row["encoding"], asbytes=True
        )
        assert json.loads(text) == plant.document(row["uuid"])


def test_every_row_has_the_id_of_its_run(kind: str, server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, kind)
    report = extraction.run()
    for name in ("reports", "steps", "report_headers"):
        assert {row["_wats_run_id"] for row in extraction.table(name)} == {report.run_id}
    (run,) = extraction.table("_wats_runs")
    assert (run["run_id"], run["status"], run["requests"]) == (report.run_id, "succeeded", report.requests)
    assert run["rows"] == sum(each.rows for each in report.resources.values())
