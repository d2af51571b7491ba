"""Every error that this package raises.

::

    WatsExtractError
    ├── ConfigurationError        exit 2   the file, the command line or the environment is wrong
    │   └── PipelineFileError              … with file, line and key path of every problem
    ├── RequestError              exit 5   a request that stays without a usable answer
    │   ├── TokenRefused          exit 2   401: the token is missing, wrong or expired
    │   ├── ServerUnreachable     exit 5   nobody answers, after all patience
    │   └── KeysetRefused                  400 to a ``timeStamp`` comparison: read by windows instead
    ├── PagingError               exit 1   the server's pages contradict each other
    ├── KeyFailed                          a key of a batch with ``fail_fast`` failed
    ├── RecordError                        a record does not fit its tables (becomes a failure)
    ├── Unreadable                         an answer is cut off, or not JSON at all (worth another try)
    ├── Incomplete                exit 4   stopped cleanly before the end; the next run goes on
    │   ├── RequestBudgetSpent             ``max_requests`` is reached
    │   └── TooManyFailures                ``stop_at_failures`` is reached
    ├── DestinationError          exit 1   the destination refuses; what was committed stays
    ├── PipelineLocked            exit 6   another process runs this pipeline
    └── Interrupted               exit 130 or 143

An *error* stops something. What is only recorded, while the run goes on, is a
:class:`wats_extract.flow.Failure`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wats_extract.flow import Failure


class WatsExtractError(Exception):
    """The root of the tree.

    Attributes:
        exit_code: What the command line exits with when this error ends a command.
        hint: What the reader can do next; empty where the message says it all.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigurationError(WatsExtractError):
    """The file, the command line or the environment is wrong; nothing was asked of the server."""

    exit_code = 2


class PipelineFileError(ConfigurationError):
    """A pipeline file has problems; the message names file, line and key path of each."""


class RequestError(WatsExtractError):
    """A request stays without a usable answer, after every retry that was worth it.

    Attributes:
        code: One of the error codes of ``_wats_failures`` (``NOT_FOUND``, ``TIMEOUT``, …).
        http_status: The status of the last answer, or ``None`` when there was none.
        url: What was asked, without host and without secrets.
        attempts: How many requests were sent for it.
        payload: The first 2 kB of the last answer's body.
        retry_after: Seconds that the server asked to wait, or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        url: str,
        http_status: int | None = None,
        attempts: int = 1,
        payload: str = "",
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.url = url
        self.http_status = http_status
        self.attempts = attempts
        self.payload = payload
        self.retry_after = retry_after

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """2 where the file or the token must change first, 5 where a later try may succeed."""
        final = self.code in {"UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND"} or self.http_status == 400
        return 2 if final else 5


class TokenRefused(RequestError):
    """The server answered 401: the token is missing, wrong or expired."""


class ServerUnreachable(RequestError):
    """Nobody answers, after all patience; what was committed stays."""


class KeysetRefused(RequestError):
    """The server does not compare ``timeStamp`` in ``$filter``; windows on ``start`` serve instead."""


class PagingError(WatsExtractError):
    """The server's pages contradict each other (no order, no progress), so completeness cannot be proven."""


class KeyFailed(WatsExtractError):
    """A key of a batch with ``fail_fast`` failed; nothing more is asked for.

    Attributes:
        failure: What became of it.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(
            f"{failure.resource} {failure.key}: {failure.error_code}, {failure.message}", hint=failure.hint
        )
        self.failure = failure


class RecordError(WatsExtractError):
    """A record does not fit its tables; the run records it as a failure and goes on."""


class Unreadable(WatsExtractError):
    """An answer is cut off, or is not the format asked for; the client asks again."""


class Incomplete(WatsExtractError):
    """The run stopped cleanly before the end; what was committed stays and the next run goes on."""

    exit_code = 4


class RequestBudgetSpent(Incomplete):
    """``max_requests`` is reached."""


class TooManyFailures(Incomplete):
    """``stop_at_failures`` is reached: so many recent items fail that something else must be wrong."""


class DestinationError(WatsExtractError):
    """The destination cannot be opened, read or written; what was committed stays."""


class PipelineLocked(WatsExtractError):
    """Another process runs this pipeline."""

    exit_code = 6


class Interrupted(WatsExtractError):
    """Ctrl-C (exit 130) or SIGTERM (exit 143); what was committed stays."""

    exit_code = 130
