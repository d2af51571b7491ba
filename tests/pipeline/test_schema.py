"""The JSON Schema of pipeline files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.pipeline.files import CATALOGUE, SECRET, resource, text_with

from wats_extract.pipeline.schema import json_schema
from wats_extract.pipeline.template import template


def validator() -> Any:
    return pytest.importorskip("jsonschema").Draft202012Validator(json_schema(CATALOGUE))


def as_editors_read(text: str) -> Any:
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe", pure=True)
    return json.loads(json.dumps(yaml.load(text), default=str))


@pytest.mark.parametrize(
    "text",
    [
        text_with(),
        template(),
        text_with(source="source: {max_in_flight: '${N}', timeout: 2m, token: '${WATS_TOKEN}'}\n"),
        text_with(
            **resource(
                "filter: {part_number: [A, null], result: Failed}\nexpand: [subUnits]\nsince: 2026-01-01"
            )
        ),
        text_with(**resource("filter: partNumber eq 'A'")),
        text_with(**resource("expand: subUnits")),
        text_with(resources="resources: [{name: reports, chunk_size: '${N}', charts: '${C}'}]\n"),
        text_with(more="max_failures: 1%\n"),
    ],
)
def test_the_schema_accepts_valid_files(text: str) -> None:
    validator().validate(as_editors_read(text))


@pytest.mark.parametrize(
    "sections",
    [
        {"version": "version: 2\n"},
        {"more": "streams: []\n"},
        {"source": f"source: {{token: {SECRET}}}\n"},
        {"source": "source: {max_in_flight: 0}\n"},
        {"destination": "destination: {type: postgres, path: x}\n"},
        {"resources": "resources: [{name: nothing}]\n"},
        resource("charts: true"),
        resource("filter: {nothing: 1}"),
        resource("filter: {result: Faild}"),
        resource("filter: {process_code: ten}"),
        resource("expand: [nothing]"),
        resource("expand: nothing"),
        {"resources": "resources: [{name: reports, chunk_size: 0}]\n"},
        {"resources": "resources: [{name: reports, attachments: all}]\n"},
        {"resources": "resources: [{name: products, since: 2026-01-01}]\n"},
        {"resources": "resources: [{name: products, filter: x}]\n"},
    ],
)
def test_the_schema_refuses_wrong_files(sections: dict[str, str]) -> None:
    assert not validator().is_valid(as_editors_read(text_with(**sections)))


def described(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, each in schema.get("properties", {}).items():
            yield f"{path}.{name}", each
        for name, each in schema.items():
            if name not in ("if", "properties"):
                yield from described(each, f"{path}.{name}")
        for name, each in schema.get("properties", {}).items():
            yield from described(each, f"{path}.{name}")
    elif isinstance(schema, list):
        for each in schema:
            yield from described(each, path)


def test_every_property_of_the_schema_is_described() -> None:
    schema = json_schema(CATALOGUE)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    texts = {path: each for path, each in described(schema) if isinstance(each, dict)}
    bare = [
        path for path, each in texts.items() if "description" not in each and not path.endswith("then.expand")
    ]
    assert not bare
    assert "title" not in json.dumps(schema["$defs"])
