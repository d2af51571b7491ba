"""Documents that are single flat records: fetched by key, shredded like the records of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wats_extract.errors import RecordError
from wats_extract.flow import Row, Table
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.records import loads


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
        found = self.fetched.rows(b"[" + body + b"]")
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
