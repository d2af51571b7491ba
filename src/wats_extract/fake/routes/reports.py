"""Routes below `/api/Report`: header rows by OData, whole documents, attachments."""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple

import msgspec

from wats_extract.fake import odata
from wats_extract.fake.exchange import (
    Call,
    Quirks,
    RefusedError,
    Response,
    Route,
    invalid,
    message_response,
    renamed,
)
from wats_extract.fake.odata import Comparison, Entity, Filter, Kind, ODataError, Order
from wats_extract.fake.plant import wsxf
from wats_extract.fake.plant.data import EVER, Json, Plant, Range, Row
from wats_extract.fake.plant.documents import EXPANSIONS

MAX_TOP = 10_000
DEFAULT_TOP = 10

_STRINGS = [
    "serialNumber",
    "partNumber",
    "reportType",
    "revision",
    "result",
    "batchNumber",
    "userName",
    "stationName",
    "location",
    "purpose",
    "processName",
    "comment",
    "swFilename",
    "swVersion",
    "fixtureId",
    "errorMessage",
    "causedUutFailure",
    "causedUutFailurePath",
]
_NUMBERS = [
    "timeStamp",
    "processCode",
    "executionTime",
    "testSocketIndex",
    "errorCode",
    "run",
    "receiveCount",
    "reportSize",
    "passedInRun",
]
_UNIT: dict[str, Kind] = {
    "partType": "string",
    "serialNumber": "string",
    "partNumber": "string",
    "revision": "string",
}
_MISC: dict[str, Kind] = {"description": "string", "value": "string"}
_ASSET_COUNTS = [
    "runningCount",
    "runningCountExceeded",
    "totalCount",
    "totalCountExceeded",
    "daysSinceMaintenance",
    "maintenanceDaysOverdue",
    "daysSinceCalibration",
    "calibrationDaysOverdue",
]
HEADER = Entity(
    "Virinco.WATS.Web.Dashboard.Models.OData.ReportHeader",
    {
        **dict.fromkeys(_STRINGS, "string"),
        **dict.fromkeys(_NUMBERS, "number"),
        "uuid": "guid",
        "referencedUut": "guid",
        "start": "time",
        "measuresDeleted": "bool",
    },
    {
        "subUnits": _UNIT,
        "miscInfo": _MISC,
        "assets": {"serialNumber": "string", **dict.fromkeys(_ASSET_COUNTS, "number")},
        "attachments": {"stepId": "number", "filename": "string"},
        "uurSubUnits": {name: kind for name, kind in _UNIT.items() if name != "partType"},
        "uurMiscInfo": _MISC,
        "uurAttachments": {"id": "guid", "filename": "string"},
    },
    ("start", "uuid", "serialNumber", "timeStamp"),
)
"""The rows of `GET /api/Report/Query/Header`."""

_OPTIONS = {"$filter", "$top", "$skip", "$orderby", "$select", "$expand"}
_GUID = re.compile(r"\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?", re.IGNORECASE)
_MOST = 1 << 40


# ------------------------------------------------------------ header rows


@dataclass(frozen=True, slots=True)
class Query:
    """The query options, checked."""

    filter: Filter
    top: int
    skip: int
    order: tuple[Order, ...]
    select: tuple[str, ...]
    expand: tuple[str, ...]


def headers(call: Call) -> Response:
    """`GET /api/Report/Query/Header`: a plain array of rows."""
    try:
        query = _query(call)
    except ODataError as error:
        return message_response(400, f"The query specified in the URI is not valid. {error}")
    rows = islice(_found(call.plant, query, call.scope), query.skip, query.skip + query.top)
    if not query.select and not call.quirks.pascal_case:
        return Response(200, f"[{','.join(row.text(query.expand) for row in rows)}]".encode())
    shown = (_selected(msgspec.json.decode(row.text(query.expand)), query) for row in rows)
    return Response(
        200, msgspec.json.encode([renamed(row) if call.quirks.pascal_case else row for row in shown])
    )


