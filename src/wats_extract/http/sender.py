"""Send a request to the WATS server: where the token goes, redirects, and the limit of size.

Nothing here retries.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import TypeAlias
from urllib.parse import unquote, urljoin, urlsplit

from wats_extract.http.addresses import is_loopback
from wats_extract.http.transport import Request, Response, Transport, TransportError

REDIRECTS = 5
"""The most redirects in a row that are followed."""

_TARGET = re.compile(r'/[!"$-\[\]-~]*')
"""A path and query: no blanks, no control characters, no ``#``, and no ``\\``, which URLs read as ``/``."""

_LOCATION = re.compile(r"[!-\[\]-~]+")
_REDIRECTING = (301, 302, 303, 307, 308)
_ELSEWHERE = (
    "Set source.url to the address at which the server itself responds; the token is sent nowhere else."
)

_TOO_LARGE = "Nothing this large is loaded, and fetching it again changes nothing. Look at it on the server."

Body: TypeAlias = Mapping[str, str | int | bool]


class Sender:
    """Sends requests to one server. Thread-safe.

    Args:
        url: The server's address, without ``/api``.
        token: Sent verbatim after ``Authorization: Basic``, to this server and to no other.
        largest: The most bytes of a response, inflated.
        transport: Sends a single request.
        longest: Seconds that a response and the redirects before it may take.
    """

    def __init__(
        self, url: str, *, token: str, largest: int, transport: Transport, longest: float = inf
    ) -> None:
        self._url = url.rstrip("/")
        self._host = urlsplit(url).hostname or ""
        self._authorization = f"Basic {token}" if token else ""
        self._largest, self._transport, self._longest = largest, transport, longest

    def send(self, target: str, *, accept: str, body: Body | None = None, method: str = "") -> Response:
        """Send one request and follow its redirects.

        Args:
            target: Path and query, percent-encoded.
            accept: The content types that will do.
            body: Sent as JSON.
            method: The HTTP method; default: ``POST`` with a body, otherwise ``GET``.

        Raises:
            TransportError: there was no complete response, or it was too large.
        """
        response = self._followed(self._request(target, accept, body, method))
        if len(response.body) > self._largest and response.status == 200:  # of errors the beginning is shown
            raise TransportError(
                "INVALID_RESPONSE",
                f"the response has more than {self._largest / 1e6:,.0f} MB when inflated",
                status=response.status,
                hint=_TOO_LARGE,
                final=True,
            )
        return response

    def _request(self, target: str, accept: str, body: Body | None, method: str) -> Request:
        if not _is_target(target):
            raise TransportError("UNKNOWN_ERROR", "the request cannot be sent (it is not a valid path)")
        headers = {"Accept": accept}
        if target.startswith("/api/internal/"):
            headers["Referer"] = f"{self._url}/"  # internal routes insist on it
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, separators=(",", ":")).encode()
        method = method or ("GET" if content is None else "POST")
        return Request(method, self._url + target, headers, self._authorization, content, self._longest)

    # ── redirects ──

    def _followed(self, request: Request) -> Response:
        """The first response that is not a redirect. The token is dropped on the way to another server."""
        deadline = time.monotonic() + self._longest
        for _ in range(REDIRECTS + 1):
            response = self._transport(request)
            status, location = response.status, response.headers.get("location")
            if status not in _REDIRECTING or location is None:
                self._refuse_sign_in(request, response)
                return response
            del response  # its body may be large
            following = _redirected(request, status, location)
            self._refuse_unsafe(request, following, status)
            request = replace(following, seconds=deadline - time.monotonic())
        raise _no_redirect(f"the server redirects without end, at last to {_place(request.url)}", status)

    def _refuse_unsafe(self, request: Request, following: Request, status: int) -> None:
        parts = urlsplit(following.url)
        host = parts.hostname or ""
        plain = {urlsplit(request.url).scheme, parts.scheme} == {"http"}
        if parts.scheme != "https" and not (plain and (host == self._host or is_loopback(host))):
            why = "without encryption"
        elif following.method != "GET" and _origin(following.url) != _origin(request.url):
            why = "with a request body, which is sent to no other server"
        else:
            return
        raise _no_redirect(
            f"the server redirects to {_place(following.url)}, {why}; that is not followed", status
        )

    def _refuse_sign_in(self, request: Request, response: Response) -> None:
        """Another server's 401 says nothing about the token, because that server never saw it."""
        if self._authorization and not request.authorization and response.status in (401, 403):
            raise _no_redirect(
                f"the server redirects to {_place(request.url)}, which responds with HTTP {response.status}",
                response.status,
            )


def _is_target(target: str) -> bool:
    """Whether a text is a path and query that the HTTP library sends unchanged."""
    path = target.partition("?")[0]
    return bool(_TARGET.fullmatch(target)) and not any(
        unquote(segment) in (".", "..") for segment in path.split("/")
    )


def _redirected(request: Request, status: int, location: str) -> Request:
    """The request that a redirect asks for."""
    if not _LOCATION.fullmatch(location):
        raise _no_redirect("the server redirects to something that is not a URL", status)
    try:
        url = urljoin(request.url, location).partition("#")[0]
        origin = _origin(url)
    except ValueError:
        raise _no_redirect("the server redirects to something that is not a URL", status) from None
    following = replace(request, url=url)
    if origin != _origin(request.url) and not _is_upgrade(request.url, url):
        following = replace(following, authorization="")
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        headers = {name: value for name, value in request.headers.items() if name != "Content-Type"}
        following = replace(following, method="GET", headers=headers, body=None)
    return following


def _no_redirect(message: str, status: int) -> TransportError:
    return TransportError("API_ERROR", message, hint=_ELSEWHERE, status=status)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or default


def _is_upgrade(url: str, following: str) -> bool:
    """Whether a redirect only changes from http to https, both at their default ports."""
    scheme, host, port = _origin(url)
    return (scheme, port) == ("http", 80) and _origin(following) == ("https", host, 443)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
