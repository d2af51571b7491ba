"""Write filters as OData ``$filter`` text.

Every value is checked against its column and written as a literal of the column's type, so a value can never
become part of the query. Text that a user wrote as OData is checked by :mod:`.odata_text` and sent unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from wats_extract.errors import ConfigurationError
from wats_extract.filters import odata_text
from wats_extract.filters.condition import (
    And,
    Comparison,
    Condition,
    IsNull,
    Not,
    OneOf,
    Or,
    Pushdown,
    TextMatch,
    Value,
    conjuncts,
    from_mapping,
    joined,
    without_not,
)
from wats_extract.filters.nearest import did_you_mean
from wats_extract.filters.odata_text import REPORT_TYPES, RESULTS
from wats_extract.flow import Selection
from wats_extract.tables import Column

LONGEST = 1900
"""Characters of a percent-encoded ``$filter``: IIS accepts about 2 kB of query, and paging needs some."""

LONGEST_OF_USER = 1700
"""Characters of a percent-encoded filter from a user: readers add a time range and a position to it."""

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_INNERMOST = re.compile(r"\([^()]*\)")
_OPERATORS = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_FUNCTIONS = {"starts_with": "startswith", "ends_with": "endswith", "contains": "contains"}
_UNORDERED = ("uuid", "bool", "result", "report_type")
_MICROSECOND = timedelta(microseconds=1)


def to_odata(condition: Condition, columns: Mapping[str, Column]) -> str:
    """Write a condition as OData.

    The server compares text regardless of case, and so does the written filter. Rows for which the condition
    is unknown are left out, whatever the server's own treatment of null is. A timestamp means its whole
    microsecond: WATS keeps a seventh digit that tables do not have.

    Args:
        condition: The condition, over the names of ``columns``.
        columns: The columns that may be named; ``Column.source`` is the name in OData.

    Raises:
        ConfigurationError: a column is unknown, a value has another type than its column, OData cannot
            express the condition, or the text is too long to send.
    """
    _some(columns)
    return _short_enough(_written(_on_server(without_not(condition), columns), columns), LONGEST_OF_USER)


def filter_text(filter: Mapping[str, Any], columns: Mapping[str, Column]) -> str:  # noqa: A002
    """Write the condition "each column equals its value, or one of its values" as OData.

    Args:
        filter: Column to a value, ``None`` (is null), or a list of them.
        columns: The columns that may be named.

    Raises:
        ConfigurationError: a column is unknown, a value has another type, or the text is too long to send.
    """
    return to_odata(from_mapping(filter), columns)


def literal_text(
    text: str, columns: Mapping[str, Column], *, collections: Iterable[str] | None = None
) -> str:
    """Check a filter that the user wrote as OData, and return it without blanks at its ends.

    Args:
        text: The filter.
        columns: The columns that may be named.
        collections: The lists of a row that ``any`` may search; ``None`` accepts every name.

    Raises:
        ConfigurationError: it is not OData as WATS takes it, names an unknown column, compares values of
            different types, or is too long to send.
    """
    _short_enough(text.strip(), LONGEST_OF_USER)
    odata_text.check(text, _some(columns), collections=collections)
    return text.strip()


def split(condition: Condition, columns: Mapping[str, Column]) -> Pushdown:
    """Split a condition into what the server can evaluate and what the caller must evaluate.

    Rows of the table that match ``condition`` by :func:`.condition.matches`, which distinguishes case, match
    ``pushed`` on the server too. Where the server keeps more rows than that (it ignores the case of text),
    the part is in ``residual`` as well. Where it would lose rows, the part is in ``residual`` only.

    Args:
        condition: The condition, over the columns of the table with one row per item.
        columns: Those of the table's columns that the server can filter on.
    """
    pushed: list[Condition] = []
    residual: list[Condition] = []
    for part in conjuncts(without_not(condition)):
        try:
            exact = _is_exact(part, columns)
            to_odata(And((*pushed, part)), columns)
        except ConfigurationError:
            residual.append(part)
        else:
            pushed.append(part)
            residual += [] if exact else [part]
    return Pushdown(joined(pushed), joined(residual))


def time_range(selection: Selection) -> str:
    """The filter on ``start`` that the ``since`` and ``until`` of a selection make."""
    since = f"start ge {timestamp_text(selection.since)}" if selection.since else ""
    until = f"start lt {timestamp_text(selection.until)}" if selection.until else ""
    return both(since, until)


def both(*parts: str) -> str:
    """Join OData texts by ``and``; a part with an ``or`` gets parentheses, and an empty part is left out.

    Raises:
        ConfigurationError: a part has a quote or parenthesis that does not close, or the text is too long.
    """
    texts = [part.strip() for part in parts if part.strip()]
    if len(texts) > 1:
        texts = [f"({text})" if _has_open_or(text) else text for text in texts]
    return _short_enough(" and ".join(texts), LONGEST)


def column_named(name: str, columns: Mapping[str, Column]) -> Column:
    """The column of this name.

    Raises:
        ConfigurationError: there is none; the message has the nearest name, the hint all of them.
    """
    if name in _some(columns):
        return columns[name]
    raise ConfigurationError(
        f"there is no column {name!r}{did_you_mean(name, columns)}",
        hint=f"A filter can name: {', '.join(columns)}.",
    )


def _some(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    if not columns:
        raise ConfigurationError(
            "this resource takes no filter", hint="Remove it, and filter the loaded table instead."
        )
    return columns


# ── conditions ──────────────────────────────────────────────────────────────────────────────────


def _on_server(condition: Condition, columns: Mapping[str, Column]) -> Condition:
    """The condition (in negation normal form) with timestamps as ranges of a microsecond."""
    match condition:
        case And(parts):
            return And(tuple(_on_server(part, columns) for part in parts))
        case Or(parts):
            return Or(tuple(_on_server(part, columns) for part in parts))
        case Comparison(name, operator, value) if _is_timestamp(name, columns) and value is not None:
            return _range(name, operator, _checked(_instant, value, name))
        case OneOf(name, values) if _is_timestamp(name, columns):
            return _on_server(
                Or(tuple(Comparison(name, "=", value) for value in _known(values, name))), columns
            )
        case Not(OneOf(name, values)) if _is_timestamp(name, columns):
            _refuse_null(values, name)
            return _on_server(And(tuple(Comparison(name, "!=", value) for value in values)), columns)
        case _:
            return condition


def _is_timestamp(name: str, columns: Mapping[str, Column]) -> bool:
    return _kind(column_named(name, columns)) == "timestamp"


def _range(name: str, operator: str, instant: datetime) -> Condition:
    try:
        following = instant + _MICROSECOND
    except OverflowError:
        raise ConfigurationError(f"{name}: {instant} is the last instant there is") from None
    match operator:
        case "=":
            return And((Comparison(name, ">=", instant), Comparison(name, "<", following)))
        case "!=":
            return Or((Comparison(name, "<", instant), Comparison(name, ">=", following)))
        case "<=":
            return Comparison(name, "<", following)
        case ">":
            return Comparison(name, ">=", following)
        case "<":
            return Comparison(name, "<", instant)
        case _:
            return Comparison(name, ">=", instant)


def _written(condition: Condition, columns: Mapping[str, Column]) -> str:
    match condition:
        case And(parts):
            texts = [_written(part, columns) for part in parts]
            grouped = zip(parts, texts, strict=True)
            return " and ".join(f"({t})" if isinstance(part, Or) else t for part, t in grouped if t)
        case Or(parts):
            texts = [_written(part, columns) for part in parts]
            if not texts or not all(texts):
                raise ConfigurationError("an alternative without conditions cannot be written as OData")
            return " or ".join(texts)
        case Comparison(name, operator, value):
            return _comparison(column_named(name, columns), operator, value)
        case OneOf(name, values):
            return _one_of(column_named(name, columns), _known(values, name))
        case TextMatch(name, function, text):
            return _text_match(column_named(name, columns), function, text)
        case IsNull(name):
            return f"{_nameable(column_named(name, columns)).source} eq null"
        case Not(inner):
            return _opposite(inner, columns)


def _comparison(column: Column, operator: str, value: Value) -> str:
    if value is None:
        raise ConfigurationError(f"{column.name}: nothing equals null; use a null test instead")
    if operator not in ("=", "!=") and _kind(column) in _UNORDERED:
        raise ConfigurationError(f"{column.name} can be compared with = and != only, not with {operator}")
    text = f"{column.source} {_OPERATORS[operator]} {literal(value, column)}"
    # OData counts null as different from every value; the condition leaves out rows with null.
    return f"{text} and {column.source} ne null" if operator == "!=" else text


def _one_of(column: Column, values: Sequence[Value]) -> str:
    texts = list(dict.fromkeys(literal(value, column) for value in values))
    return f"{column.source} eq {texts[0]}" if len(texts) == 1 else f"{column.source} in ({','.join(texts)})"


def _text_match(column: Column, function: str, text: str) -> str:
    if _kind(column) != "string":
        raise ConfigurationError(f"{column.name} is not text, so {function} cannot be used on it")
    return f"{_FUNCTIONS[function]}({column.source},{literal(text, column)})"


def _opposite(condition: Condition, columns: Mapping[str, Column]) -> str:
    match condition:
        case IsNull(name):
            return f"{_nameable(column_named(name, columns)).source} ne null"
        case OneOf(name, values):
            _refuse_null(values, name)
            source = column_named(name, columns).source
            return (
                f"not ({_written(condition, columns)}) and {source} ne null"
                if values
                else f"{source} ne null"
            )
        case TextMatch(name):
            return f"not {_written(condition, columns)} and {column_named(name, columns).source} ne null"
        case _:
            return _written(without_not(condition, negate=True), columns)


def _known(values: Sequence[Value], name: str) -> Sequence[Value]:
    if found := [value for value in values if value is not None]:
        return found
    raise ConfigurationError(f"{name}: the list has no value, so it matches nothing")


def _refuse_null(values: Sequence[Value], name: str) -> None:
    if None in values:
        raise ConfigurationError(f"{name}: 'not in' a list with null is never true")


# ── predicate pushdown ──────────────────────────────────────────────────────────────────────────


def _is_exact(condition: Condition, columns: Mapping[str, Column]) -> bool:
    """Whether the server keeps exactly the matching rows of the table; ``False`` if it may keep more.

    Raises:
        ConfigurationError: it could lose rows, or the values are not as the table has them.
    """
    match condition:
        case And(parts) | Or(parts):
            exact = [_is_exact(part, columns) for part in parts]  # every part may raise
            return all(exact)
        case Not(Comparison() | And() | Or() | Not()):
            return _is_exact(without_not(condition), columns)
        case Not(IsNull(name)) | IsNull(name):
            return bool(column_named(name, columns))
        case Comparison(name, operator, value):
            return _keeps(column_named(name, columns), [value], negative=operator != "=")
        case OneOf(name, values) | Not(OneOf(name, values)):
            return _keeps(column_named(name, columns), values, negative=isinstance(condition, Not))
        case TextMatch(name, _, text) | Not(TextMatch(name, _, text)):
            return _keeps(column_named(name, columns), [text], negative=isinstance(condition, Not))
    raise AssertionError(condition)


def _keeps(column: Column, values: Sequence[Value], *, negative: bool) -> bool:
    if not all(value is None or _is_canonical(value, column) for value in values):
        raise ConfigurationError(f"{column.name} is not compared with values as its table has them")
    if _kind(column) != "string":
        return True
    if negative:
        raise ConfigurationError(
            f"{column.name} is text, which the server compares regardless of case; it could leave out rows"
        )
    return False


def _is_canonical(value: Value, column: Column) -> bool:
    """Whether the value has the form that the table has, not merely one that the server understands."""
    match _kind(column):
        case "string":
            return isinstance(value, str)
        case "uuid":
            return isinstance(value, str) and value == value.lower()
        case "result":
            return value in RESULTS.values()
        case "report_type":
            return value in ("UUT", "UUR")
        case "timestamp":
            return isinstance(value, datetime)
        case "bool":
            return isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


# ── literals ────────────────────────────────────────────────────────────────────────────────────


def literal(value: object, column: Column) -> str:
    """A value as an OData literal of the column's type.

    Text that spells a number, a truth value or a timestamp exactly is accepted for such a column.

    Raises:
        ConfigurationError: the value does not fit the column.
    """
    written: str = _checked(_WRITERS[_kind(_nameable(column))], value, column.name)
    return written


def quoted(text: str) -> str:
    """Text as an OData literal."""
    return "'" + text.replace("'", "''") + "'"


def timestamp_text(instant: datetime) -> str:
    """A timestamp as an OData literal in UTC, such as ``2026-01-01T00:00:00Z``; without a zone it is UTC."""
    instant = instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    text = instant.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0')}Z" if instant.microsecond else f"{text}Z"


def _kind(column: Column) -> str:
    return column.kind or ("timestamp" if pa.types.is_timestamp(column.type) else str(column.type))


def _nameable(column: Column) -> Column:
    if _kind(column) not in _WRITERS:
        raise ConfigurationError(f"{column.name} cannot be filtered on: it holds {column.type}")
    return column


def _checked(read: Callable[[object], Any], value: object, name: str) -> Any:
    try:
        return read(value)
    except (ValueError, OverflowError) as error:
        problem = str(error)
    raise ConfigurationError(f"{name} {problem}")


def _string(value: object) -> str:
    if isinstance(value, bool | int | float):
        raise ValueError(f"holds text: write {_shown(value)} in quotes")
    if not isinstance(value, str):
        raise ValueError(f"holds text, not {_shown(value)}")
    if any(ord(character) < 32 for character in value):
        raise ValueError("holds no control characters such as line breaks or tabs")
    if not _is_unicode(value):
        raise ValueError("holds text that can be encoded as UTF-8, which half a surrogate pair cannot")
    return quoted(value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _integer(value: object, *, bits: int) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"holds whole numbers, not {_shown(value)}")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ValueError(f"holds {bits}-bit numbers, and {_shown(value)} is too large")
    return str(value)


def _double(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}(\.[0-9]{1,19})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"holds numbers, not {_shown(value)}")
    return repr(value)


def _truth(value: object) -> str:
    text = str(value).lower()
    if not isinstance(value, bool | str) or text not in ("true", "false"):
        raise ValueError(f"holds true or false, not {_shown(value)}")
    return text


def _uuid(value: object) -> str:
    text = str(value).lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        raise ValueError(f"holds uuids such as {UUID(int=0)}, not {_shown(value)}")
    return text


def _instant(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"holds timestamps such as 2026-01-31T08:00:00Z, not {_shown(value)}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"holds timestamps such as 2026-01-31T08:00:00Z, not {_shown(value)}")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _result(value: object) -> str:
    words = {code.lower(): word for code, word in RESULTS.items()}
    words |= {word.lower(): word for word in RESULTS.values()}
    return quoted(_one_word(value, words, list(RESULTS.values())))


def _report_type(value: object) -> str:
    codes = {name.lower(): code for name, code in REPORT_TYPES.items()}
    codes |= {code.lower(): code for code in REPORT_TYPES.values()}
    return quoted(_one_word(value, codes, list(REPORT_TYPES)))


def _one_word(value: object, words: Mapping[str, str], shown: Sequence[str]) -> str:
    found = words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"holds {', '.join(shown)}, not {_shown(value)}{did_you_mean(value, shown)}")
    return found


_WRITERS: dict[str, Callable[[object], str]] = {
    "string": _string,
    "int16": lambda value: _integer(value, bits=16),
    "int32": lambda value: _integer(value, bits=32),
    "int64": lambda value: _integer(value, bits=64),
    "double": _double,
    "bool": _truth,
    "uuid": _uuid,
    "timestamp": lambda value: timestamp_text(_instant(value)),
    "result": _result,
    "report_type": _report_type,
}


# ── the whole text ──────────────────────────────────────────────────────────────────────────────


def _has_open_or(text: str) -> bool:
    """Whether a text has an ``or`` outside its parentheses."""
    outline = _QUOTED.sub("''", text)
    while (shorter := _INNERMOST.sub("", outline)) != outline:
        outline = shorter
    if outline.replace("''", "").count("'") or set("()") & set(outline):
        raise ConfigurationError("the filter has a quote or a parenthesis that does not close")
    return bool(re.search(r"\bor\b", outline, re.IGNORECASE))


def _short_enough(text: str, longest: int) -> str:
    length = len(quote(text, safe="", errors="surrogatepass"))
    if length > longest:
        raise ConfigurationError(
            f"the filter is {length:,} characters long when encoded; at most {longest:,} are possible",
            hint="Name fewer values, or spread them over several pipelines.",
        )
    return text


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
