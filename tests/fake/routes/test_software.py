"""Routes below `/api/Software`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.software import STATUSES, Software

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
Row = dict[str, Any]


def fetch(client: httpx2.Client, route: str, **query: object) -> Any:
    response = client.get(
        f"/api/Software/{route}", params={name: str(value) for name, value in query.items()}
    )
    assert response.status_code == 200, response.text
    return response.json()


def test_rows_have_the_specified_fields(client: httpx2.Client, spec: Spec) -> None:
    package = fetch(client, "Packages")[0]
    assert set(package) == spec("Mes.Software.Public.Package")
    (file, *_) = fetch(client, f"PackageFiles/{package['packageId']}")
    assert set(file) == spec("Mes.Software.Public.PackageFile")
    assert set(fetch(client, "VirtualFolders")[0]) == spec("Mes.Public.VirtualFolder")


def test_list_has_all_packages(plant: Plant, connect: Connect) -> None:
    app = App(plant, stores=[Software(plant, count=1200)])
    rows = fetch(connect(app), "Packages")
    assert rows == app.store(Software).packages.rows()
    assert len({(row["name"], row["version"]) for row in rows}) == 1200
    assert {row["status"] for row in rows} == set(STATUSES)


def test_server_can_return_a_single_package(plant: Plant, connect: Connect) -> None:
    app = App(plant, single_package=True)
    assert fetch(connect(app), "Packages") == app.store(Software).packages.rows()[0]
    empty = App(plant, stores=[Software(plant, count=0)], single_package=True)
    assert fetch(connect(empty), "Packages") is None


def test_package_by_id(client: httpx2.Client) -> None:
    row = fetch(client, "Packages")[3]
    assert fetch(client, f"Package/{row['packageId'].upper()}") == row
    assert client.get("/api/Software/Package/nothing").status_code == 404


def test_package_by_name(client: httpx2.Client) -> None:
    assert fetch(client, "PackageByName", name="ict", status="Released")["version"] == 2
    assert fetch(client, "PackageByName", name="ICT", status="released", version=2)["name"] == "ICT"
    for query in ({"name": "ICT", "status": "Released", "version": "9"}, {"name": "x", "status": "Draft"}):
        assert client.get("/api/Software/PackageByName", params=query).status_code == 404
    for query in ({"name": "ICT"}, {"name": "ICT", "status": "New"}):
        assert client.get("/api/Software/PackageByName", params=query).status_code == 400


def test_package_by_name_is_the_newest_version(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    app.store(Software).packages.add(packageId="new", name="ICT", version=7, status="Released")
    assert fetch(connect(app), "PackageByName", name="ICT", status="Released")["version"] == 7


def test_packages_by_tag(client: httpx2.Client) -> None:
    rows = fetch(client, "PackagesByTag", tag="Stage=pilot", status="Revoked")
    assert rows
    assert all(row["status"] == "Revoked" and row["tags"][0]["value"] == "Pilot" for row in rows)
    assert fetch(client, "PackagesByTag", tag="stage=Pilot", status="Revoked") == []
    assert client.get("/api/Software/PackagesByTag", params={"tag": "a=b"}).status_code == 400


def test_files_and_folders(client: httpx2.Client) -> None:
    counts = [len(fetch(client, f"PackageFiles/{row['packageId']}")) for row in fetch(client, "Packages")]
    assert 0 in counts
    assert max(counts) == 3
    assert fetch(client, "PackageFiles/nothing") == []
    folders = fetch(client, "VirtualFolders")
    ids = {row["id"] for row in folders}
    assert [row["parentId"] in ids for row in folders] == [False, True, True, True]
    assert {row["virtualFolderId"] for row in fetch(client, "Packages")} <= ids


@pytest.mark.parametrize("count", [0, 1])
def test_store_sizes(plant: Plant, count: int) -> None:
    store = Software(plant, count=count, files=0)
    assert (len(store.packages), len(store.files), len(store.folders)) == (count, count, 4)
