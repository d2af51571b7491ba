"""A resource: the declaration of a route, its reader, tables, key and cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wats_extract.readers.reader import Reader
from wats_extract.tables import Column, Table


@dataclass(frozen=True)
class Resource:
    """Something that can be extracted.

    Attributes:
        name: The name in YAML, on the command line and in Python.
        summary: One line for the capability matrix.
        route: The route below ``/api`` that returns it.
        method: How the route is requested. ``POST`` routes take a question as JSON and change nothing.
        reader: How it is read.
        tables: The tables that it fills; the first one has one row per item.
        key: The column of the first table that identifies an item.
        cursor: The field in WATS that says how far it was read.
        filters: The columns that ``filter`` may name; each column's ``source`` is its name in the request.
        filtered_by: Whether ``filter`` becomes OData, or fields of the WATS filter.
        required: The names that ``filter`` must have.
        expand: The names that ``expand`` may list.
        options: The other keys that the resource takes in the pipeline file.
        dimensions: The names that ``dimensions`` may list → WATS's names.
        internal: Whether the vendor does not support the route; it is requested only with ``internal: true``.
        unproven: What neither the specification nor captured traffic proves, and is assumed.
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
        """The table with one row per item."""
        return self.tables[0]

    @property
    def paging(self) -> str:
        """How it is paged: ``keyset``, ``time windows``, ``keyset, by key``, …."""
        return self.reader.paging

    @property
    def cap(self) -> int | None:
        """The number of rows per request; ``None`` if the server decides."""
        return self.reader.cap
