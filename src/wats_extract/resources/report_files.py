"""Reports as XML documents, and the files that are attached to reports.

Sources: ``GET /api/Report/Wsxf/{id}``, ``GET /api/Report/Attachment`` (api-facts §2.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from wats_extract.errors import RecordError, RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Row, Window
from wats_extract.readers.by_key import ByKeyReader, Wanted
from wats_extract.readers.reader import Page, Query, Source
from wats_extract.resources.reports import REPORT_LIST
from wats_extract.resources.resource import Resource
from wats_extract.shred import report_files
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.header_tables import HEADER_ATTACHMENTS, HEADERS
from wats_extract.shred.report_files import AttachedFile, AttachedFiles, XmlDocument
from wats_extract.tables import Table

_FILTERS = {column.name: column for column in HEADERS.columns}
_LISTED = FlatShredder(HEADERS, [Child(HEADER_ATTACHMENTS, ("attachments", "uurAttachments"))])


class WsxfShredder:
    """Keeps documents in WSXF unchanged."""

    def rows(self, body: bytes) -> list[Row]:
        """Return the keys and versions on a page of headers."""
        return _LISTED.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> XmlDocument:
        """Check a document."""
        return report_files.xml_document(key, version, body)

    def shred(
        self,
        documents: Sequence[XmlDocument],
        options: Mapping[str, Any],  # noqa: ARG002 - documents are kept unchanged
    ) -> dict[Table, pa.RecordBatch]:
        """Return one row per document."""
        return report_files.shred_xml(documents)

    def value(self, document: XmlDocument) -> dict[str, Any]:
        """Return the document as text, under ``xml``."""
        return {"uuid": document.uuid, "xml": document.raw.decode("utf-8", errors="replace")}


class AttachmentShredder:
    """Shreds the files that are attached to reports."""

    def rows(self, body: bytes) -> list[Row]:
        """Return the reports on a page of headers, each with the list of its files."""
        return _LISTED.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> AttachedFiles:
        """Not used: the files of one report come in several responses."""
        raise NotImplementedError

    def shred(
        self, documents: Sequence[AttachedFiles], options: Mapping[str, Any]
    ) -> dict[Table, pa.RecordBatch]:
        """Return one row per file, with its content if the option ``attachments`` is ``content``."""
        return report_files.shred_files(documents, keep=options.get("attachments") == "content")

    def value(self, document: AttachedFiles) -> dict[str, Any]:
        """Return the files, with their content as bytes."""
        return {
            "reportId": document.uuid,
            "attachments": [
                {
                    "stepId": file.step_id,
                    "attachmentId": file.attachment_id,
                    "filename": file.filename,
                    "contentType": file.content_type,
                    "content": file.content,
                }
                for file in document.files
            ],
        }


class AttachmentReader(ByKeyReader):
    """Reads the files that the header of a report lists, one after the other.

    A report without files is skipped, unless files of it are loaded already.
    """

    def fresh(self, source: Source, window: Window, page: Page) -> list[tuple[Row, int]]:
        """Return the rows of a page, with their index, that have files or had some."""
        rows = super().fresh(source, window, page)
        empty = [row.key for row, _ in rows if row.record is not None and not _listed_files(row.record)]
        skipped = set(empty).difference(source.known.landed(empty, None) if empty else ())
        return [(row, place) for row, place in rows if row.key not in skipped]

    def fetch(self, source: Source, window: Window, key: Wanted) -> Any:
        """Fetch all files of one report; return them together, or the failure of the report."""
        if key.problem is not None:
            return key.problem
        try:
            header = key.record or self._header(source, window, key)
            if header is None:
                return source.not_found(key.key)
            files = [self._file(source, key, each) for each in _listed_files(header)]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            return source.fetch_failure(key.key, error)
        except RecordError as error:
            return source.record_failure(key.key, error.message, raw=b"")
        return AttachedFiles(key.key, header.timeStamp, files)

    def _header(self, source: Source, window: Window, key: Wanted) -> Any:
        found = self.listing.look_up(source, window, [key.key], self.shredder.rows, self.asked)
        return found[key.key].record if key.key in found else None

    def _file(self, source: Source, key: Wanted, listed: Any) -> AttachedFile:
        about: Query = {"reportId": key.key}
        if listed.id is not None:
            about["attachmentId"] = listed.id
        elif listed.stepId is not None:
            about["stepId"] = listed.stepId
        else:
            raise RecordError(f"its file {listed.filename!r} has neither stepId nor id")
        reply = source.client.get(
            self.route,
            query=about,
            decode=lambda reply: report_files.check_file(listed.filename, reply),
            accept=self.accept,
        )
        identity = None if listed.id is None else listed.id.lower()
        return AttachedFile(listed.stepId, identity, listed.filename, reply.content_type, reply.body)


def _listed_files(header: Any) -> list[Any]:
    return [*(header.attachments or ()), *(header.uurAttachments or ())]


WSXF_REPORTS = Resource(
    name="wsxf_reports",
    summary="full reports as XML documents (WSXF), unchanged",
    route="Report/Wsxf/{key}",
    reader=ByKeyReader(
        listing=REPORT_LIST,
        asked={"$select": "uuid,timeStamp,start"},
        route="Report/Wsxf/{key}",
        query=lambda key, options: {
            "detailLevel": 7,
            "includeChartdata": bool(options.get("charts", True)),
            "includeAttachments": options.get("attachments", "none") == "content",
            "includeIndexes": True,
        },
        shredder=WsxfShredder(),
        accept="application/xml, text/xml",
    ),
    tables=(report_files.WSXF_REPORTS,),
    key="uuid",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size", "attachments", "charts"}),
)

REPORT_ATTACHMENTS = Resource(
    name="report_attachments",
    summary="files attached to reports: name, type, size and hash; with attachments: content, the bytes too",
    route="Report/Attachment",
    reader=AttachmentReader(
        listing=REPORT_LIST,
        asked={"$select": "uuid,timeStamp,start", "$expand": "attachments,uurAttachments"},
        route="Report/Attachment",
        query=lambda key, options: {},
        shredder=AttachmentShredder(),
        accept="*/*",
    ),
    tables=(report_files.REPORT_ATTACHMENTS,),
    key="report_uuid",
    cursor="timeStamp",
    filters=_FILTERS,
    options=frozenset({"chunk_size", "attachments"}),
)
