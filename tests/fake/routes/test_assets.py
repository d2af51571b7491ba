"""Routes below `/api/Asset`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.assets import Assets

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
LISTS = ("/api/Asset", "/api/Asset/Log", "/api/Asset/Types")


def fetch(client: httpx2.Client, path: str, **options: object) -> list[dict[str, Any]]:
    response = client.get(path, params={f"${name}": str(value) for name, value in options.items()})
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def test_rows_have_the_specified_fields(client: httpx2.Client, spec: Spec) -> None:
    for path, schema in zip(LISTS, ("Asset", "AssetLog", "AssetType"), strict=True):
        assert set(fetch(client, path)[0]) == spec(f"Mes.Asset.OData.{schema}")
    asset = client.get("/api/Asset/1").json()
    assert set(asset) == spec("Mes.Asset.Asset")
    assert set(asset["assetType"]) == spec("Mes.Asset.AssetType")
    assert set(asset["assetLog"][0]) == spec("Mes.Asset.AssetLog")


@pytest.mark.parametrize(("count", "default"), [(999, 999), (1000, 1000), (1001, 1000)])
def test_default_is_a_thousand_rows(plant: Plant, connect: Connect, count: int, default: int) -> None:
    client = connect(App(plant, stores=[Assets(plant, count=count, logs=count, types=count)]))
    for path in LISTS:
        assert len(fetch(client, path)) == default
        assert len(fetch(client, path, top=100_000)) == count
        assert len(fetch(client, path, top=3)) == 3


def test_filter_does_not_lift_the_limit(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, stores=[Assets(plant, count=1100)]))
    assert len(fetch(client, "/api/Asset", filter="assetId ne 'x'")) == 1000


def test_orderby(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, stores=[Assets(plant, count=300, logs=300, types=30)]))
    ids = [row["assetId"] for row in fetch(client, "/api/Asset")]
    assert ids == sorted(ids, key=str.casefold)
    assert ids != sorted(ids)
    assert ids[:3] == ["1", "10", "100"]
    dates = [clock.parse(row["date"]) for row in fetch(client, "/api/Asset/Log")]
    assert dates == sorted(dates, reverse=True)
    logs = [row["logId"] for row in fetch(client, "/api/Asset/Log")]
    assert logs != sorted(logs, reverse=True)
    names = [row["typeName"] for row in fetch(client, "/api/Asset/Types")]
    assert names == sorted(names, key=str.casefold)
    (latest,) = fetch(client, "/api/Asset", top=1, orderby="firstSeenDate desc")
    assert latest["firstSeenDate"] == max(
        (row["firstSeenDate"] for row in fetch(client, "/api/Asset")), key=clock.parse
    )
    ignoring = connect(App(plant, stores=[Assets(plant, count=300)], ignore_orderby=True))
    assert [row["assetId"] for row in fetch(ignoring, "/api/Asset", orderby="firstSeenDate")] == ids


@pytest.mark.parametrize(
    ("path", "key", "last"),
    [
        ("/api/Asset", "assetId", "''"),
        ("/api/Asset/Log", "logId", "0"),
        ("/api/Asset/Types", "typeName", "''"),
    ],
)
def test_keyset_paging_returns_every_row_once(
    plant: Plant, connect: Connect, path: str, key: str, last: str
) -> None:
    client = connect(App(plant, stores=[Assets(plant, count=1234, logs=1234, types=1234)]))
    found: list[Any] = []
    while page := fetch(client, path, filter=f"{key} gt {last}", orderby=key):
        found += [row[key] for row in page]
        last = f"'{found[-1]}'" if isinstance(found[-1], str) else str(found[-1])
    assert len(found) == len(set(found)) == 1234


def test_filters(client: httpx2.Client) -> None:
    assert [row["assetId"] for row in fetch(client, "/api/Asset", filter="assetId eq 'A4'")] == ["a4"]
    (kind,) = fetch(client, "/api/Asset/Types", filter="typeName eq 'Fixture'")
    fixtures = fetch(client, "/api/Asset", filter=f"typeId eq {kind['typeId'].upper()}")
    assert [row["serialNumber"] for row in fixtures] == ["FIX-01", "FIX-02", "FIX-03"]
    assert all(
        row["type"] == 4 for row in fetch(client, "/api/Asset/Log", filter="type eq 4 and assetId ne '1'")
    )
    recent = fetch(client, "/api/Asset/Log", filter="date ge 2026-01-08T00:00:00Z")
    assert recent
    assert all(clock.parse(row["date"]) >= clock.parse("2026-01-08") for row in recent)
    for path in LISTS:
        assert client.get(f"{path}?$count=true").status_code == 400
        assert client.get(path, params={"$filter": "colour eq 1"}).status_code == 400


def test_paging_by_skip(client: httpx2.Client) -> None:
    pages = [fetch(client, "/api/Asset", top=15, skip=skip) for skip in (0, 15, 30, 45)]
    assert [len(page) for page in pages] == [15, 15, 10, 0]
    assert [row for page in pages for row in page] == fetch(client, "/api/Asset")


def test_asset_by_id_or_serial_number(client: httpx2.Client) -> None:
    asset = client.get("/api/Asset/a4").json()
    assert asset["serialNumber"] == "DMM-1042"
    assert asset["assetType"]["typeName"] == "DMM"
    assert asset["parentSerialNumber"] == "RACK-1"
    assert client.get("/api/Asset/dmm-1042").json() == asset
    assert client.get("/api/Asset/nothing").status_code == 404
    assert client.get("/api/Asset/DMM%2F1042").status_code == 404


def test_reports_name_known_assets(client: httpx2.Client, plant: Plant) -> None:
    rows = client.get("/api/Report/Query/Header", params={"$top": "600", "$expand": "assets"}).json()
    used = {each["serialNumber"] for row in rows for each in row["assets"]} | {
        row["fixtureId"] for row in rows if row.get("fixtureId")
    }
    assert len(used) == 9
    assert used <= {row["serialNumber"] for row in fetch(client, "/api/Asset")}


def test_sub_assets(client: httpx2.Client) -> None:
    def below(**query: object) -> set[str]:
        rows = client.get("/api/Asset/SubAssets", params={k: str(v) for k, v in query.items()}).json()
        return {row["serialNumber"] for row in rows}

    assert below(id="1") == below(serialNumber="RACK-1", level=1) == {"DMM-1042", "PSU-1007"}
    assert client.get("/api/Asset/1").json()["assetChildren"][0]["assetType"]["typeName"] == "DMM"
    assert below(id="nothing") == set()
    assert client.get("/api/Asset/SubAssets").status_code == 400


def test_levels_of_sub_assets(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    app.store(Assets).assets.add(assetId="x", parentAssetId="a4", serialNumber="X")
    client = connect(app)

    def below(level: int) -> int:
        return len(client.get("/api/Asset/SubAssets", params={"id": "1", "level": str(level)}).json())

    assert (below(0), below(1), below(2)) == (3, 2, 3)


def test_status(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    client, assets = connect(app), app.store(Assets).assets
    late = clock.utc(plant.now - clock.DAY)
    assets.change("a4", runningCount=2500, nextCalibrationDate=late)
    status = client.get("/api/Asset/Status", params={"serialNumber": "DMM-1042"}).json()
    assert (status["Status"], status["RunningCountExceeded"], status["CalibrationDaysOverdue"]) == (
        3,
        100,
        1.0,
    )
    assets.change("a4", runningCount=5, nextCalibrationDate=None)
    assert client.get("/api/Asset/Status", params={"id": "a4"}).json()["Status"] == 0
    assert client.get("/api/Asset/Status", params={"id": "?"}).json()["Status"] == 1


def test_deleting_an_asset_deletes_its_log(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    client, store = connect(app), app.store(Assets)
    assert fetch(client, "/api/Asset/Log", filter="assetId eq '2'")
    store.delete("2")
    assert fetch(client, "/api/Asset/Log", filter="assetId eq '2'") == []
    assert client.get("/api/Asset/2").status_code == 404
    with pytest.raises(KeyError):
        store.delete("2")
