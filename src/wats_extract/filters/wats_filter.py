"""The WATS filter: what statistics are asked by (api-facts §1.5, schema ``PublicWatsFilter``).

From ``{part_number: [A, B], test_operation: FCT}`` to the fields that a request holds. Text fields take ``%``
for any text and ``_`` for any letter, as WATS does, and several values as alternatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wats_extract.errors import ConfigurationError
from wats_extract.filters.odata import column_named
from wats_extract.flow import Asked
from wats_extract.tables import Column

BETWEEN = ";"
"""Between alternatives of one field."""


def asked(filter: Mapping[str, Any] | str, columns: Mapping[str, Column]) -> Asked:  # noqa: A002
    """The fields of a WATS filter, each with its values as text.

    Args:
        filter: A name to a value, or to a list of them.
        columns: The names there are; ``Column.source`` is the field in WATS.

    Raises:
        ConfigurationError: for OData, an unknown name, or a value that the field cannot have.
    """
    if isinstance(filter, str):
        raise ConfigurationError(
            "this resource takes names and values, such as {part_number: A}, and no OData text"
        )
    found = {}
    for name, value in filter.items():
        column = column_named(name, columns)
        values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        if not values:
            raise ConfigurationError(f"{name}: the list is empty; leave the name out to select everything")
        found[column.source] = tuple(dict.fromkeys(_text(column, each) for each in values))
    return found


def body(asked: Asked) -> dict[str, str]:
    """The fields as a request holds them: alternatives are joined."""
    return {name: BETWEEN.join(values) for name, values in asked.items()}


def _text(column: Column, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError(f"{column.name}: should be a text or a whole number, not {value!r}")
    text = str(value).strip()
    if not text:
        raise ConfigurationError(f"{column.name}: is empty; leave the name out to select everything")
    if BETWEEN in text:
        raise ConfigurationError(f"{column.name}: write several values as a list, not with {BETWEEN!r}")
    if pa.types.is_integer(column.type) and not text.removeprefix("-").isdecimal():
        raise ConfigurationError(f"{column.name}: should be a whole number, not {value!r}")
    return text
