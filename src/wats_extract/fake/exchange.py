"""What passes between a client and the app, and what a route's function gets to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeVar

import msgspec

from wats_extract.fake.odata import Filter
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.stores import Store, Stores

S = TypeVar("S", bound=Store)

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
    RESET = "half of it, then the connection is reset"
    DRIP = "a byte now and then"
    CUT = "whole, but Content-Length says half of it, and the connection stays open"


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
    """A route's way out: the answer is `{"Message": …}` with this status, or a whole `response`."""

    def __init__(self, status: int, message: str, response: Response | None = None) -> None:
        super().__init__(message)
        self.response = response or message_response(status, message)


@dataclass(frozen=True, slots=True)
class Quirks:
    """What differs between servers, or may.

    Attributes:
        page_cap: a page never has more rows, whatever was asked for, and nothing says so.
        refuse_keyset: `timeStamp` can't be compared in `$filter`.
        over_top: `$top` above 10,000 is refused, or clamped.
        ignore_orderby: lists other than the header rows come in their usual order, whatever was asked for.
        ignore_paging: `SCIM/v2/Users` answers with all users, whatever was asked for.
        scim_page_cap: the most users on a page.
        single_package: `Software/Packages` answers with one package, as the specification has it.
        refuse_flag_sum: `RootCause/Tickets` takes single statuses only.
        manage_all_tickets: the token's user may see the tickets of others.
        unit_process_code: how `Production/Unit` shows it.
        yield_fractions: yields are from 0 to 1 instead of 100.
        history_fails: `App/SerialNumberHistory` answers with 500.
        no_internal: routes below `/api/internal` aren't there.
        pascal_case: keys begin with a capital.
        omit_nulls: keys without a value are left out.
        missing_item: what a route answers for a single thing that isn't there.
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
    ignore_orderby: bool = False
    ignore_paging: bool = False
    scim_page_cap: int = 200
    single_package: bool = False
    refuse_flag_sum: bool = False
    manage_all_tickets: bool = True
    unit_process_code: Literal["mixed", "text", "number"] = "mixed"
    yield_fractions: bool = False
    history_fails: bool = False
    no_internal: bool = False
    pascal_case: bool = False
    omit_nulls: bool = False
    missing_item: Literal["404", "null"] = "404"
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
        stores: what the server holds beside its reports.
        parts: what stands for each `{}` of the route's path.
        scope: the reports that the token may see; None for all.
    """

    request: Request
    plant: Plant
    quirks: Quirks
    query: Mapping[str, str]
    stores: Stores
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

    def required(self, name: str) -> str:
        """A parameter that can't be left out.

        Raises:
            RefusedError: it is.
        """
        if name.lower() not in self.query:
            message = f"The request is invalid. A value for the parameter '{name}' is required."
            raise RefusedError(400, message)
        return self.query[name.lower()]

    def body(self) -> Json:
        """The JSON object of the request's body, its keys in lower case; nothing counts as an empty one.

        Raises:
            RefusedError: it is something else.
        """
        try:
            found = msgspec.json.decode(self.request.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise RefusedError(400, f"The request is invalid. {error}") from None
        return {name.lower(): value for name, value in found.items()}

    def names(self) -> tuple[str, ...]:
        """What stands for each `{}` of the path.

        Raises:
            RefusedError: it has a slash or backslash, encoded or not; IIS finds no such path.
        """
        if any(slash in part for part in self.parts for slash in "/\\"):
            raise RefusedError(404, "", page_response(404, "404 - File or directory not found."))
        return self.parts

    def store(self, kind: type[S]) -> S:
        """The server's store of this kind."""
        return self.stores.of(kind)

    def json(self, value: Any) -> Response:
        """An answer of JSON, with the keys that this server shows."""
        if self.quirks.omit_nulls:
            value = _without_nulls(value)
        return json_response(renamed(value) if self.quirks.pascal_case else value)

    def item(self, value: Json | None, name: str) -> Response:
        """An answer of one thing, or that there is none of this name."""
        if value is None and self.quirks.missing_item == "404":
            return message_response(404, f"{name} was not found.")
        return self.json(value)


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path with `{}` for what varies, and the function that answers it.

    Attributes:
        changes: asking for it changes what the server holds, so nobody who only reads may do so.
    """

    method: str
    path: str
    answer: Callable[[Call], Response]
    changes: bool = False


def renamed(value: Any) -> Any:
    """The value with keys in PascalCase."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: renamed(each) for key, each in value.items()}
    return [renamed(each) for each in value] if isinstance(value, list) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


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