def _query(call: Call) -> Query:
    given, quirks = call.query, call.quirks
    unknown = [name for name in given if name.startswith("$") and name not in _OPTIONS]
    if unknown:
        raise ODataError(f"Query option '{unknown[0]}' is not allowed.")
    found = odata.parse_filter(given["$filter"], HEADER) if given.get("$filter", "").strip() else Filter()
    if quirks.refuse_keyset and "timeStamp" in found.compared:
        raise ODataError("The property 'timeStamp' cannot be used in the $filter query option.")
    return Query(
        filter=found,
        top=_top(given.get("$top"), quirks),
        skip=odata.parse_count(given["$skip"], "$skip") if "$skip" in given else 0,
        order=odata.parse_order(given["$orderby"], HEADER)
        if given.get("$orderby")
        else (Order("start", descending=True),),
        select=_names(given.get("$select"), (*HEADER.fields, *EXPANSIONS)),
        expand=_names(given.get("$expand"), EXPANSIONS),
    )


def _names(text: str | None, among: Sequence[str]) -> tuple[str, ...]:
    return odata.parse_names(text, HEADER, among) if text else ()


def _top(text: str | None, quirks: Quirks) -> int:
    top = DEFAULT_TOP if text is None else odata.parse_count(text, "$top")
    if top > MAX_TOP and quirks.over_top == "refuse":
        raise ODataError(
            f"The limit of '{MAX_TOP}' for Top query has been exceeded. "
            f"The value from the incoming request is '{top}'."
        )
    return min(top, MAX_TOP, quirks.page_cap or MAX_TOP)


def _selected(row: Json, query: Query) -> Json:
    wanted = {*query.select, *query.expand} if query.select else row.keys()
    return {name: value for name, value in row.items() if name in wanted}


def _found(plant: Plant, query: Query, scope: Filter | None) -> Iterator[Row]:
    """The rows that pass, in the order asked for; what is a bound doesn't cost a look at every report."""
    ids = _ids(query.filter)
    rows = _candidates(plant, query) if ids is None else _looked_up(plant, ids)
    rest = query.filter.without({"timeStamp", "start"} if ids is None else ())
    if rest is not None:
        rows = _passing(rows, rest, query.filter.compared)
    if scope is not None:
        rows = _passing(rows, scope.matches, scope.compared)
    first, *others = query.order
    if ids is None and first.field in ("timeStamp", "start"):
        return _settled(rows, first, others)
    return iter(odata.smallest(query.skip + query.top, rows, query.order, _sort_key))


def _looked_up(plant: Plant, ids: Sequence[str]) -> Iterator[Row]:
    found = (plant.find(uuid) for uuid in dict.fromkeys(ids))
    return (row for row in found if row is not None)


def _candidates(plant: Plant, query: Query) -> Iterator[Row]:
    """The rows within the bounds, in the order of the first key if that is `timeStamp` or `start`."""
    first = query.order[0]
    positions, starts = plant.positions(_range(query.filter, "timeStamp")), _range(query.filter, "start")
    if first.field == "start":
        return plant.started(positions, starts, newest_first=first.descending)
    return plant.arrived(positions, starts, newest_first=first.field == "timeStamp" and first.descending)


def _passing(rows: Iterator[Row], test: Callable[[Json], Any], compared: Collection[str]) -> Iterator[Row]:
    expand = [name for name in EXPANSIONS if name in compared]
    return (row for row in rows if test(_comparable(row, expand)))


def _comparable(row: Row, expand: Collection[str]) -> Json:
    fields: Json = msgspec.json.decode(row.text(expand)) if expand else dict(row.fields)
    return fields | {"start": row.start}


def _settled(rows: Iterator[Row], first: Order, others: Sequence[Order]) -> Iterator[Row]:
    """The rows, with those that are equal in the first key put in order by the others."""
    if not others:
        return rows
    groups = (group for _, group in groupby(rows, lambda row: _sort_key(row, first.field)))
    return (row for group in groups for row in odata.smallest(_MOST, group, others, _sort_key))


def _sort_key(row: Row, field: str) -> Any:
    if field == "timeStamp":
        return row.time_stamp
    if field == "start":
        return row.start
    return row.uuid if field == "uuid" else odata.collated(row.fields.get(field)) or ""


def _ids(found: Filter) -> tuple[str, ...] | None:
    """The ids that the filter limits the answer to, if it does."""
    for bound in found.bounds:
        if bound.field == "uuid" and bound.op in ("eq", "in"):
            return (bound.literal,) if bound.op == "eq" else bound.literal
    return None


def _range(found: Filter, field: str) -> Range:
    """What the filter's bounds leave of a whole-number field."""
    low, high = EVER
    for bound in found.bounds:
        if bound.field == field and bound.op in odata.RANGES:
            least, most = _limits(bound)
            low, high = max(low, least), min(high, most)
    return low, high


