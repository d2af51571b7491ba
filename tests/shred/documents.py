"""Hypothesis strategies for documents of every shape that the declared records allow."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from wats_extract.shred.records import Record
from wats_extract.shred.wsjf import document as wsjf

UUID = "0a000000-0000-4000-8000-00000000000b"

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "null",
        "P",
        "NaN",
        "1e5",
        "/",
        "a/b",
        '"',
        "\\",
        "¶",
        "\u2028",
        "😀",
        "ß" * 40,
    ]
)
NUMBERS = st.floats(-1e300, 1e300) | st.integers(-(2**40), 2**40) | st.just(2**70)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
_ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC) | _ZONES)  # noqa: DTZ001
MOMENTS = _MOMENTS.map(lambda moment: moment.isoformat())

_DATES = ("start", "startUTC", "confirmDate", "finalizeDate")


@cache
def records(kind: type[Record], depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Return JSON objects with some fields of a record, some null and some that are not declared."""
    hints = get_type_hints(kind)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    fields = {
        name: st.none() | _values(kind, name, hints[attribute], depth)
        for name, attribute in names
        if attribute != "extra"
    }
    unknown = st.dictionaries(TEXTS.map(lambda text: f"new {text}"), TREES, max_size=1)
    declared = st.fixed_dictionaries({}, optional=fields)
    return st.tuples(unknown, declared).map(lambda both: both[0] | both[1])


def documents() -> st.SearchStrategy[dict[str, Any]]:
    """Return WSJF documents of the report ``UUID``."""
    return records(wsjf.Report).map(lambda made: made | {"id": UUID})


def _values(kind: type[Record], name: str, hint: Any, depth: int) -> st.SearchStrategy[Any]:
    option = next((option for option in get_args(hint) if option is not type(None)), hint)
    if get_origin(option) is list:
        inner = get_args(option)[0]
        many = 0 if depth > 3 else 2
        return st.lists(st.deferred(lambda: records(inner, depth + 1)), max_size=many)
    if option in (msgspec.Raw, Any):
        return TREES
    if isinstance(option, type) and issubclass(option, Record):
        return st.deferred(lambda: records(option, depth + 1))
    return _leaves(kind, name, option)


def _leaves(kind: type[Record], name: str, option: type) -> st.SearchStrategy[Any]:
    if name in _DATES:
        return MOMENTS
    if name in ("xdata", "ydata"):
        return st.lists(NUMBERS.map(repr), max_size=3).map(";".join)
    if kind is wsjf.Attachment and name == "data":
        return st.binary(max_size=8).map(lambda content: base64.b64encode(content).decode())
    whole = st.integers(-(2**31), 2**31 - 1)
    return {str: TEXTS, int: whole, float: NUMBERS | NUMBERS.map(repr), bool: st.booleans()}[option]


Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Return every scalar of a document that is not null, with its path."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    elif value is not None:
        yield path, value
