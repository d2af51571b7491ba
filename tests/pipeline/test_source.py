from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wats_extract.engine.job import Tolerance
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import duration, instant
from wats_extract.filters.nearest import nearest
from wats_extract.pipeline.source import Demo, Source, connection, environment, variable

NOW = datetime(2026, 3, 31, 15, 30, 20, tzinfo=UTC)
SECRET = "aGVsbG86c2VjcmV0LW1hcmtlcg=="


# ── the source ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_", "normal"),
    [
        ("https://acme.wats.com", "https://acme.wats.com"),
        ("https://acme.wats.com/", "https://acme.wats.com"),
        ("https://acme.wats.com/api", "https://acme.wats.com"),
        ("https://acme.wats.com/API/", "https://acme.wats.com"),
        ("https://Acme.wats.com//", "https://acme.wats.com"),
        ("  https://acme.wats.com ", "https://acme.wats.com"),
        ("https://plant:8443/wats/api/", "https://plant:8443/wats"),
        ("https://plant/my-api", "https://plant/my-api"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080/api", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("demo", "demo"),
        ("demo?reports=500&seed=7", "demo?reports=500&seed=7"),
    ],
)
def test_an_address_is_normalised(given_: str, normal: str) -> None:
    assert Source(url=given_).url == normal


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "is empty"),
        ("acme.wats.com", "should begin with https://"),
        ("acme.wats.com:443", "should begin with https://"),
        ("ftp://acme.wats.com", "should begin with https://"),
        ("https://", "should begin with https://"),
        ("Demo", "or be 'demo'"),
        ("http://acme.wats.com", "allow_http: true"),
        ("http://10.0.0.5", "allow_http: true"),
        ("http://127.0.0.1.example.com", "allow_http: true"),
        (f"https://me:{SECRET}@acme.wats.com", "user name or password"),
        (f"https://me:{SECRET}/@acme.wats.com", "no web address"),
        (f"https://acme.wats.com?token={SECRET}", "the address alone"),
        ("https://acme.wats.com/#/reports", "the address alone"),
        ("https://[acme", "no web address"),
        ("https://acme:port", "no web address"),
        ("demo?size=5", "'reports' and 'seed', not 'size'"),
        ("demo?reports=many", "should be a whole number"),
        ("demo?seed=-1", "should be a whole number"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)) as refused:
        connection(url or None, environ={"WATS_URL": " "} if not url else {})
    assert SECRET not in str(refused.value)


def test_plain_http_takes_a_decision() -> None:
    assert Source(url="http://plant.local", allow_http=True).url == "http://plant.local"


@pytest.mark.parametrize(
    ("url", "demo"),
    [
        ("demo", Demo()),
        ("demo?reports=500&seed=7", Demo(reports=500, seed=7)),
        ("https://demo.wats.com", None),
    ],
)
def test_the_demo_is_an_address(url: str, demo: Demo | None) -> None:
    assert Source(url=url).demo == demo


def test_a_real_server_is_asked_gently_by_default() -> None:
    assert Source(url="https://acme.wats.com").requests_per_minute == 500
    assert Source(url="demo").requests_per_minute is None
    assert Source(url="http://127.0.0.1:8000").requests_per_minute is None
    assert Source(url="demo", requests_per_minute=60).requests_per_minute == 60
    assert Source(url="https://acme.wats.com", requests_per_minute=None).requests_per_minute is None


@pytest.mark.parametrize(
    ("environ", "url", "token"),
    [
        ({}, "demo", ""),
        ({"WATS_URL": "https://a", "WATS_TOKEN": "t"}, "https://a", "t"),
        ({"PYWATS_SERVER_URL": "https://b/api", "PYWATS_API_TOKEN": "u"}, "https://b", "u"),
        ({"WATS_URL": "", "PYWATS_SERVER_URL": "https://b"}, "https://b", ""),
        ({"WATS_URL": "https://a", "PYWATS_SERVER_URL": "https://b"}, "https://a", ""),
    ],
)
def test_the_environment_says_where(environ: dict[str, str], url: str, token: str) -> None:
    source = connection(environ=environ)
    assert (source.url, source.token.get_secret_value()) == (url, token)


def test_what_is_given_goes_before_the_environment() -> None:
    source = connection(
        "https://c", "given", environ={"WATS_URL": "https://a", "WATS_TOKEN": "t"}, max_in_flight=3
    )
    assert (source.url, source.usable_token(), source.max_in_flight) == ("https://c", "given", 3)


def test_wrong_limits_are_told_in_plain_words() -> None:
    with pytest.raises(
        ConfigurationError, match="max_in_flight: should be at least 1; timeout: should be a duration"
    ):
        connection("demo", environ={}, max_in_flight=0, timeout="soon")


@pytest.mark.parametrize("written", [SECRET, f" {SECRET}\n", f"Basic {SECRET}"])
def test_the_token_is_bare_and_never_shown(written: str) -> None:
    source = Source(url="https://acme.wats.com", token=written)  # type: ignore[arg-type]
    assert source.usable_token() == SECRET
    for shown in (repr(source), str(source), str(source.model_dump()), source.model_dump_json()):
        assert SECRET not in shown


