"""What happened to units, as WATS's own history of serial numbers has it.

Source: ``POST /api/App/SerialNumberHistory`` (api-facts §2.2; the specification is silent on the columns,
which are those that clients of WATS read). No route lists serial numbers: those of reports are read, each
again when a report about it arrives. Some servers fail at this route.
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
    place("history_index", "the reports of the serial number, the newest first"),
    (Column("time_stamp", pa.int64(), doc="of the newest report about it when it was read"),),
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
    doc="one row a report about a serial number",
    docs={
        "uuid": "joins report_headers.uuid",
        "written_as": "the serial number in this report; its letters may differ in case",
        "execution_time": "seconds",
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
    summary="tests and repairs of each serial number; report_headers has the same and costs less",
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
