"""Compares the resources with the vendor's specification: routes, parameters, columns and types.

The specification is not part of this project. Without it these tests are skipped. Tables in this module list
every deviation, with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as pa
import pytest

import wats_extract as wx
from tests.conftest import TOKEN
from tests.every_resource import pipeline
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.tables import TIMESTAMP, Column, Table

Json = dict[str, Any]

PUBLIC = {name: resource for name, resource in RESOURCES.items() if not resource.internal}

# ── deviations from the specification ───────────────────────────────────────────────────────────

UNDECLARED_PARAMETERS = {
    (
        "/api/product/query",
        "$orderby",
    ): "the description names $filter and $top only as examples; if a server "
    "ignores the order, the reader raises an error",
}
"""Query parameters that requests send and the specification does not declare."""

UNDECLARED_FIELDS = {
    ("/api/app/teststepanalysis", "run"): "the description of the route mentions it, but the schema lacks it",
    ("/api/app/dynamicyield", "run"): "clients of WATS send it, as they do to TestStepAnalysis",
}
"""Fields of a request body that requests send and the specification does not declare."""

DIFFERENT = {
    ("tickets", "tickets: history"): "a table of ticket_histories; if the list has it too, it goes to _extra",
    ("tickets", "tickets: update"): "exists only to write tickets",
    ("ticket_histories", "ticket_histories: update"): "exists only to write tickets",
    ("package_files", "package_files.package_file_id"): "a string there, but clients of WATS read a uuid",
}
"""Differences between a resource's columns and the fields of the specification."""

CAPTURED = {
    "reports": "the vendor's own WSJF samples and schema, which other tests read",
    "processes": "a cached response of a real server, in an object that its client added",
    "wsxf_reports": "the document is stored unchanged, so its content is not assumed",
    "report_attachments": "files are stored unchanged; the schema of the header row describes their list",
}
"""The evidence for responses that the specification only calls an ``object``."""

WRITTEN = {"units": "Virinco.WATS.Web.Dashboard.Models.Mes.Production.Public.Unit"}
"""The schemas for writing an item, if the specification has none for reading it."""