def _limits(bound: Comparison) -> Range:
    """From the first whole number that passes to the first that doesn't any more."""
    above, at_least = math.floor(bound.literal) + 1, math.ceil(bound.literal)
    return {
        "gt": (above, EVER[1]),
        "ge": (at_least, EVER[1]),
        "lt": (EVER[0], at_least),
        "le": (EVER[0], above),
        "eq": (at_least, above),
    }[bound.op]


def headers_by_misc_info(call: Call) -> Response:
    """`GET /api/Report/Query/HeaderByMiscInfo`: reports with such a misc info, newest first, at most 1,000.

    All parameters may be left out; they are compared whole, without regard to case. Order and number are a
    guess.
    """
    code = call.number("processCode")
    serial, name, text = (call.query.get(each) for each in ("serialnumber", "description", "data"))
    rows = (_misc_row(row) for row in call.plant.arrived(newest_first=True) if in_scope(row, call.scope))
    found = (
        row
        for row in rows
        if code in (None, row["processCode"])
        and _alike(serial, row["serialNumber"])
        and any(_alike(name, info["description"]) and _alike(text, info["data"]) for info in row["miscData"])
    )
    return call.json(list(islice(found, 1000)))


def _misc_row(row: Row) -> Json:
    found = msgspec.json.decode(row.text(("miscInfo", "uurMiscInfo")))
    infos = [
        {"description": i["description"], "data": i["value"]}
        for i in found["miscInfo"] or found["uurMiscInfo"]
    ]
    names = ("uuid", "serialNumber", "partNumber", "start", "result", "processCode", "processName")
    return {name: found.get(name) for name in names} | {"miscData": infos}


def _alike(wanted: str | None, value: str) -> bool:
    return wanted is None or odata.collated(wanted) == odata.collated(value)


# ------------------------------------------------------------ documents


def document(call: Call) -> Response:
    """`GET /api/Report/Wsjf/{id}`: the document, cut down to `detailLevel`."""
    body, detail = _report(call, call.parts[0]).document(), _detail(call)
    if call.quirks.pascal_case or _needs_cutting(body, detail):
        cut = _cut(msgspec.json.decode(body), detail)
        return Response(200, msgspec.json.encode(renamed(cut) if call.quirks.pascal_case else cut))
    return Response(200, body)


def document_as_xml(call: Call) -> Response:
    """`GET /api/Report/Wsxf/{id}`: the same in XML, with `includeIndexes` if wanted."""
    body, detail = _report(call, call.parts[0]).document(), _detail(call)
    try:
        cut = _cut(msgspec.json.decode(body, type=Json), detail)
    except msgspec.DecodeError as error:
        raise RefusedError(500, "An error has occurred.") from error
    indexes = call.flag("includeIndexes", default=True)
    return Response(200, wsxf.rendered(cut, indexes=indexes), "application/xml; charset=utf-8")


class Detail(NamedTuple):
    """How much of a document is wanted: a level from 0 to 7, charts, the bytes of files."""

    level: int
    charts: bool
    files: bool


def _detail(call: Call) -> Detail:
    level = call.number("detailLevel", default=7)
    charts, files = call.flag("includeChartdata", default=True), call.flag("includeAttachments", default=True)
    if level is None or not 0 <= level <= 7:
        raise invalid("detailLevel", str(level))
    return Detail(level, charts, files)


def _report(call: Call, text: str) -> Row:
    match = _GUID.fullmatch(text.strip())
    if match is None:
        raise invalid("id", text)
    row = call.plant.find(match[1].lower())
    if row is None or not in_scope(row, call.scope):
        raise RefusedError(404, f"Report with id {match[1].lower()} was not found.")
    return row


def in_scope(row: Row, scope: Filter | None) -> bool:
    """Whether the token may see a report."""
    return scope is None or scope.matches(
        _comparable(row, [name for name in EXPANSIONS if name in scope.compared])
    )


def _needs_cutting(body: bytes, detail: Detail) -> bool:
    """Whether the document has what isn't wanted; a look at the bytes spares the usual case the decoding."""
    has_files = b'"attachment' in body or b'"binaryData"' in body
    level, charts, files = detail
    return level < 7 or (not charts and b'"chart"' in body) or (not files and has_files)


class Cut(NamedTuple):
    """The level from which on keys of an object are shown."""

    level: int
    keys: frozenset[str]


