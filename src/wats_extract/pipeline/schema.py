"""The JSON Schema of pipeline files, with which editors complete names and mark mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wats_extract.pipeline.model import Pipeline
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import OPTIONS, Catalogue, takes_time
from wats_extract.tables import Column

_ARROW_TO_JSON = {
    "int16": "integer",
    "int32": "integer",
    "int64": "integer",
    "double": "number",
    "bool": "boolean",
}
_CHOICES = {"result": ["Passed", "Failed", "Error", "Terminated"], "report_type": ["UUT", "UUR"]}


def json_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12), with the columns and options of each resource."""
    schema = Pipeline.model_json_schema()
    schema["$defs"]["Source"]["properties"]["token"] |= {"pattern": r"^\$\{\w+(:-)?\}$", "default": ""}
    resource = schema["$defs"]["ResourceConfig"]
    resource["properties"]["name"] |= {"enum": list(catalogue)}
    resource["allOf"] = [_resource_schema(each) for each in catalogue.values()]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline file of wats-extract",
    }
    return {**_or_variable(schema), **head}


def _resource_schema(resource: Resource) -> dict[str, Any]:
    """The part of the schema for resources of this name; ``False`` forbids a key."""
    own: dict[str, Any] = {name: False for name in OPTIONS if name not in resource.options}
    if not takes_time(resource):
        own |= {"since": False, "until": False}
    own["name"] = {"description": resource.summary}
    if resource.internal:
        own["internal"] = {"const": True}
    if resource.dimensions:
        own["dimensions"] = _one_or_many(resource.dimensions)
    if resource.expand:
        own["expand"] = _one_or_many(resource.expand)
    own["filter"] = _filter_schema(resource) if resource.filters else False
    needed = [*(["internal"] if resource.internal else []), *(["filter"] if resource.required else [])]
    return {
        "if": {"properties": {"name": {"const": resource.name}}, "required": ["name"]},
        "then": {"properties": own} | ({"required": needed} if needed else {}),
    }


def _one_or_many(names: Iterable[str]) -> dict[str, Any]:
    name = {"enum": list(names)}
    return {"anyOf": [{"type": "array", "items": name}, name]}


def _filter_schema(resource: Resource) -> dict[str, Any]:
    meaning = "Columns and their value or list of values"
    odata = resource.filtered_by == "odata"
    return {
        "type": ["object", "string", "null"] if odata else ["object", "null"],
        "description": f"{meaning}, or OData text." if odata else f"{meaning}; % stands for any text.",
        "properties": {name: _column_schema(column) for name, column in resource.filters.items()},
        "additionalProperties": False,
    } | ({"required": list(resource.required)} if resource.required else {})


def _column_schema(column: Column) -> dict[str, Any]:
    one: dict[str, Any] = {"type": [_ARROW_TO_JSON.get(str(column.type), "string"), "null"]}
    if column.kind in _CHOICES:
        one = {"enum": [*_CHOICES[column.kind], None]}
    meaning = column.doc or f"{column.name.replace('_', ' ')} ({column.type})"
    return {"description": meaning, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _or_variable(schema: Any) -> Any:
    """The schema, with ``${NAME}`` allowed wherever a number or a truth value is."""
    if isinstance(schema, list):
        return [_or_variable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Pydantic's titles only repeat the keys.
    walked = {
        name: _or_variable(value)
        for name, value in schema.items()
        if name != "title" or not isinstance(value, str)
    }
    if walked.get("type") in ("integer", "number", "boolean"):
        walked |= {"type": [walked["type"], "string"], "pattern": r"^\$\{"}
    return walked