def test_a_broken_token_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="token: holds a blank") as refused:
        connection("https://acme.wats.com", f"{SECRET} {SECRET}", environ={})
    assert SECRET not in str(refused.value)
    assert refused.value.__context__ is None
    with pytest.raises(ValidationError) as raised:
        Source(url=SECRET, token=f"{SECRET} x", timeout=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(raised.value)


def test_only_the_demo_needs_no_token() -> None:
    assert Source(url="demo", token=SECRET).usable_token() == ""  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"no token for https://acme\.wats\.com") as refused:
        Source(url="https://acme.wats.com").usable_token()
    assert "WATS_TOKEN" in refused.value.hint


# ── the environment ─────────────────────────────────────────────────────────────────────────────


def test_env_files_add_and_never_override(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for folder in (near, far):
        folder.mkdir()
    (near / ".env").write_bytes("\ufeffA=near\r\nB=near\r\nQUOTED='a $b'\r\nEMPTY\r\n".encode())
    (far / ".env").write_text("A=far\nB=far\nC=far\n", encoding="utf-8")
    monkeypatch.setenv("A", "process")
    for name in ("B", "C", "QUOTED", "EMPTY"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    found = environment(near, far, tmp_path / "missing")
    assert (found["A"], found["B"], found["C"], found["QUOTED"]) == ("process", "near", "far", "a $b")
    assert "EMPTY" not in found
    assert dict(os.environ) == before


def test_an_env_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"WATS_TOKEN={SECRET}ü".encode("utf-16"))
    with pytest.raises(ConfigurationError, match="cannot be read as UTF-8") as refused:
        environment(tmp_path)
    assert SECRET not in str(refused.value)


def test_an_empty_variable_is_set_but_lets_the_other_name_serve() -> None:
    assert variable("WATS_URL", {"WATS_URL": ""}) == ""
    assert variable("WATS_URL", {"WATS_URL": "", "PYWATS_SERVER_URL": "x"}) == "x"
    assert variable("NAME", {}) is None


# ── durations ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("120s", 120), ("2m", 120), ("1.5 h", 5400), ("500ms", 0.5), (30, 30), (0.5, 0.5), ("45", 45)],
)
def test_durations(written: object, seconds: float) -> None:
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "soon", "2 min", "-1s", 0, "0s", True, None, float("nan"), float("inf"), -3]
)
def test_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="should be a duration"):
        duration(written)


# ── tolerances ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "failures", "items", "allowed"),
    [
        (0, 0, 0, True),
        (0, 1, 100, False),
        (3, 3, 3, True),
        ("3", 4, 1000, False),
        ("1%", 1, 100, True),
        ("1%", 2, 100, False),
        ("1%", 0, 0, True),
        ("0.7%", 7, 1000, True),
        ("100 %", 5, 5, True),
    ],
)
def test_a_tolerance_allows_up_to_its_limit(
    written: object, failures: int, items: int, allowed: bool
) -> None:
    assert Tolerance.parse(written).allows(failures, items) is allowed


@pytest.mark.parametrize(
    ("written", "failures", "items", "reached"),
    [(0, 0, 10, False), (0, 1, 10, True), (5, 5, 9, True), ("20%", 19, 100, False), ("20%", 20, 100, True)],
)
def test_a_tolerance_is_reached_at_its_limit(
    written: object, failures: int, items: int, reached: bool
) -> None:
    assert Tolerance.parse(written).reached(failures, items) is reached


@pytest.mark.parametrize("written", ["", "lots", "101%", -1, "-1%", 0.5, True, None, "nan", "inf%", [1]])
def test_no_tolerance(written: object) -> None:
    with pytest.raises(ValueError, match="whole number such as 10"):
        Tolerance.parse(written)


def test_a_tolerance_is_written_as_it_was_read() -> None:
    assert [str(Tolerance.parse(each)) for each in (5, "1%", "0.5 %")] == ["5", "1%", "0.5%"]


# ── moments ─────────────────────────────────────────────────────────────────────────────────────


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
def test_moments(written: Any, moment: datetime) -> None:
    assert instant(written, now=NOW) == moment
    assert instant(written, now=NOW).utcoffset() == timedelta(0)


def test_relative_moments_take_the_clock_in_any_zone() -> None:
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
    ],
)
def test_what_is_no_moment_is_refused_with_examples(written: str) -> None:
    with pytest.raises(ConfigurationError, match="is no moment in time") as refused:
        instant(written, now=NOW)
    assert "30 days ago" in refused.value.hint


def test_an_impossible_date_is_told_why() -> None:
    with pytest.raises(ConfigurationError, match="out of range"):
        instant("2026-02-30", now=NOW)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC), allow_imaginary=False))
def test_a_written_timestamp_is_that_moment(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ConfigurationError):
            instant(moment, now=NOW)
        return
    if re.fullmatch(r".*[+-]\d\d:\d\d(:\d\d(\.\d+)?)?", moment.isoformat()):
        assert instant(moment.isoformat(), now=NOW) == expected


@given(st.integers(0, 700), st.sampled_from(["minute", "hour", "day", "week", "month", "year"]))
def test_ago_is_never_later_and_grows_with_the_number(number: int, unit: str) -> None:
    earlier, later = (instant(f"{count} {unit}s ago", now=NOW) for count in (number + 1, number))
    assert earlier < later <= NOW


@given(st.text(max_size=40))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        assert instant(text, now=NOW).tzinfo is UTC
    except ConfigurationError as error:
        assert error.hint  # noqa: PT017


# ── names ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "meant"), [("tokn", "token"), ("URL", "url"), ("subunits", "subUnits"), ("xyz", "")]
)
def test_the_nearest_name(name: str, meant: str) -> None:
    assert nearest(name, ["token", "url", "subUnits"]) == meant
