"""Shreds documents of flat records, which are fetched by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from wats_extract.errors import RecordError, Unreadable
from wats_extract.flow import USUAL_CAPS, Row
from wats_extract.shred.flat import FlatShredder, substitute_key
from wats_extract.shred.records import BYTE_ORDER_MARK, fit, loads
from wats_extract.shred.shape import described
from wats_extract.tables import Table


@dataclass(frozen=True, slots=True)
class FlatDocument:
    """A record that was fetched by its key and not shredded yet."""

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
        """Return the keys and versions on a page of the listing."""
        return self.listed.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> FlatDocument:  # noqa: ARG002
        """Decode a document.

        Raises:
            Unreadable: The bytes are not the JSON object with this key.
            RecordError: The record does not fit.
        """
        body = body.removeprefix(BYTE_ORDER_MARK).strip()
        found = self.fetched.rows(b"[" + body + b"]") if body.startswith(b"{") else []
        if len(found) != 1:
            raise Unreadable(f"expected an object, found {described(body)}")
        row = found[0]
        if row.problem and row.key == substitute_key(body):
            raise Unreadable(f"requested {key[:60]}, received {described(body)}: {row.problem}")
        if row.key.lower() != key.lower():
            raise Unreadable(f"requested {key[:60]}, received {row.key[:60]}")
        if row.problem:
            raise RecordError(row.problem)
        return FlatDocument(row.record, body)

    def shred(
        self,
        documents: Sequence[FlatDocument],
        options: Mapping[str, Any],  # noqa: ARG002 - flat records have no options
    ) -> dict[Table, pa.RecordBatch]:
        """Return the rows of a few documents by table."""
        return self.fetched.shred([document.record for document in documents])

    def value(self, document: FlatDocument) -> dict[str, Any]:
        """Return the document as decoded JSON."""
        value: dict[str, Any] = loads(document.raw)
        return value


@dataclass(frozen=True, slots=True)
class PlacedDocument:
    """The records that were fetched by one key, and the values of their columns without a source.

    Attributes:
        records: The records.
        placed: The values of the columns without a source, per record.
        raw: The bytes of the document.
        saturated: Why the server may have more records, or an empty string.
    """

    records: list[Any]
    placed: list[tuple[Any, ...]]
    raw: bytes
    saturated: str = ""


@dataclass(frozen=True)
class PlacedDocuments:
    """Shreds documents whose records do not contain all key columns: one record, or a list of them.

    Attributes:
        listed: Reads the keys from a page of the listing.
        fetched: Reads the records of a document. If they contain a key, it must be the requested one.
        placed: Returns the values of the columns without a source for a key, a version and the index of a
            record in the document.
    """

    listed: FlatShredder
    fetched: FlatShredder
    placed: Callable[[str, int | None, int], tuple[Any, ...]]

    def rows(self, body: bytes) -> list[Row]:
        """Return the keys and versions on a page of the listing."""
        return self.listed.rows(body)

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """Decode a document.

        Raises:
            Unreadable: The bytes are cut off, have another shape, or are a record with another key.
            RecordError: A record does not fit.
        """
        records = self.records(body)
        for record in records if self.fetched.keyed else ():
            if (found := self.fetched.key(record)).lower() != key.lower():
                raise Unreadable(f"requested {key[:60]}, received {found[:60] or 'a record without a key'}")
        return PlacedDocument(records, [self.placed(key, version, at) for at in range(len(records))], body)

    def records(self, body: bytes) -> list[Any]:
        """Return the records of a document."""
        return self.fetched.records(body)

    def shred(
        self,
        documents: Sequence[PlacedDocument],
        options: Mapping[str, Any],  # noqa: ARG002 - flat records have no options
    ) -> dict[Table, pa.RecordBatch]:
        """Return the rows of a few documents by table."""
        return self.fetched.shred(
            [record for document in documents for record in document.records],
            [values for document in documents for values in document.placed],
        )

    def value(self, document: PlacedDocument) -> dict[str, Any]:
        """Return the document as decoded JSON; a list is wrapped as ``{"value": …}``, as in OData."""
        value = loads(document.raw)
        return value if isinstance(value, dict) else {"value": value}


@dataclass(frozen=True)
class Answers(PlacedDocuments):
    """Shreds the responses of statistics routes and notices when the server may have cut them off.

    Attributes:
        cap: The largest number of rows that is requested; ``None`` if nothing limits the response.
    """

    cap: int | None = None

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """Decode a response.

        Raises:
            Unreadable: The bytes are cut off, or of another format.
            RecordError: A record does not fit.
        """
        answer = super().document(key, version, body)
        return replace(answer, saturated=self.saturated(answer.records))

    def saturated(self, records: Sequence[Any]) -> str:
        """Return why the server may have more rows, or an empty string."""
        count = len(records)
        if count == self.cap or count in USUAL_CAPS:
            return f"the server returned exactly {count:,} rows, which may be its limit: it may have more"
        return ""


class SerialNumberFiles(PlacedDocuments):
    """Shreds ``<SerialNumbers><SN id="…"/></SerialNumbers>``; no route returns serial numbers as JSON."""

    def records(self, body: bytes) -> list[Any]:
        """Return the serial numbers of a file; other attributes of an ``SN`` go to ``_extra``.

        Raises:
            Unreadable: The file is cut off, or of another format.
        """
        from xml.etree.ElementTree import ParseError, fromstring  # no other resource needs it

        try:
            root = fromstring(body)  # noqa: S314 - expat limits the expansion of entities
        except (ParseError, ValueError, LookupError) as error:
            raise Unreadable(f"it is not XML: {error}") from error
        if root.tag.rpartition("}")[2] != "SerialNumbers":
            raise Unreadable(f"expected SerialNumbers, found {root.tag[:60]!r}")
        return [fit(dict(each.attrib), self.fetched.record_type) for each in root]

    def value(self, document: PlacedDocument) -> dict[str, Any]:
        """Return the serial numbers as ``{"value": […]}``."""
        return {"value": [record.id for record in document.records]}


class Histories(PlacedDocuments):
    """Shreds responses about one serial number, without rows of other serial numbers.

    The server takes ``_`` and ``%`` in a serial number as wildcards.
    """

    def document(self, key: str, version: int | None, body: bytes) -> PlacedDocument:
        """Decode the history of exactly this serial number.

        Raises:
            Unreadable: The bytes are cut off, or of another format.
            RecordError: A record does not fit.
        """
        found = [each for each in self.records(body) if (each.serialNumber or key).lower() == key.lower()]
        return PlacedDocument(found, [self.placed(key, version, at) for at in range(len(found))], body)
