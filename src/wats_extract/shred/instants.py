"""Parses the timestamps that WATS writes into microseconds since 1970 in UTC (api-facts §1.3).

WATS writes up to seven digits of a second. The seventh (100 ns) is truncated, not rounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from wats_extract.errors import RecordError
from wats_extract.tables import TIMESTAMP

_FORM = re.compile(
    r"""\s*(\d{4})-(\d\d?)-(\d\d?)                       # date
        (?:[T\s](\d\d?)(?::(\d\d)(?::(\d\d)(?:[.,](\d*))?)?)?  # time; the fraction may be a lone dot
        \s*(Z|z|[+-]\d\d(?::?[0-5]\d)?)?)?\s*""",
    re.VERBOSE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def instant(text: str) -> datetime:
    """Parse a timestamp; the result has the offset that the text names, or UTC if it names none.

    Raises:
        RecordError: The text is not a timestamp, or names an impossible date.
    """
    match = _FORM.fullmatch(text)
    if not match:
        raise RecordError(f"{text[:60]!r} is not a date and time")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        return datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(((fraction or "") + "000000")[:6]),
            tzinfo=_zone(zone),
        )
    except ValueError as error:
        raise RecordError(f"{text[:60]!r} is an impossible date: {error}") from error


def has_zone(text: str) -> bool:
    """Return whether a text is a timestamp that names its offset from UTC."""
    match = _FORM.fullmatch(text)
    return bool(match and match[8])


def microseconds(moment: datetime) -> int:
    """Return microseconds since 1970 in UTC; also for times that datetime cannot represent in UTC."""
    offset = moment.utcoffset() or timedelta()
    return (moment.replace(tzinfo=UTC) - _EPOCH - offset) // _MICROSECOND


def in_calendar(moment: int) -> bool:
    """Return whether a time in microseconds since 1970 lies within the years 1 to 9999 in UTC.

    Python, Polars and most databases know no other years. .NET's smallest and largest timestamps leave them
    when they are converted to UTC from a local time with an offset.
    """
    return _FIRST <= moment <= _LAST


def only_in_calendar(rows: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
    """Return rows with nulls for timestamps outside the years 1 to 9999 in UTC, which Python cannot read."""
    for place, field in enumerate(rows.schema):
        if not pa.types.is_timestamp(field.type):  # DuckDB may name another time zone
            continue
        moments = rows.column(place).cast(pa.int64())
        least, most = pc.min_max(moments).as_py().values()
        if least is not None and not (in_calendar(least) and in_calendar(most)):
            inside = pc.and_(pc.greater_equal(moments, _FIRST), pc.less_equal(moments, _LAST))
            rows = rows.set_column(place, field, pc.if_else(inside, rows.column(place), None))
    return rows


def instants(texts: Sequence[str | None]) -> pa.Array:
    """Parse a column of timestamps into ``timestamp[us, UTC]``; outside the years 1 to 9999 they are null.

    Raises:
        RecordError: A text is not a timestamp, or names an impossible date.
    """
    with suppress(pa.ArrowInvalid):  # Arrow knows fewer forms, and nanoseconds only from 1677 to 2262
        whole = pa.array(texts, pa.string()).cast(pa.timestamp("ns", "UTC"))
        if (pc.min(whole.view(pa.int64())).as_py() or 0) >= 0:  # before 1970 Arrow would round up
            return whole.cast(TIMESTAMP, safe=False)
    moments = [None if text is None else microseconds(instant(text)) for text in texts]
    inside = [None if moment is None or not in_calendar(moment) else moment for moment in moments]
    return pa.array(inside, pa.int64()).cast(TIMESTAMP)


def _zone(text: str | None) -> timezone:
    if not text or text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
