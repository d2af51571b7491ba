"""Instants in every form that WATS writes them (api-facts: §1.3), as microseconds since 1970 in UTC.

WATS writes up to seven digits behind the second; the seventh (100 ns) is cut off, not rounded.
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


def instant(text: str) -> datetime:
    """The instant that a text names, in the zone it was written in; UTC where it names none.

    Raises:
        RecordError: it is no date, or an impossible one.
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
    """Whether a text says which zone it is in."""
    match = _FORM.fullmatch(text)
    return bool(match and match[8])


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC; exact also beyond what UTC's own calendar can hold."""
    offset = moment.utcoffset() or timedelta()
    return (moment.replace(tzinfo=UTC) - _EPOCH - offset) // _MICROSECOND


def instants(texts: Sequence[str | None]) -> pa.Array:
    """A column of instants, ``timestamp[us, UTC]``.

    Raises:
        RecordError: one of them is no date, or an impossible one.
    """
    with suppress(pa.ArrowInvalid):  # a form, or a century, that only the patient way reads
        whole = pa.array(texts, pa.string()).cast(pa.timestamp("ns", "UTC"))
        if (pc.min(whole.view(pa.int64())).as_py() or 0) >= 0:  # before 1970 Arrow cuts upwards
            return whole.cast(TIMESTAMP, safe=False)
    values = [None if text is None else microseconds(instant(text)) for text in texts]
    return pa.array(values, pa.int64()).cast(TIMESTAMP)


def _zone(text: str | None) -> timezone:
    if not text or text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:]) if len(text) > 3 else 0
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
