"""Errors that this package raises, with the exit codes of the command line.

::

    WatsExtractError              exit 1           base class of all errors
    ├── ConfigurationError        exit 2           the pipeline file, command line or environment is wrong
    │   └── PipelineFileError     exit 2           lists file, line and key path of every problem
    ├── RequestError              exit 2 or 5      a request failed after all retries
    │   ├── TokenRefused          exit 2           HTTP 401: the token is missing, wrong or expired
    │   ├── ServerUnreachable     exit 5           no response after all retries
    │   │   └── CannotConnect     exit 2           an untrusted certificate, or a proxy that wants a password
    │   └── KeysetRefused         exit 2           HTTP 400 to a filter on ``timeStamp``
    ├── PagingError               exit 1           the server's pages contradict each other
    ├── KeyFailed                 exit 1           a key failed in a batch with ``fail_fast``
    ├── RecordError               exit 1           a record does not fit its tables; becomes a failure
    ├── Unreadable                exit 1           a response is truncated or malformed; it is retried
    ├── Incomplete                exit 4           stopped early and cleanly; the next run resumes
    │   ├── RequestBudgetSpent    exit 4           ``max_requests`` is reached
    │   └── TooManyFailures       exit 4           ``stop_at_failures`` is reached
    ├── ItemsFailed               exit 3           items failed; ``RunReport.raise_for_failures`` raises it
    ├── DestinationError          exit 1           the destination cannot be opened, read or written
    │   └── OutOfMemory           exit 1           a commit does not fit into memory; it is divided
    ├── PipelineLocked            exit 6           another process runs this pipeline
    └── Interrupted               exit 130 or 143  Ctrl-C or SIGTERM

An *error* is raised and stops something. A *failure* (:class:`wats_extract.flow.Failure`) is recorded in
``_wats_failures`` while the run continues.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from wats_extract.flow import Failure

E = TypeVar("E", bound=BaseException)

_PERMANENT = frozenset({"UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND"})
"""Error codes that stay the same until the user changes the file or the token."""


class WatsExtractError(Exception):
    """Base class of all errors that this package raises.

    Attributes:
        exit_code: The exit code of a command that this error ends.
        message: What happened and where.
        hint: What the user can do next, or an empty string.
        report: The :class:`wats_extract.RunReport` of the run that it ended, if a function such as
            ``wats_extract.run`` raises it; otherwise ``None``.
    """

    exit_code: int = 1
    report: Any = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigurationError(WatsExtractError):
    """The pipeline file, the command line or the environment is wrong; no data was requested."""

    exit_code = 2


class PipelineFileError(ConfigurationError):
    """The pipeline file has problems; the message lists file, line and key path of each."""


class RequestError(WatsExtractError):
    """A request failed, and retries did not help or were pointless.

    Attributes:
        exit_code: 2 if the file or the token must change first, 5 if a later attempt may succeed.
        code: An error code of ``_wats_failures`` (``NOT_FOUND``, ``TIMEOUT``, …).
        http_status: The status of the last response, or ``None`` without a response.
        url: Route and query, without host and without secrets.
        attempts: How many times the request was sent.
        payload: The first 2 kB of the last response's body.
        retry_after: The server's ``Retry-After`` in seconds, or ``None``.
        final: Whether a later attempt is pointless although the code says otherwise.
    """

    exit_code = 5

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
        final: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.url = url
        self.http_status = http_status
        self.attempts = attempts
        self.payload = payload
        self.retry_after = retry_after
        self.final = final
        if code in _PERMANENT or http_status == 400:
            self.exit_code = 2


class TokenRefused(RequestError):
    """HTTP 401: the token is missing, wrong or expired."""

    exit_code = 2


class ServerUnreachable(RequestError):
    """The server did not respond after all retries; committed data is kept."""

    exit_code = 5


class CannotConnect(ServerUnreachable):
    """No attempt can succeed before somebody changes the settings, the certificate or the proxy."""

    exit_code = 2


class KeysetRefused(RequestError):
    """HTTP 400 to a ``$filter`` on ``timeStamp``; readers fall back to time windows on ``start``."""

    exit_code = 2


class PagingError(WatsExtractError):
    """The server's pages contradict each other (wrong order, no progress), so completeness is unproven."""


class KeyFailed(WatsExtractError):
    """A key failed in a batch with ``fail_fast``; no further key is requested.

    Attributes:
        failure: The failure of that key.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(
            f"{failure.resource} {failure.key}: {failure.error_code}, {failure.message}", hint=failure.hint
        )
        self.failure = failure


class RecordError(WatsExtractError):
    """A record does not fit its tables; the run records a failure and continues."""


class Unreadable(WatsExtractError):
    """A response is truncated or not in the requested format; the client retries the request."""


class Incomplete(WatsExtractError):
    """The run stopped early and cleanly; committed data is kept and the next run resumes."""

    exit_code = 4


class RequestBudgetSpent(Incomplete):
    """The run has sent as many requests as ``max_requests`` allows."""


class TooManyFailures(Incomplete):
    """Too many recent items failed (``stop_at_failures``), so the cause is probably not the items."""


class ItemsFailed(WatsExtractError):
    """Everything that can be loaded is loaded, but more items failed than ``max_failures`` allows."""

    exit_code = 3


class DestinationError(WatsExtractError):
    """The destination cannot be opened, read or written; committed data is kept."""


class OutOfMemory(DestinationError):
    """A commit does not fit into memory; nothing of it is durable, and the run divides it."""


class PipelineLocked(WatsExtractError):
    """Another process runs this pipeline."""

    exit_code = 6


class Interrupted(WatsExtractError):
    """Ctrl-C (exit 130) or SIGTERM (exit 143) stopped the run; committed data is kept.

    Attributes:
        exit_code: 130, unless the command line sets 143 for SIGTERM.
    """

    exit_code = 130


def freed(error: E) -> E:
    """Free what an error refers to and may hold a response body, and return the error.

    That is the variables of the frames in its traceback, which still shows every line, and the context of
    errors of this package, such as a ``JSONDecodeError`` with its document. Call it for every error that is
    kept: before a retry, in a future, or for another thread.
    """
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            if isinstance(each, WatsExtractError):
                each.__context__ = None
            waiting += [each.__context__, each.__cause__]
    return error
