"""Routes below `/api/Production`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.production import Production

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
Row = dict[str, Any]
ROOT = "/api/Production"


def fetch(client: httpx2.Client, route: str, **query: object) -> Any:
    response = client.get(f"{ROOT}/{route}", params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    return response.json()


def test_responses_have_the_specified_fields(client: httpx2.Client, plant: Plant, spec: Spec) -> None:
    row = next(row for row in plant.headers() if row["partNumber"] == "UNIT-400")
    unit = fetch(client, f"Unit/{row['serialNumber']}/UNIT-400")
    assert set(unit) == set(unit["subUnits"][0]) == spec("Mes.Production.Public.Unit")
    assert set(unit["product"]) == spec("Mes.Product.Public.Product")
    found = fetch(client, "UnitVerification", serialNumber=row["serialNumber"])
    assert set(found) == spec("PublicUnitVerificationGrade")
    assert set(found["results"][0]) == spec("PublicUnitVerification")
    assert set(fetch(client, "Units/Changes", maxCount=1)[0]) == spec("Mes.Production.Public.UnitChange")
    assert set(fetch(client, "SerialNumbers/Types")[0]) == spec("Mes.Production.Public.SerialNumberType")


# ------------------------------------------------------------ units


def test_every_unit_of_the_reports_is_found(client: httpx2.Client, plant: Plant) -> None:
    units: dict[tuple[str, str], list[Row]] = {}
    for row in plant.headers():
        units.setdefault((row["serialNumber"], row["partNumber"]), []).append(row)
    codes = set()
    for (serial, part), rows in list(units.items())[::5]:
        path = f"Unit/{quote(serial)}/{quote(part, safe='')}"
        if "/" in part:
            assert client.get(f"{ROOT}/{path}").status_code == 404
            continue
        unit = fetch(client, path)
        assert (unit["serialNumber"], unit["partNumber"]) == (serial, part)
        assert unit["currentLocation"] == rows[-1]["location"]
        assert int(unit["processCode"]) == rows[-1]["processCode"]
        codes.add(type(unit["processCode"]))
    assert codes == {int, str}


def test_units_are_found_by_serial_and_part_number_in_any_case(client: httpx2.Client, plant: Plant) -> None:
    row = next(row for row in plant.headers() if row["partNumber"] == "PCBA-100")
    serial = row["serialNumber"]
    assert fetch(client, f"Unit/{serial.lower()}/pcba-100")["serialNumber"] == serial
    for path in (
        f"Unit/{serial}/PCBA-200",
        "Unit/SN9/PCBA-100",
        f"Unit/{serial}/",
        f"Unit/{serial}%2F1/PCBA-100",
    ):
        assert client.get(f"{ROOT}/{path}").status_code == 404


@pytest.mark.parametrize(("how", "kind"), [("text", str), ("number", int)])
def test_server_decides_the_type_of_process_codes(
    plant: Plant, connect: Connect, how: str, kind: type
) -> None:
    client = connect(App(plant, unit_process_code=how))
    rows = [row for row in plant.headers() if row["partNumber"] == "MODULE-310"][:20]
    units = [fetch(client, f"Unit/{row['serialNumber']}/MODULE-310") for row in rows]
    assert {type(unit["processCode"]) for unit in units} == {kind}


def test_units_of_added_reports(connect: Connect) -> None:
    plant = Plant(300)
    plant.receive({"type": "T", "sn": "x?1", "pn": "p%", "result": "F", "processCode": 20,
                   "subUnits": [{"sn": "c", "pn": "q", "rev": "1"}]})  # fmt: skip
    client = connect(App(plant))
    unit = fetch(client, "Unit/X%3F1/P%25")
    assert (unit["unitPhase"], unit["product"]) == ("Production repair", None)
    assert [(each["serialNumber"], each["parentSerialNumber"]) for each in unit["subUnits"]] == [("c", "x?1")]
    children = fetch(client, "CheckChildUnits", parentSerialNumber="x?1", parentPartNumber="p%")
    assert (children["isValid"], children["childUnits"][0]["status"]) == (False, "Unknown")


def test_reports_of_a_unit(plant: Plant) -> None:
    truth = list(plant.headers())
    for serial in {row["serialNumber"] for row in truth[::9]}:
        uuids = [row["uuid"] for row in truth if row["serialNumber"] == serial]
        assert [row.uuid for row in plant.of_unit(serial.lower())] == uuids
    assert plant.of_unit("nothing") == []


def test_reports_of_a_unit_after_changes() -> None:
    plant = Plant(300)
    serial = next(row["serialNumber"] for row in plant.headers())
    before = [row.uuid for row in plant.of_unit(serial)]
    plant.receive_again(before[0])
    assert [row.uuid for row in plant.of_unit(serial)] == [*before[1:], before[0]]
    plant.delete(before[0])
    assert [row.uuid for row in plant.of_unit(serial)] == before[1:]


def test_scoped_token_does_not_find_other_units(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, scopes={"horten": "startswith(location, 'Horten')"}), token="horten")
    row = next(row for row in plant.headers() if row["partNumber"] == "UNIT-400")
    assert client.get(f"{ROOT}/Unit/{row['serialNumber']}/UNIT-400").status_code == 404


# ------------------------------------------------------------ verification


def test_verification_agrees_with_the_reports(client: httpx2.Client, plant: Plant) -> None:
    truth = [row for row in plant.headers() if row["reportType"] == "T"]
    grades = set()
    for serial in {row["serialNumber"] for row in truth[::7]}:
        found = fetch(client, "UnitVerification", serialNumber=serial)
        rows = [row for row in truth if row["serialNumber"] == serial]
        grades.add(found["grade"])
        assert sum(each["totalCount"] for each in found["results"]) == len(rows)
        assert sum(each["nonPassedCount"] for each in found["results"]) == sum(
            row["result"] != "Passed" for row in rows
        )
        for each in found["results"]:
            assert (each["startUtc"] is None) == (each["status"] == "Unknown") == (each["totalCount"] == 0)
    assert {"A", "Unknown"} < grades


def test_unknown_unit_is_not_an_error(client: httpx2.Client) -> None:
    found = fetch(client, "UnitVerification", serialNumber="nothing", partNumber="x")
    assert (found["status"], found["results"], found["allProcessesPassedLastRun"]) == ("Unknown", [], False)
    assert client.get(f"{ROOT}/UnitVerification").status_code == 400
    assert client.get(f"{ROOT}/CheckChildUnits").status_code == 400


# ------------------------------------------------------------ changes


def test_changes_are_a_queue(plant: Plant, connect: Connect) -> None:
    app = App(plant, stores=[Production(plant, changes=1500)])
    client = connect(app)
    assert client.get(f"{ROOT}/Units/Changes").status_code == 400
    head = fetch(client, "Units/Changes", maxCount=10)
    assert [row["id"] for row in head] == list(range(100, 110))
    assert fetch(client, "Units/Changes", maxCount=10) == head
    assert not app.state_changes
    for row in head[:4]:
        assert client.delete(f"{ROOT}/Units/Changes/{row['id']}").status_code == 200
    assert client.delete(f"{ROOT}/Units/Changes/100").status_code == 404
    assert client.delete(f"{ROOT}/Units/Changes/x").status_code == 400
    assert len(app.state_changes) == 6
    assert [row["id"] for row in fetch(client, "Units/Changes", maxCount=2)] == [104, 105]
    app.store(Production).changes.add(id=7, unitSerialNumber="late")
    rows = fetch(client, "Units/Changes", maxCount=10_000)
    assert (len(rows), rows[0]["unitSerialNumber"]) == (1497, "late")


# ------------------------------------------------------------ serial numbers


def numbers(client: httpx2.Client, kind: str, **query: str) -> list[str]:
    response = client.get(
        f"{ROOT}/SerialNumbers", params={"serialNumberType": kind, "format": "xml", **query}
    )
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/xml")
    return re.findall(r'<SN id="([^"]*)"/>', response.text)


def test_files_of_every_type(client: httpx2.Client) -> None:
    for row in fetch(client, "SerialNumbers/Types"):
        found = numbers(client, row["name"])
        assert len(set(found)) == 200
        if row["regEx"]:
            assert all(re.fullmatch(row["regEx"], number) for number in found)
        response = client.get(
            f"{ROOT}/SerialNumbers", params={"serialNumberType": row["name"], "format": "CSV"}
        )
        assert response.headers["Content-Type"].startswith("text/csv")
        assert response.text.splitlines() == ["SerialNumber", *found]
        assert "attachment" in response.headers["Content-Disposition"]


def test_files_by_range(client: httpx2.Client) -> None:
    some = numbers(client, "serial NUMBER", startAddress="SN00000010", endAddress="SN00000019")
    assert some == [f"SN000000{number}" for number in range(10, 20)]
    end = clock.utc(clock.OPENING + 5 * clock.HOUR)
    assert len(numbers(client, "IMEI", endDate=end)) == 6
    assert len(numbers(client, "IMEI", startDate=end)) == 195


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"serialNumberType": "IMEI"},
        {"serialNumberType": "IMEI", "format": "JSON"},
        {"serialNumberType": "x", "format": "XML"},
        {"serialNumberType": "IMEI", "format": "XML", "endDate": "x"},
    ],
)
def test_invalid_file_requests_are_refused(client: httpx2.Client, query: dict[str, str]) -> None:
    assert client.get(f"{ROOT}/SerialNumbers", params=query).status_code == 400


def test_numbers_by_range_and_reference(client: httpx2.Client) -> None:
    route, kind = "SerialNumbers/ByRange", "Serial number"
    rows = fetch(client, route, serialNumberType=kind, startAddress="SN00000003", endAddress="SN00000004")
    assert [row["serialNumber"] for row in rows] == ["SN00000003", "SN00000004"]
    assert [("refSN" in row) for row in rows] == [True, False]
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert client.get(f"{ROOT}/{route}", params={"serialNumberType": kind}).status_code == 400
    route = "SerialNumbers/ByReference"
    assert fetch(client, route, serialNumberType=kind, refSN=rows[0]["refSN"].lower()) == rows[:1]
    assert len(fetch(client, route, serialNumberType=kind, refPN="PCBA-100")) == 100
    assert fetch(client, route, serialNumberType=kind, refPN="PCBA-100", refSN="x") == []
    assert client.get(f"{ROOT}/{route}", params={"serialNumberType": kind}).status_code == 400
