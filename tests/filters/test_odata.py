from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from urllib.parse import quote
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wats_extract.errors import ConfigurationError
from wats_extract.filters import odata
from wats_extract.tables import TIMESTAMP, Column

COLUMNS = {
    column.name: column
    for column in (
        Column("uuid", pa.string(), "uuid", kind="uuid"),
        Column("part_number", pa.string(), "partNumber"),
        Column("report_type", pa.string(), "reportType", kind="report_type"),
        Column("result", pa.string(), "result", kind="result"),
        Column("start", TIMESTAMP, "start"),
        Column("measures_deleted", pa.bool_(), "measuresDeleted"),
        Column("process_code", pa.int32(), "processCode"),
        Column("time_stamp", pa.int64(), "timeStamp"),
        Column("execution_time", pa.float64(), "executionTime"),
        Column("x", pa.list_(pa.float64()), "x"),
    )
}
UUID_TEXT = "0A1B2C3D-0000-4000-8000-00000000000F"
MIDNIGHT = "start ge 2026-01-01T00:00:00Z and start lt 2026-01-01T00:00:00.000001Z"


@pytest.mark.parametrize(
    ("filter_", "text"),
    [
        ({}, ""),
        ({"part_number": "A"}, "partNumber eq 'A'"),
        (
            {"part_number": ["PCBA-100", "PCBA-200"], "result": "Failed"},
            "partNumber in ('PCBA-100','PCBA-200') and result eq 'Failed'",
        ),
        ({"part_number": ["A", "A"]}, "partNumber eq 'A'"),
        ({"part_number": "O'Brien"}, "partNumber eq 'O''Brien'"),
        ({"part_number": None}, "partNumber eq null"),
        ({"part_number": ["A", None]}, "(partNumber eq 'A' or partNumber eq null)"),
        (
            {"part_number": ["A", None], "process_code": 1},
            "(partNumber eq 'A' or partNumber eq null) and processCode eq 1",
        ),
        ({"result": ["P", "f", "ERROR", "T"]}, "result in ('Passed','Failed','Error','Terminated')"),
        ({"report_type": "UUT"}, "reportType eq 'T'"),
        ({"report_type": ["uur", "T"]}, "reportType in ('R','T')"),
        ({"process_code": [10, "50"]}, "processCode in (10,50)"),
        ({"time_stamp": 2**40}, f"timeStamp eq {2**40}"),
        ({"measures_deleted": True}, "measuresDeleted eq true"),
        ({"measures_deleted": "false"}, "measuresDeleted eq false"),
        ({"execution_time": [1.5, 2, "2.5"]}, "executionTime in (1.5,2,2.5)"),
        ({"uuid": UUID_TEXT}, f"uuid eq {UUID_TEXT.lower()}"),
        ({"uuid": UUID(UUID_TEXT)}, f"uuid eq {UUID_TEXT.lower()}"),
        ({"start": "2026-01-01"}, MIDNIGHT),
        ({"start": date(2026, 1, 1)}, MIDNIGHT),
        ({"start": datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, MIDNIGHT),
        ({"start": datetime(2026, 1, 1)}, MIDNIGHT),  # noqa: DTZ001 - without a zone it is UTC
        (
            {"start": "2026-01-01T00:00:00.250Z"},
            "start ge 2026-01-01T00:00:00.25Z and start lt 2026-01-01T00:00:00.250001Z",
        ),
    ],
)
def test_values_become_literals_of_their_columns_type(filter_: dict[str, object], text: str) -> None:
    assert odata.filter_text(filter_, COLUMNS) == text


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        ({"part_nmber": "A"}, "no column 'part_nmber' (did you mean 'part_number'?)"),
        ({"partNumber": "A"}, "did you mean 'part_number'?"),
        ({"part_number": 100}, "part_number holds text: write 100 in quotes"),
        ({"part_number": "A\nB"}, "control character"),
        ({"part_number": "\ud800"}, "UTF-8"),
        ({"part_number": b"A"}, "part_number cannot be compared with bytes"),
        ({5: "A"}, "a column is named by text, not 5"),
        ({"part_number": []}, "an empty list, which matches nothing"),
        ({"part_number": {"gt": "A"}}, "as OData text"),
        ({"process_code": "ten"}, "process_code holds whole numbers, not 'ten'"),
        ({"process_code": 1.5}, "process_code holds whole numbers, not 1.5"),
        ({"process_code": True}, "process_code holds whole numbers, not True"),
        ({"process_code": 2**31}, "holds 32-bit numbers, and 2147483648 is too large"),
        ({"process_code": "١"}, "holds whole numbers"),
        ({"execution_time": "fast"}, "execution_time holds numbers, not 'fast'"),
        ({"execution_time": float("nan")}, "execution_time holds numbers"),
        ({"execution_time": True}, "execution_time holds numbers"),
        ({"measures_deleted": "perhaps"}, "holds true or false"),
        ({"measures_deleted": 1}, "holds true or false"),
        ({"uuid": "1 or true"}, "holds uuids such as"),
        ({"start": "yesterday or so"}, "holds timestamps such as"),
        ({"start": 5}, "holds timestamps such as"),
        ({"result": "Faild"}, "did you mean 'Failed'?"),
        ({"report_type": "X"}, "report_type holds UUT, UUR, not 'X'"),
        ({"x": 1.0}, "cannot be filtered on"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(filter_: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        odata.filter_text(filter_, COLUMNS)


@pytest.mark.parametrize("ask", [odata.filter_text, lambda _, none: odata.literal_text("a eq 1", none)])
def test_a_resource_without_columns_takes_no_filter(ask: object) -> None:
    with pytest.raises(ConfigurationError, match="takes no filter"):
        ask({"a": 1}, {})  # type: ignore[operator]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((), ""),
        (("", " "), ""),
        ((" a eq 1 ",), "a eq 1"),
        (("a eq 1 or b eq 2",), "a eq 1 or b eq 2"),
        (("a eq 1 or b eq 2", "c eq 3"), "(a eq 1 or b eq 2) and c eq 3"),
        (("(a eq 1 or b eq 2)", "", "c eq 3"), "(a eq 1 or b eq 2) and c eq 3"),
        (("(a eq 1) OR (b eq 2)", "c eq 3"), "((a eq 1) OR (b eq 2)) and c eq 3"),
        (("a eq 'this or that'", "c eq 3"), "a eq 'this or that' and c eq 3"),
    ],
)
def test_joined_parts_keep_their_meaning(parts: tuple[str, ...], text: str) -> None:
    assert odata.both(*parts) == text


@pytest.mark.parametrize("part", ["a eq 1) or (b eq 2", "a eq 'x", "(a eq 1", "a eq 1)", "a eq '''"])
def test_an_unbalanced_part_is_refused(part: str) -> None:
    with pytest.raises(ConfigurationError, match="quote or a parenthesis that does not close"):
        odata.both(part, "start ge 2026-01-01T00:00:00Z")


def test_a_filter_that_is_too_long_is_refused() -> None:
    names = [f"Prüfling {number:04}" for number in range(100)]
    with pytest.raises(ConfigurationError, match="at most 1,700 are possible") as refused:
        odata.filter_text({"part_number": names}, COLUMNS)
    assert "fewer values" in refused.value.hint
    fits = odata.filter_text({"part_number": names[:35]}, COLUMNS)
    assert len(quote(fits, safe="")) <= odata.LONGEST_OF_USER
    with pytest.raises(ConfigurationError, match="at most 1,900 are possible"):
        odata.both(fits, fits)


# ── laws ────────────────────────────────────────────────────────────────────────────────────────

_STRINGS = re.compile(r"'((?:[^']|'')*)'")
printable = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=30)


