"""Routes below `/api/Report`: header rows by OData, full reports, attachments."""

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
    json_response,
    message_response,
    pascal_case,
)
from wats_extract.fake.odata import UNLIMITED, Comparison, Entity, Filter, Kind, ODataError, Order
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


# ------------------------------------------------------------ header rows


@dataclass(frozen=True, slots=True)
class Query:
    """The checked query options."""

    filter: Filter
    top: int
    skip: int
    order: tuple[Order, ...]
    select: tuple[str, ...]
    expand: tuple[str, ...]


def headers(call: Call) -> Response:
    """`GET /api/Report/Query/Header`: a JSON array of rows, without an envelope."""
    try:
        query = _query(call)
    except ODataError as error:
        return message_response(400, odata.invalid_query(error))
    rows = islice(_matching(call.plant, query, call.scope), query.skip, query.skip + query.top)
    if not query.select and not call.quirks.pascal_case:
        return Response(200, f"[{','.join(row.text(query.expand) for row in rows)}]".encode())
    selected = [_selected(msgspec.json.decode(row.text(query.expand)), query) for row in rows]
    return json_response(pascal_case(selected) if call.quirks.pascal_case else selected)


def _query(call: Call) -> Query:
    options, quirks = call.query, call.quirks
    odata.check_options(options, allowed=_OPTIONS)
    parsed = (
        odata.parse_filter(options["$filter"], HEADER) if options.get("$filter", "").strip() else Filter()
    )
    if quirks.refuse_keyset and "timeStamp" in parsed.compared:
        raise ODataError("The property 'timeStamp' cannot be used in the $filter query option.")
    return Query(
        filter=parsed,
        top=_top(options.get("$top"), quirks),
        skip=odata.parse_count("$skip", options.get("$skip"), default=0),
        order=odata.parse_order(options["$orderby"], HEADER)
        if options.get("$orderby")
        else (Order("start", descending=True),),
        select=_names(options.get("$select"), (*HEADER.fields, *EXPANSIONS)),
        expand=_names(options.get("$expand"), EXPANSIONS),
    )


def _names(text: str | None, among: Sequence[str]) -> tuple[str, ...]:
    return odata.parse_names(text, HEADER, among) if text else ()


def _top(text: str | None, quirks: Quirks) -> int:
    top = odata.parse_count("$top", text, default=DEFAULT_TOP)
    if top > MAX_TOP and quirks.over_top == "refuse":
        raise ODataError(
            f"The limit of '{MAX_TOP}' for Top query has been exceeded. "
            f"The value from the incoming request is '{top}'."
        )
    return min(top, MAX_TOP, quirks.page_cap or MAX_TOP)


def _selected(row: Json, query: Query) -> Json:
    wanted = {*query.select, *query.expand} if query.select else row.keys()
    return {name: value for name, value in row.items() if name in wanted}


def _matching(plant: Plant, query: Query, scope: Filter | None) -> Iterator[Row]:
    """The matching rows in the requested order. Bounds on id, `timeStamp` and `start` need no full scan."""
    ids = _ids(query.filter)
    rows = _candidates(plant, query) if ids is None else _looked_up(plant, ids)
    rest = query.filter.without({"timeStamp", "start"} if ids is None else ())
    if rest is not None:
        rows = _passing(rows, rest, query.filter.compared)
    if scope is not None:
        rows = _passing(rows, scope.matches, scope.compared)
    first, *others = query.order
    if ids is None and first.field in ("timeStamp", "start"):
        return _ties_ordered(rows, first, others)
    return iter(odata.smallest(query.skip + query.top, rows, query.order, _sort_key))


def _looked_up(plant: Plant, ids: Sequence[str]) -> Iterator[Row]:
    found = (plant.find(uuid) for uuid in dict.fromkeys(ids))
    return (row for row in found if row is not None)


def _candidates(plant: Plant, query: Query) -> Iterator[Row]:
    """The rows within the bounds. They are sorted by the first key if it is `timeStamp` or `start`."""
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


def _ties_ordered(rows: Iterator[Row], first: Order, others: Sequence[Order]) -> Iterator[Row]:
    """The rows, already sorted by the first key, with ties sorted by the other keys."""
    if not others:
        return rows
    groups = (group for _, group in groupby(rows, lambda row: _sort_key(row, first.field)))
    return (row for group in groups for row in odata.smallest(UNLIMITED, group, others, _sort_key))


def _sort_key(row: Row, field: str) -> Any:
    if field == "timeStamp":
        return row.time_stamp
    if field == "start":
        return row.start
    return row.uuid if field == "uuid" else odata.collated(row.fields.get(field)) or ""


def _ids(found: Filter) -> tuple[str, ...] | None:
    """The ids that the filter names; None if it names none."""
    for bound in found.bounds:
        if bound.field == "uuid" and bound.op in ("eq", "in"):
            return (bound.literal,) if bound.op == "eq" else bound.literal
    return None


def _range(found: Filter, field: str) -> Range:
    """The range of a whole-number field that the filter selects."""
    low, high = EVER
    for bound in found.bounds:
        if bound.field == field and bound.op in odata.RANGES:
            least, most = _limits(bound)
            low, high = max(low, least), min(high, most)
    return low, high


