"""The retry policy: which errors are retried, after how long, and how often."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import Interrupted, RequestError, TokenRefused
from wats_extract.http.retry import RetryPolicy, retry_after, worth_another_try

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def problem(code: str = "API_ERROR", status: int | None = 500, asked: float | None = None) -> RequestError:
    return RequestError(f"HTTP {status}", code=code, url="/api/x", http_status=status, retry_after=asked)


def limited(asked: float | None = None) -> RequestError:
    return problem("RATE_LIMITED", 429, asked)


@dataclass
class Story:
    """A request that has one outcome after the other, and the last one forever."""

    outcomes: Sequence[Any]
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(random=random.Random(3)))
    tries: int = 0
    waits: list[float] = field(default_factory=list)
    announced: list[tuple[str, float]] = field(default_factory=list)

    def run(self) -> Any:
        return self.policy.call(
            self._attempt, wait=self.waits.append, announce=lambda *wait: self.announced.append(wait)
        )

    def _attempt(self) -> Any:
        outcome = self.outcomes[min(self.tries, len(self.outcomes) - 1)]
        self.tries += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def error(self) -> RequestError:
        with pytest.raises(RequestError) as raised:
            self.run()
        return raised.value


@pytest.mark.parametrize(
    ("code", "status", "retried"),
    [
        ("TIMEOUT", None, True),
        ("TIMEOUT", 504, True),
        ("TIMEOUT", 408, True),
        ("CONNECTION_ERROR", None, True),
        ("RATE_LIMITED", 429, True),
        ("INVALID_RESPONSE", 200, True),
        ("API_ERROR", 500, True),
        ("API_ERROR", 502, True),
        ("API_ERROR", 503, True),
        ("API_ERROR", 425, True),
        ("API_ERROR", 501, False),
        ("API_ERROR", 400, False),
        ("API_ERROR", 409, False),
        ("NOT_FOUND", 404, False),
        ("NOT_FOUND", 200, False),
        ("FORBIDDEN", 403, False),
        ("UNAUTHORIZED", 401, False),
        ("UNKNOWN_ERROR", None, False),
    ],
)
def test_which_errors_are_retried(code: str, status: int | None, retried: bool) -> None:
    assert worth_another_try(problem(code, status)) is retried
    story = Story([problem(code, status), "response"])
    if retried:
        assert story.run() == "response"
    else:
        assert story.error().code == code
    assert story.tries == 1 + retried


@pytest.mark.parametrize("error", [Interrupted("stop"), ValueError("bug"), KeyboardInterrupt()])
def test_only_request_errors_are_retried(error: BaseException) -> None:
    story = Story([error, "response"])
    with pytest.raises(type(error)):
        story.run()
    assert story.tries == 1


def test_it_gives_up_after_six_attempts_and_reports_their_number() -> None:
    story = Story([problem()])
    assert story.error().attempts == story.tries == 6
    assert len(story.waits) == 5


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ([problem(), problem("TIMEOUT", None)], problem("NOT_FOUND", 404)),
        ([problem(), limited(), problem()], TokenRefused("no", code="UNAUTHORIZED", url="", http_status=401)),
    ],
)
def test_a_final_error_counts_the_attempts_before_it(before: list[RequestError], last: RequestError) -> None:
    error = Story([*before, last]).error()
    assert error is last
    assert error.attempts == len(before) + 1


@pytest.mark.parametrize(
    ("codes", "reported"),
    [
        (["API_ERROR"] * 5 + ["CONNECTION_ERROR"], "API_ERROR"),
        (["CONNECTION_ERROR"] * 3 + ["API_ERROR"] * 3, "API_ERROR"),
        (["TIMEOUT", *["CONNECTION_ERROR"] * 5], "CONNECTION_ERROR"),
    ],
)
def test_the_most_frequent_error_is_reported(codes: list[str], reported: str) -> None:
    errors = [problem(code, 500 if code == "API_ERROR" else None) for code in codes]
    for error in errors:
        error.__cause__ = ValueError(error.code)
    error = Story(errors).error()
    assert error.code == reported
    assert str(error.__cause__) == reported
    assert error.attempts == 6


@pytest.mark.parametrize(("error", "longest"), [(problem, 4.0), (limited, 60.0)])
@given(seed=st.integers(0, 2**32))
def test_waits_double_with_jitter_up_to_the_longest(seed: int, error: Any, longest: float) -> None:
    story = Story([error()], RetryPolicy(attempts=12, random=random.Random(seed)))
    story.error()
    for number, seconds in enumerate(story.waits):
        ceiling = min(longest, 0.5 * 2**number)
        assert ceiling / 2 <= seconds <= ceiling


@pytest.mark.parametrize("error", [limited, lambda asked: problem(status=503, asked=asked)])
@pytest.mark.parametrize(
    ("asked", "seconds"), [(7, 7), (60, 60), (61, 60), (86_400, 60), (0, 0.5), (float("inf"), 60)]
)
def test_retry_after_is_respected_within_bounds(error: Any, asked: float, seconds: float) -> None:
    story = Story([error(asked), "response"])
    assert story.run() == "response"
    assert story.waits == [seconds]


@pytest.mark.parametrize("asked", [None, 0, 1, 60, 86_400])
def test_endless_429_ends_after_15_minutes(asked: float | None) -> None:
    story = Story([limited(asked)])
    error = story.error()
    assert error.code == "RATE_LIMITED"
    assert 900 <= sum(story.waits) <= 960
    assert error.attempts == story.tries == len(story.waits) + 1


def test_a_thousand_doublings_do_not_overflow() -> None:
    story = Story([limited()], RetryPolicy(longest_wait=0.1, rate_limit_seconds=150))
    assert story.error().attempts > 1100


def test_429_does_not_count_as_one_of_the_attempts() -> None:
    story = Story([*[limited(1)] * 20, *[problem()] * 5, "response"])
    assert story.run() == "response"
    assert story.tries == 26


def test_an_interrupt_ends_the_wait() -> None:
    def wait(seconds: float) -> None:
        raise Interrupted("stop")

    with pytest.raises(Interrupted):
        RetryPolicy().call(Story([problem()])._attempt, wait=wait, announce=lambda reason, seconds: None)


def test_waits_of_a_second_or_more_are_announced() -> None:
    story = Story([limited(0.9), limited(5), problem(asked=2), "response"])
    story.run()
    assert story.announced == [("HTTP 429", 5), ("HTTP 500", 2)]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 3 ", 3.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("nan", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Mon, 04 May 2026 14:01:00 +0200", 60.0),
        ("Mon, 04 May 2026 12:01:00", 60.0),
        ("soon", None),
        ("Mon, 99 May 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_as_seconds_and_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOW) == seconds


@given(st.text(max_size=40) | st.floats().map(str) | st.datetimes().map(format_datetime))
def test_any_text_is_a_valid_retry_after(header: str) -> None:
    seconds = retry_after(header, now=NOW)
    assert seconds is None or seconds >= 0
