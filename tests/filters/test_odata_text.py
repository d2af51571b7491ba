"""OData text from a user is checked before it is sent."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wats_extract.errors import ConfigurationError
from wats_extract.fake.odata import ODataError, parse_filter
from wats_extract.fake.routes import reports as server
from wats_extract.filters import odata
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Column

COLUMNS = RESOURCES["report_headers"].filters
COLLECTIONS = RESOURCES["report_headers"].expand


@pytest.mark.parametrize(
    "text",
    [
        "partNumber eq 'x'",
        "PARTNUMBER eq 'x'",
        "  startswith(partNumber,'PCBA') and result ne 'Passed' ",
        "subUnits/any(s: s/serialNumber eq '1')",
        "SUBUNITS/any() and not miscInfo/any(m: contains(m/value, '5') and partNumber eq m/description)",
        "not (contains(partNumber,'or eq ') or processCode in (1,2))",
        "measuresDeleted",
        "partNumber eq null and null ne comment",
        "'x' lt partNumber",
        "tolower(substring(partNumber,0,4)) eq 'pcba' and length(comment) gt 5",
        "(processCode) eq (10) and (partNumber eq 'O''Brien')",
        "uuid in (0a1b2c3d-0000-4000-8000-00000000000f) or executionTime ge -1.5e3",
        "start ge 2026-01-01 and start lt 2026-02-01T00:00:00.1234567Z",
        "result in ('Failed','Error') and reportType eq 'T'",
    ],
)
def test_valid_text_is_kept_as_it_is(text: str) -> None:
    assert odata.literal_text(text, COLUMNS, collections=COLLECTIONS) == text.strip()
    parse_filter(text, server.HEADER)


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("garbage here", "there is no column 'garbage'", 1),
        ("part_number eq 'x'", "no column 'part_number' (did you mean 'partNumber'?)", 1),
        ("processCod eq 5", "no column 'processCod' (did you mean 'processCode'?)", 1),
        ("partNumber eq 'x' and resul eq 'y'", "did you mean 'result'?", 23),
        ("partNumber eq 'x", "the quote does not close", 15),
        ("not (partNumber eq 'x'", "the parenthesis does not close", 5),
        ("partNumber eq 'x')", "the parenthesis has no partner", 18),
        ("partNumber", "'partNumber' is not a condition", 1),
        ("partNumber eq 'x' and 5", "'5' is not a condition", 23),
        ("not partNumber", "'partNumber' is not a condition", 5),
        ("", "expected a column, a value or a function, found the end", 1),
        ("partNumber eq", "found the end of the filter", 14),
        ("partNumber eq 'x' an result eq 'y'", "found 'an' (did you mean 'and'?)", 19),
        ("partNumber equals 'x'", "found 'equals'", 12),
        ("partNumber like 'x'", "use contains, startswith or endswith", 12),
        ("partNumber = 'x'", "'=' is not OData; write eq", 12),
        ("processCode >= 5", "'>=' is not OData; write ge", 13),
        ('partNumber eq "x"', "put text in single quotes", 15),
        ("processCode eq 5 && start gt 2026-01-01", "write and", 18),
        ("a&b", "'&' is neither a name nor a value", 2),
        ("processCode eq 10x", "'10x' is neither a name nor a value", 16),
        ("partNumber eq eq", "there is no column 'eq'", 15),
        ("partNumber eq ,", "expected a column, a value or a function, found ','", 15),
        ("processCode add 1 eq 2", "WATS does not take 'add'", 13),
        ("year(start) eq 2026", "WATS does not take the function 'year'", 1),
        ("startwith(partNumber,'x')", "no function 'startwith' (did you mean 'startswith'?)", 1),
        ("startswith(partNumber)", "startswith takes 2 arguments, not 1", 1),
        ("contains(processCode,'1')", "contains takes text here, not processCode", 10),
        ("partNumber eq 5", "partNumber is text: write '5' in quotes", 15),
        ("5 eq partNumber", "partNumber is text: write '5' in quotes", 1),
        ("processCode eq '10'", "processCode is a number: write 10 without quotes", 16),
        ("processCode in (10,'20')", "write 20 without quotes", 20),
        ("start ge '2026-01-01'", "start is a timestamp: write 2026-01-01 without quotes", 10),
        ("start ge 2026", "start is a timestamp: 2026 is a number", 10),
        ("start ge 2026-02-30", "2026-02-30 is not a date or timestamp", 10),
        ("uuid eq 'x'", "write x without quotes", 9),
        ("partNumber eq processCode", "text cannot be compared with a number", 15),
        ("processCode in 5", "expected a list in parentheses, found '5'", 16),
        ("processCode in (1,null)", "a list holds values other than null", 19),
        ("processCode in (1 2)", "expected a comparison, and, or, ',' or ')', found '2'", 19),
        ("result eq 'F'", "the server has 'Failed' for 'F'", 11),
        ("reportType in ('UUT')", "the server has 'T' for 'UUT'", 16),
        ("subUnit/any(s: s/serialNumber eq '1')", "no list 'subUnit' (did you mean 'subUnits'?)", 1),
        ("subUnits/count gt 5", "'subUnits' has no 'count'; a list is searched by any", 10),
        ("subUnits/any(s s/serialNumber eq '1')", "expected ':' after the variable, found 's'", 16),
        ("subUnits/any('s')", "expected a variable", 14),
        ("subUnits/any(s: subUnits/any(s: s/revision eq 'A'))", "the variable 's' is in use already", 30),
        ("(" * 41 + "measuresDeleted" + ")" * 41, "nested more than 40 deep", 42),
        ("not " * 41 + "measuresDeleted", "nested more than 40 deep", 161),
    ],
)
def test_invalid_text_is_refused_with_its_position(text: str, message: str, position: int) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as refused:
        odata.literal_text(text, COLUMNS, collections=COLLECTIONS)
    assert f"(character {position} of the OData text)" in str(refused.value)


def test_lists_are_not_checked_if_they_are_not_known() -> None:
    text = "anything/any(a: a/b/c eq 5)"
    assert odata.literal_text(text, COLUMNS) == text


def test_a_text_column_may_be_a_uuid_on_the_server() -> None:
    uuid = "0a1b2c3d-0000-4000-8000-00000000000f"
    columns = {"type_id": Column("type_id", pa.string(), "typeId")}
    assert odata.literal_text(f"typeId eq {uuid}", columns)


def test_text_for_a_resource_without_filters_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes no filter"):
        odata.literal_text("a eq 1", {})


def test_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most 1,700 are possible"):
        odata.literal_text(f"partNumber eq '{'x' * 1700}'", COLUMNS)


# ── laws ────────────────────────────────────────────────────────────────────────────────────────

OPERANDS = st.sampled_from(
    [
        *("partNumber", "result", "processCode", "start", "measuresDeleted", "uuid", "executionTime"),
        *("'x'", "''", "5", "-1.5", "true", "null", "2026-01-01", "2026-13-01", "length(comment)", "nothing"),
        *("tolower(partNumber)", "substring(partNumber,1)", "indexof(partNumber,'x')", "year(start)", "(5)"),
    ]
)
LEAVES = st.one_of(
    st.tuples(OPERANDS, st.sampled_from(["eq", "ne", "gt", "le", "add", "like"]), OPERANDS).map(" ".join),
    st.builds("{} in ({})".format, OPERANDS, st.lists(OPERANDS, min_size=1, max_size=3).map(",".join)),
    st.builds("{}({},{})".format, st.sampled_from(["contains", "startswith"]), OPERANDS, OPERANDS),
    st.builds("subUnits/any(s: s/serialNumber {} 'x')".format, st.sampled_from(["eq", "gt"])),
    st.sampled_from(["measuresDeleted", "subUnits/any()", "miscInfo/any(m: m/value eq 'x')"]),
)
TEXTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("({})".format, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=4,
)


def is_valid(text: str) -> bool:
    try:
        odata.literal_text(text, COLUMNS, collections=COLLECTIONS)
    except ConfigurationError:
        return False
    return True


def is_taken(text: str) -> bool:
    try:
        parse_filter(text, server.HEADER)
    except ODataError:
        return False
    return True


@settings(deadline=None)
@given(TEXTS)
def test_text_is_valid_exactly_if_the_embedded_server_takes_it(text: str) -> None:
    assert is_valid(text) == is_taken(text)


@settings(deadline=None)
@given(TEXTS, st.data())
def test_so_is_text_with_a_piece_missing(text: str, data: st.DataObject) -> None:
    assume(text.count("/any(") < 2)
    pieces = re.findall(r"'[^']*'|[\w.-]+|\s+|.", text)
    del pieces[data.draw(st.integers(0, len(pieces) - 1))]
    assert is_valid("".join(pieces)) == is_taken("".join(pieces))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_valid_or_refused(text: str) -> None:
    try:
        assert odata.literal_text(text, COLUMNS) == text.strip()
    except ConfigurationError as error:
        assert error.message  # noqa: PT017
