"""Conditions as fields of the WATS filter."""

from __future__ import annotations

import re

import pytest

from wats_extract.errors import ConfigurationError
from wats_extract.filters.condition import And, Comparison, Condition, IsNull, Not, OneOf, Or, TextMatch
from wats_extract.filters.wats_filter import body, split, to_wats_filter
from wats_extract.resources.catalogue import RESOURCES

FIELDS = RESOURCES["dynamic_yield"].filters
PART, RUN = Comparison("part_number", "=", "PCBA-1%"), Comparison("run", "=", 1)


def test_equality_and_lists_become_fields() -> None:
    condition = And((OneOf("part_number", ("A", "B", "A")), Not(Comparison("run", "!=", 1))))
    fields = to_wats_filter(condition, FIELDS)
    assert fields == {"partNumber": ("A", "B"), "run": ("1",)}
    assert body(fields) == {"partNumber": "A;B", "run": "1"}


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Comparison("run", ">", 1), "run: the WATS filter has no >, only = and lists of values"),
        (Comparison("run", "!=", 1), "the WATS filter has no !="),
        (IsNull("part_number"), "part_number: the WATS filter cannot select null"),
        (Or((OneOf("part_number", ("A",)), IsNull("part_number"))), "cannot select null"),
        (Comparison("part_number", "=", None), "part_number takes text or a whole number, not None"),
        (Or((PART, RUN)), "a value or a list of values per field"),
        (TextMatch("part_number", "contains", "A"), "a value or a list of values per field"),
        (And((PART, OneOf("part_number", ("A",)))), "part_number: two conditions on one field"),
        (OneOf("part_number", ()), "part_number has an empty list"),
        (Comparison("part_number", "=", "A;B"), "write several values as a list"),
        (Comparison("part_number", "=", " "), "part_number is empty"),
        (Comparison("run", "=", True), "not True"),
        (Comparison("run", "=", "first"), "run takes a whole number, not 'first'"),
        (Comparison("run", "=", "١"), "run takes a whole number"),
        (Comparison("rnu", "=", 1), "did you mean 'run'?"),
    ],
)
def test_anything_else_is_refused_with_the_reason(condition: Condition, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        to_wats_filter(condition, FIELDS)


def test_a_conjunction_is_split_and_everything_is_checked_again() -> None:
    condition = And((PART, TextMatch("part_number", "contains", "A"), Comparison("revision", "=", " A")))
    assert split(condition, FIELDS) == (PART, condition)
    assert split(RUN, FIELDS) == (RUN, RUN)
    assert split(Not(RUN), FIELDS).pushed is None
