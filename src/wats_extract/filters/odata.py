"""Filters as OData: from ``{part_number: [A, B], result: Failed}`` to the text that the server reads.

Every value is checked against its column and written as a literal of that type, so a value can never
become part of the query. Comparisons other than equality are written as OData text by the user.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa

from wats_extract.errors import (
    ConfigurationError,
)
from wats_extract.filters import odata
from wats_extract.flow import Selection
from wats_extract.tables import Column

LONGEST = 1900
"""Characters of an encoded filter; IIS takes about 2 kB of query, and paging needs some of it."""

_RESULTS = {
    "P": "Passed",
    "F": "Failed",
    "E": "Error",
    "T": "Terminated",
    "D": "Done",
    "S": "Skipped",
    "U": "Unknown",
}
_REPORT_TYPES = {"UUT": "T", "UUR": "R", "T": "T", "R": "R"}

_QUOTED = re.compile(r"'(?:[^']|'')*'")
_INNERMOST = re.compile(r"\([^()]*\)")
_COMPARED = re.compile(r"(?<![\w/])([A-Za-z_]\w*)\s+(?:eq|ne|gt|ge|lt|le|in)\b")


def filter_text(filter: Mapping[str, Any], columns: Mapping[str, Column]) -> str:  # noqa: A002
    """The OData text for "each column equals its value, or one of its values".

    Args:
        filter: Column name to a value, ``None`` (is null), or a list of them.
        columns: The columns that may be named; ``Column.source`` is the name in OData.

    Raises:
        ConfigurationError: for an unknown column, a value of another type, or a text too long to send.
    """
    return both(*(_term(column_named(name, columns), value) for name, value in filter.items()))


def both(*parts: str) -> str:
    """All parts joined by ``and``, those that hold an ``or`` in brackets; empty parts are left out.

    Raises:
        ConfigurationError: if a part is not whole (quotes, brackets) or the text is too long to send.
    """
    texts = [part.strip() for part in parts if part.strip()]
    if len(texts) > 1:
        texts = [f"({text})" if _has_open_or(text) else text for text in texts]
    return _short_enough(" and ".join(texts))


def literal_text(text: str, columns: Mapping[str, Column]) -> str:
    """A filter that the user wrote as OData, unchanged but for blanks at its ends.

    Raises:
        ConfigurationError: if quotes or brackets do not close, if it compares a name that is no
            column, or if it is too long to send.
    """
    _some(columns)
    known = {column.source.lower(): column.source for column in columns.values()}
    for name in _COMPARED.findall(_outline(text)):
        if name.lower() not in known:
            ours = columns[name].source if name in columns else _nearest(name, known.values())
            raise ConfigurationError(f"OData knows no column {name!r}{_did_you_mean(ours)}")
    return _short_enough(text.strip())


def column_named(name: str, columns: Mapping[str, Column]) -> Column:
    """The column of this name.

    Raises:
        ConfigurationError: if there is none, with the nearest name and the list.
    """
    if name in _some(columns):
        return columns[name]
    raise ConfigurationError(
        f"there is no column {name!r}{_did_you_mean(_nearest(name, columns))}",
        hint=f"A filter can name: {', '.join(columns)}.",
    )


def _some(columns: Mapping[str, Column]) -> Mapping[str, Column]:
    if not columns:
        raise ConfigurationError("this resource takes no filter", hint="Remove it; filter what was landed.")
    return columns


# ── one column ──────────────────────────────────────────────────────────────────────────────────


def _term(column: Column, value: object) -> str:
    values = list(dict.fromkeys(_literals(column, value)))
    texts = [text for text in values if text != "null"]
    terms = [_equal(column.source, texts)] if texts else []
    if "null" in values:
        terms.append(f"{column.source} eq null")
    return f"({' or '.join(terms)})" if len(terms) > 1 else terms[0]


def _equal(name: str, texts: Sequence[str]) -> str:
    return f"{name} eq {texts[0]}" if len(texts) == 1 else f"{name} in ({','.join(texts)})"


def _literals(column: Column, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        raise ConfigurationError(
            f"{column.name} takes a value or a list of values",
            hint=f'For a comparison write the whole filter as OData text: filter: "{column.source} gt …".',
        )
    values = value if isinstance(value, list | tuple | set | frozenset) else [value]
    if not values:
        raise ConfigurationError(f"{column.name} has an empty list, which matches nothing", hint="Remove it.")
    for each in values:
        yield "null" if each is None else literal(each, column)


def literal(value: object, column: Column) -> str:
    """One value as an OData literal of the column's type.

    Text is taken for a number, a truth value or a timestamp where it spells one exactly.

    Raises:
        ConfigurationError: if the value does not fit the column.
    """
    write = _WRITERS.get(_kind(column))
    if write is None:
        raise ConfigurationError(f"{column.name} cannot be filtered on: it holds {column.type}")
    try:
        return write(value)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"{column.name} {error}") from None


def _kind(column: Column) -> str:
    return column.kind or ("timestamp" if pa.types.is_timestamp(column.type) else str(column.type))


def quoted(text: str) -> str:
    """A text as an OData literal."""
    return "'" + text.replace("'", "''") + "'"


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is text, not {_said(value)}: put it in quotes, so that every character counts")
    if any(ord(character) < 32 for character in value):
        raise ValueError("holds a control character (a line break or a tab), which no value in WATS has")
    return quoted(value)


def _integer(value: object, *, bits: int) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"is a whole number, not {_said(value)}")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ValueError(f"has no room for {_said(value)}: it is a number of {bits} bits")
    return str(value)


def _double(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}(\.[0-9]{1,19})?", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"is a number, not {_said(value)}")
    return repr(value)


def _truth(value: object) -> str:
    text = str(value).lower()
    if not isinstance(value, bool | str) or text not in ("true", "false"):
        raise ValueError(f"is true or false, not {_said(value)}")
    return text


def _uuid(value: object) -> str:
    text = str(value).lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        raise ValueError(f"is a uuid such as {UUID(int=0)}, not {_said(value)}")
    return text


def _timestamp(value: object) -> str:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"is a timestamp such as 2026-01-31T08:00:00Z, not {_said(value)}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), tzinfo=UTC)
    if not isinstance(value, datetime):
        raise ValueError(f"is a timestamp such as 2026-01-31T08:00:00Z, not {_said(value)}")
    return timestamp_text(value)


def timestamp_text(instant: datetime) -> str:
    """A timestamp as OData writes it, in UTC: ``2026-01-01T00:00:00Z``; without zone it is UTC already."""
    instant = instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    text = instant.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0')}Z" if instant.microsecond else f"{text}Z"


def _result(value: object) -> str:
    words = {code.lower(): word for code, word in _RESULTS.items()}
    words |= {word.lower(): word for word in _RESULTS.values()}
    return f"'{_one_of(value, words, list(_RESULTS.values()))}'"


def _report_type(value: object) -> str:
    return f"'{_one_of(value, {name.lower(): code for name, code in _REPORT_TYPES.items()}, ['UUT', 'UUR'])}'"


def _one_of(value: object, words: Mapping[str, str], shown: Sequence[str]) -> str:
    found = words.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        meant = _did_you_mean(_nearest(str(value).capitalize(), shown))
        raise ValueError(f"is one of {', '.join(shown)}, not {_said(value)}{meant}")
    return found


_WRITERS: dict[str, Callable[[object], str]] = {
    "string": _string,
    "int16": lambda value: _integer(value, bits=16),
    "int32": lambda value: _integer(value, bits=32),
    "int64": lambda value: _integer(value, bits=64),
    "double": _double,
    "bool": _truth,
    "uuid": _uuid,
    "timestamp": _timestamp,
    "result": _result,
    "report_type": _report_type,
}


# ── the whole text ──────────────────────────────────────────────────────────────────────────────


def _outline(text: str) -> str:
    """The text with its quoted parts emptied; quotes and brackets must close."""
    outline = _QUOTED.sub("''", text)
    if outline.replace("''", "").count("'"):
        raise ConfigurationError(
            "the filter has a quote that does not close",
            hint="A quote within text is written twice: 'O''Brien'.",
        )
    if set("()") & set(_outside_brackets(outline)):
        raise ConfigurationError("the filter has a bracket without its partner")
    return outline


def _outside_brackets(outline: str) -> str:
    while (shorter := _INNERMOST.sub("", outline)) != outline:
        outline = shorter
    return outline


def _has_open_or(text: str) -> bool:
    return bool(re.search(r"\bor\b", _outside_brackets(_outline(text)), re.IGNORECASE))


def _short_enough(text: str) -> str:
    length = len(quote(text, safe=""))
    if length > LONGEST:
        raise ConfigurationError(
            f"the filter is {length:,} characters long when encoded; a server takes {LONGEST:,}",
            hint="Name fewer values, or spread them over several pipelines.",
        )
    return text


def _nearest(name: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), "")


def _did_you_mean(name: str) -> str:
    return f" (did you mean {name!r}?)" if name else ""


def _said(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def time_range(selection: Selection) -> str:
    """The part of a filter on reports that ``since`` and ``until`` make."""
    since = f"start ge {odata.timestamp_text(selection.since)}" if selection.since else ""
    until = f"start lt {odata.timestamp_text(selection.until)}" if selection.until else ""
    return odata.both(since, until)
