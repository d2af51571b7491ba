"""What is worth another try, and after how long. Nothing else in the package retries requests."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from wats_extract.errors import RequestError, ServerUnreachable

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

WORTH_ANOTHER_TRY = frozenset({"TIMEOUT", "CONNECTION_ERROR", "RATE_LIMITED", "INVALID_RESPONSE"})
WORTH_ANOTHER_TRY_STATUS = frozenset({408, 425, 500, 502, 503, 504})


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a request is.

    Attributes:
        attempts: Tries for a request that the server answers badly, or that is cut off.
        first_wait: Seconds before the second try, less up to half of it by chance; doubled for each further
            one. No wait that ``Retry-After`` asks for is shorter, for ``Retry-After: 0`` would never end.
        longest_backoff: Seconds that the doubling stops at, but for 429: results are given in order, so
            one report that is broken for good holds up all that were fetched after it.
        longest_wait: Seconds that no wait exceeds, also where ``Retry-After`` asks for more: a server
            that asks for hours is asked again sooner, and a run never hangs.
        rate_limit_patience: Seconds in all that a request waits while the server answers 429.
        random: Where the jitter comes from.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_backoff: float = 4.0
    longest_wait: float = 60.0
    rate_limit_patience: float = 900.0
    random: random.Random = field(default_factory=random.Random)

    def call(
        self,
        attempt: Callable[[], T],
        *,
        wait: Callable[[float], None],
        announce: Callable[[str, float], None],
    ) -> T:
        """Call ``attempt`` until it returns, or until its ``RequestError`` is not worth another try.

        Raises:
            RequestError: what went wrong most often, and last, with the number of attempts made: a
                report that is broken for good is not called a lost connection because its last try was.
        """
        try:
            return attempt()
        except RequestError as error:
            error.attempts = 1
            if not worth_another_try(error):
                raise
            first = error
        return self._call_again(attempt, first, wait=wait, announce=announce)

    def _call_again(
        self,
        attempt: Callable[[], T],
        first: RequestError,
        *,
        wait: Callable[[float], None],
        announce: Callable[[str, float], None],
    ) -> T:
        """Go on after a first attempt that went wrong; most calls never get here, and are quicker for it."""
        from tenacity import Retrying, retry_if_exception

        errors: list[RequestError] = []
        failed: list[RequestError] = [first]

        def again() -> T:
            if failed:
                raise failed.pop()
            return attempt()

        def worth_it(error: BaseException) -> bool:
            if isinstance(error, RequestError):
                errors.append(error)
            return worth_another_try(error)

        def give_up(state: RetryCallState) -> bool:
            if errors[-1].code == "RATE_LIMITED":
                return state.idle_for >= self.rate_limit_patience
            return sum(error.code != "RATE_LIMITED" for error in errors) >= self.attempts

        def before_sleep(state: RetryCallState) -> None:
            if state.upcoming_sleep >= 1:
                announce(errors[-1].message, state.upcoming_sleep)

        retrying = Retrying(
            retry=retry_if_exception(worth_it),
            stop=give_up,
            wait=self.seconds,
            sleep=wait,
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            return retrying(again)
        except RequestError as last:
            error = _telling(errors) if worth_another_try(last) else last
            error.attempts = len(errors)
            raise error from error.__cause__

    def seconds(self, state: RetryCallState) -> float:
        """How long to wait before the next attempt."""
        error = _error(state)
        asked = error.retry_after
        if asked is not None:
            return min(max(asked, self.first_wait), self.longest_wait)
        doubled = min(state.attempt_number - 1, 30)  # beyond that, the power is no float any more
        longest = self.longest_wait if error.code == "RATE_LIMITED" else self.longest_backoff
        ceiling = min(longest, self.longest_wait, self.first_wait * 2**doubled)
        return self.random.uniform(ceiling / 2, ceiling)


def worth_another_try(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    if not isinstance(error, RequestError) or isinstance(error, ServerUnreachable):
        return False
    return error.code in WORTH_ANOTHER_TRY or error.http_status in WORTH_ANOTHER_TRY_STATUS


def retry_after(header: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110: seconds, or an HTTP date), or ``None``."""
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


def _telling(errors: Sequence[RequestError]) -> RequestError:
    """The last of the errors whose code is the most frequent."""
    (code, _), *_ = Counter(error.code for error in reversed(errors)).most_common(1)
    return next(error for error in reversed(errors) if error.code == code)


def _error(state: RetryCallState) -> RequestError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, RequestError)
    return error
