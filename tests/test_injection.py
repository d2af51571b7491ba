"""Values from users and from data are values: they become no part of a query, SQL, a path or a URL."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.extraction import Extraction
from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.flow import Commit, Destination, Selection
from wats_extract.http.client import Client, Connection
from wats_extract.http.sender import Sender
from wats_extract.http.transport import HttpTransport, Request, Response, Transport, TransportError
from wats_extract.pipeline.loading import Pipeline
from wats_extract.readers.reading import Reading
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
    """What is read back after rows with these keys and values were committed, twice."""
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
def test_odd_keys_and_values_land_as_they_are(kind: str, tmp_path: Path) -> None:
    destination = DuckDB(tmp_path / "a.duckdb") if kind == "duckdb" else Parquet(tmp_path / "a")
    values = ODD if kind == "duckdb" else [value for value in ODD if "\0" not in value]
    assert landed(destination, values, "odd") == {value: value for value in values}
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "a.duckdb"}


@settings(
    database=None, deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5, unique=True)
)
def test_any_text_is_a_value(values: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    assert landed(DuckDB(folder / "a.duckdb"), values, "any") == {value: value for value in values}


@pytest.mark.parametrize("name", ['wats"; drop', "main.things", "a b", "ünï", "select"])
def test_names_of_schemas_and_files_are_quoted(name: str, tmp_path: Path) -> None:
    assert landed(DuckDB(tmp_path / f"{name}.duckdb".replace('"', "'"), schema=name), ["a"], "x") == {
        "a": "a"
    }


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "A", "", "a b", "a.b", "a\n", "con:", "ä"])
def test_a_pipelines_name_is_a_word(name: str) -> None:
    """It becomes part of file names: of the lock, and of Parquet files."""
    with pytest.raises(ValueError, match="name"):
        Pipeline.model_validate(
            {
                "version": 1,
                "name": name,
                "destination": {"type": "duckdb", "path": "x.duckdb"},
                "resources": [{"name": "reports"}],
            }
        )


@pytest.mark.parametrize("key", [*ODD, "a/b", "a;b", "ä", "."])
@pytest.mark.parametrize("resource", ["products", "reports", "report_headers", "assets", "users"])
def test_a_key_stays_one_part_of_its_url(resource: str, key: str, server: Any) -> None:
    app, url = server()
    with Client(Connection(url, "bWFya2VyLXRva2Vu", requests_per_minute=None)) as client:
        reading = Reading(resource, client, Selection())
        outcomes = list(RESOURCES[resource].reader.read_each(reading, [key]))
    assert [outcome.key for outcome in outcomes] == [key]
    usual = {path for path in app.per_route if path}
    assert all(resource_route_is_plain(path) for path in usual)
    for asked in app.requests:
        assert asked.method == "GET"
        assert asked.path.startswith("/api/")
        assert "/../" not in asked.path
        parts = asked.path.split("/")
        assert all(unquote(part) not in ("..", ".") for part in parts)


def resource_route_is_plain(path: str) -> bool:
    return path.startswith("/api/") and "passwd" not in path and "admin" not in path


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
def test_a_route_arrives_as_it_is(server: Any, route: str) -> None:
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
def test_what_is_no_route_is_not_sent(server: Any, route: str) -> None:
    app, url = server()
    transport = HttpTransport(timeout=1, largest=1000, connections=1)
    try:
        with pytest.raises(TransportError):
            sender(url, transport).send(route, accept="application/json")
    finally:
        transport.close()
    assert not app.requests


def test_an_attachments_name_is_data(server: Any, tmp_path: Path) -> None:
    """Nothing is written under a name that a server chose."""
    _, url = server()
    Extraction(url, tmp_path / "data", "parquet", options={"attachments": "content"}).run()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    names = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert names <= {".parquet", ".json", ".lock", ".holder", "", ".sqlite"}
