"""Routes below `/api/Production`: units, their verification and changes, and serial numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import msgspec

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, invalid, parse_tick
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock, programs
from wats_extract.fake.plant.data import EVER, Json, Plant, Row
from wats_extract.fake.plant.stores import Store, Table
from wats_extract.fake.routes.products import Products, tagged
from wats_extract.fake.routes.reports import in_scope

PHASES: Mapping[int, str] = {
    1: "Unknown", 2: "Under production", 4: "Production repair", 8: "RMA repair", 16: "Finalized",
    32: "Scrapped", 64: "Extended test", 128: "Customization", 256: "Repaired", 512: "Missing",
    1024: "In store", 2048: "Shipped", 4098: "Production queue", 4100: "Queue production repair",
    4104: "Queue RMA",
}  # fmt: skip
SERIAL_TYPES: tuple[Json, ...] = (
    {"name": "Serial number", "description": "Løpenummer", "format": "SN0000000", "regEx": "^SN[0-9]{8}$",
     "identifier": 0, "identifierName": "SerialNumber"},
    {"name": "MAC address", "description": None, "format": "##-##-##-##-##-##", "regEx": None,
     "identifier": 1, "identifierName": "MacAddress"},
    {"name": "IMEI", "description": None, "format": None, "regEx": "^[0-9]{15}$", "identifier": 2,
     "identifierName": "IMEI"},
)  # fmt: skip

_CHANGE = dict.fromkeys(
    ("id", "unitSerialNumber", "newParentSerialNumber", "newPartNumber", "newRevision", "newUnitPhaseId")
)
_NUMBER = dict.fromkeys(("key", "type", "address", "serialNumber", "date", "refSN", "refPN", "stationName"))


class Production(Store):
    """Unit changes and serial numbers. The units themselves are derived from the reports.

    Args:
        plant: The reports.
        changes: The number of unit changes in the queue.
        serials: The number of serial numbers per type. Every other one is taken.

    Attributes:
        changes: The unit changes by `id`.
        types: The types of serial numbers by `name`.
        serials: The serial numbers by type and number (`key`).
    """

    def __init__(self, plant: Plant, *, changes: int = 25, serials: int = 200) -> None:
        super().__init__(plant)
        self._serial_count = serials
        self.changes = Table("id", _CHANGE, lambda: map(self._change, range(changes)))
        self.types = Table("name", {}, lambda: (dict(row) for row in SERIAL_TYPES))
        self.serials = Table("key", _NUMBER, self._serial_rows)

    def _change(self, number: int) -> Json:
        serial = f"SN{number % 3 + 1}{number // 3 % 40:05d}{number % 7:02d}"
        kind = number % 3
        return {
            "id": 100 + number,
            "unitSerialNumber": serial,
            "newParentSerialNumber": f"SN3{serial[3:]}" if kind == 0 else None,
            "newPartNumber": "MODULE-310" if kind == 1 else None,
            "newRevision": "02" if kind == 1 else None,
            "newUnitPhaseId": (None, None, 16)[kind],
        }

    def _serial_rows(self) -> Iterator[Json]:
        for kind, formatted in zip(SERIAL_TYPES, _FORMATS, strict=True):
            for number in range(self._serial_count):
                unit = f"SN1{number // 40:05d}{number % 40:02d}"
                taken = (
                    {"refSN": unit, "refPN": "PCBA-100", "stationName": "HORTEN-ICT-1"} if number % 2 else {}
                )
                yield {
                    "key": f"{kind['name']}/{formatted(number)}",
                    "type": kind["name"],
                    "address": number,
                    "serialNumber": formatted(number),
                    "date": clock.utc(clock.OPENING + number * clock.HOUR),
                    **taken,
                }


def _mac(number: int) -> str:
    text = f"001BC5{number:06X}"
    return "-".join(text[place : place + 2] for place in range(0, 12, 2))


_FORMATS: tuple[Callable[[int], str], ...] = (lambda n: f"SN{n:08d}", _mac, lambda n: f"35{n:013d}")
"""The format of each type of serial number."""


# ------------------------------------------------------------ units


def unit(call: Call) -> Response:
    """`GET /api/Production/Unit/{serialNumber}/{partNumber}`: a unit with a report of this part number.

    A unit that occurs only as a sub unit of another unit is not found. Servers differ on whether
    `processCode` is a string.
    """
    serial, part = call.names()
    rows = _reports_of(call, serial, part)
    return call.item(_unit(call, rows) if rows else None, f"Unit '{serial}' of '{part}'")


def verification(call: Call) -> Response:
    """`GET /api/Production/UnitVerification?serialNumber=…`: the results per process, and a grade.

    The values of `status` and `grade` are assumed. An unknown unit has the status `Unknown`, not an error.
    """
    rows = _reports_of(call, call.required("serialNumber"), call.query.get("partnumber"))
    tests = [row.fields for row in rows if row.fields["reportType"] == "T"]
    repairs = [row.fields for row in rows if row.fields["reportType"] == "R"]
    results = [_verified(process, tests, repairs) for process in _route(tests)]
    firsts = [row for row in tests if row.get("run") == 1]
    statuses = {row["status"] for row in results}
    status = (
        next((each for each in ("Failed", "Unknown") if each in statuses), "Passed") if tests else "Unknown"
    )
    passed = [row["nonPassedCount"] < row["totalCount"] for row in results]
    clean = status == "Passed" and not repairs and not any(row["nonPassedCount"] for row in results)
    return call.json({
        "status": status,
        "grade": "A" if clean else {"Passed": "B", "Failed": "D"}.get(status, "Unknown"),
        "allProcessesExecutedInCorrectOrder": _ascending([row["processCode"] for row in tests]),
        "allProcessesPassedFirstRun": bool(firsts) and all(row["result"] == "Passed" for row in firsts),
        "allProcessesPassedAnyRun": bool(passed) and all(passed),
        "allProcessesPassedLastRun": statuses == {"Passed"},
        "noRepairs": not repairs,
        "results": results,
    })  # fmt: skip


def check_child_units(call: Call) -> Response:
    """`GET /api/Production/CheckChildUnits`: the sub units of a unit, in an assumed shape."""
    serial, part = call.required("parentSerialNumber"), call.required("parentPartNumber")
    rows = _reports_of(call, serial, part)
    children = [{**each, "status": _last_result(call, each["serialNumber"])} for each in _children(rows)]
    valid = bool(rows) and all(each["status"] == "Passed" for each in children)
    return call.json({"isValid": valid, "serialNumber": serial, "partNumber": part, "childUnits": children})


def _reports_of(call: Call, serial: str, part: str | None) -> list[Row]:
    rows = (row for row in call.plant.of_unit(serial) if in_scope(row, call.scope))
    return [row for row in rows if part is None or collated(row.fields["partNumber"]) == collated(part)]


def _unit(call: Call, rows: list[Row]) -> Json:
    last, first = rows[-1].fields, rows[0].fields
    product = call.store(Products).products.get(last["partNumber"])
    revisions = product["revisions"] if product else ()
    phase = _phase(last)
    found = _blank_unit(first["serialNumber"], last["partNumber"], last.get("revision"), None)
    return found | {
        "batchNumber": first.get("batchNumber"),
        "serialDate": clock.utc(rows[0].start),
        "currentLocation": last.get("location"),
        **tagged({"Golden": "yes"} if "golden" in str(last.get("comment")) else {}),
        "unitPhaseId": phase,
        "unitPhase": PHASES[phase],
        "processCode": _code(call, last),
        "productRevision": next((row for row in revisions if row["revision"] == last.get("revision")), None),
        "product": product,
        "subUnits": [
            _blank_unit(each["serialNumber"], each["partNumber"], each["revision"], first["serialNumber"])
            for each in _children(rows)
        ],
    }


def _blank_unit(serial: str, part: str, revision: str | None, parent: str | None) -> Json:
    return {
        "serialNumber": serial, "partNumber": part, "revision": revision, "parentSerialNumber": parent,
        "batchNumber": None, "serialDate": None, "currentLocation": None, "xmlData": None, "unitPhaseId": 1,
        "unitPhase": PHASES[1], "processCode": None, "tags": [], "productRevision": None, "product": None,
        "subUnits": [],
    }  # fmt: skip


def _children(rows: Iterable[Row]) -> list[Json]:
    """The sub units in the latest report with any."""
    found: list[Json] = []
    for row in rows:
        found = msgspec.json.decode(row.text(("subUnits",)))["subUnits"] or found
    return found


def _phase(last: Json) -> int:
    if last["reportType"] == "R":
        return 2
    done = last["result"] == "Passed" and last["processCode"] == _last_code(last["partNumber"])
    return 16 if done else 2 if last["result"] == "Passed" else 4


def _last_code(part: str) -> int:
    return max((process.code for process in _processes(part)), default=0)


def _processes(part: str) -> tuple[programs.Process, ...]:
    products = (product for line in programs.PRODUCTS for product in line)
    return next((product.route for product in products if product.part_number == part), ())


def _code(call: Call, last: Json) -> str | int:
    """The process code as a string or number. `mixed` gives strings to units with an odd last digit."""
    code, how = int(last["processCode"]), call.quirks.unit_process_code
    odd = str(last["serialNumber"])[-1:] in tuple("13579")
    return str(code) if how == "text" or (how == "mixed" and odd) else code


def _route(tests: list[Json]) -> list[tuple[int, str]]:
    """Code and name of the processes of the product's route, or for unknown products of the unit's tests."""
    planned = _processes(tests[-1]["partNumber"]) if tests else ()
    tested = {row["processCode"]: row.get("processName") or "" for row in tests}
    return [*planned] or sorted(tested.items())


def _verified(process: tuple[int, str], tests: list[Json], repairs: list[Json]) -> Json:
    code, name = process
    rows = [row for row in tests if row["processCode"] == code]
    uuids = {row["uuid"] for row in rows}
    return {
        "processCode": code,
        "processName": name,
        "processIndex": code // 10,
        "status": rows[-1]["result"] if rows else "Unknown",
        "startUtc": clock.utc(clock.parse(rows[-1]["start"])) if rows else None,
        "stationName": rows[-1]["stationName"] if rows else None,
        "totalCount": len(rows),
        "nonPassedCount": sum(row["result"] != "Passed" for row in rows),
        "repairCount": sum(row.get("referencedUut") in uuids for row in repairs),
    }


def _ascending(codes: list[int]) -> bool:
    return codes == sorted(codes)


def _last_result(call: Call, serial: str) -> str:
    rows = [row for row in _reports_of(call, serial, None) if row.fields["reportType"] == "T"]
    return str(rows[-1].fields["result"]) if rows else "Unknown"


# ------------------------------------------------------------ changes


def changes(call: Call) -> Response:
    """`GET /api/Production/Units/Changes?maxCount=…`: oldest first. Changes stay until they are deleted."""
    call.required("maxCount")
    most = call.number("maxCount") or 0
    rows = sorted(call.store(Production).changes.rows(), key=lambda row: int(row["id"]))
    return call.json(rows[: max(0, most)])


def delete_change(call: Call) -> Response:
    """`DELETE /api/Production/Units/Changes/{id}`: acknowledge a change, which deletes it."""
    (text,) = call.names()
    if not text.isdecimal():
        raise invalid("id", text)
    try:
        call.store(Production).changes.delete(int(text))
    except KeyError:
        raise RefusedError(404, f"Change {text} was not found.") from None
    return Response(200)


# ------------------------------------------------------------ serial numbers


class SerialNumberQuery(NamedTuple):
    """A type of serial numbers, and inclusive ranges of addresses and ticks."""

    kind: str
    addresses: tuple[str, str]
    dates: tuple[int, int]

    def matches(self, row: Json) -> bool:
        """Whether the query selects a serial number."""
        first, last = self.addresses
        number = str(row["serialNumber"])
        return (
            row["type"] == self.kind
            and (not first or first <= number)
            and (not last or number <= last)
            and self.dates[0] <= clock.parse(row["date"]) <= self.dates[1]
        )


def types(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers/Types`."""
    return call.json(call.store(Production).types.rows())


