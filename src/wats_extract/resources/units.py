"""Units: their production records, and which of their processes they have passed.

Sources: ``GET /api/Production/Unit/{serialNumber}/{partNumber}``, ``GET /api/Production/UnitVerification``
(api-facts §2.7). No route lists units, so they are taken from reports: the unit under test and its sub units.
A unit is read again when a new report mentions it. Its key is serial number and part number, joined by ``|``.
A unit with ``|`` in its serial number cannot be requested, nor one with a slash in the path of a route.
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
from wats_extract.shred.shape import one_object
from wats_extract.tables import Column

_ASKED: Mapping[str, str | int | bool] = {
    "$select": "uuid,timeStamp,start,serialNumber,partNumber",
    "$expand": "subUnits,uurSubUnits",
}
_FILTERS = {column.name: column for column in HEADERS.columns}
_UNIT_KEY = {"unit_key": "serial number and part number as reports write them, joined by a vertical bar"}
_TIME_STAMP = (Column("time_stamp", pa.int64(), doc="time_stamp of its newest report when it was read"),)

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
    doc="one row per unit",
    docs=_UNIT_KEY
    | {
        "has_record": "false if WATS knows the unit only as a sub unit in reports",
        "unit_phase_id": "1 = unknown, 2 = under production, 4 = production repair, 8 = RMA repair, "
        "16 = finalized, 32 = scrapped, 64 = extended test, 128 = customization, 256 = repaired, "
        "512 = missing, 1024 = in store, 2048 = shipped, 4098 = production queue, "
        "4100 = queue production repair, 4104 = queue RMA",
        "process_code": "as text, because some servers send it as text",
        "product": "its productId joins product_details",
    },
    owner="unit_key",
    version="time_stamp",
    counted=True,
)
_TAGS = table(
    "unit_tags",
    "unit_key tag_index",
    text("=unit_key"),
    place("tag_index", "the unit's tags"),
    text("key value"),
    whole("change"),
    doc="one row per tag of a unit",
    owner="unit_key",
)
_SUB_UNITS = table(
    "unit_sub_units",
    "unit_key sub_unit_index",
    text("=unit_key"),
    place("sub_unit_index", "the unit's sub units"),
    text("serialNumber partNumber revision parentSerialNumber batchNumber"),
    moment("serialDate"),
    text("currentLocation xmlData"),
    whole("unitPhaseId"),
    text("unitPhase processCode"),
    tree("tags product productRevision subUnits"),
    doc="one row per unit that is built into another unit",
    docs={"sub_units": "the units that are built into this one"},
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
    doc="one row per unit",
    docs=_UNIT_KEY,
    version="time_stamp",
    counted=True,
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
    doc="one row per process that a unit has to pass",
    docs={
        "start_utc": "start of the last run; null if there was none",
        "total_count": "number of runs",
        "non_passed_count": "number of runs that did not pass",
        "repair_count": "number of repairs",
    },
    owner="unit_key",
)


def _mentioned(header: Any) -> Iterator[str]:
    """Return the units that a report mentions: the unit under test and its sub units."""
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
    """Reads units. A sub unit without a record in WATS gets a row all the same."""

    def fetch(self, source: Source, window: Window, key: Wanted) -> Any:
        """Fetch one unit; return it or its failure."""
        outcome = super().fetch(source, window, key)
        if isinstance(outcome, Failure) and outcome.error_code == "NOT_FOUND" and _is_sub_unit(key):
            serial, part = _split(key.key)
            record = fit({"serialNumber": serial, "partNumber": part}, _UNIT.record_type)
            return PlacedDocument([record], [(key.key, key.version, False)], b"{}")
        return outcome


def _is_sub_unit(key: Wanted) -> bool:
    """Whether a report lists the unit as a sub unit, and its key can be part of a path."""
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
_UNIT = FlatShredder(
    _UNITS,
    [Child(_TAGS, ("tags",)), Child(_SUB_UNITS, ("subUnits",))],
    shape=one_object("serialNumber partNumber"),
)
_VERIFICATION = FlatShredder(
    _VERIFICATIONS,
    [Child(_RESULTS, ("results",))],
    shape=one_object("grade|results|allProcessesPassedAnyRun|allProcessesPassedLastRun"),
)

UNITS = Resource(
    name="units",
    summary="the units that reports mention, with phase, location and sub units",
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
    unproven="the columns: the specification lists those for writing a unit, not those for reading it",
)

UNIT_VERIFICATIONS = Resource(
    name="unit_verifications",
    summary="which of its processes each unit has passed",
    route="Production/UnitVerification",
    reader=ByKeyReader(
        listing=UNIT_LIST,
        asked=dict(_ASKED),
        route="Production/UnitVerification",
        query=lambda key, options: dict(zip(("serialNumber", "partNumber"), _split(key), strict=True)),
        shredder=PlacedDocuments(
            _LISTED,
            _VERIFICATION,
            placed=lambda key, version, place: (key, *_split(key), version),
        ),
    ),
    tables=(_VERIFICATIONS, _RESULTS),
    key="unit_key",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size"}),
)