@settings(deadline=None)
@given(st.lists(printable, min_size=1, max_size=4, unique=True))
def test_text_is_read_back_exactly(values: list[str]) -> None:
    text = odata.filter_text({"part_number": values}, COLUMNS)
    assert [found.replace("''", "'") for found in _STRINGS.findall(text)] == values
    listed = "eq ''" if len(values) == 1 else f"in ({','.join(chr(39) * 2 for _ in values)})"
    assert _STRINGS.sub("''", text) == f"partNumber {listed}"


@settings(deadline=None)
@given(printable, printable)
def test_the_embedded_server_reads_the_filter_as_meant(value: str, other: str) -> None:
    server = pytest.importorskip("wats_extract.fake.odata")
    entity = server.Entity("Header", {"partNumber": "string", "processCode": "number"}, {}, ())
    text = odata.both(
        odata.filter_text({"part_number": value}, COLUMNS), "processCode ge 5 or processCode lt 0"
    )
    matches = server.parse_filter(text, entity).matches
    assert matches({"partNumber": value, "processCode": 7})
    assert not matches({"partNumber": value, "processCode": 3})
    assert matches({"partNumber": other, "processCode": 7}) == (
        server.collated(other) == server.collated(value)
    )


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back_exactly(whole: int, number: float) -> None:
    text = odata.filter_text({"process_code": whole, "execution_time": number}, COLUMNS)
    found = re.fullmatch(r"processCode eq (\S+) and executionTime eq (\S+)", text)
    assert found
    assert (int(found[1]), float(found[2])) == (whole, number)


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_timestamps_are_read_back_exactly(moment: datetime) -> None:
    text = odata.timestamp_text(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    assert datetime.fromisoformat(f"{whole}.{fraction:0<6}+00:00") == moment
