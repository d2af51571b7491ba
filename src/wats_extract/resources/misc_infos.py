"""Reports by misc info: a look-up by information that operators or test programs recorded.

Source: ``GET /api/Report/Query/HeaderByMiscInfo`` (api-facts §2.1). ``report_headers`` with
``expand: [miscInfo]`` extracts all misc infos of all reports.
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.questions import Questions
from wats_extract.resources.fields import moment, text, tree, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.resources.statistics import answers, statistic_table
from wats_extract.shred.flat import FlatShredder

_PARTS = ("description", "data")
_FOUND = statistic_table(
    "headers_by_misc_info",
    uuid("uuid"),
    text("serialNumber partNumber"),
    moment("start"),
    text("result"),
    whole("processCode"),
    text("processName"),
    tree("miscData"),
    doc="one row per report with this misc info",
    docs={
        "question": "the requested description and data, joined by a vertical bar",
        "uuid": "joins report_headers.uuid",
        "misc_data": "all misc infos of the report: [{description, data}, …]",
    },
)

HEADERS_BY_MISC_INFO = Resource(
    name="headers_by_misc_info",
    summary="reports with a given misc info; report_headers with expand: [miscInfo] has all misc infos",
    route="Report/Query/HeaderByMiscInfo",
    reader=ByKeyReader(
        listing=Questions("Report/Query/HeaderByMiscInfo", _PARTS),
        asked={},
        route="Report/Query/HeaderByMiscInfo",
        query=lambda key, options: dict(zip(_PARTS, key.split("|", 1), strict=True)),
        shredder=answers(FlatShredder(_FOUND), cap=None),
    ),
    tables=(_FOUND,),
    key="question",
    filters={column.name: column for column in text("description data")},
    filtered_by="fields",
    required=_PARTS,
    unproven="how many reports the server returns at most",
)
