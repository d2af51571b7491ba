"""Reports: headers and full documents.

Sources: ``GET /api/Report/Query/Header``, ``GET /api/Report/Wsjf/{id}`` (api-facts §2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.keyset import Keyset
from wats_extract.readers.numbered import ReportList
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reader import Query
from wats_extract.resources.resource import Resource
from wats_extract.shred import header_tables
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.wsjf import tables
from wats_extract.shred.wsjf.shredding import WsjfShredder

REPORT_LIST = ReportList(Keyset(route="Report/Query/Header", field="timeStamp", key="uuid"))

_FILTERS = {column.name: column for column in header_tables.HEADERS.columns}


def _document_query(key: str, options: Mapping[str, Any]) -> Query:  # noqa: ARG001 - the same for all
    return {
        "detailLevel": 7,
        "includeChartdata": bool(options.get("charts", True)),
        "includeAttachments": options.get("attachments", "none") != "none",
    }


REPORT_HEADERS = Resource(
    name="report_headers",
    summary="the list of reports, one row per report, with the expanded lists of each",
    route=REPORT_LIST.route,
    reader=PagedReader(
        REPORT_LIST,
        FlatShredder(
            header_tables.HEADERS,
            [
                Child(header_tables.HEADER_SUB_UNITS, ("subUnits", "uurSubUnits")),
                Child(header_tables.HEADER_MISC_INFOS, ("miscInfo", "uurMiscInfo")),
                Child(header_tables.HEADER_ASSETS, ("assets",)),
                Child(header_tables.HEADER_ATTACHMENTS, ("attachments", "uurAttachments")),
            ],
        ),
    ),
    tables=header_tables.TABLES,
    key="uuid",
    cursor="timeStamp",
    filters=_FILTERS,
    expand=(
        "subUnits",
        "miscInfo",
        "assets",
        "attachments",
        "uurSubUnits",
        "uurMiscInfo",
        "uurAttachments",
    ),
    options=frozenset({"expand"}),
    unproven="that a report gets a new timeStamp when it is sent again",
)

REPORTS = Resource(
    name="reports",
    summary="full reports (WSJF), shredded into steps, measurements and other tables",
    route="Report/Wsjf/{key}",
    reader=ByKeyReader(
        listing=REPORT_LIST,
        asked={"$select": "uuid,timeStamp,start"},
        route="Report/Wsjf/{key}",
        query=_document_query,
        shredder=WsjfShredder(),
    ),
    tables=tables.TABLES,
    key="uuid",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size", "attachments", "charts", "keep_raw"}),
    unproven="that a report gets a new timeStamp when it is sent again",
)
