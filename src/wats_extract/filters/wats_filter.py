"""Write filters as fields of the WATS filter, which statistics take (api-facts §1.5, ``PublicWatsFilter``).

A field holds one value or several alternatives. Text fields take ``%`` for any text and ``_`` for any letter,
and ignore case. There are no other comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from wats_extract.errors import ConfigurationError
from wats_extract.filters.condition import (
    Comparison,
    Condition,
    IsNull,
    OneOf,
    Or,
    Pushdown,
    Value,
    conjuncts,
    from_mapping,
    joined,
    without_not,
)
from wats_extract.filters.odata import column_named
from wats_extract.flow import Asked
from wats_extract.tables import Column

BETWEEN = ";"
"""The separator between the alternatives of one field."""


def to_wats_filter(condition: Condition, columns: Mapping[str, Column]) -> Asked:
    """Write a condition as the fields of a WATS filter.

    Args:
        condition: A conjunction of ``=`` and ``in``, each over another column.
        columns: The columns that may be named; ``Column.source`` is the field of the WATS filter.

    Raises:
        ConfigurationError: a column is unknown, a value does not fit its field, or the condition holds
            anything else than such a conjunction.
    """
    fields: dict[str, tuple[str, ...]] = {}
    for part in conjuncts(without_not(condition)):
        name, values = _alternatives(part)
        column = column_named(name, columns)
        if column.source in fields:
            raise ConfigurationError(f"{name}: two conditions on one field", hint="Write one list of values.")
        fields[column.source] = tuple(dict.fromkeys(_text(column, value) for value in values))
    return fields


def asked(filter: Mapping[str, Any] | str, columns: Mapping[str, Column]) -> Asked:  # noqa: A002
    """Write the condition "each field equals its value, or one of its values" as a WATS filter.

    Args:
        filter: Field to a value, or to a list of them.
        columns: The fields that may be named.

    Raises:
        ConfigurationError: it is OData text, a field is unknown, or a value does not fit its field.
    """
    if isinstance(filter, str):
        raise ConfigurationError(
            "this resource takes fields and values such as {part_number: A}, not OData text"
        )
    return to_wats_filter(from_mapping(filter), columns)


def body(asked: Asked) -> dict[str, str]:
    """The fields as a request holds them, alternatives joined by ``;``."""
    return {name: BETWEEN.join(values) for name, values in asked.items()}


def split(condition: Condition, columns: Mapping[str, Column]) -> Pushdown:
    """Split a condition into what the WATS filter can evaluate and what the caller must evaluate.

    The WATS filter ignores case and knows wildcards, so it may keep more rows than the condition; what is
    pushed is in the residual too. This holds for lists of items, such as reports. A statistic changes with
    its filter, so nothing may be pushed to it after the fact.

    Args:
        condition: The condition, over the columns of the table with one row per item.
        columns: The fields of the WATS filter that mean the column of the same name.
    """
    pushed: list[Condition] = []
    for part in conjuncts(without_not(condition)):
        try:
            to_wats_filter(joined([*pushed, part]) or part, columns)
            _, values = _alternatives(part)
        except ConfigurationError:
            continue
        if not any(isinstance(value, str) and value != value.strip() for value in values):
            pushed.append(part)
    return Pushdown(joined(pushed), condition)


def _alternatives(condition: Condition) -> tuple[str, Sequence[Value]]:
    """The column and the values of a conjunct."""
    match condition:
        case Comparison(name, "=", value):
            return name, [value]
        case OneOf(name, values):
            if not values:
                raise ConfigurationError(f"{name} has an empty list, which matches nothing")
            return name, values
        case IsNull(name) | Or((OneOf(name), IsNull())):
            raise ConfigurationError(f"{name}: the WATS filter cannot select null")
        case Comparison(name, operator):
            raise ConfigurationError(f"{name}: the WATS filter has no {operator}, only = and lists of values")
        case _:
            raise ConfigurationError(
                "the WATS filter takes nothing but a value or a list of values per field"
            )


def _text(column: Column, value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigurationError(f"{column.name} takes text or a whole number, not {value!r}")
    text = str(value).strip()
    if not text:
        raise ConfigurationError(f"{column.name} is empty", hint="Leave it out to select everything.")
    if BETWEEN in text:
        raise ConfigurationError(f"{column.name}: write several values as a list, not with {BETWEEN!r}")
    if pa.types.is_integer(column.type) and not re.fullmatch(r"-?[0-9]+", text):
        raise ConfigurationError(f"{column.name} takes a whole number, not {value!r}")
    return text
