"""What passes between a client and the app, and what a route's function gets to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import msgspec

from wats_extract.fake.data import Plant
from wats_extract.fake.odata import Filter

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. The query is raw; the names of `headers` are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Sending(Enum):
    """How an answer goes over the line."""

    WHOLE = "as it is"
    SHORT = "half of what Content-Length says, then the connection closes"
    STALL = "half of it, then nothing more until the server stops"
    DROP = "not at all, the connection closes"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer, and how it is sent: `delay` in seconds before it begins."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    sending: Sending = Sending.WHOLE
    delay: float = 0.0


class RefusedError(Exception):
    """A route's way out: the answer is `{"Message": …}` with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.response = message_response(status, message)


@dataclass(frozen=True, slots=True)
class Quirks:
    """What differs between servers, or may.

    Attributes:
        page_cap: a page never has more rows, whatever was asked for, and nothing says so.
        refuse_keyset: `timeStamp` can't be compared in `$filter`.
        over_top: `$top` above 10,000 is refused, or clamped.
        pascal_case: keys begin with a capital.
        gzip: answers are compressed for clients that take it.
        latency: seconds that every answer takes, beside the work.
        requests_per_minute: more in 60 seconds are answered with 429.
        retry_after: how a 429 says when to come back.
        scopes: tokens beside the main one, and the `$filter` that tells which reports each may see.
        version: of the server.
    """

    page_cap: int | None = None
    refuse_keyset: bool = False
    over_top: Literal["refuse", "clamp"] = "refuse"
    pascal_case: bool = False
    gzip: bool = True
    latency: float = 0.0
    requests_per_minute: int | None = None
    retry_after: Literal["seconds", "date", "none"] = "seconds"
    scopes: Mapping[str, str] = field(default_factory=dict)
    version: str = "2026.1.5.324"


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way through a route.

    Attributes:
        query: the parameters, their names in lower case.
        parts: what stands for each `{}` of the route's path.
        scope: the reports that the token may see; None for all.
    """

    request: Request
    plant: Plant
    quirks: Quirks
    query: Mapping[str, str]
    parts: tuple[str, ...] = ()
    scope: Filter | None = None

    def flag(self, name: str, *, default: bool) -> bool:
        """A parameter that is `true` or `false`.

        Raises:
            RefusedError: it is something else.
        """
        text = self.query.get(name.lower(), str(default)).lower()
        if text not in ("true", "false"):
            raise invalid(name, text)
        return text == "true"

    def number(self, name: str, *, default: int | None = None) -> int | None:
        """A parameter that is a whole number.

        Raises:
            RefusedError: it is something else.
        """
        text = self.query.get(name.lower())
        if text is None:
            return default
        try:
            return int(text)
        except ValueError:
            raise invalid(name, text) from None


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path with `{}` for what varies, and the function that answers it."""

    method: str
    path: str
    answer: Callable[[Call], Response]


def json_response(value: Any) -> Response:
    """A value as compact JSON."""
    return Response(200, msgspec.json.encode(value))


def message_response(status: int, message: str) -> Response:
    """An error the way ASP.NET tells it."""
    return Response(status, msgspec.json.encode({"Message": message}))


def page_response(status: int, title: str) -> Response:
    """An HTML page, as IIS and proxies answer."""
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Response(status, text.encode(), HTML_TYPE)


def invalid(name: str, value: str) -> RefusedError:
    """A parameter that can't be read."""
    return RefusedError(400, f"The request is invalid. The value '{value}' is not valid for {name}.")
