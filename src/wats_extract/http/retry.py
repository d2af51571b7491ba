"""When and how often a request is retried. Nothing else in the package retries requests."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from wats_extract.errors import RequestError, ServerUnreachable, freed

T = TypeVar("T")

WORTH_ANOTHER_TRY = frozenset({"TIMEOUT", "CONNECTION_ERROR", "RATE_LIMITED", "INVALID_RESPONSE"})
"""Error codes that are retried."""

WORTH_ANOTHER_TRY_STATUS = frozenset({408, 425, 500, 502, 503, 504})
"""HTTP statuses that are retried, whatever their error code."""

ANNOUNCED_SECONDS = 1.0
"""Waits of this length are announced."""


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a request is retried: exponential backoff with jitter, and ``Retry-After``.

    Attributes:
        attempts: The most attempts that fail for other reasons than the rate limit.
        first_wait: Seconds before the second attempt, of which up to half are taken off at random; doubled
            for each further attempt. Also the shortest wait: ``Retry-After: 0`` would retry without end.
        longest_backoff: The most seconds that doubling leads to, except after 429. Results keep their order,
            so one report that always fails holds up those that were fetched after it.
        longest_wait: The most seconds of any wait, also if ``Retry-After`` asks for more: a server that asks
            for hours is retried sooner, and a run never hangs.
        rate_limit_seconds: Total seconds that a request waits while the server responds with 429.
        random: The source of the jitter.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_backoff: float = 4.0
    longest_wait: float = 60.0
    rate_limit_seconds: float = 900.0
    random: random.Random = field(default_factory=random.Random)

    def call(
        self,
        attempt: Callable[[], T],
        *,
        wait: Callable[[float], None],
        announce: Callable[[str, float], None],
    ) -> T:
        """Call ``attempt`` until it returns, or until retrying its ``RequestError`` is pointless.

        Args:
            attempt: Sends the request once.
            wait: Waits for some seconds; may raise to give up.
            announce: Told the reason and the seconds of each wait of a second or more.

        Raises:
            RequestError: the last error if it is final, otherwise the most frequent one: a report that is
                broken for good is not reported as a lost connection because the last attempt was one.
        """
        errors: list[RequestError] = []
        waited = 0.0
        while True:
            try:
                return attempt()
            except RequestError as error:
                errors.append(freed(error))
            if not worth_another_try(errors[-1]) or self._exhausted(errors, waited):
                break
            seconds = self._seconds(errors)
            if seconds >= ANNOUNCED_SECONDS:
                announce(errors[-1].message, seconds)
            wait(seconds)
            waited += seconds
        reported = _most_frequent(errors) if worth_another_try(errors[-1]) else errors[-1]
        reported.attempts = len(errors)
        raise reported from reported.__cause__

    def _exhausted(self, errors: Sequence[RequestError], waited: float) -> bool:
        if errors[-1].code == "RATE_LIMITED":
            return waited >= self.rate_limit_seconds
        return sum(error.code != "RATE_LIMITED" for error in errors) >= self.attempts

    def _seconds(self, errors: Sequence[RequestError]) -> float:
        """How long to wait before the next attempt."""
        error = errors[-1]
        if error.retry_after is not None:
            return min(max(error.retry_after, self.first_wait), self.longest_wait)
        doublings = min(len(errors) - 1, 30)  # a larger power would overflow
        longest = self.longest_wait if error.code == "RATE_LIMITED" else self.longest_backoff
        ceiling = min(longest, self.longest_wait, self.first_wait * 2**doublings)
        return self.random.uniform(ceiling / 2, ceiling)


def worth_another_try(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    if not isinstance(error, RequestError) or isinstance(error, ServerUnreachable) or error.final:
        return False
    return error.code in WORTH_ANOTHER_TRY or error.http_status in WORTH_ANOTHER_TRY_STATUS


def retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds to wait according to a ``Retry-After`` header, or ``None`` if there is none.

    Args:
        header: Seconds or an HTTP date (RFC 9110).
        now: The time that a date is relative to; default: the current time.
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass  # then it is a date
    try:
        instant = parsedate_to_datetime(header)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - (now or datetime.now(UTC))).total_seconds())


def _most_frequent(errors: Sequence[RequestError]) -> RequestError:
    """The last of the errors with the most frequent code; of equally frequent codes the latest."""
    (code, _), *_ = Counter(error.code for error in reversed(errors)).most_common(1)
    return next(error for error in reversed(errors) if error.code == code)
