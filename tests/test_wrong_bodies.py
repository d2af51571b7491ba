"""A body with status 200 that is no data is never taken for data, in any resource, on any request.

Gateways and proxies return error objects, envelopes, empty bodies and login pages with status 200. If such a
body comes once, the run is complete. If it always comes, the item fails, or the list ends with an error: the
cursor and the coverage stay where they are, and the next run loads the rest.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import polars as pl
import pytest

from tests.conftest import TOKEN
from tests.every_resource import SETTINGS
from tests.extraction import Extraction
from wats_extract.engine.job import RunReport
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request as ServedRequest
from wats_extract.fake.plant.data import Plant
from wats_extract.http.client import Client, Connection
from wats_extract.http.retry import RetryPolicy
from wats_extract.http.transport import Request, Response
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred.flat import KEY_SEPARATOR

JSON = "application/json; charset=utf-8"
BODIES: dict[str, Callable[[bytes], tuple[bytes, str]]] = {
    "an empty object": lambda right: (b"{}", JSON),
    "an error object": lambda right: (b'{"Message":"An error has occurred."}', JSON),
    "a problem": lambda right: (
        b'{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"No upstream."}',
        "application/problem+json",
    ),
    "an envelope": lambda right: (b'{"value":[%b]}' % (right if right[:1] in (b"{", b'"') else b""), JSON),
    "an envelope of the list": lambda right: (b'{"value":%b}' % right if right[:1] == b"[" else b"{}", JSON),
    "an error in a list": lambda right: (b'[{"Message":"An error has occurred."}]', JSON),
    "null": lambda right: (b"null", JSON),
    "nothing": lambda right: (b"", JSON),
    "a text": lambda right: (b'"An error has occurred."', JSON),
    "a login page": lambda right: (b"<!DOCTYPE html><html><title>Please sign in</title></html>", "text/html"),
    "UTF-16": lambda right: (right.decode(errors="replace").encode("utf-16"), JSON),
}
POLICY = RetryPolicy(attempts=3, first_wait=0.0001, longest_wait=0.001)
VERSION = "/api/App/Version"
TIMED = {"start", "logDate"}
"""The fields of cursors that depend on the clock."""

NESTED = "its contents are unknown"
"""The failure of a product whose document cannot be read: its revisions are not known."""

NULL_IS_AN_ANSWER = "WATS returns null for an item that does not exist"

long = pytest.mark.long


TESTS, REPAIRS = (60, 1), (30, 19)
"""The numbers and seeds of reports: with files and misc infos, and with the repairs that settings ask for."""


@cache
def app(reports: int, seed: int) -> App:
    """A server whose lists have several pages."""
    return App(Plant(reports, seed=seed), token=TOKEN, page_cap=reports // 3, scim_page_cap=10)


@dataclass
class Gateway:
    """A transport to the embedded server that replaces some bodies.

    Attributes:
        replace: Returns the body in place of the right one, and its content type.
        hits: Whether a request gets it: called with the target (``list`` or ``item``), the number of the
            request among those of this target, and the number of times that the URL was requested before.
        route: The route of the list.
        app: The server.
    """

    replace: Callable[[bytes], tuple[bytes, str]] | None
    hits: Callable[[str, int, int], bool]
    route: str
    app: App
    requested: Counter[str] = field(default_factory=Counter)
    by_target: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        sent = {name.lower(): value for name, value in request.headers.items()}
        headers = {**sent, "authorization": request.authorization, "host": parts.netloc}
        body = request.body or b""
        served = self.app(ServedRequest(request.method, parts.path, parts.query, headers, body))
        kept = {name.lower(): value for name, value in served.headers.items()}
        response = Response(served.status, {"content-type": served.content_type, **kept}, served.body)
        target = "list" if parts.path.lower() == f"/api/{self.route}".lower() else "item"
        if parts.path == VERSION and self.route != "App/Version":
            return response  # the client finds out whether the server responds at all
        address = f"{request.url} {request.body!r}"
        with self.lock:
            number, before = self.by_target[target], self.requested[address]
            self.by_target[target] += 1
            self.requested[address] += 1
            if self.replace is None or served.status != 200 or not self.hits(target, number, before):
                return response
            self.replaced += 1
        wrong, kind = self.replace(served.body)
        return Response(200, {"content-type": kind}, wrong)


@dataclass
class Through(Extraction):
    """An extraction through a gateway."""

    gateway: Gateway = field(default=None)  # type: ignore[assignment]

    def client(self, **limits: Any) -> Client:
        connection = Connection(self.url, self.token, requests_per_minute=None, max_in_flight=4, **limits)
        return Client(connection, policy=self.policy, transport=self.gateway)

    @property
    def resource(self) -> str:
        return self.names[0]

    def extract(self) -> RunReport:
        condition = SETTINGS.get(self.resource, {}).get("filter")
        return self.run(**({"filter": condition} if condition else {}))

    def contents(self) -> dict[str, list[str]]:
        """The rows of all tables of the resource, without the columns of the run."""
        return {table.name: self.rows(table.name) for table in RESOURCES[self.resource].tables}

    def rows(self, table: str) -> list[str]:
        try:
            rows = self.frame(table).select(pl.exclude("_wats_run_id", "_wats_extracted_at")).to_dicts()
        except (KeyError, FileNotFoundError):
            return []
        return sorted(json.dumps(row, default=str) for row in rows)

    def cursors(self) -> list[str]:
        return [row["cursor"] for row in self.table("_wats_state") if row["cursor"] is not None]

    def failures(self, known: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        rows = self.table("_wats_failures")
        return [row for row in rows if row["status"] == "open" and row["key"] not in known]


def extraction(name: str, folder: Path, gateway: Gateway) -> Through:
    options = {key: value for key, value in SETTINGS.get(name, {}).items() if key != "filter"}
    internal = {"internal": True} if RESOURCES[name].internal else {}
    return Through(
        "http://wats.test",
        folder,
        names=[name],
        options={**options, **internal},
        stop_at_failures="100%",
        policy=POLICY,
        gateway=gateway,
    )


def server_of(name: str) -> App:
    return app(*(TESTS if name in ("report_attachments", "headers_by_misc_info") else REPAIRS))


def route_of_list(name: str) -> str:
    reader: Any = RESOURCES[name].reader
    return "" if reader.listing.paging == "questions" else str(reader.listing.route)


@dataclass(frozen=True)
class Clean:
    """What a run without wrong bodies leaves.

    Attributes:
        contents: The rows by table.
        cursors: The cursors.
        requests: The number of requests by target.
        failed: The items that cannot be requested, such as products with a slash in their part number.
    """

    contents: dict[str, list[str]]
    cursors: list[str]
    requests: Counter[str]
    failed: frozenset[str]


@cache
def clean(name: str) -> Clean:
    with TemporaryDirectory() as folder:
        found = extraction(name, Path(folder), right(name))
        report = found.extract()
        failures = found.failures()
        assert {failure["error_code"] for failure in failures} <= {"NOT_FOUND"}, report
        assert any(found.contents().values()), "there is something to extract"
        failed = frozenset(failure["key"] for failure in failures)
        return Clean(found.contents(), found.cursors(), found.gateway.by_target, failed)


def right(name: str) -> Gateway:
    return Gateway(None, lambda *_: False, route_of_list(name), server_of(name))


def rotated(name: str, what: str) -> str:
    """A body for quick tests: another one for each resource."""
    return list(BODIES)[crc32(f"{name} {what}".encode()) % len(BODIES)]


def is_even(name: str, what: str) -> bool:
    """Whether the quick tests take the later place."""
    return crc32(f"{what} of {name}".encode()) % 2 == 0


def fits(name: str, target: str, body: str) -> bool:
    """Whether a body is wrong for a request: some are the right ones for some routes."""
    text = body == "a text" and name == "version"
    file = name == "report_attachments" and target == "item" and body == "UTF-16"
    return not text and not file


CASES = [
    pytest.param(name, body, marks=() if body == rotated(name, "once") else long, id=f"{name}, {body}")
    for name in RESOURCES
    for body in BODIES
]


@pytest.mark.parametrize(("name", "body"), CASES)
def test_wrong_bodies_that_come_once_change_nothing(name: str, body: str, tmp_path: Path) -> None:
    """The first response to each request is wrong, and the second one is right."""

    def hits(target: str, number: int, before: int) -> bool:
        return before == 0 and fits(name, target, body)

    found = extraction(name, tmp_path, Gateway(BODIES[body], hits, route_of_list(name), server_of(name)))
    report = found.extract()
    assert found.failures(clean(name).failed) == [], report
    assert report.exit_code == (3 if clean(name).failed else 0), report
    assert found.contents() == clean(name).contents
    if RESOURCES[name].cursor not in TIMED:
        assert found.cursors() == clean(name).cursors
    assert all(row["complete"] for row in found.table("_wats_coverage"))
    assert report.requests == found.gateway.by_target.total()


def targets(name: str) -> list[str]:
    """The kinds of requests that a run of a resource sends."""
    by_key = isinstance(RESOURCES[name].reader, ByKeyReader)
    return ["list"] * bool(route_of_list(name)) + ["item"] * by_key


ALWAYS = [
    pytest.param(
        name,
        body,
        target,
        later,
        marks=() if body == rotated(name, target) and later == is_even(name, target) else long,
        id=f"{name}, {body}, {'later' if later else 'first'} {target}",
    )
    for name in RESOURCES
    for body in BODIES
    for target in targets(name)
    for later in (False, True)
]


@pytest.mark.parametrize(("name", "body", "target", "later"), ALWAYS)
def test_wrong_bodies_that_always_come_are_failures(
    name: str, body: str, target: str, later: bool, tmp_path: Path
) -> None:
    whole = clean(name)
    total = whole.requests[target]
    first = total // 2 if later else 0
    if total <= first or (later and total < 2):
        pytest.skip("a run sends fewer requests")
    if not fits(name, target, body):
        pytest.skip("this body is right")
    if body == "null" and name == "units" and target == "item":
        pytest.skip(NULL_IS_AN_ANSWER)

    def hits(at: str, number: int, before: int) -> bool:
        return at == target and number >= first

    gateway = Gateway(BODIES[body], hits, route_of_list(name), server_of(name))
    found = extraction(name, tmp_path, gateway)
    report = found.extract()
    assert gateway.replaced
    assert report.exit_code in (1, 3, 4, 5), report
    for table, rows in found.contents().items():
        assert not Counter(rows) - Counter(whole.contents[table]), "no row is made up"
    if target == "list" or not isinstance(RESOURCES[name].reader, ByKeyReader):
        assert report.exit_code in (1, 5)
        assert_list_ended(found, later=later)
    else:
        assert_items_failed(found, whole, body, later=later)

    found.gateway = right(name)
    found.retry()
    final = found.extract()
    assert unversioned(found.contents()) == unversioned(whole.contents)
    left = found.failures(whole.failed)
    if name == "product_revision_details":
        # The failure of a product, whose revisions are the items, is not resolved by reading them later.
        left = [failure for failure in left if KEY_SEPARATOR in failure["key"]]
    assert left == []
    assert final.exit_code == (3 if found.failures() else 0)


def unversioned(contents: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows without ``time_stamp``, which a retry leaves empty if the list does not return it."""
    found = {table: [json.loads(row) for row in rows] for table, rows in contents.items()}
    for row in (row for rows in found.values() for row in rows):
        row.pop("time_stamp", None)
    return {table: sorted(map(json.dumps, rows)) for table, rows in found.items()}


def assert_list_ended(found: Through, *, later: bool) -> None:
    """The list ended with an error. Nothing is covered if that was the first request."""
    name = RESOURCES[found.resource].table.name
    if not later:
        assert found.cursors() == found.table("_wats_coverage") == found.rows(name) == []
    assert not [failure for failure in found.failures() if failure["stage"] == "shred"]


def assert_items_failed(found: Through, whole: Clean, body: str, *, later: bool) -> None:
    """The items failed whose responses were wrong."""
    failures = found.failures(whole.failed)
    assert failures
    codes = {failure["error_code"] for failure in failures if NESTED not in failure["message"]}
    null_is_missing = body == "null" and "report_attachments" not in whole.contents  # a file is never null
    assert codes <= {"NOT_FOUND" if null_is_missing else "INVALID_RESPONSE"}
    if not later:
        assert not any(found.contents().values())
