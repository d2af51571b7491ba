"""Structured filter conditions: a tree of comparisons over the columns of a table.

::

    And((Comparison("result", "=", "Failed"), Comparison("start", ">=", datetime(2026, 1, 1, tzinfo=UTC))))

A condition is frozen, hashable and picklable. It says nothing about where it is evaluated: :mod:`.odata` and
:mod:`.wats_filter` write it for the server, and :func:`matches` evaluates it for one row.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from wats_extract.errors import ConfigurationError
from wats_extract.filters.nearest import did_you_mean

Value: TypeAlias = str | int | float | bool | datetime | None
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
TextFunction: TypeAlias = Literal["starts_with", "ends_with", "contains"]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPPOSITE: Mapping[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column compared with a value.

    As in SQL the result is unknown if either side is null; :class:`IsNull` tests for null. Dates and UUIDs
    are accepted as values and become timestamps and text; a timestamp without a zone is UTC.

    Raises:
        ConfigurationError: the operator is unknown, or the value has another type.
    """

    column: str
    operator: Operator
    value: Value

    def __post_init__(self) -> None:
        _check_column(self.column)
        if self.operator not in _COMPARE:
            raise ConfigurationError(
                f"{self.column}: there is no operator {self.operator!r}; there are {' '.join(_COMPARE)}"
            )
        object.__setattr__(self, "value", _plain(self.value, self.column))


@dataclass(frozen=True, slots=True)
class OneOf:
    """A column that equals one of some values (SQL's ``IN``)."""

    column: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_column(self.column)
        object.__setattr__(self, "values", tuple(_plain(value, self.column) for value in self.values))


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A text column that starts with, ends with or contains a text. The text has no wildcards."""

    column: str
    function: TextFunction
    text: str

    def __post_init__(self) -> None:
        _check_column(self.column)
        if self.function not in get_args(TextFunction):
            names = get_args(TextFunction)
            raise ConfigurationError(
                f"{self.column}: there is no text function {self.function!r}"
                f"{did_you_mean(self.function, names)}; there are {', '.join(names)}"
            )
        if not isinstance(self.text, str):
            raise ConfigurationError(f"{self.column}: {self.function} takes text, not {self.text!r}")


@dataclass(frozen=True, slots=True)
class IsNull:
    """A column that is null."""

    column: str

    def __post_init__(self) -> None:
        _check_column(self.column)


@dataclass(frozen=True, slots=True)
class Not:
    """A condition that is false; unknown stays unknown."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All of some conditions; true if there are none."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of some conditions; false if there are none."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Comparison | OneOf | TextMatch | IsNull | Not | And | Or


class Pushdown(NamedTuple):
    """A condition split for predicate pushdown; the whole is ``pushed`` and ``residual``.

    Attributes:
        pushed: What the server evaluates: it keeps every row of the whole condition, and perhaps others.
        residual: What the caller still has to evaluate.
    """

    pushed: Condition | None
    residual: Condition | None


def from_mapping(filter: Mapping[str, object]) -> And:  # noqa: A002 - the name that callers know
    """The condition that each column equals its value, or one of a list of values.

    Args:
        filter: Column to a value, to ``None`` (the column is null), or to a list of them.

    Raises:
        ConfigurationError: a name is not text, a list is empty, or a value cannot be compared with.
    """
    return And(tuple(_equals(column, value) for column, value in filter.items()))


def _equals(column: str, value: object) -> Condition:
    _check_column(column)
    if isinstance(value, Mapping):
        raise ConfigurationError(
            f"{column} takes a value or a list of values",
            hint="For other comparisons write the filter as OData text.",
        )
    listed = _listed(value)
    if listed is None:
        return IsNull(column) if value is None else Comparison(column, "=", _plain(value, column))
    if not listed:
        raise ConfigurationError(
            f"{column} has an empty list, which matches nothing",
            hint="Leave the column out to select everything.",
        )
    values = tuple(_plain(each, column) for each in listed if each is not None)
    terms: list[Condition] = [OneOf(column, values)] if values else []
    if len(values) < len(listed):
        terms.append(IsNull(column))
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _listed(value: Any) -> list[object] | None:
    """The values of a list, a set, an array or a column of a data frame; ``None`` for a single value."""
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    for convert in ("to_list", "to_pylist", "tolist"):
        if hasattr(value, convert) and hasattr(value, "__len__") and not isinstance(value, str):
            return list(getattr(value, convert)())
    return None


