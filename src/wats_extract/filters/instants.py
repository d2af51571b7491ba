"""Dates, timestamps and ages as users write them, and durations."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from wats_extract.errors import ConfigurationError

INSTANT_EXAMPLES = "2026-01-31, 2026-01-31T08:00:00Z, '30 days ago', 'yesterday', 'today' or 'now'"


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(written: object) -> float:
    """Seconds, from ``"120s"``, ``"2m"``, ``"500ms"``, ``"1h"`` or a number of seconds.

    Raises:
        ValueError: if it is none of these, or not more than nothing.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|)", str(written).strip())
    if found is None or isinstance(written, bool) or not float(found[1]):
        raise ValueError("should be a duration such as 120s or 2m, or a number of seconds")
    return float(found[1]) * _SECONDS[found[2] or "s"]


_AGO = re.compile(r"(\d{1,6}|an?)\s+(minute|hour|day|week|month|year)s?\s+ago", re.IGNORECASE)


def instant(written: str | date, *, now: datetime) -> datetime:
    """A moment in UTC, from a date, a timestamp or words such as ``"30 days ago"``.

    A date is its first moment; what has no zone is UTC. ``today`` and ``yesterday`` are midnights in
    UTC, ``30 days ago`` is to the second.

    Args:
        written: The moment as the user wrote it.
        now: The clock's reading that relative words refer to.

    Raises:
        ConfigurationError: if it is none of these; the message has examples.
    """
    try:
        return _instant(written, now.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        reason = f" ({error})" if "out of range" in str(error) or "must be in" in str(error) else ""
        raise ConfigurationError(
            f"{str(written)[:40]!r} is no moment in time{reason}", hint=f"Write {INSTANT_EXAMPLES}."
        ) from None


def _instant(written: str | date, now: datetime) -> datetime:
    if isinstance(written, datetime):
        return written.astimezone(UTC) if written.tzinfo else written.replace(tzinfo=UTC)
    if isinstance(written, date):
        return datetime.combine(written, time(), tzinfo=UTC)
    text = " ".join(written.lower().split())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if text in words:
        return words[text]
    if found := _AGO.fullmatch(text):
        return _earlier(now, 1 if found[1].startswith("a") else int(found[1]), found[2])
    return _instant(datetime.fromisoformat(written.strip()), now)


def _earlier(now: datetime, number: int, unit: str) -> datetime:
    if unit not in ("month", "year"):
        return now - timedelta(**{f"{unit}s": number})
    months = now.year * 12 + now.month - 1 - number * (12 if unit == "year" else 1)
    first = now.replace(year=months // 12, month=months % 12 + 1, day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    # 31 March, one month ago, is the last day of February.
    return first.replace(day=min(now.day, (following - timedelta(days=1)).day))
