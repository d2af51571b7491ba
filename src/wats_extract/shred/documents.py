"""Documents of flat records: fetched by key, shredded like the records of a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import USUAL_CAPS, Row
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.records import BYTE_ORDER_MARK, fit, loads
from wats_extract.tables import Table


@dataclass(frozen=True, slots=True)
class FlatDocument:
    """A record that was fetched by its key, not yet shredded."""

    record: Any
    raw: bytes


@dataclass(frozen=True)
class FlatDocuments:
    """Shreds documents that are one record each.

    Attributes:
        listed: Reads the keys from a page of the listing.
        fetched: Reads a document.
    """

    listed: FlatShredder
    fetched: FlatShredder

    def rows(self, body: bytes) -> list[Row]:
        """The keys and versions on a page of the listing."""
        return self.listed.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> FlatDocument:  # noqa: ARG002
        """A document from its bytes.

        Raises:
            Unreadable: the bytes are not JSON.
            RecordError: they do not fit, or are another document.
        """
        body = body.removeprefix(BYTE_ORDER_MARK).strip()
        found = self.fetched.rows(b"[" + body + b"]") if body.startswith(b"{") else []
        if len(found) != 1:
            raise Unreadable(f"expected an object, found {body[:60]!r}")
        row = found[0]
        if row.problem:
            raise RecordError(row.problem)
        if row.key.lower() != key.lower():
            raise RecordError(f"asked for {key[:60]}, got {row.key[:60]}")
        return FlatDocument(row.record, body)

    def shred(
        self,
        documents: Sequence[FlatDocument],
        options: Mapping[str, Any],  # noqa: ARG002 - records have no detail to choose
    ) -> dict[Table, pa.RecordBatch]:
        """The rows of a few documents, by table."""
        return self.fetched.shred([document.record for document in documents])

    def value(self, document: FlatDocument) -> dict[str, Any]:
        """The document as decoded JSON."""
        value: dict[str, Any] = loads(document.raw)
        return value


@dataclass(frozen=True, slots=True)
class PlacedDocument:
    """Records that were fetched by a key, with the values of the columns that they do not say.

    ``saturated`` says why there may be more of them than the server gives, or is empty.
    """

    records: list[Any]
    placed: list[tuple[Any, ...]]
    raw: bytes
    saturated: str = ""


@dataclass(frozen=True)
class PlacedDocuments:
    """Shreds documents that do not say their key, or all that belongs to it: a record, or a list of them.

    Attributes:
        listed: Reads the keys from a page of the listing.
        fetched: Reads a document's records. Where they say a key, it has to be the one asked for.
        placed: From key, version and place in the document the values of the columns without a source.
    """

    listed: FlatShredder
    fetched: FlatShredder
    placed: Callable[[str, int | None, int], tuple[Any, ...]]

    def rows(self, body: bytes) -> list[Row]:
        """The keys and versions on a page of the listing."""
        return self.listed.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """A document from its bytes.

        Raises:
            Unreadable: the bytes are cut off, or not the format.
            RecordError: they do not fit, or are another document.
        """
        records = self.records(body)
        for record in records if self.fetched.keyed else ():
            if (said := self.fetched.key(record)).lower() != key.lower():
                raise RecordError(f"asked for {key[:60]}, got {said[:60] or 'a record without its key'}")
        return PlacedDocument(records, [self.placed(key, version, at) for at in range(len(records))], body)

    def records(self, body: bytes) -> list[Any]:
        """The records of a document; it may be one alone."""
        return self.fetched.records(body)

    def shred(
        self,
        documents: Sequence[PlacedDocument],
        options: Mapping[str, Any],  # noqa: ARG002 - records have no detail to choose
    ) -> dict[Table, pa.RecordBatch]:
        """The rows of a few documents, by table."""
        return self.fetched.shred(
            [record for document in documents for record in document.records],
            [values for document in documents for values in document.placed],
        )

    def value(self, document: PlacedDocument) -> dict[str, Any]:
        """The document as decoded JSON; a list is in ``value``, as OData has it."""
        value = loads(document.raw)
        return value if isinstance(value, dict) else {"value": value}


@dataclass(frozen=True)
class Answers(PlacedDocuments):
    """Shreds answers to questions: as many rows as a server gives at most are told to be maybe too few.

    Attributes:
        cap: The most rows that are asked for, or ``None`` where nothing says how many may come.
    """

    cap: int | None = None

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """An answer from its bytes.

        Raises:
            Unreadable: the bytes are cut off, or not the format.
            RecordError: they do not fit.
        """
        answer = super().document(key, version, body)
        return replace(answer, saturated=self.saturated(answer.records))

    def saturated(self, records: Sequence[Any]) -> str:
        """Why there may be more than these, or nothing."""
        count = len(records)
        if count == self.cap or count in USUAL_CAPS:
            return f"exactly {count:,} rows came, as many as a server may give at most: there may be more"
        return ""


class SerialNumberFiles(PlacedDocuments):
    """Files of serial numbers: ``<SerialNumbers><SN id="…"/></SerialNumbers>``; no route gives JSON."""

    def records(self, body: bytes) -> list[Any]:
        """The numbers of a file; other attributes of an ``SN`` go to ``_extra``.

        Raises:
            Unreadable: it is cut off, or not such a file.
        """
        from xml.etree.ElementTree import ParseError, fromstring  # no other resource needs it

        try:
            root = fromstring(body)  # noqa: S314 - expat bounds what entities expand to
        except (ParseError, ValueError, LookupError) as error:
            raise Unreadable(f"it is not XML: {error}") from error
        if root.tag.rpartition("}")[2] != "SerialNumbers":
            raise Unreadable(f"expected SerialNumbers, found {root.tag[:60]!r}")
        return [fit(dict(each.attrib), self.fetched.record_type) for each in root]

    def value(self, document: PlacedDocument) -> dict[str, Any]:
        """The numbers of a type."""
        return {"value": [record.id for record in document.records]}


class Histories(PlacedDocuments):
    """Answers about a serial number; what a ``_`` or ``%`` in it has found beside it is left out."""

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """The history of just this serial number.

        Raises:
            Unreadable: the bytes are cut off, or not the format.
            RecordError: they do not fit.
        """
        found = [each for each in self.records(body) if (each.serialNumber or key).lower() == key.lower()]
        return PlacedDocument(found, [self.placed(key, version, at) for at in range(len(found))], body)