def conjuncts(condition: Condition) -> Iterator[Condition]:
    """The conditions that must all hold: the parts of an :class:`And`, or the condition itself."""
    if isinstance(condition, And):
        for each in condition.conditions:
            yield from conjuncts(each)
    else:
        yield condition


def joined(parts: list[Condition]) -> Condition | None:
    """All of some conditions as one; ``None`` if there are none."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return And(tuple(parts))


def fixed_columns(condition: Condition) -> set[str]:
    """The columns that the condition restricts to given values, by ``=`` or ``in``."""
    parts = conjuncts(condition)
    return {
        part.column
        for part in parts
        if isinstance(part, OneOf) or (isinstance(part, Comparison) and part.operator == "=")
    }


def without_not(condition: Condition, *, negate: bool = False) -> Condition:
    """The same condition in negation normal form, equivalent under SQL's three-valued logic.

    :class:`Not` is left only directly around a :class:`OneOf`, a :class:`TextMatch` or an :class:`IsNull`.

    Args:
        condition: Any condition.
        negate: Return the opposite of the condition instead.
    """
    match condition:
        case Not(inner):
            return without_not(inner, negate=not negate)
        case And(parts) | Or(parts):
            inside = tuple(without_not(part, negate=negate) for part in parts)
            return And(inside) if isinstance(condition, And) != negate else Or(inside)
        case Comparison(column, operator, value) if negate:
            return Comparison(column, _OPPOSITE[operator], value)
        case _:
            return Not(condition) if negate else condition


def matches(condition: Condition, row: Mapping[str, Any], *, ignore_case: bool = False) -> bool | None:
    """Evaluate a condition for a row with SQL's three-valued logic.

    Args:
        condition: The condition.
        row: Column to value. Timestamps have a zone.
        ignore_case: Compare text as WATS's database does: regardless of case, and regardless of trailing
            blanks except in text functions.

    Returns:
        ``True``, ``False``, or ``None`` for unknown. A filter keeps the rows for which it is ``True``.

    Raises:
        ConfigurationError: the row lacks a column, or a value cannot be ordered against the column.
    """
    match condition:
        case Not(inner):
            found = matches(inner, row, ignore_case=ignore_case)
            return None if found is None else not found
        case And(parts):
            return _all([matches(part, row, ignore_case=ignore_case) for part in parts])
        case Or(parts):
            return _any([matches(part, row, ignore_case=ignore_case) for part in parts])
        case IsNull(column):
            return _cell(row, column) is None
        case TextMatch(column, function, text):
            return _text_matches(function, _cell(row, column), text, ignore_case=ignore_case)
        case Comparison(column, operator, value):
            return _compared(column, operator, _cell(row, column), value, ignore_case=ignore_case)
        case OneOf(column, values):
            tests = (Comparison(column, "=", value) for value in values)
            return matches(Or(tuple(tests)), row, ignore_case=ignore_case)


def _all(found: list[bool | None]) -> bool | None:
    if False in found:
        return False
    return None if None in found else True


def _any(found: list[bool | None]) -> bool | None:
    if True in found:
        return True
    return None if None in found else False


def _cell(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise ConfigurationError(f"the row has no column {column!r}{did_you_mean(column, row)}")
    return row[column]


def _compared(column: str, operator: str, cell: Any, value: Value, *, ignore_case: bool) -> bool | None:
    if cell is None or value is None:
        return None
    one, other = (_collated(each) if ignore_case else each for each in (cell, value))
    try:
        return _COMPARE[operator](one, other)
    except TypeError:
        raise ConfigurationError(
            f"{column} holds {cell!r}, which cannot be ordered against {value!r}"
        ) from None


def _collated(value: object) -> object:
    return value.casefold().rstrip(" ") if isinstance(value, str) else value


def _text_matches(function: TextFunction, cell: Any, text: str, *, ignore_case: bool) -> bool | None:
    if cell is None:
        return None
    if ignore_case:
        cell, text = cell.casefold(), text.casefold()
    if function == "contains":
        return text in cell
    return bool(cell.startswith(text) if function == "starts_with" else cell.endswith(text))


def _check_column(column: object) -> None:
    if not isinstance(column, str):
        raise ConfigurationError(f"a column is named by text, not {column!r}")


def _plain(value: object, column: str) -> Value:
    """The value as one of the types of ``Value``; numbers of NumPy and of data frames become Python's."""
    if hasattr(value, "dtype") and hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigurationError(
        f"{column} cannot be compared with {type(value).__name__}",
        hint="A value is text, a number, true or false, a date or a timestamp.",
    )
