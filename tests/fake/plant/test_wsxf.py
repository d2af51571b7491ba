"""Reports as XML, reports by misc info, certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.plant.wsxf import NAMESPACE

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
Json = dict[str, Any]
BLOCKS = {"numericMeas": "NumericLimit", "stringMeas": "StringValue", "booleanMeas": "PassFail"}


def report(client: httpx2.Client, uuid: str, **query: str) -> Element:
    response = client.get(f"/api/Report/Wsxf/{uuid}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/xml")
    (found,) = fromstring(response.content)
    return found


def tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def steps(step: Json) -> Iterator[Json]:
    yield step
    for each in step.get("steps", ()):
        yield from steps(each)


def test_xml_has_the_content_of_the_json(client: httpx2.Client, plant: Plant) -> None:
    for uuid in plant.uuids()[::40]:
        document, found = plant.document(uuid), report(client, uuid)
        assert found.get("ID") == uuid.upper()
        assert (found.get("PN"), found.get("SN")) == (document["pn"], document["sn"])
        assert found.get("Result") in ("Passed", "Failed", "Error", "Terminated")
        every = list(steps(document["root"])) if document["type"] == "T" else []
        assert [each.get("Name") for each in found.iter(tag("Step"))] == [step["name"] for step in every]
        for block, name in BLOCKS.items():
            measured = [each for step in every for each in step.get(block, ())]
            values = [each.get("NumericValue") or each.get("StringValue") for each in found.iter(tag(name))]
            assert values == [None if "value" not in each else str(each["value"]) for each in measured]
        units = [each.get("SN") for each in found.iter(tag("ReportUnitHierarchy"))]
        assert units == [unit["sn"] for unit in document["subUnits"]]


def test_repair_has_its_failures(client: httpx2.Client, plant: Plant) -> None:
    uuid = next(row["uuid"] for row in plant.headers() if row["reportType"] == "R")
    found = report(client, uuid)
    assert found.get("type") == "UUR"
    (failure,) = found.iter(tag("Failure"))
    assert failure.get("Code") == plant.document(uuid)["subUnits"][0]["failures"][0]["code"]


def test_indexes_and_detail_levels(client: httpx2.Client, plant: Plant) -> None:
    uuid = next(
        row["uuid"] for row in plant.headers() if row["reportType"] == "T" and not row["measuresDeleted"]
    )
    found = report(client, uuid)
    orders = [each.get("MeasOrderNumber") for each in found.iter() if each.get("MeasOrderNumber")]
    assert orders == [str(number) for number in range(len(orders))]
    assert not any(each.get("StepIndex") for each in report(client, uuid, includeIndexes="false").iter())
    assert not list(report(client, uuid, detailLevel="4").iter(tag("NumericLimit")))
    assert not list(report(client, uuid, detailLevel="0").iter(tag("Step")))
    assert client.get(f"/api/Report/Wsxf/{uuid}", params={"detailLevel": "8"}).status_code == 400


def test_invalid_document_has_no_xml(connect: Connect) -> None:
    plant = Plant(0)
    uuid = plant.receive(b"not JSON")
    client = connect(App(plant))
    assert client.get(f"/api/Report/Wsxf/{uuid}").status_code == 500
    assert client.get("/api/Report/Wsxf/00000000-0000-4000-8000-000000000000").status_code == 404


def test_certificates_are_404(client: httpx2.Client, plant: Plant) -> None:
    assert client.get(f"/api/Report/Certificate/{plant.uuids()[0]}").status_code == 404
    assert client.get("/api/Report/Certificate/x").status_code == 400


# ------------------------------------------------------------ by misc info


def by_misc_info(client: httpx2.Client, **query: object) -> list[Json]:
    params = {name: str(value) for name, value in query.items()}
    response = client.get("/api/Report/Query/HeaderByMiscInfo", params=params)
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def test_reports_by_misc_info(client: httpx2.Client, plant: Plant, spec: Spec) -> None:
    rows = by_misc_info(client, description="FIRMWARE", processCode=20)
    assert set(rows[0]) == spec("DataAccess.WATS_UUTResult")
    assert set(rows[0]["miscData"][0]) == spec("DataAccess.WATS_UUTMisc")
    truth = [row for row in plant.headers() if row["processCode"] == 20 and row["reportType"] == "T"]
    assert [row["uuid"] for row in rows] == [row["uuid"] for row in reversed(truth)]
    value = next(info["data"] for info in rows[0]["miscData"] if info["description"] == "Firmware")
    serial = rows[0]["serialNumber"]
    found = by_misc_info(client, description="Firmware", data=value, serialNumber=serial)
    assert {row["serialNumber"] for row in found} == {serial}
    assert by_misc_info(client, data="no such value") == []


@pytest.mark.parametrize(("count", "found"), [(1000, 1000), (1001, 1000)])
def test_list_is_limited_to_a_thousand_reports(connect: Connect, count: int, found: int) -> None:
    plant = Plant(0)
    for number in range(count):
        info = {"description": "Key", "text": "x"}
        plant.receive({"type": "T", "sn": str(number), "pn": "p", "miscInfos": [info]})
    assert len(by_misc_info(connect(App(plant)), data="X")) == found
