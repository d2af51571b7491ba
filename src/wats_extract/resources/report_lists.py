"""Lists of reports, as the pages Test Reports and Repair Reports of WATS show them.

Sources: ``POST /api/App/UutReport``, ``POST /api/App/UurReport`` (api-facts §2.2). The specification does not
list the columns; they are those that clients of WATS read. ``report_headers`` has more columns and needs
fewer requests.
"""

from __future__ import annotations

import pyarrow as pa

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.time_window import TimeWindows
from wats_extract.resources.fields import moment, number, table, text, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.resources.statistics import SILENT, some
from wats_extract.shred.flat import FlatShredder
from wats_extract.tables import Column, Table


def _table(name: str, doc: str) -> Table:
    return table(
        name,
        "uuid",
        uuid("uuid"),
        text("serialNumber partNumber revision batchNumber stationName location purpose"),
        whole("processCode"),
        (Column("process_name", pa.string(), "processName testOperation"),),
        (Column("result", pa.string(), "result status", "", "result"),),
        moment("startUtc=start"),
        (Column("user_name", pa.string(), "operator userName"),),
        text("comment"),
        number("executionTime"),
        (Column("report_type", pa.string(), "reportType", "", "report_type"),),
        whole("run"),
        doc=doc,
        docs={
            "uuid": "joins report_headers.uuid",
            "execution_time": "in seconds",
            "run": "number of the test of this serial number in this operation, from 1",
        },
    )


def _resource(name: str, route: str, what: str) -> Resource:
    listed = _table(name, f"one row per {what}")
    return Resource(
        name=name,
        summary=f"{what}s as WATS lists them; report_headers has more columns and needs fewer requests",
        route=route,
        method="POST",
        reader=PagedReader(TimeWindows(route), FlatShredder(listed)),
        tables=(listed,),
        key="uuid",
        cursor="start",
        filters=some(
            "product_group level serial_number part_number revision batch_number station_name "
            "test_operation status misc_value"
        ),
        filtered_by="fields",
        options=frozenset({"since"}),
        unproven=SILENT,
    )


UUT_REPORTS = _resource("uut_reports", "App/UutReport", "test report")
UUR_REPORTS = _resource("uur_reports", "App/UurReport", "repair report")
