"""Resources that are read item by item equal the server's records: units, files, tickets, serial numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from uuid import uuid4

import msgspec
import pyarrow as pa
import pytest
from tests import expected
from tests.conftest import Json, Server
from tests.extraction import Extraction

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.production import Production
from wats_extract.fake.routes.rootcause import Tickets
from wats_extract.fake.routes.software import Software
from wats_extract.http.client import Client

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def plant() -> Plant:
    return Plant(120)


def run(extraction: Extraction, app: App) -> int:
    """Run without a failure; returns the number of items."""
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), extraction.table("_wats_failures")[:3]
    assert not app.state_changes
    assert {request.method for request in app.requests} == {"GET"}
    (account,) = report.resources.values()
    return account.items


def with_a_part(count: int) -> Plant:
    """A plant with a unit that has no reports of its own, but is a sub unit in another unit's report."""
    plant = Plant(count)
    part = {"partType": "Cable", "pn": "CABLE-1", "sn": "C 7", "rev": "A"}
    plant.receive(plant.document(plant.uuids()[3]) | {"id": str(uuid4()), "subUnits": [part]})
    return plant


def get(client: Client, route: str, accept: str = "application/json", **query: str) -> bytes:
    """The body of a response."""
    return client.get(route, query=query, decode=lambda reply: reply.body, accept=accept)


def expanded(plant: Plant, *names: str) -> list[Json]:
    """All headers with expanded fields."""
    return [msgspec.json.decode(row.text(names)) for row in plant.arrived()]


def pairs(plant: Plant) -> tuple[set[Pair], set[Pair]]:
    """Serial and part numbers of units with reports, and of units that are only part of another."""
    fields = ("subUnits", "uurSubUnits")
    headers = expanded(plant, *fields)
    own = {(header["serialNumber"], header["partNumber"]) for header in headers}
    within = {
        (unit["serialNumber"], unit["partNumber"])
        for header in headers
        for field in fields
        for unit in header.get(field) or ()
    }
    return own, within - own


# ── tickets ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("quirks", [{}, {"refuse_flag_sum": True}, {"pascal_case": True}], ids=str)
def test_ticket_histories(server: Server, tmp_path: Path, plant: Plant, quirks: Json) -> None:
    app, url = server(plant, stores=[Tickets(plant, count=90)], **quirks)
    extraction = Extraction(url, tmp_path, names=["ticket_histories"], options={})
    assert run(extraction, app) == 90
    held = list(app.store(Tickets).tickets.rows())
    app.store(Tickets).update(held[0]["ticketId"], "Nytt <kort>")
    assert run(extraction, app) == 90, "tickets have no cursor"
    held = list(app.store(Tickets).tickets.rows())
    updates = {
        (ticket["ticketId"], place, entry["updateId"], entry["content"], expected.moment(entry["updateUtc"]))
        for ticket in held
        for place, entry in enumerate(ticket["history"])
    }
    names = ("ticket_id", "update_index", "update_id", "content", "update_utc")
    rows = extraction.table("ticket_updates")
    assert len(rows) == len(updates)
    assert {tuple(row[name] for name in names) for row in rows} == updates
    files = {
        (ticket["ticketId"], place, index, file["attachmentId"], file["filename"])
        for ticket in held
        for place, entry in enumerate(ticket["history"])
        for index, file in enumerate(entry["attachments"])
    }
    names = ("ticket_id", "update_index", "attachment_index", "attachment_id", "filename")
    rows = extraction.table("ticket_update_attachments")
    assert {tuple(row[name] for name in names) for row in rows} == files != set()
    landed = {row["ticket_id"]: row["updated_utc"] for row in extraction.table("ticket_histories")}
    assert landed == {ticket["ticketId"]: expected.moment(ticket["updatedUtc"]) for ticket in held}


# ── software ────────────────────────────────────────────────────────────────────────────────────


