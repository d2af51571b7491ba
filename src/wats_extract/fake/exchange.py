"""Requests, responses, routes, and the `Call` that a route function receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeVar

import msgspec

from wats_extract.fake.odata import Filter
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.stores import Store, Stores

S = TypeVar("S", bound=Store)
T = TypeVar("T")

JSON_TYPE = "application/json; charset=utf-8"
HTML_TYPE = "text/html"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. The query is still encoded; the names of `headers` are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Sending(Enum):
    """How the server sends a response."""

    WHOLE = "complete"
    SHORT = "half of the body, then the connection closes"
    STALL = "half of the body, then nothing more until the server stops"
    DROP = "nothing: the connection closes"
    RESET = "half of the body, then a TCP reset"
    DRIP = "half of the body, then one byte at a time"
    DRIP_HEAD = "one byte at a time, from the first"
    CUT = "complete, but Content-Length names half of the body, and the connection stays open"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, how it is sent, and the `delay` in seconds before its first byte."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)
    sending: Sending = Sending.WHOLE
    delay: float = 0.0


class RefusedError(Exception):
    """Ends a route early with an error: `response`, or a JSON message with this status."""

    def __init__(self, status: int, message: str, response: Response | None = None) -> None:
        super().__init__(message)
        self.response = response or message_response(status, message)


@dataclass(frozen=True, slots=True)
class Quirks:
    """Differences between WATS servers, real or possible.

    Attributes:
        page_cap: The most rows per page. The server caps pages silently, whatever `$top` asks for.
        refuse_keyset: Refuses a `$filter` that compares `timeStamp`.
        over_top: Refuses `$top` above 10,000, or clamps it.
        ignore_orderby: Ignores `$orderby`, except on header rows.
        ignore_paging: Returns all users from `SCIM/v2/Users`, whatever page the request names.
        scim_page_cap: The most users per page.
        single_package: Returns one package from `Software/Packages`, as the specification says.
        refuse_flag_sum: Accepts only single statuses in `RootCause/Tickets`.
        manage_all_tickets: The token's user may read the tickets of other users.
        unit_process_code: The JSON type of `processCode` in `Production/Unit`.
        yield_fractions: Returns yields from 0 to 1 instead of 0 to 100.
        history_fails: Fails `App/SerialNumberHistory` with status 500.
        no_internal: Has no routes below `/api/internal`.
        pascal_case: Returns JSON keys in PascalCase.
        omit_nulls: Leaves out JSON keys without a value.
        missing_item: The response for a single item that does not exist.
        gzip: Compresses responses for clients that accept gzip.
        latency: Seconds added to every response.
        requests_per_minute: Refuses further requests within 60 seconds with status 429.
        retry_after: The form of `Retry-After` in such a response.
        scopes: Further tokens, and per token a `$filter` that limits the reports it may read.
        version: The version of the server.
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
    """A request as its route function sees it.

    Attributes:
        request: The request itself.
        plant: The reports of the server.
        quirks: The quirks of the server.
        query: The query parameters, by name in lower case.
        stores: The server's other tables.
        parts: The text at each `{}` of the route's path.
        scope: Limits the reports that the token may read; None for all.
    """

    request: Request
    plant: Plant
    quirks: Quirks
    query: Mapping[str, str]
    stores: Stores
    parts: tuple[str, ...] = ()
    scope: Filter | None = None

    def flag(self, name: str, *, default: bool) -> bool:
        """The boolean value of a query parameter.

        Raises:
            RefusedError: It is neither `true` nor `false`.
        """
        text = self.query.get(name.lower(), str(default)).lower()
        if text not in ("true", "false"):
            raise invalid(name, text)
        return text == "true"

    def number(self, name: str, *, default: int | None = None) -> int | None:
        """The value of a query parameter as a whole number.

        Raises:
            RefusedError: It is not a whole number.
        """
        text = self.query.get(name.lower())
        if text is None:
            return default
        try:
            return int(text)
        except ValueError:
            raise invalid(name, text) from None

    def required(self, name: str) -> str:
        """The value of a query parameter that must be present.

        Raises:
            RefusedError: It is missing.
        """
        if name.lower() not in self.query:
            message = f"The request is invalid. A value for the parameter '{name}' is required."
            raise RefusedError(400, message)
        return self.query[name.lower()]

    def body(self) -> Json:
        """The JSON object in the request body, its keys in lower case. A missing body is an empty object.

        Raises:
            RefusedError: The body is not a JSON object.
        """
        try:
            found = msgspec.json.decode(self.request.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise RefusedError(400, f"The request is invalid. {error}") from None
        return {name.lower(): value for name, value in found.items()}

    def names(self) -> tuple[str, ...]:
        """The names in the path, one per `{}` of the route.

        Raises:
            RefusedError: A name contains a slash or backslash, encoded or not. IIS finds no such path.
        """
        if any(slash in part for part in self.parts for slash in "/\\"):
            raise RefusedError(404, "", NOT_FOUND_PAGE)
        return self.parts

    def store(self, kind: type[S]) -> S:
        """The server's store of this class."""
        return self.stores.of(kind)

    def json(self, value: Any) -> Response:
        """A JSON response, with the server's form of keys and nulls."""
        if self.quirks.omit_nulls:
            value = _without_nulls(value)
        return json_response(pascal_case(value) if self.quirks.pascal_case else value)

    def item(self, value: Json | None, name: str) -> Response:
        """A JSON response with one item, or the server's response for an item that does not exist."""
        if value is None and self.quirks.missing_item == "404":
            return message_response(404, f"{name} was not found.")
        return self.json(value)


@dataclass(frozen=True, slots=True)
class Route:
    """A method, a path with `{}` as placeholders, and the function that handles the requests.

    Attributes:
        changes_state: The request changes the server's data, so a read-only client must never send it.
    """

    method: str
    path: str
    handler: Callable[[Call], Response]
    changes_state: bool = False


def pascal_case(value: Any) -> Any:
    """A JSON value with all keys in PascalCase."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: pascal_case(each) for key, each in value.items()}
    return [pascal_case(each) for each in value] if isinstance(value, list) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def json_response(value: Any) -> Response:
    """A value as compact JSON."""
    return Response(200, msgspec.json.encode(value))


def message_response(status: int, message: str) -> Response:
    """An error as ASP.NET formats it: `{"Message": …}`."""
    return Response(status, msgspec.json.encode({"Message": message}))


def page_response(status: int, title: str) -> Response:
    """An HTML page, as IIS and proxies send for errors."""
    text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Response(status, text.encode(), HTML_TYPE)


def invalid(name: str, value: str) -> RefusedError:
    """The error for a parameter with an unreadable value."""
    return RefusedError(400, f"The request is invalid. The value '{value}' is not valid for {name}.")


def parse_tick(name: str, text: str | None, *, default: T) -> int | T:
    """The tick of a date parameter; the default if it is missing or empty.

    Raises:
        RefusedError: It is not a date or time.
    """
    try:
        return clock.parse(text) if text else default
    except ValueError:
        raise invalid(name, str(text)) from None


NOT_FOUND_PAGE = page_response(404, "404 - File or directory not found.")