_REPORT_CUTS = (
    Cut(1, frozenset({"uut", "uur"})),
    Cut(2, frozenset({"miscInfos", "subUnits", "assets", "assetStats"})),
    Cut(3, frozenset({"root"})),
    Cut(7, frozenset({"additionalData"})),
)
_STEP_CUTS = (
    Cut(4, frozenset({"reportText", "seqCall", "callExe", "messagePopup", "attachment"})),
    Cut(5, frozenset({"numericMeas", "stringMeas", "booleanMeas"})),
    Cut(6, frozenset({"chart"})),
    Cut(7, frozenset({"additionalResults", "loop"})),
)


def _cut(report: Json, detail: Detail) -> Json:
    """The document at a level: 0 identifies, 3 has the steps, 5 the measurements, 6 charts, 7 everything."""
    level, charts, files = detail
    gone = {key for cut in _REPORT_CUTS if level < cut.level for key in cut.keys}
    gone_in_steps = {key for cut in _STEP_CUTS if level < cut.level for key in cut.keys}
    if not charts:
        gone_in_steps.add("chart")
    if not files:
        gone.add("binaryData")
        gone_in_steps |= {"attachment", "attachments"}
    shown = {key: value for key, value in report.items() if key not in gone}
    return {
        key: _without(value, gone_in_steps) if key in ("root", "subUnits") else value
        for key, value in shown.items()
    }


def _without(value: Any, gone: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, gone) for key, each in value.items() if key not in gone}
    return [_without(each, gone) for each in value] if isinstance(value, list) else value


# ------------------------------------------------------------ attachments


class File(NamedTuple):
    """An attachment within a document; `key` is the step's id in a test, the file's own in a repair."""

    key: str
    name: str
    content_type: str
    data: bytes


def attachment(call: Call) -> Response:
    """`GET /api/Report/Attachment?reportId=…` and `stepId` (tests) or `attachmentId` (repairs): the bytes."""
    report_id = call.required("reportId")
    key = call.query.get("attachmentid") or call.query.get("stepid")
    if key is None:
        raise RefusedError(400, "Either stepId or attachmentId is required.")
    files = _files(msgspec.json.decode(_report(call, report_id).document()))
    found = next((file for file in files if file.key == key.lower()), None)
    if found is None:
        raise RefusedError(404, "Attachment was not found.")
    return Response(
        200, found.data, found.content_type, {"Content-Disposition": f'attachment; filename="{found.name}"'}
    )


def attachments(call: Call) -> Response:
    """`GET /api/Report/Attachments/{id}`: all of a report's files in a zip archive."""
    files = list(_files(msgspec.json.decode(_report(call, call.parts[0]).document())))
    if not files:
        raise RefusedError(404, "The report has no attachments.")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(f"{file.key}/{file.name}", file.data)
    return Response(
        200,
        packed.getvalue(),
        "application/zip",
        {"Content-Disposition": "attachment; filename=attachments.zip"},
    )


def certificate(call: Call) -> Response:
    """`GET /api/Report/Certificate/{id}`: no report of the plant has one."""
    _report(call, call.parts[0])
    raise RefusedError(404, "The report has no certificate.")


def _files(part: Any) -> Iterator[File]:
    """All files below a part of a document."""
    if isinstance(part, list):
        for each in part:
            yield from _files(each)
    elif isinstance(part, dict):
        if "attachment" in part:
            yield _file(part["id"], part["attachment"])
        for each in (*(part.get("attachments") or ()), *(part.get("binaryData") or ())):
            yield _file(each["id"], each)
        for key in ("root", "steps", "subUnits", "failures"):
            yield from _files(part.get(key))


def _file(key: object, content: Json) -> File:
    try:
        data = base64.b64decode(content.get("data") or "", validate=True)
    except binascii.Error as error:
        raise RefusedError(500, "An error has occurred.") from error
    kind = str(content.get("contentType") or "application/octet-stream")
    return File(str(key).lower(), str(content.get("name")), kind, data)


ROUTES = (
    Route("GET", "/api/Report/Query/Header", headers),
    Route("GET", "/api/Report/Query/HeaderByMiscInfo", headers_by_misc_info),
    Route("GET", "/api/Report/Wsjf/{}", document),
    Route("GET", "/api/Report/Wsxf/{}", document_as_xml),
    Route("GET", "/api/Report/Certificate/{}", certificate),
    Route("GET", "/api/Report/Attachment", attachment),
    Route("GET", "/api/Report/Attachments/{}", attachments),
)
