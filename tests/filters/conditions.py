"""Conditions, rows and columns for property tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from wats_extract.fake.odata import Entity, parse_filter
from wats_extract.filters.condition import (
    And,
    Comparison,
    Condition,
    IsNull,
    Not,
    OneOf,
    Or,
    TextMatch,
    Value,
)
from wats_extract.tables import TIMESTAMP, Column

COLUMNS = {
    column.name: column
    for column in (
        Column("part_number", pa.string(), "partNumber"),
        Column("process_code", pa.int32(), "processCode"),
        Column("execution_time", pa.float64(), "executionTime"),
        Column("measures_deleted", pa.bool_(), "measuresDeleted"),
        Column("start", TIMESTAMP, "start"),
        Column("uuid", pa.string(), "uuid", kind="uuid"),
        Column("result", pa.string(), "result", kind="result"),
        Column("report_type", pa.string(), "reportType", kind="report_type"),
    )
}
ENTITY = Entity(
    "Header",
    {
        "partNumber": "string",
        "processCode": "number",
        "executionTime": "number",
        "measuresDeleted": "bool",
        "start": "time",
        "uuid": "guid",
        "result": "string",
        "reportType": "string",
    },
    {},
    (),
)

BASE = datetime(2026, 1, 1, tzinfo=UTC)
UUIDS = ("0a1b2c3d-0000-4000-8000-00000000000f", "ffffffff-0000-4000-8000-000000000000")
REPORT_TYPES = {"UUT": "T", "UUR": "R"}

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "part_number": st.text("aAbB'% ", max_size=3),
    "process_code": st.integers(-2, 2),
    "execution_time": st.sampled_from([-1.5, 0.0, 0.1, 2.0, 1e300]),
    "measures_deleted": st.booleans(),
    "start": st.integers(-2, 2).map(lambda number: BASE + timedelta(microseconds=number)),
    "uuid": st.sampled_from(UUIDS),
    "result": st.sampled_from(["Passed", "Failed", "Error"]),
    "report_type": st.sampled_from(list(REPORT_TYPES)),
}
ORDERED = ("part_number", "process_code", "execution_time", "start")


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row as a table has it, and as the server has it: with times in ticks of 100 ns."""
    row = {name: draw(st.none() | values) for name, values in VALUES.items()}
    server = {COLUMNS[name].source: value for name, value in row.items()}
    if row["start"] is not None:
        elapsed = row["start"] - datetime(1970, 1, 1, tzinfo=UTC)
        server["start"] = elapsed // timedelta(microseconds=1) * 10 + draw(st.integers(0, 9))
    server["reportType"] = REPORT_TYPES.get(row["report_type"] or "")
    return row, server


def server_keeps(filter_text: str, server_row: dict[str, Any]) -> bool:
    return not filter_text or parse_filter(filter_text, ENTITY).matches(server_row)


@st.composite
def leaves(draw: st.DrawFn, values: st.SearchStrategy[Value] | None = None) -> Condition:
    """A condition on one column; ``values`` are further values that it may be equal to."""
    name = draw(st.sampled_from(list(COLUMNS)))
    value = VALUES[name] if values is None else VALUES[name] | values
    operators = ["<", "<=", ">", ">="] if name in ORDERED else ["="]
    kinds: list[st.SearchStrategy[Condition]] = [
        st.builds(Comparison, st.just(name), st.sampled_from(["=", "!="]), value),
        st.builds(Comparison, st.just(name), st.sampled_from(operators), VALUES[name]),
        st.builds(OneOf, st.just(name), st.lists(value, min_size=1, max_size=3).map(tuple)),
        st.just(IsNull(name)),
    ]
    if name == "part_number":
        functions = st.sampled_from(["starts_with", "ends_with", "contains"])
        kinds.append(st.builds(TextMatch, st.just(name), functions, VALUES[name]))
    return draw(st.one_of(kinds))


def conditions(values: st.SearchStrategy[Value] | None = None) -> st.SearchStrategy[Condition]:
    """Conditions of any shape; none of their lists is empty."""
    return st.recursive(
        leaves(values),
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=6,
    )