def test_package_files(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Software(plant, count=40, files=5)])
    extraction = Extraction(url, tmp_path, names=["package_files"], options={"chunk_size": 7})

    def check() -> None:
        assert run(extraction, app) == 40
        rows = extraction.table("package_files")
        held = app.store(Software).files.rows()
        fields = ("packageId", "packageFileId", "name", "packageFolderName", "attributes", "Description")
        names = ("package_id", "package_file_id", "name", "package_folder_name", "attributes", "description")
        landed = {tuple(row[name] for name in names) for row in rows}
        assert landed == {tuple(row[field] for field in fields) for row in held} != set()
        assert len({(row["package_id"], row["file_index"]) for row in rows}) == len(rows) == len(landed)

    check()
    for file in list(app.store(Software).files.rows())[:3]:  # all files of one package and some of another
        app.store(Software).files.delete(file["packageFileId"])
    check()


# ── units ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize(
    "quirks", [{"page_cap": 25}, {"refuse_keyset": True}, {"missing_item": "null"}], ids=str
)
def test_units(server: Server, tmp_path: Path, kind: str, quirks: Json) -> None:
    plant = with_a_part(120)
    app, url = server(plant, **quirks)
    extraction = Extraction(url, tmp_path, kind, names=["units"], options={"chunk_size": 16})
    own, parts = pairs(plant)
    assert run(extraction, app) == len(own | parts)
    units = extraction.table("units")
    assert {(row["serial_number"], row["part_number"]) for row in units} == own | parts
    assert {row["unit_key"] for row in units} == {"|".join(pair) for pair in own | parts}
    assert {(r["serial_number"], r["part_number"]) for r in units if not r["has_record"]} == parts != set()
    within, tags = {}, {}
    with extraction.client() as client:
        for row in units:
            if row["has_record"]:
                path = f"Production/Unit/{row['serial_number']}/{row['part_number']}"
                served = json.loads(get(client, path))
                assert row["process_code"] == str(served["processCode"])
                assert (row["unit_phase_id"], row["revision"]) == (served["unitPhaseId"], served["revision"])
                assert row["serial_date"] == expected.moment(served["serialDate"])
                assert json.loads(row["product"] or "null") == served["product"]
                assert row["_extra"] is None
                within[row["unit_key"]] = [unit["serialNumber"] for unit in served["subUnits"]]
                tags[row["unit_key"]] = [tag["value"] for tag in served["tags"]]
    built_in = {
        (row["unit_key"], row["sub_unit_index"], row["serial_number"])
        for row in extraction.table("unit_sub_units")
    }
    assert built_in == {(key, at, serial) for key, found in within.items() for at, serial in enumerate(found)}
    assert {row["unit_key"] for row in extraction.table("unit_tags")} <= {
        key for key, found in tags.items() if found
    }


@pytest.mark.parametrize("name", ["units", "unit_verifications"])
def test_only_units_with_new_reports_are_read(server: Server, tmp_path: Path, name: str) -> None:
    plant = with_a_part(60)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, names=[name], options={})
    own, parts = pairs(plant)
    assert run(extraction, app) == len(own | parts)
    assert run(extraction, app) == 0
    uuid = next(header["uuid"] for header in plant.headers() if header["reportType"] == "T")
    document = plant.document(uuid) | {"id": "00000000-0000-4000-8000-00000000abcd", "sn": "SN-NEW"}
    plant.receive(document)
    inside = {(unit["sn"], unit["pn"]) for unit in document.get("subUnits") or ()}
    assert run(extraction, app) == 1 + len(inside)
    keys = {row["unit_key"] for row in extraction.table(name)}
    assert f"SN-NEW|{document['pn']}" in keys
    assert run(extraction, app) == 0


def test_a_unit_whose_part_number_has_a_slash_is_a_failure(server: Server, tmp_path: Path) -> None:
    plant = Plant(20)
    document = plant.document(plant.uuids()[0])
    document |= {"id": "00000000-0000-4000-8000-00000000abcd", "pn": "PN/7", "sn": "SN 1"}
    plant.receive(document)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["units", "unit_verifications"], options={})
    report = extraction.run()
    assert report.exit_code == 3
    (failure,) = extraction.table("_wats_failures")
    assert (failure["resource"], failure["key"], failure["error_code"]) == ("units", "SN 1|PN/7", "NOT_FOUND")
    assert "SN 1|PN/7" in {row["unit_key"] for row in extraction.table("unit_verifications")}
    assert not app.state_changes


