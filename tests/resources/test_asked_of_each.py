"""Resources that are read per item, from a queue or from internal routes equal the server's records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Json, Server
from tests.extraction import Extraction
from tests.resources.served import assert_answers, get

from wats_extract.errors import ConfigurationError, DestinationError, PipelineFileError
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.assets import Assets
from wats_extract.fake.routes.internal import Inspections
from wats_extract.fake.routes.production import Production
from wats_extract.fake.routes.products import Products
from wats_extract.frontends.session import connect
from wats_extract.pipeline.loading import load
from wats_extract.resources.catalogue import RESOURCES


@pytest.fixture
def plant() -> Plant:
    return Plant(60)


# ── per item ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_every_revision_of_every_product(server: Server, tmp_path: Path, plant: Plant, kind: str) -> None:
    app, url = server(plant, stores=[Products(plant, count=1200)])
    extraction = Extraction(url, tmp_path, kind, names=["product_revision_details"], options={})
    report = extraction.run()
    assert report.exit_code in (0, 3), report.message
    failed = {row["key"] for row in extraction.table("_wats_failures")}
    held = {
        f"{product['partNumber']}|{revision['revision']}": revision
        for product in app.store(Products).products.rows()
        for revision in product["revisions"]
    }
    rows = {row["revision_key"]: row for row in extraction.table("product_revision_details")}
    unreachable = {key for key in held if "/" in key or "\\" in key}
    assert rows.keys() == held.keys() - unreachable
    assert len(rows) > 900
    assert all("/" in key or "\\" in key for key in failed)
    for key, row in rows.items():
        assert (row["revision"], row["name"], row["state"]) == tuple(
            held[key][name] for name in ("revision", "name", "state")
        )
    tags = {
        (f"{revision['revision_key']}", row["tag_index"], row["key"], row["value"])
        for row in extraction.table("product_revision_detail_tags")
        if (revision := rows[row["revision_key"]])
    }
    assert tags == {
        (key, place, tag["key"], tag["value"])
        for key, revision in held.items()
        if key in rows
        for place, tag in enumerate(revision.get("tags") or [])
    }


def test_the_groups_of_every_product(server: Server, tmp_path: Path, plant: Plant) -> None:
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, names=["products", "product_group_memberships"], options={})
    extraction.run()
    rows = extraction.table("product_group_memberships")
    for part in {row["part_number"] for row in extraction.table("products") if "/" not in row["part_number"]}:
        groups = get(url, f"Product/ProductGroupsByProduct?partNumber={part}") if part.isascii() else None
        if groups is not None and not set(part) & set("%_;' &#+"):
            named = [row["product_group_name"] for row in rows if row["part_number"] == part]
            assert named == [group["productGroupName"] for group in groups]
    assert rows


def test_the_status_and_the_sub_assets_of_every_asset(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Assets(plant, count=1100)])
    extraction = Extraction(url, tmp_path, names=["asset_statuses", "sub_assets"], options={})
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    assets = {row["assetId"]: row for row in app.store(Assets).assets.rows()}
    statuses = {row["asset_id"]: row for row in extraction.table("asset_statuses")}
    assert statuses.keys() == assets.keys()
    for key in list(assets)[:20]:
        served = get(url, f"Asset/Status?id={key}")
        assert (statuses[key]["status"], statuses[key]["message"]) == (served["Status"], served["Message"])
        assert statuses[key]["total_count_exceeded"] == served["TotalCountExceeded"]
    below = {(row["asset_id"], row["sub_asset_id"]) for row in extraction.table("sub_assets")}
    assert below == {(above, each["assetId"]) for each in assets.values() for above in _above(assets, each)}
    assert below


def _above(assets: dict[str, Json], asset: Json) -> list[str]:
    """The ids of all assets that contain this one."""
    found, parent = [], asset["parentAssetId"]
    while parent:
        found.append(parent)
        parent = assets[parent]["parentAssetId"]
    return found


def test_the_version_of_the_server_is_loaded(server: Server, tmp_path: Path, plant: Plant) -> None:
    _, url = server(plant, version="2026.9.9.1")
    extraction = Extraction(url, tmp_path, names=["version"], options={})
    assert extraction.run().exit_code == extraction.run().exit_code == 0
    assert [row["version"] for row in extraction.table("server_versions")] == ["2026.9.9.1"]


def test_reports_by_misc_info(server: Server, tmp_path: Path, plant: Plant) -> None:
    _, url = server(plant)
    infos = [info for report in get(url, "Report/Query/HeaderByMiscInfo") for info in report["miscData"]]
    name, text = infos[0]["description"], infos[0]["data"]
    extraction = Extraction(url, tmp_path, names=["headers_by_misc_info"], options={})
    extraction.run(filter={"description": name, "data": [text, "no such text"]})
    found = get(url, f"Report/Query/HeaderByMiscInfo?description={name}&data={text}".replace(" ", "%20"))
    assert_answers(extraction, "headers_by_misc_info", {f"{name}|{text}": found})


# ── the queue ───────────────────────────────────────────────────────────────────────────────────

FIELDS = {
    "id": "id",
    "unitSerialNumber": "unit_serial_number",
    "newPartNumber": "new_part_number",
    "newUnitPhaseId": "new_unit_phase_id",
}


def waiting(app: App) -> list[tuple[Any, ...]]:
    """The changes in the server's queue."""
    return sorted(tuple(change[name] for name in FIELDS) for change in app.store(Production).changes.rows())


