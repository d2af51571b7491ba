"""Levels, groups, clients, barcodes and settings, and the routes below `/api/internal`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.internal import Inspections
from wats_extract.fake.routes.system import System

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
ALARMS = "/api/internal/Trigger/GetAlarmAndNotificationLogs"


def fetch(client: httpx2.Client, path: str, **query: object) -> Any:
    response = client.get(path, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    return response.json()


def test_levels_and_product_groups(client: httpx2.Client) -> None:
    assert fetch(client, "/api/App/Levels")[:2] == [
        {"levelId": 1, "levelName": "Fjordtest"},
        {"levelId": 2, "levelName": "Horten"},
    ]
    groups = fetch(client, "/api/App/ProductGroups")
    assert groups[1] == {"productGroupId": 2, "productGroupName": "Boards"}
    filtered = fetch(client, "/api/App/ProductGroups", includeFilters="true")
    assert [row["details"][0]["partNumber"] for row in filtered] == ["%", "PCBA%", "MODULE%", "UNIT%"]


def test_level_by_path(client: httpx2.Client) -> None:
    path = "/api/SystemManager/Level"
    assert client.get(f"{path}?hierarchy=fjordtest&hierarchy=Gda%C5%84sk").json() == 4
    assert client.get(f"{path}?hierarchy=Fjordtest").json() == 1
    assert client.get(f"{path}?hierarchy=Horten").json() is None
    assert client.get(f"{path}?hierarchy=Fjordtest&hierarchy=Oslo&hierarchy=x").json() is None
    assert client.get(path).status_code == 400


def test_settings_of_a_user(client: httpx2.Client, spec: Spec) -> None:
    settings = fetch(client, "/api/App/CommonUserSettings", UserName="KARI")
    assert set(settings) == spec("CommonUserSettings")
    assert settings["email"] is None
    assert fetch(client, "/api/App/CommonUserSettings", UserName="tor")["levels"] == ["Horten"]
    assert client.get("/api/App/CommonUserSettings", params={"UserName": "x"}).status_code == 404
    assert client.get("/api/App/CommonUserSettings").status_code == 400


def test_clients_include_the_stations_of_the_reports(client: httpx2.Client, plant: Plant) -> None:
    rows = fetch(client, "/api/SystemManager/Clients")
    assert len(rows) == 20
    assert {row["stationName"] for row in plant.headers()} <= {row["name"] for row in rows}
    levels = {row["clientGroupId"]: row for row in rows if row["typeEnum"] == 0}
    burn_in = next(row for row in rows if row["name"] == "GDANSK-BURNIN-1")
    assert levels[burn_in["parentId"]]["name"] == "Gdańsk"
    assert burn_in["location"] == "Gdańsk, Poland"


def test_single_clients(client: httpx2.Client) -> None:
    row = fetch(client, "/api/SystemManager/Clients")[-1]
    path, log = "/api/SystemManager/Client", "/api/SystemManager/ClientLog/"
    assert fetch(client, path, name=row["name"].lower()) == row
    assert fetch(client, path, identifier=row["machineAccountId"]) == row
    assert client.get(path, params={"name": "Horten"}).status_code == 404
    assert client.get(path).status_code == 400
    response = client.get(log + row["machineAccountId"])
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text.endswith("Service is running ✓")
    assert client.get(log + "nothing").status_code == 404


@pytest.mark.parametrize("count", [0, 3, 700])
def test_store_sizes(plant: Plant, connect: Connect, count: int) -> None:
    app = App(plant, stores=[System(plant, clients=count, barcodes=count, exports=count)])
    client = connect(app)
    assert len(fetch(client, "/api/SystemManager/Clients")) == count
    assert len(fetch(client, "/api/BarcodeIdentifiers/BarcodeIdentifiers")) == count
    assert len(fetch(client, "/api/Export/List")) == count


def test_barcodes_are_sorted_by_order(client: httpx2.Client, spec: Spec) -> None:
    rows = fetch(client, "/api/BarcodeIdentifiers/BarcodeIdentifiers")
    assert set(rows[0]) == spec("Tdm.BarcodeIdentifier")
    orders = [row["order"] for row in rows]
    assert orders == sorted(orders)
    assert [row["id"] for row in rows] != sorted(row["id"] for row in rows)


def test_status_and_exports(client: httpx2.Client) -> None:
    status = fetch(client, "/api/SystemStatus")
    assert all(isinstance(value, str) for value in status.values())
    assert fetch(client, "/api/Export/List") == ["yield-000.xlsx", "yield-001.xlsx", "yield-002.xlsx"]


# ------------------------------------------------------------ internal

INTERNAL = (
    "/api/internal/Process/GetProcesses",
    "/api/internal/ManualInspection/GetTestSequenceDefinitions",
    ALARMS,
)


@pytest.fixture
def referer(client: httpx2.Client) -> httpx2.Headers:
    """The header that internal routes require."""
    return httpx2.Headers({"Referer": str(client.base_url)})


@pytest.mark.parametrize("path", INTERNAL)
def test_internal_routes_require_a_referer(
    client: httpx2.Client, referer: httpx2.Headers, path: str, plant: Plant, connect: Connect
) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Referer": "https://elsewhere.example"}).status_code == 401
    assert client.get(path.upper(), headers=referer).status_code == 200
    without = connect(App(plant, no_internal=True))
    assert without.get(path, headers={"Referer": str(without.base_url)}).status_code == 404


def test_internal_processes_have_the_same_codes(client: httpx2.Client, referer: httpx2.Headers) -> None:
    rows = client.get(INTERNAL[0], headers=referer).json()
    public = fetch(client, "/api/App/Processes", includeInactiveProcesses="true")
    assert [(row["Code"], row["Name"]) for row in rows] == [(row["code"], row["name"]) for row in public]
    assert {row["IsWIPOperation"] for row in rows} == {True, False}
    assert len({row["ProcessID"] for row in rows}) == len(rows)


def test_inspection_definitions(client: httpx2.Client, referer: httpx2.Headers) -> None:
    every = client.get(INTERNAL[1], headers=referer).json()
    parts = [
        client.get(INTERNAL[1], headers=referer, params={"isGlobalDefinitions": text}).json()
        for text in ("true", "false")
    ]
    assert [len(every), *map(len, parts)] == [6, 2, 4]
    assert {row["Status"] for row in every} == {0, 1, 2, 3}


def test_alarms(client: httpx2.Client, plant: Plant, referer: httpx2.Headers) -> None:
    def alarms(body: dict[str, object], **query: str) -> list[dict[str, Any]]:
        response = client.post(ALARMS, json=body, headers=referer, params=query)
        assert response.status_code == 200, response.text
        rows = response.json()
        assert isinstance(rows, list)
        return rows

    every = alarms({})
    assert len(every) == 40
    dates = [clock.parse(row["logDate"]) for row in every]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] == plant.now
    assert not every[0]["logDate"].endswith("Z")
    middle = {"dateFrom": every[30]["logDate"], "dateTo": every[10]["logDate"]}
    assert alarms(middle) == every[11:31]
    assert alarms({"topCount": 3}) == every[:3]
    assert {row["type"] for row in alarms({}, includeTypes="2;5")} == {2, 5}
    bad = client.post(ALARMS, json={"dateFrom": "yesterday"}, headers=referer)
    assert bad.status_code == client.post(ALARMS, content="[", headers=referer).status_code == 400


def test_alarms_are_not_a_state_change(plant: Plant, connect: Connect) -> None:
    app = App(plant, stores=[Inspections(plant, alarms=2)])
    client = connect(app)
    assert len(client.post(ALARMS, headers={"Referer": str(client.base_url)}).json()) == 2
    assert not app.state_changes
