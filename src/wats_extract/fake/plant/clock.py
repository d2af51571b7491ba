"""The work calendar and time formats. Times are ticks of 100 ns since 1970.

Two shifts work Monday to Friday, and one report arrives every four minutes. Report number and arrival time
are converted by arithmetic, so ten million reports cost no more than ten.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SECOND = 10_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
ARRIVAL_INTERVAL = 240 * SECOND
REPORTS_PER_DAY = 240
OPENING = int(datetime(2026, 1, 5, 6, tzinfo=UTC).timestamp()) * SECOND
"""The arrival of the first report, on a Monday."""
MAX_ARRIVAL_DELAY = 3 * DAY
"""The longest time between the start of a generated report and its arrival."""

_EPOCH = date(1970, 1, 1)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,7})\d*)?)?)?(Z|[+-]\d\d:\d\d)?",
    re.IGNORECASE,
)


def arrival(number: int) -> int:
    """The tick at which report `number` arrives: Monday to Friday, 06:00 to 22:00 UTC."""
    day, slot = divmod(number, REPORTS_PER_DAY)
    week, weekday = divmod(day, 5)
    return OPENING + (7 * week + weekday) * DAY + slot * ARRIVAL_INTERVAL


def first_arrival_from(tick: int) -> int:
    """The number of the first report that arrives at `tick` or later."""
    days, rest = divmod(tick - OPENING, DAY)
    week, weekday = divmod(days, 7)
    if weekday > 4:
        return max(0, (week + 1) * 5 * REPORTS_PER_DAY)
    slot = min(-(-rest // ARRIVAL_INTERVAL), REPORTS_PER_DAY)
    return max(0, (week * 5 + weekday) * REPORTS_PER_DAY + slot)


def local(tick: int) -> str:
    """Central European time with its offset, up to seven fraction digits without trailing zeros."""
    offset = _utc_offset(tick // DAY)
    return f"{_iso(tick + offset * HOUR)}+0{offset}:00"


def utc(tick: int) -> str:
    """UTC with a `Z`, up to seven fraction digits without trailing zeros."""
    return _iso(tick) + "Z"


def malformed_utc(tick: int) -> str:
    """UTC with a decimal point but no digits after it, as some clients send it."""
    return _iso(tick - tick % SECOND) + ".Z"


def parse(text: str) -> int:
    """The ticks of an ISO 8601 date or time. A time without an offset is UTC.

    Raises:
        ValueError: The text is not such a date or time.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"not a date or time: {text!r}")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, zone = int((match[7] or "").ljust(7, "0")), match[8]
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _offset(zone)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * SECOND + fraction


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone in "Zz":
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))


def _iso(tick: int) -> str:
    seconds, fraction = divmod(tick, SECOND)
    days, seconds = divmod(seconds, 86400)
    minutes, second = divmod(seconds, 60)
    text = f"{_date(days)}T{minutes // 60:02}:{minutes % 60:02}:{second:02}"
    return f"{text}.{fraction:07}".rstrip("0") if fraction else text


@lru_cache(4096)
def _date(days: int) -> str:
    return (_EPOCH + timedelta(days)).isoformat()


@lru_cache(4096)
def _utc_offset(days: int) -> int:
    """Hours ahead of UTC. Summer time runs from the last Sunday of March to the last Sunday of October."""
    today = _EPOCH + timedelta(days)
    return 2 if _last_sunday(today.year, 3) <= today < _last_sunday(today.year, 10) else 1


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, 31)
    return last - timedelta((last.weekday() + 1) % 7)
