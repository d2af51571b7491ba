"""The history of serial numbers, as WATS shows it.

Source: ``POST /api/App/SerialNumberHistory`` (api-facts §2.2). The specification does not list the columns;
they are those that clients of WATS read. No route lists serial numbers, so they are taken from report
headers, and a history is read again when a new report about its serial number arrives. This route fails on
some servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from wats_extract.filters import odata
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.mentioned import Mentioned
from wats_extract.resources.fields import moment, number, place, table, text, uuid, whole
from wats_extract.resources.reports import REPORT_LIST
from wats_extract.resources.resource import Resource
from wats_extract.resources.statistics import SILENT
from wats_extract.shred.documents import Histories
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.header_tables import HEADERS
from wats_extract.tables import Column

_HISTORY = table(
    "serial_number_history",
    "serial_number history_index",
    text("=serial_number"),
    place("history_index", "the reports of the serial number, newest first"),
    (Column("time_stamp", pa.int64(), doc="time_stamp of its newest report when it was read"),),
    uuid("uuid"),
    text("serialNumber=written_as partNumber revision batchNumber stationName location purpose"),
    whole("processCode"),
    text("processName|testOperation=process_name"),
    (Column("result", pa.string(), "result status", "", "result"),),
    moment("startUtc|start=start"),
    text("operator|userName=user_name comment"),
    number("executionTime"),
    (Column("report_type", pa.string(), "reportType", "", "report_type"),),
    whole("run"),
    doc="one row per report about a serial number",
    docs={
        "uuid": "joins report_headers.uuid",
        "written_as": "the serial number as this report spells it; upper and lower case may differ",
        "execution_time": "in seconds",
    },
    owner="serial_number",
    version="time_stamp",
)


def _mentioned(header: Any) -> Iterator[str]:
    if header.serialNumber:
        yield header.serialNumber


def _about(keys: Iterable[str]) -> str:
    return f"serialNumber in ({','.join(map(odata.quoted, dict.fromkeys(keys)))})"


SERIAL_NUMBER_HISTORY = Resource(
    name="serial_number_history",
    summary="tests and repairs by serial number; report_headers has the same data for fewer requests",
    route="App/SerialNumberHistory",
    method="POST",
    reader=ByKeyReader(
        listing=Mentioned(REPORT_LIST, keys=_mentioned, proper_key=lambda key: key, condition=_about),
        asked={"$select": "uuid,timeStamp,start,serialNumber"},
        route="App/SerialNumberHistory",
        query=lambda key, options: {},
        shredder=Histories(
            FlatShredder(HEADERS),
            FlatShredder(_HISTORY),
            placed=lambda key, version, place: (key, place, version),
        ),
        body=lambda key, selection: {"serialNumber": key},
    ),
    tables=(_HISTORY,),
    key="serial_number",
    cursor="timeStamp",
    filters={column.name: column for column in HEADERS.columns},
    options=frozenset({"chunk_size"}),
    unproven=SILENT,
)
