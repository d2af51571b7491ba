"""Reports as files: the XML document as it is, and the files that hang on a report.

Sources: ``GET /api/Report/Wsxf/{id}``, ``GET /api/Report/Attachment`` (api-facts §2.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.shred.columns import Layout
from wats_extract.shred.records import Record
from wats_extract.tables import Column, Table

_TEXT, _INT, _LONG = pa.string(), pa.int32(), pa.int64()

WSXF_REPORTS = Table(
    "wsxf_reports",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    doc="one row a report as XML (WSXF), compressed",
    columns=(
        Column("uuid", _TEXT, doc="joins report_headers.uuid"),
        Column("time_stamp", _LONG, doc="the server's processing order; not a time"),
        Column("encoding", _TEXT, doc="zstd"),
        Column("size_bytes", _LONG, doc="of the document, before compression"),
        Column("document", pa.binary()),
    ),
)
REPORT_ATTACHMENTS = Table(
    "report_attachments",
    key=("report_uuid", "attachment_index"),
    owner="report_uuid",
    version="time_stamp",
    doc="one row a file that hangs on a report",
    columns=(
        Column("report_uuid", _TEXT, doc="joins report_headers.uuid"),
        Column("attachment_index", _INT, doc="the place in the header's list, from 0"),
        Column("time_stamp", _LONG, doc="of the report"),
        Column("step_id", _INT, doc="tests: joins steps.step_id"),
        Column("attachment_id", _TEXT, doc="repairs"),
        Column("filename", _TEXT),
        Column("content_type", _TEXT, doc="as the server tells it"),
        Column("size_bytes", _LONG),
        Column("sha256", _TEXT, doc="of the content, hexadecimal"),
        Column("content", pa.binary(), doc="with attachments: content"),
    ),
)
_LAYOUTS = {table: Layout(table, Record) for table in (WSXF_REPORTS, REPORT_ATTACHMENTS)}


@dataclass(frozen=True, slots=True)
class XmlDocument:
    """A report as XML."""

    uuid: str
    time_stamp: int | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a report; of a test's step, or of a repair by its own id."""

    step_id: int | None
    attachment_id: str | None
    filename: str | None
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class AttachedFiles:
    """All files of a report, in the order of its header."""

    uuid: str
    time_stamp: int | None
    files: Sequence[AttachedFile]

    @property
    def raw(self) -> bytes:
        """What is shown of it where it does not fit."""
        return repr([(file.step_id, file.attachment_id, file.filename) for file in self.files]).encode()


def xml_document(uuid: str, time_stamp: int | None, body: bytes) -> XmlDocument:
    """A report's XML from its bytes, which are kept as they are.

    Raises:
        Unreadable: the bytes are cut off, or not XML.
        RecordError: they are another report.
    """
    told: list[str] = []
    parser = expat.ParserCreate()

    def begin(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "Report":
            told.append(attributes.get("ID", ""))
            parser.StartElementHandler = None

    parser.StartElementHandler = begin
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Unreadable(f"it is not XML: {error}") from error
    if not told:
        raise Unreadable("it is XML without a report")
    if told[0] and told[0].strip("{}").lower() != uuid.lower():
        raise RecordError(f"asked for report {uuid}, got {told[0][:60]}")
    return XmlDocument(uuid, time_stamp, body)


def shred_xml(documents: Sequence[XmlDocument]) -> dict[Table, pa.RecordBatch]:
    """A row a document."""
    rows = [
        (each.uuid, each.time_stamp, "zstd", len(each.raw), pa.compress(each.raw, codec="zstd", asbytes=True))
        for each in documents
    ]
    return _shredded(WSXF_REPORTS, rows)


def shred_files(documents: Sequence[AttachedFiles], *, keep: bool) -> dict[Table, pa.RecordBatch]:
    """A row a file; with its content where that is to be kept."""
    rows = [
        (
            *(each.uuid, place, each.time_stamp),
            *(file.step_id, file.attachment_id, file.filename, file.content_type or None),
            *(len(file.content), hashlib.sha256(file.content).hexdigest()),
            file.content if keep else None,
        )
        for each in documents
        for place, file in enumerate(each.files)
    ]
    return _shredded(REPORT_ATTACHMENTS, rows)


def _shredded(table: Table, rows: Sequence[tuple[Any, ...]]) -> dict[Table, pa.RecordBatch]:
    sheet = _LAYOUTS[table].sheet()
    for row in rows:
        sheet.add(_NOTHING, *row)
    return {table: sheet.batch()} if rows else {}


_NOTHING = Record()
