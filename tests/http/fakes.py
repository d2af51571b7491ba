"""Fake transports: functions from a request to a response."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2

from wats_extract.http.transport import Request, Response, Transport, TransportError

VERSION = "/api/App/Version"


def respond(
    status: int = 200,
    *,
    json: Any = None,
    text: str = "",
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response with one kind of body."""
    if json is not None:
        content = json_module.dumps(json, separators=(",", ":")).encode()
    return Response(status, headers or {}, content or text.encode())


def path(request: Request) -> str:
    """The path of a request's URL."""
    return urlsplit(request.url).path


def query(request: Request) -> dict[str, str]:
    """The decoded query parameters of a request."""
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))


class Recording:
    """A transport that records its requests and responds by a function.

    Args:
        answer: Responds to all requests but those for the version.
        alive: Whether a request for the version gets a version.
    """

    def __init__(self, answer: Transport, *, alive: bool = True) -> None:
        self.answer, self.alive = answer, alive
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        if self.alive and path(request) == VERSION:
            return respond(json="2026.1")
        self.requests.append(request)
        return self.answer(request)


def mock(handler: Callable[[httpx2.Request], httpx2.Response]) -> Transport:
    """A transport from a function that takes and returns the values of httpx2, as its mock transport does."""

    def transport(request: Request) -> Response:
        headers = {**request.headers, "Authorization": request.authorization}
        try:
            found = handler(
                httpx2.Request(request.method, request.url, headers=headers, content=request.body)
            )
        except httpx2.TimeoutException as error:
            raise TransportError("TIMEOUT", str(error)) from None
        except httpx2.HTTPError as error:
            raise TransportError("CONNECTION_ERROR", str(error)) from None
        return Response(found.status_code, dict(found.headers), found.content)

    return transport
