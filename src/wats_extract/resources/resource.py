"""What a resource is: a declaration of route, reader, tables, key and cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from wats_extract.flow import Chunk, Column, Result, Table
from wats_extract.readers.reading import Reading


class Reader(Protocol):
    """One way of paging, with a shredder: turns a selection into chunks."""

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
        reader: How it is read.
        tables: The tables it fills; the first holds one row an item.
        key: The column of the first table that identifies an item.
        cursor: The field of WATS that says how far it has been read.
        filters: The columns that ``filter`` may name; each column's ``source`` is its OData name.
        expand: The names that ``expand`` may list.
        options: The other keys that the resource takes in the pipeline file.
    """

    name: str
    summary: str
    route: str
    reader: Reader
    tables: tuple[Table, ...]
    key: str
    cursor: str = ""
    filters: Mapping[str, Column] = field(default_factory=dict)
    expand: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()

    @property
    def table(self) -> Table:
        """The table with one row an item."""
        return self.tables[0]
