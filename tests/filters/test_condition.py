"""Conditions: values, three-valued logic, and what the server makes of them."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.filters.conditions import BASE, COLUMNS, UUIDS, conditions, rows, server_keeps

from wats_extract.errors import ConfigurationError
from wats_extract.filters import odata
from wats_extract.filters.condition import (
    And,
    Comparison,
    Condition,
    IsNull,
    Not,
    OneOf,
    Or,
    TextMatch,
    conjuncts,
    fixed_columns,
    from_mapping,
    matches,
    without_not,
)

A_IS_1, B_IS_NULL = Comparison("a", "=", 1), IsNull("b")

# ── values ──────────────────────────────────────────────────────────────────────────────────────


def test_values_become_plain_values() -> None:
    assert Comparison("start", ">=", date(2026, 1, 1)) == Comparison("start", ">=", BASE)  # type: ignore[arg-type]
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - without a zone it is UTC
    assert Comparison("start", ">=", naive) == Comparison("start", ">=", BASE)
    assert Comparison("uuid", "=", UUID(UUIDS[0])) == Comparison("uuid", "=", UUIDS[0])  # type: ignore[arg-type]


def test_a_number_of_numpy_becomes_one_of_python() -> None:
    class Scalar:
        dtype = "int64"

        def item(self) -> int:
            return 5

    assert OneOf("process_code", (Scalar(),)) == OneOf("process_code", (5,))  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [["A", "B"], ("A", "B"), pl.Series(["A", "B"]), pa.array(["A", "B"])])
def test_a_mapping_takes_lists_of_any_kind(values: Any) -> None:
    listed = OneOf("part_number", tuple(values if not isinstance(values, pa.Array) else values.to_pylist()))
    assert from_mapping({"part_number": values}) == And((listed,))


@pytest.mark.parametrize(
    ("mapping", "condition"),
    [
        ({}, And(())),
        ({"a": 1, "b": None}, And((A_IS_1, B_IS_NULL))),
        ({"a": [1, None]}, And((Or((OneOf("a", (1,)), IsNull("a"))),))),
        ({"a": [None]}, And((IsNull("a"),))),
        ({"a": {"x"}}, And((OneOf("a", ("x",)),))),
    ],
)
def test_a_mapping_means_equality(mapping: dict[str, object], condition: Condition) -> None:
    assert from_mapping(mapping) == condition


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Comparison("a", "==", 1), "a: there is no operator '=='; there are = != < <= > >="),  # type: ignore[arg-type]
        (lambda: Comparison(5, "=", 1), "a column is named by text, not 5"),  # type: ignore[arg-type]
        (lambda: Comparison("a", "=", b"x"), "a cannot be compared with bytes"),  # type: ignore[arg-type]
        (lambda: OneOf("a", (1, object())), "a cannot be compared with object"),  # type: ignore[arg-type]
        (lambda: TextMatch("a", "startswith", "x"), "did you mean 'starts_with'?"),  # type: ignore[arg-type]
        (lambda: TextMatch("a", "contains", 5), "contains takes text, not 5"),  # type: ignore[arg-type]
        (lambda: from_mapping({"a": []}), "a has an empty list, which matches nothing"),
        (lambda: from_mapping({"a": {"gt": 5}}), "write the filter as OData text"),
        (lambda: from_mapping({"a": pl.col("a")}), "a cannot be compared with Expr"),
    ],
)
def test_wrong_conditions_cannot_be_made(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make()


@settings(deadline=None)
@given(conditions(st.none()))
def test_a_condition_survives_pickling(condition: Condition) -> None:
    copy = pickle.loads(pickle.dumps(condition))
    assert copy == condition
    assert hash(copy) == hash(condition)


# ── evaluation ──────────────────────────────────────────────────────────────────────────────────

UNKNOWN = Comparison("null", "=", 1)
TRUE, FALSE = IsNull("null"), IsNull("a")
ROW = {"null": None, "a": 1, "text": "Abc "}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (Comparison("a", "!=", None), None),
        (Not(UNKNOWN), None),
        (And((TRUE, UNKNOWN)), None),
        (And((FALSE, UNKNOWN)), False),
        (And(()), True),
        (Or((TRUE, UNKNOWN)), True),
        (Or((FALSE, UNKNOWN)), None),
        (Or(()), False),
        (OneOf("a", (2, 1, None)), True),
        (OneOf("a", (2, None)), None),
        (OneOf("a", (2,)), False),
        (OneOf("null", (1,)), None),
        (TextMatch("null", "contains", ""), None),
        (TextMatch("text", "starts_with", "Ab"), True),
        (TextMatch("text", "ends_with", "bc "), True),
        (TextMatch("text", "contains", "B"), False),
        (Comparison("a", "<=", 1.0), True),
        (Comparison("a", "=", "1"), False),
    ],
)
def test_unknown_is_neither_true_nor_false(condition: Condition, found: bool | None) -> None:
    assert matches(condition, ROW) is found


def test_case_and_trailing_blanks_can_be_ignored() -> None:
    assert matches(Comparison("text", "=", "aBC"), ROW, ignore_case=True)
    assert not matches(Comparison("text", "=", "aBC"), ROW)
    assert matches(TextMatch("text", "contains", "BC "), ROW, ignore_case=True)


def test_a_row_has_to_have_the_columns() -> None:
    with pytest.raises(ConfigurationError, match=r"no column 'tex' \(did you mean 'text'\?\)"):
        matches(IsNull("tex"), ROW)
    with pytest.raises(ConfigurationError, match="'Abc ', which cannot be ordered against 5"):
        matches(Comparison("text", "<", 5), ROW)


@settings(deadline=None)
@given(conditions(st.none()), rows())
def test_a_condition_without_not_is_equivalent(condition: Condition, row: Any) -> None:
    assert matches(without_not(condition), row[0]) is matches(condition, row[0])
    assert matches(without_not(condition, negate=True), row[0]) is matches(Not(condition), row[0])


def test_conjuncts_and_the_columns_that_they_fix() -> None:
    condition = And((A_IS_1, And((OneOf("c", (1, 2)), B_IS_NULL)), Or((Comparison("d", "=", 1),))))
    assert list(conjuncts(condition)) == [
        A_IS_1,
        OneOf("c", (1, 2)),
        B_IS_NULL,
        Or((Comparison("d", "=", 1),)),
    ]
    assert fixed_columns(condition) == {"a", "c"}


# ── on the server ───────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(conditions(), rows())
def test_the_server_keeps_the_rows_that_match(condition: Condition, row: Any) -> None:
    text = odata.to_odata(condition, COLUMNS)
    assert server_keeps(text, row[1]) == (matches(condition, row[0], ignore_case=True) is True), text


@settings(deadline=None)
@given(conditions(st.none() | st.sampled_from(["P", "T", UUIDS[0].upper(), 1.5, True, "1", 2**40])), rows())
def test_what_is_pushed_and_what_is_left_are_the_condition(condition: Condition, row: Any) -> None:
    table_row, server_row = row
    pushed, residual = odata.split(condition, COLUMNS)
    kept = pushed is None or server_keeps(odata.to_odata(pushed, COLUMNS), server_row)
    matched = matches(condition, table_row) is True
    assert kept >= matched, "the server lost a row"
    assert (kept and (residual is None or matches(residual, table_row) is True)) == matched


@pytest.mark.parametrize(
    ("condition", "pushed", "residual"),
    [
        # Numbers, timestamps, results and nulls are exact.
        (Comparison("process_code", ">", 5), True, False),
        (Comparison("start", "<=", BASE), True, False),
        (Comparison("result", "!=", "Passed"), True, False),
        (Not(IsNull("part_number")), True, False),
        # The server ignores the case of text, so it may keep more.
        (Comparison("part_number", "=", "A"), True, True),
        (TextMatch("part_number", "starts_with", "A"), True, True),
        # It would lose rows here.
        (Comparison("part_number", "!=", "A"), False, True),
        (Comparison("part_number", "<", "A"), False, True),
        (Not(TextMatch("part_number", "contains", "A")), False, True),
        # No table has these values, though the server would understand them.
        (Comparison("result", "=", "F"), False, True),
        (Comparison("report_type", "=", "T"), False, True),
        (Comparison("process_code", "=", "5"), False, True),
        # These cannot be written.
        (Comparison("process_code", "=", 1.5), False, True),
        (Comparison("unknown", "=", 1), False, True),
        (Comparison("part_number", "=", "A" * 2000), False, True),
        (OneOf("process_code", ()), False, True),
    ],
)
def test_how_a_condition_is_split(condition: Condition, pushed: bool, residual: bool) -> None:
    found = odata.split(condition, COLUMNS)
    assert found == (condition if pushed else None, condition if residual else None)


def test_a_conjunction_is_split_part_by_part() -> None:
    number, text, order = (
        Comparison("process_code", "=", 5),
        Comparison("part_number", "=", "A"),
        Comparison("part_number", "<", "B"),
    )
    found = odata.split(And((number, And((text, order)))), COLUMNS)
    assert found == (And((number, text)), And((text, order)))


def test_as_much_is_pushed_as_fits_into_a_request() -> None:
    parts = tuple(OneOf("process_code", tuple(range(at, at + 100))) for at in range(10_000, 10_600, 100))
    pushed, residual = odata.split(And(parts), COLUMNS)
    assert pushed is not None
    assert residual is not None
    assert odata.to_odata(pushed, COLUMNS)
    assert {*conjuncts(pushed), *conjuncts(residual)} == set(parts)
    assert len(list(conjuncts(pushed))) == 2


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (And(()), ""),
        (Comparison("process_code", "!=", 5), "processCode ne 5 and processCode ne null"),
        (
            Not(OneOf("process_code", (5, 6))),
            "not (processCode in (5,6)) and processCode ne null",
        ),
        (
            Not(And((Comparison("process_code", ">", 5), IsNull("result")))),
            "processCode le 5 or result ne null",
        ),
        (
            And((Or((IsNull("result"), IsNull("uuid"))), TextMatch("part_number", "contains", "O'B"))),
            "(result eq null or uuid eq null) and contains(partNumber,'O''B')",
        ),
        (
            Comparison("start", ">", datetime(2026, 1, 1, 1, tzinfo=UTC)),
            "start ge 2026-01-01T01:00:00.000001Z",
        ),
        (OneOf("process_code", (5, None)), "processCode eq 5"),
    ],
)
def test_conditions_as_odata(condition: Condition, text: str) -> None:
    assert odata.to_odata(condition, COLUMNS) == text


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Comparison("result", "<", "Passed"), "result can be compared with = and != only, not with <"),
        (Comparison("measures_deleted", ">=", False), "compared with = and != only"),
        (Comparison("process_code", "=", None), "nothing equals null; use a null test instead"),
        (OneOf("process_code", (None,)), "the list has no value"),
        (OneOf("start", ()), "the list has no value"),
        (Not(OneOf("process_code", (5, None))), "'not in' a list with null is never true"),
        (Not(OneOf("start", (BASE, None))), "'not in' a list with null is never true"),
        (TextMatch("process_code", "contains", "1"), "process_code is not text, so contains cannot be used"),
        (Or(()), "an alternative without conditions"),
        (Comparison("part_nmber", "=", "A"), "did you mean 'part_number'?"),
        (Comparison("start", "<=", datetime.max.replace(tzinfo=UTC)), "is the last instant there is"),
    ],
)
def test_what_odata_cannot_express_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        odata.to_odata(condition, COLUMNS)
