"""`GET /api/Report/Query/Header` over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant

HEADERS = "/api/Report/Query/Header"
Row = dict[str, Any]


def fetch(client: httpx2.Client, **options: object) -> list[Row]:
    response = client.get(HEADERS, params={f"${name}": str(value) for name, value in options.items()})
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def error_message(client: httpx2.Client, **options: object) -> str:
    response = client.get(HEADERS, params={f"${name}": str(value) for name, value in options.items()})
    assert response.status_code == 400, response.text
    return str(response.json()["Message"])


def keyset_ids(client: httpx2.Client, top: int, **options: object) -> list[str]:
    """All ids by keyset paging. Each page starts with the last `timeStamp` again, because of ties."""
    found: dict[str, None] = {}
    last = 0
    while True:
        rows = fetch(client, filter=f"timeStamp ge {last}", orderby="timeStamp asc", top=top, **options)
        new = [row["uuid"] for row in rows if row["uuid"] not in found]
        found.update(dict.fromkeys(new))
        if not new:
            return list(found)
        last = rows[-1]["timeStamp"]


# ------------------------------------------------------------ defaults and caps


def test_default_is_the_ten_newest_by_start(client: httpx2.Client, plant: Plant) -> None:
    rows = fetch(client)
    newest = sorted(plant.headers(), key=lambda row: clock.parse(row["start"]), reverse=True)[:10]
    assert [row["uuid"] for row in rows] == [row["uuid"] for row in newest]


def test_rows_equal_the_plant_headers(client: httpx2.Client, plant: Plant) -> None:
    assert fetch(client, top=10000, orderby="timeStamp") == list(plant.headers())


def test_top_above_ten_thousand_is_refused_or_clamped(
    client: httpx2.Client, plant: Plant, connect: Callable[..., httpx2.Client]
) -> None:
    assert "limit of '10000'" in error_message(client, top=10001)
    assert len(fetch(connect(App(plant, over_top="clamp")), top=10001)) == len(plant)


def test_page_cap_is_silent(plant: Plant, connect: Callable[..., httpx2.Client]) -> None:
    client = connect(App(plant, page_cap=70))
    assert len(fetch(client, top=500)) == 70
    assert keyset_ids(client, 500) == plant.uuids()


def test_names_are_case_insensitive(client: httpx2.Client) -> None:
    response = client.get("/API/report/QUERY/header", params={"$TOP": "3", "$FILTER": "PARTNUMBER ne 'x'"})
    assert len(response.json()) == 3


# ------------------------------------------------------------ filters

FILTERS: dict[str, Callable[[Row], bool]] = {
    "partNumber eq 'PCBA-100'": lambda r: r["partNumber"] == "PCBA-100",
    "partNumber eq 'pcba-100'": lambda r: r["partNumber"] == "PCBA-100",
    "partNumber ne 'PCBA-100'": lambda r: r["partNumber"] != "PCBA-100",
    "partNumber in ('PCBA-100', 'UNIT-400')": lambda r: r["partNumber"] in ("PCBA-100", "UNIT-400"),
    "partNumber gt 'PCBA-200' and not (partNumber eq 'UNIT-410')": lambda r: (
        r["partNumber"].casefold() > "pcba-200" and r["partNumber"] != "UNIT-410"
    ),
    "reportType eq 'R'": lambda r: r["reportType"] == "R",
    "result eq 'Failed' or result eq 'Error'": lambda r: r["result"] in ("Failed", "Error"),
    "(result eq 'Failed' or result eq 'Error') and processCode eq 20": lambda r: (
        r["result"] in ("Failed", "Error") and r["processCode"] == 20
    ),
    "processCode ge 20 and processCode lt 500": lambda r: 20 <= r["processCode"] < 500,
    "20 eq processCode": lambda r: r["processCode"] == 20,
    "errorCode lt -17000": lambda r: (r.get("errorCode") or 0) < -17000,
    "executionTime gt 100.5": lambda r: r["executionTime"] > 100.5,
    "comment eq null": lambda r: r["comment"] is None,
    "comment ne null": lambda r: r["comment"] is not None,
    "comment eq 'Kunden sa: \"haster\" 🚚'": lambda r: r["comment"] == 'Kunden sa: "haster" 🚚',
    "measuresDeleted eq true": lambda r: r["measuresDeleted"],
    "not measuresDeleted": lambda r: not r["measuresDeleted"],
    "contains(comment, 'kabel')": lambda r: "kabel" in (r["comment"] or ""),
    "contains(tolower(stationName),'ict') eq true": lambda r: "ICT" in r["stationName"],
    "startswith(serialNumber, 'sn2')": lambda r: r["serialNumber"].startswith("SN2"),
    "endswith(location, 'Poland')": lambda r: r["location"].endswith("Poland"),
    "toupper(userName) eq 'BJØRN'": lambda r: r["userName"] == "bjørn",
    "length(userName) le 3": lambda r: len(r["userName"]) <= 3,
    "indexof(stationName, 'FCT') gt 0": lambda r: r["stationName"].find("FCT") > 0,
    "substring(partNumber, 5) eq '400'": lambda r: r["partNumber"][5:] == "400",
    "substring(partNumber,0,4) eq 'UNIT'": lambda r: r["partNumber"][:4] == "UNIT",
    "concat(revision, 'x') eq 'Ax'": lambda r: r["revision"] == "A",
    "trim(revision) eq 'A'": lambda r: r["revision"].strip() == "A",
    "revision eq 'A'": lambda r: r["revision"].rstrip() == "A",
    "timeStamp gt 1002000 and timeStamp le 1003000": lambda r: 1002000 < r["timeStamp"] <= 1003000,
    "(timeStamp ge 1002000) and (timeStamp lt 1003000)": lambda r: 1002000 <= r["timeStamp"] < 1003000,
    "timeStamp gt 1002000.5 and 1003000 gt timeStamp": lambda r: 1002000 < r["timeStamp"] < 1003000,
    "timeStamp ne 1000000 and timeStamp lt 1000100": lambda r: 1000000 < r["timeStamp"] < 1000100,
    "timeStamp gt 1002000 or serialNumber eq 'SN10000000'": lambda r: (
        r["timeStamp"] > 1002000 or r["serialNumber"] == "SN10000000"
    ),
    "start ge 2026-01-06T00:00:00Z and start lt 2026-01-07": lambda r: (
        clock.parse("2026-01-06") <= clock.parse(r["start"]) < clock.parse("2026-01-07")
    ),
    "start ge 2026-01-06T09:30:00.5+01:00": lambda r: (
        clock.parse(r["start"]) >= clock.parse("2026-01-06T08:30:00.5Z")
    ),
    "not (start lt 2026-01-06T12:00:00Z)": lambda r: (
        clock.parse(r["start"]) >= clock.parse("2026-01-06T12:00:00Z")
    ),
    "processCode in (10, 30)": lambda r: r["processCode"] in (10, 30),
    "false": lambda _: False,
}


@pytest.mark.parametrize("text", FILTERS)
@pytest.mark.parametrize("order", ["timeStamp asc", "start desc", "serialNumber desc"])
def test_filter_returns_the_matching_rows(client: httpx2.Client, plant: Plant, text: str, order: str) -> None:
    rows = fetch(client, filter=text, orderby=order, top=10000)
    expected = {row["uuid"] for row in plant.headers() if FILTERS[text](row)}
    assert len(rows) == len(expected)
    assert {row["uuid"] for row in rows} == expected


def test_every_filter_matches_some_row(plant: Plant) -> None:
    rows = list(plant.headers())
    never = [text for text, passes in FILTERS.items() if text != "false" and not any(map(passes, rows))]
    assert not never


def test_filter_by_id(client: httpx2.Client, plant: Plant) -> None:
    one, two, three = plant.uuids()[100:103]
    assert [row["uuid"] for row in fetch(client, filter=f"uuid eq {one}")] == [one]
    rows = fetch(client, filter=f"uuid in ({two.upper()},{three},{one})", orderby="timeStamp desc")
    assert [row["uuid"] for row in rows] == [three, two, one]
    assert fetch(client, filter=f"uuid eq {one} and timeStamp lt 5") == []
    assert fetch(client, filter="uuid eq 00000000-0000-4000-8000-000000000000") == []


def test_doubled_quotes_escape_a_quote(connect: Callable[..., httpx2.Client]) -> None:
    plant = Plant(0)
    uuid = plant.receive({"type": "T", "pn": "O'Neil's ¶/%", "sn": "1", "result": "P"})
    assert fetch(connect(App(plant)), filter="partNumber eq 'O''Neil''s ¶/%'")[0]["uuid"] == uuid


def test_any_searches_collections(client: httpx2.Client) -> None:
    rows = fetch(client, filter="subUnits/any(s: s/partNumber eq 'pcba-100')", expand="subUnits", top=100)
    assert rows
    assert all(any(unit["partNumber"] == "PCBA-100" for unit in row["subUnits"]) for row in rows)
    none = fetch(client, filter="reportType eq 'T' and not subUnits/any()", expand="SUBUNITS", top=100)
    assert none
    assert not any(row["subUnits"] for row in none)
    assert fetch(client, filter="attachments/any(a: a/stepId gt 5 and contains(a/filename, 'log'))")


REFUSED = {
    "colour eq 'red'": "Could not find a property named 'colour' on type "
    "'Virinco.WATS.Web.Dashboard.Models.OData.ReportHeader'.",
    "processCode add 1 eq 11": "'add'",
    "processCode mod 2 eq 0": "'mod'",
    "result has 'Failed'": "'has'",
    "year(start) eq 2026": "'year'",
    "round(executionTime) eq 3": "'round'",
    "replace(comment, 'a', 'b') eq 'x'": "'replace'",
    "contains(processCode, '1')": "No function signature",
    "length('a', 'b') eq 1": "No function signature",
    "timeStamp gt '5'": "incompatible types",
    "uuid eq 'x'": "incompatible types",
    "partNumber eq 5": "incompatible types",
    "start gt '2026-01-01'": "incompatible types",
    "start gt 2026-13-01": "Edm.DateTimeOffset",
    "start gt 2026-01-01 12:00": "Syntax error",
    "partNumber eq": "Expression expected",
    "partNumber eq 'x": "Syntax error",
    "(partNumber eq 'x'": "')' expected",
    "partNumber eq 'x' partNumber": "Syntax error",
    "partNumber": "single boolean",
    "partNumber in ()": "Syntax error",
    "partNumber in (null)": "other than null",
    "subUnits eq 'x'": "any()",
    "subUnits/all(s: s/partNumber eq 'x')": "any()",
    "subUnits/any(s: s/colour eq 'x')": "'colour'",
    "processCode eq 5 = 3": "Syntax error",
}


@pytest.mark.parametrize("text", REFUSED)
def test_unsupported_odata_is_error_message(client: httpx2.Client, text: str) -> None:
    assert REFUSED[text] in error_message(client, filter=text)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("count", "true", "'$count'"),
        ("apply", "x", "'$apply'"),
        ("top", "-1", "non-negative"),
        ("top", "many", "non-negative"),
        ("skip", "x", "non-negative"),
        ("orderby", "result", "Order by 'result'"),
        ("orderby", "colour", "Could not find a property"),
        ("orderby", "start down", "Syntax error"),
        ("select", "uuid,colour", "Could not find a property"),
        ("expand", "steps", "Could not find a property"),
    ],
)
def test_other_options_are_checked(client: httpx2.Client, option: str, value: str, message: str) -> None:
    assert message in error_message(client, **{option: value})


# ------------------------------------------------------------ order, skip, select, expand


def test_orderby(client: httpx2.Client, plant: Plant) -> None:
    truth = list(plant.headers())
    for field, key in {
        "timeStamp": lambda row: row["timeStamp"],
        "start": lambda row: clock.parse(row["start"]),
        "uuid": lambda row: row["uuid"],
        "serialNumber": lambda row: row["serialNumber"],
    }.items():
        for direction in ("asc", "desc"):
            rows = fetch(client, orderby=f"{field} {direction},uuid", top=1000)
            expected = sorted(truth, key=lambda row: row["uuid"])
            expected.sort(key=key, reverse=direction == "desc")  # type: ignore[arg-type]
            assert [row["uuid"] for row in rows] == [row["uuid"] for row in expected]


def test_skip_continues_after_the_previous_page(client: httpx2.Client, plant: Plant) -> None:
    for order in ("start asc,uuid asc", "uuid", "timeStamp desc"):
        pages = [fetch(client, orderby=order, top=250, skip=skip) for skip in (0, 250, 500, 750)]
        assert [len(page) for page in pages] == [250, 250, 100, 0]
        assert {row["uuid"] for page in pages for row in page} == set(plant.uuids())


def test_select_and_expand(client: httpx2.Client) -> None:
    (row,) = fetch(client, select="UUID,timestamp", top=1)
    assert list(row) == ["uuid", "timeStamp"]
    (row,) = fetch(client, select="uuid", expand="miscInfo", top=1)
    assert list(row) == ["uuid", "miscInfo"]
    every = "subUnits,miscInfo,assets,attachments,uurSubUnits,uurMiscInfo,uurAttachments"
    rows = fetch(client, expand=every, top=600)
    assert all(isinstance(row[name], list) for row in rows for name in every.split(","))
    assert all(any(row[name] for row in rows) for name in every.split(","))


# ------------------------------------------------------------ keyset


@pytest.mark.parametrize("ties", [1, 3, 40])
def test_keyset_paging_returns_every_report_once(connect: Callable[..., httpx2.Client], ties: int) -> None:
    plant = Plant(200, ties=ties)
    uuids = plant.uuids()
    assert len(set(uuids)) == 200
    assert len({row["timeStamp"] for row in plant.headers()}) == -(-200 // ties)
    assert keyset_ids(connect(App(plant)), 50) == uuids


def test_server_can_refuse_the_keyset_filter(plant: Plant, connect: Callable[..., httpx2.Client]) -> None:
    client = connect(App(plant, refuse_keyset=True))
    assert "timeStamp" in error_message(client, filter="partNumber eq 'x' or timeStamp gt 5")
    assert len(fetch(client, orderby="timeStamp asc")) == 10


def test_keys_can_be_pascal_case(plant: Plant, connect: Callable[..., httpx2.Client]) -> None:
    client = connect(App(plant, pascal_case=True))
    (row,) = fetch(client, top=1, expand="miscInfo")
    assert {"Uuid", "TimeStamp", "MiscInfo"} <= row.keys()
    assert "Root" in client.get(f"/api/Report/Wsjf/{plant.uuids()[0]}").json()


def test_scoped_token_reads_fewer_rows_without_an_error(
    plant: Plant, connect: Callable[..., httpx2.Client]
) -> None:
    app = App(plant, scopes={"horten": "startswith(location, 'Horten')"})
    client = connect(app, token="horten")
    rows = fetch(client, top=10000)
    assert 0 < len(rows) < len(plant)
    assert {row["location"] for row in rows} == {"Horten, Norway"}
    hidden = next(row["uuid"] for row in plant.headers() if row["location"] != "Horten, Norway")
    assert client.get(f"/api/Report/Wsjf/{hidden}").status_code == 404
    assert client.get(f"/api/Report/Wsjf/{rows[0]['uuid']}").status_code == 200
