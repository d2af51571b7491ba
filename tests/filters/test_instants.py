"""Instants and durations as users write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import duration, instant

NOW = datetime(2026, 3, 31, 15, 30, 20, tzinfo=UTC)

# ── durations ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("120s", 120), ("2m", 120), ("1.5 h", 5400), ("500ms", 0.5), (30, 30), (0.5, 0.5), ("45", 45)],
)
def test_durations(written: object, seconds: float) -> None:
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["", "soon", "2 min", "-1s", 0, "0s", True, None, float("nan"), float("inf"), -3, 10**400, "9" * 400],
)
def test_anything_else_is_not_a_duration(written: object) -> None:
    with pytest.raises(ValueError, match="should be a duration"):
        duration(written)


# ── instants ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31 08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
        (" now ", NOW),
        ("Today", datetime(2026, 3, 31, tzinfo=UTC)),
        ("yesterday", datetime(2026, 3, 30, tzinfo=UTC)),
        ("30 days ago", NOW - timedelta(days=30)),
        ("1 day ago", NOW - timedelta(days=1)),
        ("a week ago", NOW - timedelta(weeks=1)),
        ("an  hour ago", NOW - timedelta(hours=1)),
        ("2 Weeks Ago", NOW - timedelta(weeks=2)),
        ("90 minutes ago", NOW - timedelta(minutes=90)),
        ("1 month ago", NOW.replace(month=2, day=28)),
        ("4 months ago", NOW.replace(year=2025, month=11, day=30)),
        ("2 years ago", NOW.replace(year=2024)),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        (datetime(2026, 1, 31, 8), datetime(2026, 1, 31, 8, tzinfo=UTC)),  # noqa: DTZ001
    ],
)
def test_instants(written: Any, moment: datetime) -> None:
    assert instant(written, now=NOW) == moment
    assert instant(written, now=NOW).utcoffset() == timedelta(0)


def test_the_clock_may_be_in_any_zone() -> None:
    late = datetime(2026, 4, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert instant("today", now=late) == datetime(2026, 3, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "tomorrow-ish",
        "31.01.2026",
        "1/31/2026",
        "2026-02-30",
        "2026-13-01",
        "2026-01-01T25:00",
        "-3 days ago",
        "3 fortnights ago",
        "30 days",
        "999999 years ago",
        "0001-01-01T00:00:00+14:00",
        b"2026-01-31",
        20260131,
        None,
    ],
)
def test_anything_else_is_refused_with_examples(written: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a date, a timestamp or an age such as") as refused:
        instant(written, now=NOW)
    assert "30 days ago" in refused.value.hint


def test_the_message_says_why_a_date_is_impossible() -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        instant("2026-02-30", now=NOW)


@settings(deadline=None)
@given(st.datetimes(timezones=st.timezones() | st.just(UTC), allow_imaginary=False))
def test_a_timestamp_is_read_back_as_itself(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ConfigurationError):
            instant(moment, now=NOW)
        return
    if re.fullmatch(r".*[+-]\d\d:\d\d(:\d\d(\.\d+)?)?", moment.isoformat()):
        assert instant(moment.isoformat(), now=NOW) == expected


@settings(deadline=None)
@given(st.integers(0, 700), st.sampled_from(["minute", "hour", "day", "week", "month", "year"]))
def test_a_longer_age_is_earlier(number: int, unit: str) -> None:
    earlier, later = (instant(f"{count} {unit}s ago", now=NOW) for count in (number + 1, number))
    assert earlier < later <= NOW


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    try:
        assert instant(text, now=NOW).tzinfo is UTC
    except ConfigurationError as error:
        assert error.hint  # noqa: PT017
