"""Master data equals the server's records, with more rows than a page of the route."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Json, Server
from tests.extraction import Extraction
from tests.resources.served import assert_records, get

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.assets import Assets
from wats_extract.fake.routes.production import Production
from wats_extract.fake.routes.products import Products
from wats_extract.fake.routes.rootcause import Tickets
from wats_extract.fake.routes.scim import Users
from wats_extract.fake.routes.software import Software
from wats_extract.fake.routes.system import System
from wats_extract.resources.catalogue import RESOURCES


@pytest.fixture
def plant() -> Plant:
    return Plant(60)


def _listed(product: Json) -> Json:
    return product | {"category": product["productCategoryName"]}


MAKERS: dict[str, tuple[Callable[[Plant], Any], int]] = {
    "products": (lambda plant: Products(plant, count=2500), 2500),
    "assets": (lambda plant: Assets(plant, count=2100), 2100),
    "asset_logs": (lambda plant: Assets(plant, logs=2300), 2300),
    "asset_types": (lambda plant: Assets(plant, types=1100), 1100),
    "packages": (lambda plant: Software(plant, count=300), 300),
    "virtual_folders": (Software, 0),
    "users": (lambda plant: Users(plant, count=730), 730),
    "clients": (lambda plant: System(plant, clients=1500), 1500),
    "tickets": (lambda plant: Tickets(plant, count=120), 120),
    "vendors": (Products, 0),
    "serial_number_types": (Production, 0),
    "barcode_identifiers": (lambda plant: System(plant, barcodes=40), 40),
}
"""By resource: a store with more rows than a page of the route, and their number (0 if not known here)."""

ROWS: dict[str, Callable[[App], Iterable[Json]]] = {
    "products": lambda app: map(_listed, app.store(Products).products.rows()),
    "assets": lambda app: app.store(Assets).assets.rows(),
    "asset_logs": lambda app: app.store(Assets).log.rows(),
    "asset_types": lambda app: app.store(Assets).types.rows(),
    "packages": lambda app: app.store(Software).packages.rows(),
    "virtual_folders": lambda app: app.store(Software).folders.rows(),
    "users": lambda app: app.store(Users).users.rows(),
    "clients": lambda app: app.store(System).clients.rows(),
    "tickets": lambda app: app.store(Tickets).tickets.rows(),
    "vendors": lambda app: app.store(Products).vendors.rows(),
    "serial_number_types": lambda app: app.store(Production).types.rows(),
    "barcode_identifiers": lambda app: app.store(System).barcodes.rows(),
}


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("name", MAKERS)
def test_everything_is_loaded(server: Server, tmp_path: Path, plant: Plant, name: str, kind: str) -> None:
    (make, count), rows = MAKERS[name], ROWS[name]
    app, url = server(plant, stores=[make(plant)])
    extraction = Extraction(url, tmp_path, kind, names=[name], options={})
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    landed = assert_records(extraction, RESOURCES[name].table, rows(app))
    assert landed == count or (count == 0 and landed > 0)
    again = extraction.run()
    assert again.exit_code == 0
    assert assert_records(extraction, RESOURCES[name].table, rows(app)) == landed
    assert not app.state_changes
    assert {request.method for request in app.requests} == {"GET"}


@pytest.mark.parametrize(
    ("name", "quirks"),
    [
        ("products", {"page_cap": 70}),
        ("assets", {"page_cap": 70}),
        ("asset_logs", {"page_cap": 70}),
        ("users", {"ignore_paging": True}),
        ("users", {"scim_page_cap": 7}),
        ("tickets", {"refuse_flag_sum": True}),
        ("packages", {"pascal_case": True}),
        ("assets", {"omit_nulls": True}),
    ],
    ids=str,
)
def test_unusual_servers_give_the_same(
    server: Server, tmp_path: Path, plant: Plant, name: str, quirks: dict[str, Any]
) -> None:
    app, url = server(plant, **quirks)
    extraction = Extraction(url, tmp_path, names=[name], options={})
    assert extraction.run().exit_code == 0
    assert assert_records(extraction, RESOURCES[name].table, ROWS[name](app)) > 0


def test_the_next_run_reads_only_new_log_entries(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["asset_logs"], options={})
    extraction.run()
    app.store(Assets).log.add(logId=10_000_000, assetId="x", date="2026-02-01T00:00:00Z", type=0)
    report = extraction.run()
    assert report.resources["asset_logs"].items == 1
    assert report.requests <= 2


def test_a_list_with_as_many_rows_as_a_usual_cap_is_incomplete(
    server: Server, tmp_path: Path, plant: Plant
) -> None:
    app, url = server(plant, stores=[Software(plant, count=1000)])
    extraction = Extraction(url, tmp_path, names=["packages"], options={})
    report = extraction.run()
    assert (report.status, report.exit_code) == ("incomplete", 4)
    assert len(extraction.table("packages")) == 1000
    (failure,) = extraction.table("_wats_failures")
    assert (failure["error_code"], failure["key"]) == ("WINDOW_SATURATED", "Software/Packages")
    app.store(Software).packages.delete(extraction.table("packages")[0]["package_id"])
    assert extraction.retry().exit_code == 0
    assert extraction.run().exit_code == 0


def test_product_details(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Products(plant, count=40)])
    extraction = Extraction(url, tmp_path, names=["product_details"], options={})
    report = extraction.run()
    products = {row["partNumber"]: row for row in app.store(Products).products.rows()}
    slashed = {part for part in products if "/" in part or "\\" in part}
    failed = {row["key"]: row["error_code"] for row in extraction.table("_wats_failures")}
    assert failed == dict.fromkeys(slashed, "NOT_FOUND")
    assert report.exit_code == (3 if slashed else 0)
    rest = [product for part, product in products.items() if part not in slashed]
    assert_records(extraction, RESOURCES["product_details"].table, rest)
    revisions = extraction.table("product_revisions")
    assert len(revisions) == sum(len(product["revisions"]) for product in rest)
    for row in revisions:
        revision = products[row["part_number"]]["revisions"][row["revision_index"]]
        assert (row["revision"], row["state"]) == (revision["revision"], revision["state"])
    tags = extraction.table("product_tags")
    assert [(row["key"], row["value"]) for row in tags if row["part_number"] == rest[0]["partNumber"]] == [
        (tag["key"], tag["value"]) for tag in rest[0]["tags"]
    ]


def test_processes_and_their_repair_codes(server: Server, tmp_path: Path, plant: Plant) -> None:
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["processes"], options={})
    assert extraction.run().exit_code == 0
    served = get(url, "App/Processes?includeInactiveProcesses=true")
    assert_records(extraction, RESOURCES["processes"].table, served)
    codes = [
        (process["code"], place, index, code["id"], code["description"])
        for process in served
        for place, category in enumerate((process.get("repairOperation") or {}).get("repairCategories") or [])
        for index, code in enumerate(category["repairCodes"])
    ]
    names = ("process_code", "category_index", "code_index", "id", "description")
    landed = [tuple(row[name] for name in names) for row in extraction.table("repair_codes")]
    assert sorted(landed) == sorted(codes)
    assert codes


def test_processes_are_read_from_a_list_and_from_the_object_that_caches_add(shared: Path) -> None:
    cached = json.loads((shared / "samples" / "processes-response.json").read_text(encoding="utf-8"))
    shredder = RESOURCES["processes"].reader.shredder
    listed = shredder.rows(json.dumps(cached["processes"]).encode())

    assert [row.key for row in listed] == [str(process["code"]) for process in cached["processes"]]
    assert not [row.problem for row in listed if row.problem]
    assert shredder.rows(json.dumps(cached).encode()) == listed
    assert shredder.rows(b"[]") == shredder.rows(b'{"processes": []}') == []


def test_levels_and_product_groups(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["levels", "product_groups"], options={})
    assert extraction.run().exit_code == 0
    levels = {(row["level_id"], row["level_name"]) for row in extraction.table("levels")}
    assert levels == {(row["levelId"], row["levelName"]) for row in app.store(System).levels.rows()}
    groups = get(url, "App/ProductGroups?includeFilters=true")
    names = {row["product_group_id"]: row["product_group_name"] for row in extraction.table("product_groups")}
    assert names == {group["productGroupId"]: group["productGroupName"] for group in groups}
    fields = ("partNumber", "revision", "exclude", "orderNo")
    filters = [
        (group["productGroupId"], place, *(each[field] for field in fields))
        for group in groups
        for place, each in enumerate(group["details"])
    ]
    columns = ("product_group_id", "filter_index", "part_number", "revision", "exclude", "order_no")
    landed = [tuple(row[name] for name in columns) for row in extraction.table("product_group_filters")]
    assert sorted(landed) == sorted(filters) != []
    assert {row["_extra"] for row in extraction.table("levels")} == {None}
    assert not app.state_changes


def test_levels_with_the_field_names_of_the_servers_web_pages() -> None:
    shredder = RESOURCES["levels"].reader.shredder  # type: ignore[attr-defined]
    (row,) = shredder.rows(b'[{"clientGroupId": 7, "name": "Oslo", "parentId": 1, "colour": "red"}]')
    assert row.key == "7"
    (batch,) = shredder.shred([row.record]).values()
    (landed,) = batch.to_pylist()
    assert (landed["level_id"], landed["level_name"], landed["parent_id"]) == (7, "Oslo", 1)
    assert landed["_extra"] == '{"colour":"red"}'


def test_email_addresses_of_users(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["users"], options={})
    extraction.run()
    emails = {
        (user["id"], place, email["value"])
        for user in app.store(Users).users.rows()
        for place, email in enumerate(user.get("emails") or [])
    }
    landed = {(row["user_id"], row["email_index"], row["value"]) for row in extraction.table("user_emails")}
    assert landed == emails != set()
