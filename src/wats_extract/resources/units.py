"""Units: what production knows of them, and how far they have come through their processes.

Sources: ``GET /api/Production/Unit/{serialNumber}/{partNumber}``, ``GET /api/Production/UnitVerification``
(api-facts §2.7). No route lists units: those that reports are about, and the sub units within, are read,
each again when a report about it arrives. A unit's key is serial number and part number, joined by ``|``;
one whose serial number holds a ``|`` cannot be asked for, nor by path one with a slash in either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from wats_extract.filters import odata
from wats_extract.flow import Failure, Window
from wats_extract.readers.by_key import ByKeyReader, Wanted
from wats_extract.readers.mentioned import Mentioned
from wats_extract.readers.reader import Source
from wats_extract.resources.fields import moment, place, table, text, tree, truth, whole
from wats_extract.resources.reports import REPORT_LIST
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import PlacedDocument, PlacedDocuments
from wats_extract.shred.flat import KEY_SEPARATOR, Child, FlatShredder, key_text
from wats_extract.shred.header_tables import HEADER_SUB_UNITS, HEADERS
from wats_extract.shred.records import fit
from wats_extract.tables import Column

_ASKED: Mapping[str, str | int | bool] = {
    "$select": "uuid,timeStamp,start,serialNumber,partNumber",
    "$expand": "subUnits,uurSubUnits",
}
_FILTERS = {column.name: column for column in HEADERS.columns}
_UNIT_KEY = {"unit_key": "serial number and part number as reports write them, joined by |"}
_TIME_STAMP = (Column("time_stamp", pa.int64(), doc="of the newest report about it when it was read"),)

_UNITS = table(
    "units",
    "serial_number part_number",
    text("=unit_key"),
    _TIME_STAMP,
    truth("=has_record"),
    text("serialNumber partNumber revision parentSerialNumber batchNumber"),
    moment("serialDate"),
    text("currentLocation xmlData"),
    whole("unitPhaseId"),
    text("unitPhase processCode"),
    tree("product productRevision"),
    doc="one row a unit",
    docs=_UNIT_KEY
    | {
        "has_record": "false: reports name it as a part of another unit, and WATS has nothing else of it",
        "unit_phase_id": "1 unknown, 2 under production, 4 production repair, 8 RMA repair, 16 finalized, "
        "32 scrapped, 64 extended test, 128 customization, 256 repaired, 512 missing, 1024 in store, "
        "2048 shipped, 4098 production queue, 4100 queue production repair, 4104 queue RMA",
        "process_code": "text, for some servers write it so",
        "product": "joins product_details by its productId",
    },
    owner="unit_key",
    version="time_stamp",
)
_TAGS = table(
    "unit_tags",
    "unit_key tag_index",
    text("=unit_key"),
    place("tag_index", "the unit's tags"),
    text("key value"),
    whole("change"),
    doc="one row a tag of a unit",
    owner="unit_key",
)
_SUB_UNITS = table(
    "unit_sub_units",
    "unit_key sub_unit_index",
    text("=unit_key"),
    place("sub_unit_index", "the units that are built in"),
    text("serialNumber partNumber revision parentSerialNumber batchNumber"),
    moment("serialDate"),
    text("currentLocation xmlData"),
    whole("unitPhaseId"),
    text("unitPhase processCode"),
    tree("tags product productRevision subUnits"),
    doc="one row a unit that is built into another",
    docs={"sub_units": "what is built into it in turn"},
    owner="unit_key",
)
_VERIFICATIONS = table(
    "unit_verifications",
    "unit_key",
    text("=unit_key =serial_number =part_number"),
    _TIME_STAMP,
    text("status grade"),
    truth("allProcessesExecutedInCorrectOrder allProcessesPassedFirstRun"),
    truth("allProcessesPassedAnyRun allProcessesPassedLastRun noRepairs"),
    doc="one row a unit",
    docs=_UNIT_KEY,
    version="time_stamp",
)
_RESULTS = table(
    "unit_verification_results",
    "unit_key result_index",
    text("=unit_key"),
    place("result_index", "the unit's processes"),
    whole("processCode"),
    text("processName"),
    whole("processIndex"),
    text("status"),
    moment("startUtc"),
    text("stationName"),
    whole("totalCount nonPassedCount repairCount"),
    doc="one row a process that a unit has to pass",
    docs={
        "start_utc": "of the last run; null where there is none",
        "total_count": "runs",
        "non_passed_count": "runs that did not pass",
    },
    owner="unit_key",
)


def _mentioned(header: Any) -> Iterator[str]:
    """The units of a report: the one that it is about, and those within."""
    for unit in (header, *(header.subUnits or ()), *(header.uurSubUnits or ())):
        if unit.serialNumber and unit.partNumber:
            yield key_text([unit.serialNumber, unit.partNumber])


def _split(key: str) -> tuple[str, str]:
    serial, _, part = key.partition(KEY_SEPARATOR)
    return serial, part


def _about(keys: Iterable[str]) -> str:
    serials = dict.fromkeys(odata.quoted(_split(key)[0]) for key in keys)
    return f"serialNumber in ({','.join(serials)})"


class UnitReader(ByKeyReader):
    """Reads units; one that is no more than a part of another has a row of its own, without a record."""

    def fetch(self, source: Source, window: Window, key: Wanted) -> Any:
        """One unit, or the failure that it is."""
        outcome = super().fetch(source, window, key)
        if isinstance(outcome, Failure) and outcome.error_code == "NOT_FOUND" and _is_part(key):
            serial, part = _split(key.key)
            record = fit({"serialNumber": serial, "partNumber": part}, _UNIT.record_type)
            return PlacedDocument([record], [(key.key, key.version, False)], b"{}")
        return outcome


def _is_part(key: Wanted) -> bool:
    """Whether the report names the unit as part of another, by a key that a path can hold."""
    header = key.record
    own = header is None or key.key == key_text([header.serialNumber, header.partNumber])
    return not own and not any(slash in key.key for slash in "/\\")


UNIT_LIST = Mentioned(
    REPORT_LIST,
    keys=_mentioned,
    proper_key=lambda key: key if all(_split(key)) else "",
    condition=_about,
)
_LISTED = FlatShredder(HEADERS, [Child(HEADER_SUB_UNITS, ("subUnits", "uurSubUnits"))])
_UNIT = FlatShredder(_UNITS, [Child(_TAGS, ("tags",)), Child(_SUB_UNITS, ("subUnits",))])

UNITS = Resource(
    name="units",
    summary="units that reports are about, with phase, location and what is built in",
    route="Production/Unit/{serialNumber}/{partNumber}",
    reader=UnitReader(
        listing=UNIT_LIST,
        asked=dict(_ASKED),
        route="Production/Unit/{serialNumber}/{partNumber}",
        query=lambda key, options: {},
        shredder=PlacedDocuments(_LISTED, _UNIT, placed=lambda key, version, place: (key, version, True)),
        parts=lambda key: dict(zip(("serialNumber", "partNumber"), _split(key), strict=True)),
    ),
    tables=(_UNITS, _TAGS, _SUB_UNITS),
    key="unit_key",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size"}),
    unproven="the columns, which are those that the specification has for writing a unit, not for reading it",
)

UNIT_VERIFICATIONS = Resource(
    name="unit_verifications",
    summary="how units have passed their processes",
    route="Production/UnitVerification",
    reader=ByKeyReader(
        listing=UNIT_LIST,
        asked=dict(_ASKED),
        route="Production/UnitVerification",
        query=lambda key, options: dict(zip(("serialNumber", "partNumber"), _split(key), strict=True)),
        shredder=PlacedDocuments(
            _LISTED,
            FlatShredder(_VERIFICATIONS, [Child(_RESULTS, ("results",))]),
            placed=lambda key, version, place: (key, *_split(key), version),
        ),
    ),
    tables=(_VERIFICATIONS, _RESULTS),
    key="unit_key",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size"}),
)