def test_unit_verifications(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, page_cap=25)
    extraction = Extraction(url, tmp_path, names=["unit_verifications"], options={})
    own, parts = pairs(plant)
    assert run(extraction, app) == len(own | parts)
    results = {
        (row["unit_key"], row["result_index"]): (row["process_code"], row["status"], row["total_count"])
        for row in extraction.table("unit_verification_results")
    }
    held = {}
    with extraction.client() as client:
        for row in extraction.table("unit_verifications"):
            serial, part = row["serial_number"], row["part_number"]
            query = {"serialNumber": serial, "partNumber": part}
            served = json.loads(get(client, "Production/UnitVerification", **query))
            assert (row["status"], row["grade"]) == (served["status"], served["grade"])
            assert row["no_repairs"] == served["noRepairs"]
            held |= {
                (f"{serial}|{part}", at): (each["processCode"], each["status"], each["totalCount"])
                for at, each in enumerate(served["results"])
            }
    assert results == held != {}


# ── files of reports ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_reports_as_xml(server: Server, tmp_path: Path, plant: Plant, kind: str) -> None:
    app, url = server(plant, page_cap=50)
    extraction = Extraction(url, tmp_path, kind, names=["wsxf_reports"], options={"attachments": "content"})
    assert run(extraction, app) == 120
    assert run(extraction, app) == 0
    rows = extraction.table("wsxf_reports")
    stamps = {header["uuid"]: header["timeStamp"] for header in plant.headers()}
    assert {row["uuid"]: row["time_stamp"] for row in rows} == stamps
    with extraction.client() as client:
        for row in rows[::9]:
            served = get(client, f"Report/Wsxf/{row['uuid']}", detailLevel="7", accept="application/xml")
            kept = pa.decompress(row["document"], row["size_bytes"], codec=row["encoding"], asbytes=True)
            assert kept == served


@pytest.mark.parametrize("keep", ["none", "content"])
def test_report_attachments(server: Server, tmp_path: Path, keep: str) -> None:
    plant = Plant(400)
    app, url = server(plant, page_cap=90)
    extraction = Extraction(url, tmp_path, names=["report_attachments"], options={"attachments": keep})
    run(extraction, app)
    headers = {header["uuid"]: header for header in expanded(plant, "attachments", "uurAttachments")}
    listed = {
        (uuid, at): (file.get("stepId"), file.get("id"), file["filename"])
        for uuid, header in headers.items()
        for at, file in enumerate([*(header["attachments"] or ()), *(header["uurAttachments"] or ())])
    }
    rows = extraction.table("report_attachments")
    names = ("step_id", "attachment_id", "filename")
    landed = {(r["report_uuid"], r["attachment_index"]): tuple(r[name] for name in names) for r in rows}
    assert landed == listed != {}
    with extraction.client() as client:
        for row in rows:
            source = (
                {"stepId": row["step_id"]}
                if row["step_id"] is not None
                else {"attachmentId": row["attachment_id"]}
            )
            content = get(client, "Report/Attachment", reportId=row["report_uuid"], **source)
            assert row["content"] == (content if keep == "content" else None)
            assert (row["size_bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
            assert row["content_type"]
    assert run(extraction, app) == 0
    uuid = rows[0]["report_uuid"]
    bare = {name: part for name, part in plant.document(uuid).items() if name != "binaryData"}
    plant.receive(bare | {"root": {"id": 0, "name": "Main", "steps": []}})
    assert run(extraction, app) == 1
    kept = {row["report_uuid"] for row in extraction.table("report_attachments")}
    assert kept == {row["report_uuid"] for row in rows} - {uuid}


# ── serial numbers ──────────────────────────────────────────────────────────────────────────────


def test_serial_numbers(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Production(plant, serials=1500)])
    extraction = Extraction(url, tmp_path, names=["serial_numbers"], options={})
    assert run(extraction, app) == 3
    rows = extraction.table("serial_numbers")
    held = {(row["type"], row["serialNumber"]) for row in app.store(Production).serials.rows()}
    assert {(row["serial_number_type"], row["serial_number"]) for row in rows} == held
    assert len(rows) == len(held) == 4500