def changes(extraction: Extraction) -> list[tuple[Any, ...]]:
    """The changes in the table."""
    return sorted(tuple(row[name] for name in FIELDS.values()) for row in extraction.table("unit_changes"))


def queue(url: str, folder: Path, **options: Any) -> Extraction:
    return Extraction(url, folder, names=["unit_changes"], options=options)


def test_a_queue_is_not_acknowledged_by_default(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Production(plant)])
    extraction = queue(url, tmp_path)
    assert extraction.run().exit_code == extraction.run().exit_code == 0
    assert changes(extraction) == waiting(app) != []
    assert not app.state_changes


def test_committed_changes_are_acknowledged_and_the_queue_empties(
    server: Server, tmp_path: Path, plant: Plant
) -> None:
    app, url = server(plant)
    before = waiting(app)
    extraction = queue(url, tmp_path, acknowledge=True)
    assert extraction.run().exit_code == 0
    assert changes(extraction) == before
    assert waiting(app) == []
    assert len(app.state_changes) == len(before)
    assert {asked.method for asked in app.state_changes} == {"DELETE"}
    assert extraction.run().exit_code == 0
    assert changes(extraction) == before


def test_changes_that_were_not_committed_are_not_acknowledged(
    server: Server, tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, url = server(plant)
    extraction = queue(url, tmp_path, acknowledge=True)
    before = waiting(app)
    destination = type(extraction.destination())
    commit = destination.commit

    def full(self: Any, wanted: Any, **how: Any) -> Any:
        if wanted.landed:
            raise DestinationError("no space left")
        return commit(self, wanted, **how)

    with monkeypatch.context() as patch:
        patch.setattr(destination, "commit", full)
        assert extraction.run().exit_code == 1
    assert waiting(app) == before
    assert not app.state_changes
    assert extraction.run().exit_code == 0
    assert (changes(extraction), waiting(app)) == (before, [])


def test_a_limit_leaves_the_rest_in_the_queue(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant)
    before = waiting(app)
    extraction = queue(url, tmp_path, acknowledge=True)
    extraction.run(limit=3)
    assert (changes(extraction), waiting(app)) == (before[:3], before[3:])


def test_only_a_pipeline_acknowledges(server: Server, plant: Plant) -> None:
    app, url = server(plant)
    with connect(url, token="x") as wats, pytest.raises(ConfigurationError, match="only a pipeline"):
        wats.stream("unit_changes", acknowledge=True)
    assert not app.state_changes


# ── internal routes ─────────────────────────────────────────────────────────────────────────────

INTERNAL = ("internal_processes", "manual_inspections", "alarms")


def pipeline(folder: Path, name: str, settings: str) -> Path:
    path = folder / "internal.yaml"
    path.write_text(
        f"version: 1\nname: internal\n"
        f"destination: {{type: duckdb, path: {(folder / 'x.duckdb').as_posix()}}}\n"
        f"resources:\n  - name: {name}\n{settings}",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("name", INTERNAL)
def test_internal_routes_need_an_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineFileError, match=r"internal\.yaml:5: .*the vendor does not support"):
        load(pipeline(tmp_path, name, ""), catalogue=RESOURCES, environ={}, demo=True)
    (config,) = load(
        pipeline(tmp_path, name, "    internal: true\n"), catalogue=RESOURCES, environ={}, demo=True
    ).resources
    assert config.internal
    with pytest.raises(PipelineFileError, match="is not an option of products"):
        load(
            pipeline(tmp_path, "products", "    internal: true\n"), catalogue=RESOURCES, environ={}, demo=True
        )


def test_internal_resources_equal_the_servers_records(server: Server, tmp_path: Path, plant: Plant) -> None:
    app, url = server(plant, stores=[Inspections(plant, count=30, alarms=300)])
    extraction = Extraction(url, tmp_path, names=INTERNAL, options={"internal": True})
    report = extraction.run()
    assert (report.status, report.failures) == ("succeeded", 0), report.message
    store = app.store(Inspections)
    alarms = {row["log_id"]: row for row in extraction.table("alarms")}
    assert {key: (row["name"], row["type"], row["fpy"]) for key, row in alarms.items()} == {
        row["logId"]: (row["name"], row["type"], row["fpy"]) for row in store.alarms.rows()
    }
    definitions = {row["test_sequence_definition_id"]: row for row in extraction.table("manual_inspections")}
    for row in store.definitions.rows():
        landed = definitions.pop(row["TestSequenceDefinitionId"])
        assert (landed["name"], landed["status"], landed["released_by"]) == (
            row["Name"],
            row["Status"],
            row["ReleasedBy"],
        )
        assert json.loads(landed["relations"]) == row["Relations"]
    assert not definitions
    assert len(extraction.table("internal_processes")) > 5
    assert not app.state_changes


def test_a_server_without_internal_routes_is_an_error(server: Server, tmp_path: Path, plant: Plant) -> None:
    _, url = server(plant, no_internal=True)
    extraction = Extraction(url, tmp_path, names=["alarms"], options={"internal": True})
    report = extraction.run()
    assert report.exit_code != 0
    assert "404" in report.message