def serial_numbers(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers?serialNumberType=…&format=…`: an `XML` or `CSV` file, never JSON."""
    query, file_format = _query(call), call.required("format").upper()
    if file_format not in _FILES:
        raise invalid("format", file_format)
    content_type, write = _FILES[file_format]
    text = write(_selected(call, query))
    disposition = {"Content-Disposition": f'attachment; filename="{query.kind}.{file_format.lower()}"'}
    return Response(200, text.encode(), content_type, disposition)


def serial_numbers_by_range(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers/ByRange`: the numbers between two addresses, both inclusive."""
    for name in ("startAddress", "endAddress"):
        call.required(name)
    return _as_texts(call, _selected(call, _query(call)))


def serial_numbers_by_reference(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers/ByReference`: the numbers of a unit, a part number, or both."""
    query = _query(call)
    references = {name: call.query[name.lower()] for name in ("refSN", "refPN") if name.lower() in call.query}
    if not references:
        raise RefusedError(400, "Either refSN or refPN is required.")
    rows = _selected(call, query)
    return _as_texts(
        call,
        (row for row in rows if all(collated(row[n]) == collated(each) for n, each in references.items())),
    )


def _query(call: Call) -> SerialNumberQuery:
    name = call.required("serialNumberType")
    found = call.store(Production).types.get(name)
    if found is None:
        raise invalid("serialNumberType", name)
    addresses = call.query.get("startaddress", ""), call.query.get("endaddress", "")
    dates = (
        parse_tick("startDate", call.query.get("startdate"), default=EVER[0]),
        parse_tick("endDate", call.query.get("enddate"), default=EVER[1]),
    )
    return SerialNumberQuery(found["name"], addresses, dates)


def _selected(call: Call, query: SerialNumberQuery) -> Iterator[Json]:
    return (row for row in call.store(Production).serials.rows() if query.matches(row))


def _as_texts(call: Call, rows: Iterable[Json]) -> Response:
    """The numbers as objects of strings. Keys without a value are left out."""
    names = ("serialNumber", "refSN", "refPN", "stationName", "date")
    return call.json([{name: str(row[name]) for name in names if row[name] is not None} for row in rows])


def _xml(rows: Iterable[Json]) -> str:
    numbers = "".join(f"<SN id={quoteattr(row['serialNumber'])}/>" for row in rows)
    return f'<?xml version="1.0" encoding="utf-8"?><SerialNumbers>{numbers}</SerialNumbers>'


def _csv(rows: Iterable[Json]) -> str:
    return "".join(f"{line}\r\n" for line in ("SerialNumber", *(row["serialNumber"] for row in rows)))


_FILES: Mapping[str, tuple[str, Callable[[Iterable[Json]], str]]] = {
    "XML": ("application/xml; charset=utf-8", _xml),
    "CSV": ("text/csv; charset=utf-8", _csv),
}

ROUTES = (
    Route("GET", "/api/Production/Unit/{}/{}", unit),
    Route("GET", "/api/Production/UnitVerification", verification),
    Route("GET", "/api/Production/CheckChildUnits", check_child_units),
    Route("GET", "/api/Production/Units/Changes", changes),
    Route("DELETE", "/api/Production/Units/Changes/{}", delete_change, changes_state=True),
    Route("GET", "/api/Production/SerialNumbers", serial_numbers),
    Route("GET", "/api/Production/SerialNumbers/Types", types),
    Route("GET", "/api/Production/SerialNumbers/ByRange", serial_numbers_by_range),
    Route("GET", "/api/Production/SerialNumbers/ByReference", serial_numbers_by_reference),
)
