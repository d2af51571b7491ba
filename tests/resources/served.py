"""Requests to the embedded server without the library, and comparisons of tables with its records."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from tests import expected
from tests.conftest import TOKEN, Json
from tests.extraction import Extraction

from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import TIMESTAMP, Column, Table


def get(url: str, route: str, body: Json | None = None) -> Any:
    """The JSON response of a route below ``/api``, to a GET request or to a POST request with a body."""
    request = urllib.request.Request(
        f"{url}/api/{route}",
        data=None if body is None else json.dumps(body).encode("utf-8"),
        headers={"Authorization": f"Basic {TOKEN}", "Content-Type": "application/json"},
        method="GET" if body is None else "POST",
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def value(record: Mapping[str, Any], column: Column) -> Any:
    """A column's value, computed from the server's record."""
    found = next((item for path in column.source.split() if (item := _at(record, path)) is not None), None)
    if found is None:
        return None
    if column.type == TIMESTAMP:
        return expected.moment(found)
    if column.kind == "uuid":
        return found.lower()
    if column.kind == "json":
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return found


def _at(record: Mapping[str, Any], path: str) -> Any:
    found: Any = record
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def assert_records(extraction: Extraction, table: Table, records: Iterable[Json]) -> int:
    """Check that a table holds exactly these records, by key; returns how many there are."""
    rows = extraction.table(table.name)
    landed = {tuple(row[name] for name in table.key): row for row in rows}
    records = list(records)
    assert len(landed) == len(rows) == len(records)
    for record in records:
        row = landed[tuple(value(record, column) for column in table.columns if column.name in table.key)]
        for column in table.columns:
            if column.source:
                assert row[column.name] == value(record, column), (table.name, column.name)
    return len(records)


def assert_answers(extraction: Extraction, name: str, answers: Mapping[str, Iterable[Json]]) -> None:
    """Check that a statistic's table holds exactly these records, by question and in their order."""
    table = RESOURCES[name].table
    rows = {(row["question"], row["row_index"]): row for row in extraction.table(table.name)}
    records = {(key, place): each for key, answer in answers.items() for place, each in enumerate(answer)}
    assert rows.keys() == records.keys()
    assert rows, "nothing is compared"
    for place, record in records.items():
        for column in table.columns:
            if column.source:
                assert rows[place][column.name] == value(record, column), (place, column.name)