# ── the specification ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Spec:
    """The vendor's description of the public API."""

    document: Json

    @cached_property
    def routes(self) -> dict[tuple[str, str], Json]:
        """The operations by method and route, without parameter names."""
        return {
            (method.upper(), bare(path)): operation
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def operation(self, resource: Resource) -> Json:
        """The operation of a resource's route."""
        return self.routes[resource.method, bare(f"/api/{resource.route}")]

    def route_of(self, request: Request) -> str:
        """The route of a request. A fixed path takes precedence over a path with parameters."""
        matches = [
            route
            for method, route in self.routes
            if method == request.method
            and re.fullmatch(re.escape(route).replace(r"\{\}", "[^/]+"), request.path.lower())
        ]
        assert matches, f"{request.method} {request.path} is not in the specification"
        return min(matches, key=lambda route: route.count("{}"))

    def parameters(self, operation: Json, *, required: bool = False) -> set[str]:
        """The query parameters of a route, in lower case. The description names the OData parameters."""
        declared = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
        if required:
            return {each["name"].lower() for each in declared if each.get("required")}
        text = (operation.get("description") or "").partition("does not support")[0]
        return {each["name"].lower() for each in declared} | set(re.findall(r"\$[a-z]+\b", text))

    def resolved(self, schema: Json) -> Json:
        """The schema that a reference leads to."""
        while "$ref" in schema:
            found: Any = self.document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            schema = found
        return schema

    def response(self, operation: Json) -> Json:
        """The schema of the response; for a list the schema of one record."""
        schema = self.resolved(operation["responses"]["200"]["content"]["application/json"]["schema"])
        return self.resolved(schema["items"]) if schema["type"] == "array" else schema

    def properties(self, schema: Json) -> dict[str, Json]:
        """The fields of an object, by name in lower case."""
        found = schema.get("properties", {})
        return {name.lower(): self.resolved(each) for name, each in found.items()}

    def body(self, operation: Json) -> set[str]:
        """The fields of the request body of a route, in lower case."""
        content = self.resolved(operation.get("requestBody", {})).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        return set(self.properties(self.resolved(schema)))


@dataclass(frozen=True)
class Sent:
    """A request and its operation in the specification. Names are in lower case."""

    spec: Spec
    request: Request

    @cached_property
    def route(self) -> str:
        """The route, without parameter names."""
        return self.spec.route_of(self.request)

    @cached_property
    def operation(self) -> Json:
        """The operation of the route."""
        return self.spec.routes[self.request.method, self.route]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query parameters."""
        found = parse_qsl(self.request.query, keep_blank_values=True)
        return {name.lower(): value for name, value in found}

    @cached_property
    def body(self) -> set[str]:
        """The fields of the body."""
        return {name.lower() for name in json.loads(self.request.body or b"{}")}


def bare(path: str) -> str:
    """A route without parameter names, in lower case, because the server ignores case."""
    return re.sub(r"\{\w+\}", "{}", path).lower()


@pytest.fixture(scope="session")
def spec(shared: Path) -> Spec:
    return Spec(json.loads((shared / "openapi_public_v3.json").read_text(encoding="utf-8")))


# ── routes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PUBLIC)
def test_every_route_is_in_the_specification(spec: Spec, name: str) -> None:
    assert spec.operation(PUBLIC[name])


def test_internal_resources_are_declared_internal() -> None:
    assert {name for name, each in RESOURCES.items() if each.route.lower().startswith("internal/")} == {
        name for name, each in RESOURCES.items() if each.internal
    }


# ── requests ────────────────────────────────────────────────────────────────────────────────────


class Recorder(App):
    """An embedded server that keeps all requests, with their bodies."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.received: list[Request] = []

    def answering(self, request: Request) -> AbstractContextManager[Response]:
        """Respond to a request, and keep it."""
        self.received.append(request)
        return super().answering(request)


@pytest.fixture(scope="module")
def sent(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    """All requests of one run with every public resource."""
    app = Recorder(Plant(40), token=TOKEN)
    with pytest.MonkeyPatch.context() as patch, serve(app) as running:
        patch.setenv("WATS_TOKEN", TOKEN)
        wx.run(pipeline(tmp_path_factory.mktemp("sent"), running.url, PUBLIC))
    return [Sent(spec, request) for request in app.received]


def test_a_run_requests_every_public_route(sent: list[Sent]) -> None:
    assert {each.route for each in sent} >= {bare(f"/api/{each.route}") for each in PUBLIC.values()}


def test_every_parameter_is_in_the_specification(sent: list[Sent]) -> None:
    found = {
        (each.route, name)
        for each in sent
        for name in each.parameters
        if name not in each.spec.parameters(each.operation)
    }

    assert found == UNDECLARED_PARAMETERS.keys()


def test_every_required_parameter_is_sent(sent: list[Sent]) -> None:
    assert {
        (each.route, name)
        for each in sent
        for name in each.spec.parameters(each.operation, required=True)
        if name not in each.parameters
    } == set()


def test_reports_are_sorted_by_allowed_fields(sent: list[Sent]) -> None:
    queries = [each.parameters for each in sent if each.route == "/api/report/query/header"]
    orders = {order.split()[0] for each in queries for order in each.get("$orderby", "start").split(",")}

    assert orders <= {"start", "uuid", "serialNumber", "timeStamp"}


def test_every_body_field_is_in_the_specification(sent: list[Sent]) -> None:
    found = {
        (each.route, name)
        for each in sent
        for name in each.body
        if name not in each.spec.body(each.operation)
    }

    assert found == UNDECLARED_FIELDS.keys()


@pytest.mark.parametrize("name", [name for name, each in PUBLIC.items() if each.filtered_by == "fields"])
def test_every_filter_field_is_in_the_specification(spec: Spec, name: str) -> None:
    resource = PUBLIC[name]
    operation = spec.operation(resource)
    route = bare(f"/api/{resource.route}")
    known = spec.parameters(operation) | spec.body(operation)
    known |= {field for where, field in UNDECLARED_FIELDS if where == route}

    assert {column.source.lower() for column in resource.filters.values()} <= known


@pytest.mark.parametrize("name", [name for name, each in PUBLIC.items() if each.dimensions])
def test_dimensions_and_kpis_match_the_description(spec: Spec, name: str) -> None:
    resource = PUBLIC[name]
    description = spec.operation(resource)["description"]
    dimensions, counts = (
        set(re.findall(r"\w+", description.partition(f"Supported {what}:")[2].partition("```")[0]))
        for what in ("dimensions", "kpis")
    )

    assert set(resource.dimensions.values()) == dimensions
    assert {column.source for column in resource.table.columns if column.source} - dimensions <= counts


# ── responses ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PUBLIC)
def test_undocumented_responses_are_marked_unproven(spec: Spec, name: str) -> None:
    schema = spec.response(spec.operation(PUBLIC[name]))
    described = bool(spec.properties(schema)) or schema["type"] == "string"

    assert described or PUBLIC[name].unproven or name in CAPTURED
    assert not (described and name in CAPTURED)


@pytest.mark.parametrize("name", PUBLIC)
def test_columns_match_the_specification(spec: Spec, name: str) -> None:
    resource = PUBLIC[name]
    schema = spec.response(spec.operation(resource))
    if name in WRITTEN:
        schema = spec.document["components"]["schemas"][WRITTEN[name]]
    fields = spec.properties(schema)
    if not fields:
        pytest.skip("the specification has no schema of the response")
    shredder = shredder_of(resource)

    assert set(differences(spec, fields, shredder.table, shredder.children)) == {
        field for where, field in DIFFERENT if where == name
    }


def shredder_of(resource: Resource) -> FlatShredder:
    """The shredder that makes the rows of a resource."""
    shredder: Any = resource.reader.shredder  # type: ignore[attr-defined]
    return shredder if isinstance(shredder, FlatShredder) else shredder.fetched


def differences(spec: Spec, fields: Json, table: Table, children: Sequence[Child]) -> Iterator[str]:
    """Yields columns without a field or of another type, and fields without a column or a table."""
    columns = {source.lower(): each for each in table.columns for source in each.source.split()}
    lists = {name.lower() for child in children for name in child.fields}
    for name, column in columns.items():
        if name not in fields or not agrees(column, fields[name]):
            yield f"{table.name}.{column.name}"
    yield from (f"{table.name}: {name}" for name in fields if name not in columns and name not in lists)
    for child in children:
        missing = [name for name in child.fields if name.lower() not in fields]
        yield from (f"{child.table.name}: {name}" for name in missing)
        items = [fields[name.lower()]["items"] for name in child.fields if name not in missing]
        inner = {name: each for item in items for name, each in spec.properties(spec.resolved(item)).items()}
        yield from differences(spec, inner, child.table, child.children)


def agrees(column: Column, field: Json) -> bool:
    """Whether a column has the type of a field."""
    specified = field.get("type"), field.get("format")
    types = {
        ("string", "date-time"): TIMESTAMP,
        ("integer", "int32"): pa.int32(),
        ("integer", "int64"): pa.int64(),
        ("number", "double"): pa.float64(),
        ("boolean", None): pa.bool_(),
    }
    if field.get("type") in ("array", "object"):
        return column.kind == "json"
    return column.type == types.get(specified, pa.string()) and (specified == ("string", "uuid")) == (
        column.kind == "uuid"
    )
