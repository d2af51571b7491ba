"""Routes below `/api/Production`: units, their verification and changes, and serial numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import msgspec

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, invalid
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
    """What production knows beside the reports. Units themselves follow from the reports.

    Args:
        plant: the reports.
        changes: how many changes of units wait in the queue.
        serials: how many serial numbers each type has; every other one is taken.

    Attributes:
        changes: by `id`.
        types: of serial numbers, by `name`.
        serials: the serial numbers, by type and number (`key`).
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
        for kind, write in zip(SERIAL_TYPES, _WRITTEN, strict=True):
            for number in range(self._serial_count):
                unit = f"SN1{number // 40:05d}{number % 40:02d}"
                taken = (
                    {"refSN": unit, "refPN": "PCBA-100", "stationName": "HORTEN-ICT-1"} if number % 2 else {}
                )
                yield {
                    "key": f"{kind['name']}/{write(number)}",
                    "type": kind["name"],
                    "address": number,
                    "serialNumber": write(number),
                    "date": clock.utc(clock.OPENING + number * clock.HOUR),
                    **taken,
                }


def _mac(number: int) -> str:
    text = f"001BC5{number:06X}"
    return "-".join(text[place : place + 2] for place in range(0, 12, 2))


_WRITTEN: tuple[Callable[[int], str], ...] = (lambda n: f"SN{n:08d}", _mac, lambda n: f"35{n:013d}")
"""How the numbers of each type are written."""


# ------------------------------------------------------------ units


def unit(call: Call) -> Response:
    """`GET /api/Production/Unit/{serialNumber}/{partNumber}`: one that has a report under this part number.

    Units that are only known as part of another one aren't found. Servers differ on whether `processCode`
    is text.
    """
    serial, part = call.names()
    rows = _tests(call, serial, part)
    return call.item(_unit(call, rows) if rows else None, f"Unit '{serial}' of '{part}'")


def verification(call: Call) -> Response:
    """`GET /api/Production/UnitVerification?serialNumber=…`: each process of the product's route, graded.

    The words of `status` and `grade` are a guess. A unit that nobody knows is `Unknown`, which is no error.
    """
    rows = _tests(call, call.required("serialNumber"), call.query.get("partnumber"))
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
    """`GET /api/Production/CheckChildUnits`: the units within, in a shape that is a guess."""
    serial, part = call.required("parentSerialNumber"), call.required("parentPartNumber")
    rows = _tests(call, serial, part)
    children = [{**each, "status": _last_result(call, each["serialNumber"])} for each in _children(rows)]
    valid = bool(rows) and all(each["status"] == "Passed" for each in children)
    return call.json({"isValid": valid, "serialNumber": serial, "partNumber": part, "childUnits": children})


def _tests(call: Call, serial: str, part: str | None) -> list[Row]:
    rows = (row for row in call.plant.about(serial) if in_scope(row, call.scope))
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
    """What the latest test that names any sub units says is built in."""
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
    """As text or as a number, as this server does; mixed, units with an odd last digit have text."""
    code, how = int(last["processCode"]), call.quirks.unit_process_code
    odd = str(last["serialNumber"])[-1:] in tuple("13579")
    return str(code) if how == "text" or (how == "mixed" and odd) else code


def _route(tests: list[Json]) -> list[tuple[int, str]]:
    """Code and name of the processes that the unit has to pass; for unknown products those that it met."""
    planned = _processes(tests[-1]["partNumber"]) if tests else ()
    met = {row["processCode"]: row.get("processName") or "" for row in tests}
    return [*planned] or sorted(met.items())


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
    rows = [row for row in _tests(call, serial, None) if row.fields["reportType"] == "T"]
    return str(rows[-1].fields["result"]) if rows else "Unknown"


# ------------------------------------------------------------ changes


def changes(call: Call) -> Response:
    """`GET /api/Production/Units/Changes?maxCount=…`: the oldest first; they stay until deleted."""
    call.required("maxCount")
    most = call.number("maxCount") or 0
    rows = sorted(call.store(Production).changes.rows(), key=lambda row: int(row["id"]))
    return call.json(rows[: max(0, most)])


def delete_change(call: Call) -> Response:
    """`DELETE /api/Production/Units/Changes/{id}`: nobody sees the change again."""
    (text,) = call.names()
    if not text.isdecimal():
        raise invalid("id", text)
    try:
        call.store(Production).changes.delete(int(text))
    except KeyError:
        raise RefusedError(404, f"Change {text} was not found.") from None
    return Response(200)


# ------------------------------------------------------------ serial numbers


class Asked(NamedTuple):
    """Which serial numbers are wanted: addresses and ticks, from the first to the last."""

    kind: str
    addresses: tuple[str, str]
    dates: tuple[int, int]

    def covers(self, row: Json) -> bool:
        """Whether a number is among them."""
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
    """`GET /api/Production/SerialNumbers?serialNumberType=…&format=…`: a file, `XML` or `CSV`; never JSON."""
    asked, wanted = _asked(call), call.required("format").upper()
    if wanted not in _FILES:
        raise invalid("format", wanted)
    content_type, write = _FILES[wanted]
    text = write(row for row in call.store(Production).serials.rows() if asked.covers(row))
    disposition = {"Content-Disposition": f'attachment; filename="{asked.kind}.{wanted.lower()}"'}
    return Response(200, text.encode(), content_type, disposition)


def serial_numbers_by_range(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers/ByRange`: both ends are part of it."""
    for name in ("startAddress", "endAddress"):
        call.required(name)
    asked = _asked(call)
    return _as_texts(call, (row for row in call.store(Production).serials.rows() if asked.covers(row)))


def serial_numbers_by_reference(call: Call) -> Response:
    """`GET /api/Production/SerialNumbers/ByReference`: the taken ones of a unit, a part number, or both."""
    asked = _asked(call)
    wanted = {name: call.query[name.lower()] for name in ("refSN", "refPN") if name.lower() in call.query}
    if not wanted:
        raise RefusedError(400, "Either refSN or refPN is required.")
    rows = (row for row in call.store(Production).serials.rows() if asked.covers(row))
    return _as_texts(
        call, (row for row in rows if all(collated(row[n]) == collated(each) for n, each in wanted.items()))
    )


def _asked(call: Call) -> Asked:
    name = call.required("serialNumberType")
    found = call.store(Production).types.get(name)
    if found is None:
        raise invalid("serialNumberType", name)
    addresses = call.query.get("startaddress", ""), call.query.get("endaddress", "")
    return Asked(
        found["name"], addresses, (_tick(call, "startDate", EVER[0]), _tick(call, "endDate", EVER[1]))
    )


def _tick(call: Call, name: str, otherwise: int) -> int:
    text = call.query.get(name.lower())
    try:
        return clock.parse(text) if text else otherwise
    except ValueError:
        raise invalid(name, str(text)) from None


def _as_texts(call: Call, rows: Iterable[Json]) -> Response:
    """The numbers as objects of text; what has no value is left out."""
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
    Route("DELETE", "/api/Production/Units/Changes/{}", delete_change, changes=True),
    Route("GET", "/api/Production/SerialNumbers", serial_numbers),
    Route("GET", "/api/Production/SerialNumbers/Types", types),
    Route("GET", "/api/Production/SerialNumbers/ByRange", serial_numbers_by_range),
    Route("GET", "/api/Production/SerialNumbers/ByReference", serial_numbers_by_reference),
)
