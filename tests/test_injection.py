"""Text from users and servers stays data. It never becomes part of a query, of SQL, of a path or of a URL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wats_extract as wx
from tests.conftest import TOKEN, Server
from tests.extraction import Extraction
from tests.retrying import IMPATIENT
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.errors import PipelineFileError, RequestError
from wats_extract.flow import Commit, Destination
from wats_extract.http.client import Client, Connection
from wats_extract.http.sender import Sender
from wats_extract.http.transport import HttpTransport, Request, Response, Transport, TransportError
from wats_extract.pipeline.loading import load
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Column, Table

ODD = [
    "../../etc/passwd",
    "..\\..\\windows",
    "%2e%2e%2fadmin",
    "a?b=c#d&$filter=1",
    "' or 1 eq 1 or '",
    "'); drop table things; --",
    '"; drop table things; --',
    "x\x00y",
    "line\nbreak",
    "\x1b]0;owned\x07",
    "$(rm -rf ~)",
    "{}{0}{key}",
    "CON",
    "-rf",
    " ",
]
THINGS = Table(
    "things",
    ("key",),
    (Column("key", pa.string(), "key"), Column("value", pa.string(), "value")),
    owner="key",
)


def landed(destination: Destination, values: list[str], label: str) -> dict[str, str]:
    """Commit rows with these keys and values twice, and read them back as a dictionary."""
    stamp = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"key": value, "value": value, "_extra": value, "_wats_run_id": "r", "_wats_extracted_at": stamp}
        for value in values
    ]
    batch = pa.RecordBatch.from_pylist(rows, THINGS.schema)
    destination.open()
    try:
        destination.prepare([THINGS])
        for number in range(2):
            destination.commit(
                Commit(
                    label=f"{label}-{number}",
                    rows={THINGS: [batch]},
                    landed=dict.fromkeys(values),
                    replaced=frozenset(values) if number else frozenset(),
                    book={},
                )
            )
        assert set(destination.landed(THINGS, values)) == set(values)
        found = {row["key"]: row["value"] for row in destination.read(THINGS).to_pylist()}
        for value in values:
            assert destination.read(THINGS, key=value).num_rows == 1
        return found
    finally:
        destination.close()


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_odd_keys_and_values_are_stored_unchanged(kind: str, tmp_path: Path) -> None:
    destination = DuckDB(tmp_path / "a.duckdb") if kind == "duckdb" else Parquet(tmp_path / "a")
    values = ODD if kind == "duckdb" else [value for value in ODD if "\0" not in value]
    assert landed(destination, values, "odd") == {value: value for value in values}
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "a.duckdb"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5, unique=True)
)
def test_any_text_is_stored_unchanged(values: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert landed(DuckDB(folder / "a.duckdb"), values, "any") == {value: value for value in values}


@pytest.mark.parametrize("name", ['wats"; drop', "main.things", "a b", "ünï", "select"])
def test_names_of_schemas_and_files_are_quoted(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.duckdb".replace('"', "'")
    assert landed(DuckDB(file, schema=name), ["a"], "x") == {"a": "a"}


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "A", "", "a b", "a.b", "a\n", "con:", "ä"])
def test_a_pipeline_name_that_is_not_a_word_is_refused(name: str, tmp_path: Path) -> None:
    """The name becomes part of file names: of the lock file and of Parquet files."""
    file = tmp_path / "p.yaml"
    file.write_text(
        f"version: 1\nname: {json.dumps(name)}\n"
        "destination: {type: duckdb, path: x.duckdb}\nresources: [{name: reports}]\n",
        encoding="utf-8",
    )
    with pytest.raises(PipelineFileError, match=r"p\.yaml:2: name"):
        load(file, catalogue=RESOURCES, environ={}, demo=True)


@pytest.mark.parametrize("key", [*ODD, "a/b", "a;b", "ä", "."])
@pytest.mark.parametrize("resource", ["products", "reports", "report_headers", "assets", "users"])
def test_a_key_stays_one_segment_of_its_url(resource: str, key: str, server: Server) -> None:
    app, url = server()
    with wx.connect(url, token=TOKEN) as wats:
        outcomes = list(wats.fetch_each(resource, [key]))
    assert [outcome.key for outcome in outcomes] == [key]
    for route in filter(None, app.per_route):
        assert route.startswith("/api/")
        assert "passwd" not in route
        assert "admin" not in route
    for request in app.requests:
        assert request.method == "GET"
        assert request.path.startswith("/api/")
        assert all(unquote(segment) not in ("..", ".") for segment in request.path.split("/"))


def sender(url: str, transport: Transport) -> Sender:
    return Sender(url, token="t", largest=1000, transport=transport)


def test_a_route_leaves_neither_its_host_nor_the_api() -> None:
    sent: list[str] = []

    def answer(request: Request) -> Response:
        sent.append(request.url)
        return Response(200)

    routes = ("/api//evil.test/x", "/api/@evil.test", "/api/..%2F..%2Fx")
    for route in routes:
        sender("https://wats.test", answer).send(route, accept="application/json")
    assert sent == [f"https://wats.test{route}" for route in routes]


@pytest.mark.parametrize("route", ["/api//evil.test/x", "/api/@evil.test", "/api/..%2F..%2Fx"])
def test_a_route_arrives_as_it_is(server: Server, route: str) -> None:
    app, url = server()
    transport = HttpTransport(timeout=1, largest=1000, connections=1)
    try:
        sender(url, transport).send(route, accept="application/json")
    finally:
        transport.close()
    assert [request.path for request in app.requests] == [route]


@pytest.mark.parametrize(
    "route",
    [
        *("/api/x HTTP/1.1\r\nHost: evil.test", "/api/x\n", "http://evil.test/x", "@evil.test", ""),
        *("/api/../x", "/api/%2e%2E/x", "/api/.", "/api/x/%2e", "/api\\..\\x", "/api/x#y", "/api/ü", "/\x00"),
    ],
)
def test_what_is_no_route_is_not_sent(server: Server, route: str) -> None:
    app, url = server()
    transport = HttpTransport(timeout=1, largest=1000, connections=1)
    try:
        with pytest.raises(TransportError):
            sender(url, transport).send(route, accept="application/json")
    finally:
        transport.close()
    assert not app.requests


@pytest.mark.parametrize("route", ["x HTTP/1.1\r\nHost: evil.test", "x\n", "x y"])
def test_a_route_with_control_characters_is_not_sent(server: Server, route: str) -> None:
    app, url = server()
    get(url, route)
    assert all(request.path == "/api/App/Version" for request in app.requests)


def get(url: str, route: str) -> None:
    """Request a route that the server does not have."""
    connection = Connection(url, TOKEN, requests_per_minute=None)
    with Client(connection, policy=IMPATIENT) as client, pytest.raises(RequestError):
        client.get(route, decode=lambda reply: reply.body)


def test_no_file_gets_a_name_that_the_server_chose(server: Server, tmp_path: Path) -> None:
    _, url = server()
    Extraction(url, tmp_path / "data", "parquet", options={"attachments": "content"}).run()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    names = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert names <= {".parquet", ".json", ".lock", ".holder", "", ".sqlite"}
