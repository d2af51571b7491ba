"""What a resource is: a declaration of route, reader, tables, key and cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wats_extract.flow import Chunk, Result
from wats_extract.readers.reading import Reading
from wats_extract.tables import Column, Table


class Reader(Protocol):
    """One way of paging, with a shredder: turns a selection into chunks."""

    @property
    def paging(self) -> str:
        """How, in a word or two."""

    @property
    def cap(self) -> int | None:
        """Rows that are asked for in one request; ``None`` where that is left to the server."""

    @property
    def waits_for_commits(self) -> bool:
        """Whether a chunk must be committed before the next one is read."""

    def read(self, reading: Reading) -> Iterator[Chunk]:
        """Read on from the cursor, in its order; what has landed in the same version is left out."""

    def read_keys(self, reading: Reading, keys: Iterable[str]) -> Iterator[Chunk]:
        """Read just these items, in the order of ``keys``; a key that fails is a failure in its chunk."""

    def read_each(self, reading: Reading, keys: Iterable[str]) -> Iterator[Result[dict[str, Any]]]:
        """Each item as decoded JSON, or as the failure that it is, in the order of ``keys``."""


@dataclass(frozen=True)
class Resource:
    """Something that can be extracted.

    Attributes:
        name: The name in YAML, command line and Python.
        summary: One line for the capability matrix.
        route: The route below ``/api`` that gives it.
        method: How the route is asked; ``POST`` routes take a question as JSON and change nothing.
        reader: How it is read.
        tables: The tables it fills; the first holds one row an item.
        key: The column of the first table that identifies an item.
        cursor: The field of WATS that says how far it has been read.
        filters: The columns that ``filter`` may name; each column's ``source`` is its name in the request.
        filtered_by: Whether ``filter`` becomes OData, or fields of the WATS filter.
        required: The names that ``filter`` has to have.
        expand: The names that ``expand`` may list.
        options: The other keys that the resource takes in the pipeline file.
        dimensions: The names that ``dimensions`` may list → WATS's.
        internal: Whether the vendor does not support the route; it is asked only where ``internal`` says so.
        unproven: What neither the specification nor a capture of real traffic proves, and is assumed.
    """

    name: str
    summary: str
    route: str
    reader: Reader
    tables: tuple[Table, ...]
    key: str
    cursor: str = ""
    method: Literal["GET", "POST"] = "GET"
    filters: Mapping[str, Column] = field(default_factory=dict)
    filtered_by: Literal["odata", "fields"] = "odata"
    required: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    dimensions: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    unproven: str = ""

    @property
    def table(self) -> Table:
        """The table with one row an item."""
        return self.tables[0]

    @property
    def paging(self) -> str:
        """How it is paged, as its reader says: ``keyset``, ``time windows``, ``keyset, by key``, …."""
        return self.reader.paging

    @property
    def cap(self) -> int | None:
        """Rows that are asked for in one request; ``None`` where that is left to the server."""
        return self.reader.cap
