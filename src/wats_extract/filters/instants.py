"""Parse instants (dates, timestamps, ages such as "30 days ago") and durations as users write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from math import inf, nan
from typing import TypeAlias

from wats_extract.errors import ConfigurationError

Moment: TypeAlias = str | date | datetime
"""An instant as a caller gives it: a date, a timestamp, or text such as ``30 days ago``."""

INSTANT_EXAMPLES = "2026-01-31, 2026-01-31T08:00:00Z, '30 days ago', 'yesterday', 'today' or 'now'"

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_AGO = re.compile(r"(\d{1,6}|an?)\s+(minute|hour|day|week|month|year)s?\s+ago", re.IGNORECASE)


def duration(written: object) -> float:
    """Seconds, from ``"120s"``, ``"2m"``, ``"500ms"``, ``"1h"`` or a number of seconds.

    Raises:
        ValueError: it is none of these, not positive, or not finite.
    """
    seconds = _seconds(written)
    if not 0 < seconds < inf:
        raise ValueError("should be a duration such as 120s or 2m, or a number of seconds")
    return seconds


def _seconds(written: object) -> float:
    """The seconds of a duration; not a number if it is none, infinite if it is too large."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        try:
            return float(written)
        except OverflowError:
            return inf
    found = (
        re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|)", written.strip())
        if isinstance(written, str)
        else None
    )
    return nan if found is None else float(found[1]) * _SECONDS[found[2] or "s"]


def is_age(written: object) -> bool:
    """Whether a moment depends on the current time: ``30 days ago``, ``today``, ``yesterday``, ``now``."""
    if not isinstance(written, str):
        return False
    text = written.strip().lower()
    return text in ("now", "today", "yesterday") or _AGO.fullmatch(text) is not None


def instant(written: Moment, *, now: datetime) -> datetime:
    """An instant in UTC, from a date, a timestamp or an age such as ``"30 days ago"``.

    A date means 00:00 UTC, and a timestamp without a zone is UTC. ``today`` and ``yesterday`` mean 00:00 UTC;
    an age is exact to the second.

    Args:
        written: The instant as the user wrote it.
        now: The current time, from which ages are counted.

    Raises:
        ConfigurationError: it is none of these; the hint shows examples.
    """
    try:
        return _instant(written, now.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        reason = f" ({error})" if "out of range" in str(error) or "must be in" in str(error) else ""
    raise ConfigurationError(
        f'{_shown(written)} is not a date, a timestamp or an age such as "7 days ago"{reason}',
        hint=f"Write {INSTANT_EXAMPLES}.",
    )


def _instant(written: object, now: datetime) -> datetime:
    if isinstance(written, datetime):
        if written != written:
            raise ValueError
        return written.astimezone(UTC) if written.tzinfo else written.replace(tzinfo=UTC)
    if isinstance(written, date):
        return datetime.combine(written, time(), tzinfo=UTC)
    if not isinstance(written, str):
        raise ValueError
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


def _shown(written: object) -> str:
    text = repr(written[:40]) if isinstance(written, str) else repr(written)
    return text if len(text) <= 60 else f"{text[:60]}…"
