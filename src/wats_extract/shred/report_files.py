"""Shreds reports as XML documents, and the files that are attached to reports.

Sources: ``GET /api/Report/Wsxf/{id}``, ``GET /api/Report/Attachment`` (api-facts §2.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

import msgspec
import pyarrow as pa

from wats_extract.errors import Unreadable
from wats_extract.flow import Reply
from wats_extract.shred.columns import Layout
from wats_extract.shred.records import BYTE_ORDER_MARK, Record
from wats_extract.shred.shape import described
from wats_extract.tables import Column, Table

_TEXT, _INT, _LONG = pa.string(), pa.int32(), pa.int64()

WSXF_REPORTS = Table(
    "wsxf_reports",
    key=("uuid",),
    owner="uuid",
    version="time_stamp",
    doc="one row per report: its XML document (WSXF), compressed",
    columns=(
        Column("uuid", _TEXT, doc="joins report_headers.uuid"),
        Column("time_stamp", _LONG, doc="position in the server's processing order; not a time"),
        Column("encoding", _TEXT, doc="compression of document: zstd"),
        Column("size_bytes", _LONG, doc="size of the document before compression, in bytes"),
        Column("document", pa.binary(), doc="the XML document, compressed"),
    ),
)
REPORT_ATTACHMENTS = Table(
    "report_attachments",
    key=("report_uuid", "attachment_index"),
    owner="report_uuid",
    version="time_stamp",
    doc="one row per file attached to a report",
    columns=(
        Column("report_uuid", _TEXT, doc="joins report_headers.uuid"),
        Column("attachment_index", _INT, doc="index in the header's list, from 0"),
        Column("time_stamp", _LONG, doc="time_stamp of the report"),
        Column("step_id", _INT, doc="UUT reports: joins steps.step_id"),
        Column("attachment_id", _TEXT, doc="UUR reports: id of the file"),
        Column("filename", _TEXT),
        Column("content_type", _TEXT, doc="media type, as the server states it"),
        Column("size_bytes", _LONG, doc="size of the content, in bytes"),
        Column("sha256", _TEXT, doc="SHA-256 of the content, hexadecimal"),
        Column("content", pa.binary(), doc="only with `attachments: content`"),
    ),
)
_LAYOUTS = {table: Layout(table, Record) for table in (WSXF_REPORTS, REPORT_ATTACHMENTS)}


@dataclass(frozen=True, slots=True)
class XmlDocument:
    """A report as an XML document."""

    uuid: str
    time_stamp: int | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a report: of a step in UUT reports, with an id of its own in UUR reports."""

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
    def size(self) -> int:
        """The bytes of all files."""
        return sum(len(file.content) for file in self.files)

    @property
    def raw(self) -> bytes:
        """The text that a failure shows of it."""
        return repr([(file.step_id, file.attachment_id, file.filename) for file in self.files]).encode()


def xml_document(uuid: str, time_stamp: int | None, body: bytes) -> XmlDocument:
    """Check that the bytes are the XML document of a report, and keep them unchanged.

    Raises:
        Unreadable: The bytes are cut off, are not XML, or are not this report.
    """
    found: list[str] = []
    parser = expat.ParserCreate()

    def begin(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "Report":
            found.append(next((text for key, text in attributes.items() if key.lower() == "id"), ""))
            parser.StartElementHandler = None

    parser.StartElementHandler = begin
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Unreadable(f"it is not XML: {error}") from error
    if not found:
        raise Unreadable("it is XML without a report")
    if found[0].strip("{}").lower() != uuid.lower():
        raise Unreadable(f"requested report {uuid}, received {found[0][:60] or 'a report without an ID'}")
    return XmlDocument(uuid, time_stamp, body)


def check_file(filename: str | None, reply: Reply) -> Reply:
    """Return the response with a file, unless it seems to be something else.

    WATS names the file in the header ``Content-Disposition``, which error objects and login pages lack.
    Without this header, an empty response is refused, and so are HTML and JSON for other types of files.

    Raises:
        Unreadable: It is no file.
    """
    if "content-disposition" in reply.headers:
        return reply
    beginning = reply.body.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
    kind = _KINDS.get(beginning, "") if beginning else "nothing"
    if beginning == b'"' and _is_json(reply.body):  # a table of quoted texts is not
        kind = "json"
    extension = (filename or "").lower().rpartition(".")[2]
    if beginning and not kind and reply.body.strip() != b"null":
        return reply
    if extension in _EXTENSIONS.get(kind, ()):
        return reply
    raise Unreadable(f"expected the file {filename!r}, found {described(reply.body)}")


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


_KINDS = {b"{": "json", b"[": "json", b"<": "html"}
_EXTENSIONS = {"json": ("json",), "html": ("htm", "html", "xhtml", "xml", "svg")}


def shred_xml(documents: Sequence[XmlDocument]) -> dict[Table, pa.RecordBatch]:
    """Return one row per document."""
    rows = [
        (each.uuid, each.time_stamp, "zstd", len(each.raw), pa.compress(each.raw, codec="zstd", asbytes=True))
        for each in documents
    ]
    return _shredded(WSXF_REPORTS, rows)


def shred_files(documents: Sequence[AttachedFiles], *, keep: bool) -> dict[Table, pa.RecordBatch]:
    """Return one row per file, with its content if ``keep`` is true."""
    rows = [
        (
            *(each.uuid, index, each.time_stamp),
            *(file.step_id, file.attachment_id, file.filename, file.content_type or None),
            *(len(file.content), hashlib.sha256(file.content).hexdigest()),
            file.content if keep else None,
        )
        for each in documents
        for index, file in enumerate(each.files)
    ]
    return _shredded(REPORT_ATTACHMENTS, rows)


def _shredded(table: Table, rows: Sequence[tuple[Any, ...]]) -> dict[Table, pa.RecordBatch]:
    builder = _LAYOUTS[table].builder()
    for row in rows:
        builder.add(_NOTHING, *row)
    return {table: builder.batch()} if rows else {}


_NOTHING = Record()