def _limits(bound: Comparison) -> Range:
    """The half-open range of whole numbers that a bound selects."""
    above, at_least = math.floor(bound.literal) + 1, math.ceil(bound.literal)
    return {
        "gt": (above, EVER[1]),
        "ge": (at_least, EVER[1]),
        "lt": (EVER[0], at_least),
        "le": (EVER[0], above),
        "eq": (at_least, above),
    }[bound.op]


def headers_by_misc_info(call: Call) -> Response:
    """`GET /api/Report/Query/HeaderByMiscInfo`: reports with a given misc info, newest first, at most 1,000.

    All parameters are optional and match whole texts without regard to case. The order and the limit are not
    documented; both are assumed.
    """
    code = call.number("processCode")
    serial, name, text = (call.query.get(each) for each in ("serialnumber", "description", "data"))
    rows = (_misc_row(row) for row in call.plant.arrived(newest_first=True) if in_scope(row, call.scope))
    found = (
        row
        for row in rows
        if code in (None, row["processCode"])
        and _equal(serial, row["serialNumber"])
        and any(_equal(name, info["description"]) and _equal(text, info["data"]) for info in row["miscData"])
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


def _equal(wanted: str | None, value: str) -> bool:
    return wanted is None or odata.collated(wanted) == odata.collated(value)


# ------------------------------------------------------------ documents


def document(call: Call) -> Response:
    """`GET /api/Report/Wsjf/{id}`: the document, reduced to `detailLevel`."""
    body, detail = _report(call, call.parts[0]).document(), _detail(call)
    if call.quirks.pascal_case or _needs_cutting(body, detail):
        cut = _cut(msgspec.json.decode(body), detail)
        return json_response(pascal_case(cut) if call.quirks.pascal_case else cut)
    return Response(200, body)


def document_as_xml(call: Call) -> Response:
    """`GET /api/Report/Wsxf/{id}`: the same as XML, by default with indexes (`includeIndexes`)."""
    body, detail = _report(call, call.parts[0]).document(), _detail(call)
    try:
        cut = _cut(msgspec.json.decode(body, type=Json), detail)
    except msgspec.DecodeError as error:
        raise RefusedError(500, "An error has occurred.") from error
    indexes = call.flag("includeIndexes", default=True)
    return Response(200, wsxf.rendered(cut, indexes=indexes), "application/xml; charset=utf-8")


class Detail(NamedTuple):
    """The requested detail of a document: a level from 0 to 7, with charts or not, with files or not."""

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
    """Whether the token may read a report."""
    return scope is None or scope.matches(
        _comparable(row, [name for name in EXPANSIONS if name in scope.compared])
    )


def _needs_cutting(body: bytes, detail: Detail) -> bool:
    """Whether parts must be removed. Searching the bytes avoids decoding in the common case."""
    has_files = b'"attachment' in body or b'"binaryData"' in body
    level, charts, files = detail
    return level < 7 or (not charts and b'"chart"' in body) or (not files and has_files)


class Cut(NamedTuple):
    """Keys of an object, and the lowest level that includes them."""

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
    """The document at a level: 0 the identity, 3 adds steps, 5 measurements, 6 charts, 7 everything."""
    level, charts, files = detail
    removed = {key for cut in _REPORT_CUTS if level < cut.level for key in cut.keys}
    removed_in_steps = {key for cut in _STEP_CUTS if level < cut.level for key in cut.keys}
    if not charts:
        removed_in_steps.add("chart")
    if not files:
        removed.add("binaryData")
        removed_in_steps |= {"attachment", "attachments"}
    kept = {key: value for key, value in report.items() if key not in removed}
    return {
        key: _without(value, removed_in_steps) if key in ("root", "subUnits") else value
        for key, value in kept.items()
    }


def _without(value: Any, removed: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, removed) for key, each in value.items() if key not in removed}
    return [_without(each, removed) for each in value] if isinstance(value, list) else value


# ------------------------------------------------------------ attachments


class File(NamedTuple):
    """An attachment in a document. `key` is the step's id in a test, and the file's id in a repair."""

    key: str
    name: str
    content_type: str
    data: bytes


def attachment(call: Call) -> Response:
    """`GET /api/Report/Attachment?reportId=…`: one file, by `stepId` (tests) or `attachmentId` (repairs)."""
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
    """`GET /api/Report/Attachments/{id}`: all files of a report as a zip archive."""
    files = list(_files(msgspec.json.decode(_report(call, call.parts[0]).document())))
    if not files:
        raise RefusedError(404, "The report has no attachments.")
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(f"{file.key}/{file.name}", file.data)
    return Response(
        200,
        archived.getvalue(),
        "application/zip",
        {"Content-Disposition": "attachment; filename=attachments.zip"},
    )


def certificate(call: Call) -> Response:
    """`GET /api/Report/Certificate/{id}`: always 404, because no report of the plant has a certificate."""
    _report(call, call.parts[0])
    raise RefusedError(404, "The report has no certificate.")


def _files(part: Any) -> Iterator[File]:
    """All files within a part of a document."""
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
