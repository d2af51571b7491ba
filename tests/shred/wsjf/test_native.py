"""The native module builds the same tables as Python, or leaves the document to Python."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shred.documents import UUID, documents

from wats_extract.errors import RecordError, Unreadable
from wats_extract.fake.plant.data import Plant
from wats_extract.shred import columns
from wats_extract.shred.records import Record
from wats_extract.shred.wsjf import shredding, steps
from wats_extract.shred.wsjf.document import NumericMeasurement, Report, Step
from wats_extract.shred.wsjf.shredding import WsjfOptions
from wats_extract.shred.wsjf.tables import BOOLEAN_MEASUREMENTS, NUMERIC_MEASUREMENTS, STEPS
from wats_extract.tables import Column, Table

if steps.how() == "in Python":
    pytest.skip("the native module was not built, or is switched off", allow_module_level=True)

EVERYTHING = WsjfOptions(attachments="content")


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


@contextmanager
def python() -> Iterator[None]:
    """Shred in Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_native", None)
        yield


def tables(raws: Sequence[bytes], options: WsjfOptions = EVERYTHING) -> dict[Table, pa.RecordBatch] | str:
    """Return the tables of documents, or the error."""
    try:
        read = [shredding.decode(uuid_of(raw), index, raw) for index, raw in enumerate(raws)]
        return shredding.shred(read, options)
    except (RecordError, Unreadable) as error:
        return f"{type(error).__name__}: {error.message}"


def uuid_of(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return UUID


def assert_alike(raws: Sequence[bytes], options: WsjfOptions = EVERYTHING) -> None:
    got = tables(raws, options)
    with python():
        expected = tables(raws, options)
    if isinstance(expected, str) or isinstance(got, str):
        assert got == expected
        return
    assert list(got) == list(expected)
    for table, batch in got.items():
        batch.validate(full=True)
        assert batch.schema == table.shredded_schema
        assert plain(batch) == plain(expected[table])


def plain(batch: pa.RecordBatch) -> str:
    """Return the rows as text: numbers to the last bit, and NaN equal to itself."""
    return repr(batch.to_pylist())


def is_native(raw: bytes) -> bool:
    return shredding.decode(uuid_of(raw), 1, raw).steps is not None


def root(inner: str) -> bytes:
    return f'{{"id":"{UUID}","root":{{{inner}}}}}'.encode("utf-8", "surrogatepass")


def measured(inner: str) -> bytes:
    return root(f'"numericMeas":[{{{inner}}}]')


# ── the same tables ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("charts", "attachments"), [(True, "none"), (False, "metadata"), (True, "content")], ids=str
)
def test_demo_documents(charts: bool, attachments: str) -> None:
    plant = Plant(60)
    raws = [encoded(plant.document(uuid)) for uuid in plant.uuids()]
    assert all(map(is_native, raws))
    assert_alike(raws, WsjfOptions(attachments=attachments, charts=charts))


def test_real_documents(samples: dict[str, dict[str, Any]]) -> None:
    for document in samples.values():
        assert_alike([encoded(document)])
        assert_alike([json.dumps(document, indent=2).encode()])
    assert any(is_native(encoded(document)) for document in samples.values())


@given(documents())
def test_documents_of_every_shape(document: dict[str, Any]) -> None:
    assert_alike([encoded(document)])
    assert_alike([json.dumps(document, indent=1).encode()])  # whitespace and escapes
    assert_alike([encoded(usual(document, Report))])


def usual(value: Any, kind: type[Record]) -> Any:
    """Return a document without the fields and values that the native module does not read."""
    hints = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    kept = {name: usual_field(name, item, hints[name]) for name, item in value.items() if name in hints}
    if "endingIndex" in kept:
        kept["endingIndex"] = kept.get("num")
    if kind is NumericMeasurement or kind.__name__ in ("Step", "CallExe"):
        for name in kept.keys() & {"value", "lowLimit", "highLimit", "totTime", "exitCode"}:
            kept[name] = float(kept[name]) if kept[name] is not None else None
    return {name: item for name, item in kept.items() if not name.endswith("Format")}


def usual_field(name: str, value: Any, hint: Any) -> Any:
    inner = [each for each in walk(hint) if isinstance(each, type) and issubclass(each, Record)]
    if inner and isinstance(value, list):
        return [usual(each, inner[0]) for each in value]
    return usual(value, inner[0]) if inner and isinstance(value, dict) else value


def walk(hint: Any) -> Iterator[Any]:
    yield hint
    for each in getattr(hint, "__args__", ()):
        yield from walk(each)


@given(documents())
def test_ordinary_documents_are_read_natively(document: dict[str, Any]) -> None:
    assert is_native(encoded(usual(document, Report)))


@given(st.lists(documents(), max_size=6))
def test_native_and_python_documents_keep_their_order(made: list[dict[str, Any]]) -> None:
    raws = [
        encoded(usual(each, Report) if index % 3 else each | {"later": 1}) for index, each in enumerate(made)
    ]
    assert_alike([*raws, root('"id":1.0'), root('"id":2'), root('"id":3')])


@given(documents(), st.data())
def test_damaged_documents(document: dict[str, Any], data: st.DataObject) -> None:
    raw = encoded(usual(document, Report))
    at = data.draw(st.integers(0, len(raw)))
    assert_alike([raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]])


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.decimals(allow_nan=False))
def test_numbers_are_read_to_the_last_bit(number: Any) -> None:
    text = str(number).replace("Infinity", "1")
    assert_alike([measured(f'"value":{text},"lowLimit":{text},"highLimit":-{text.lstrip("-")}')])


def test_threads_do_not_interfere() -> None:
    plant = Plant(40)
    raws = [encoded(plant.document(uuid)) for uuid in plant.uuids()]
    with python():
        expected = tables(raws)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: tables(raws), range(24)))


# ── unusual values ─────────────────────────────────────────────────────────────────────────────────

TEXTS = {
    "a control character": '"a\x01b"',
    "DEL": '"a\x7fb"',
    "NUL, escaped": r'"a\u0000b"',
    "every escape": r'"\"\\\/\b\f\n\r\t\u00e5\u20AC\ud83d\ude00"',
    "an unknown escape": r'"\x"',
    "an escape with three digits": r'"\u123"',
    "an escape without digits": r'"\u12g4"',
    "an escape at the end": '"\\',
    "a high surrogate alone": r'"\ud800"',
    "a low surrogate alone": r'"\udc00"',
    "surrogates in the wrong order": r'"\udc00\ud800"',
    "a high surrogate and a letter": r'"\ud800a"',
    "a high surrogate and another escape": r'"\ud800\u0041"',
    "a surrogate pair": r'"\ud83d\ude00"',
    "slashes": '"/a//b/"',
    "an empty string": '""',
    "a number": "1.10",
    "true": "true",
    "a list": '["a"]',
    "an object": "{}",
    "single quotes": "'a'",
    "nothing": "",
}
NUMBERS = [
    *("0", "-0", "0.0", "-0.0", "-0e5", "00", "01", "-01", "1.", ".5", "-", "+1", "1e", "1e+", "0x1", "1_0"),
    *("1e5", "1E5", "1e+5", "1e-5", "1.0", "1.5", "1e2", "1e400", "-1e400", "1e-400", "1e99999999999"),
    *("1e22", "1e23", "9007199254740992", "9007199254740993", "9007199254740993.0", "0.1"),
    *("0.30000000000000004", "0.1e-300", "17.999999999999999999"),
    *("5e-324", "2.4703282292062327e-324", "2.2250738585072011e-308", "1.7976931348623157e308"),
    *("-1.7976931348623157e308", "1.79e308", "1.7900000000000001e308", "1.7976931348623159e308"),
    *("2147483647", "2147483648", "-2147483648", "-2147483649", "9999999999", "99999999999", "4294967296"),
    *("18446744073709551615", "18446744073709551616", "123456789012345678901234567890"),
    *("0." + "0" * 99 + "1", "0." + "0" * 120 + "1", "1" + "0" * 60, "1" + "0" * 390),
    *("0.0000000000000000000000001", "9" * 400),
    *("NaN", "Infinity", "-Infinity", '"NaN"', '"nan"'),
    *('"Infinity"', '"-Infinity"', '"INF"', '"1.5"', '"1e400"'),
    *('"1_0"', '""', "true", "null", "nul", "[]", "{}", "1 2", "1a", "1\x00"),
]  # fmt: skip


@pytest.mark.parametrize("text", list(TEXTS.values()), ids=list(TEXTS))
@pytest.mark.parametrize("field", ["name", "status", "start", "tsGuid", "stepType"])
def test_texts(field: str, text: str) -> None:
    assert_alike([root(f'"{field}":{text}')])
    assert_alike([root(f'"{field}":{text},"steps":[{{"name":"below"}}]'), root('"name":"other"')])


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"]
)
def test_invalid_utf8(bad: bytes) -> None:
    for field in ("name", "tsGuid", "status"):
        raw = root(f'"{field}":"a?"').replace(b"?", bad)
        assert_alike([raw])
        assert steps.read_natively(raw) is None
    assert_alike([root('"chart":{"label":"?"}').replace(b"?", bad)])
    assert_alike([root('"additionalResults":[{"props":["?"]}]').replace(b"?", bad)])


@pytest.mark.parametrize(
    "good", ["\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
)
def test_the_first_and_last_characters_of_each_utf8_size(good: str) -> None:
    raw = root(f'"name":"{good}","reportText":"a\\n{good}"')
    assert is_native(raw)
    assert_alike([raw])


@pytest.mark.parametrize("number", NUMBERS, ids=lambda text: text[:25])
def test_numbers(number: str) -> None:
    for field in ("value", "lowLimit", "highLimit"):
        assert_alike([measured(f'"{field}":{number}')])
    assert_alike([root(f'"totTime":{number},"callExe":{{"exitCode":{number}}}')])
    assert_alike([root(f'"id":{number}')])
    assert_alike([root(f'"errorCode":{number},"causedUUTFailure":{number}')])


SHAPES = {
    "unknown": '"later":1',
    "another case": '"Name":"n"',
    "a name with an escape": r'"n\u0061me":"n"',
    "twice": '"name":"a","name":"b"',
    "twice, first of another type": '"name":1,"name":"b"',
    "null for everything": ",".join(f'"{field.encode_name}":null' for field in msgspec.structs.fields(Step)),
    "null steps": '"steps":null',
    "a null step": '"steps":[null]',
    "a null measurement": '"numericMeas":[null]',
    "a number as a step": '"steps":[1]',
    "an object for a list": '"steps":{}',
    "a list for an object": '"loop":[]',
    "empty lists": '"steps":[],"numericMeas":[],"stringMeas":[],"booleanMeas":[],"additionalResults":[]',
    "empty blocks": '"loop":{},"seqCall":{},"callExe":{},"messagePopup":{},"chart":{},"attachment":{}',
    "a comma at the end": '"name":"n",',
    "a comma at the end of a list": '"steps":[{},]',
    "a missing comma": '"name":"n" "id":1',
    "a missing colon": '"name" "n"',
    "whitespace": ' \t\r\n"name" \n:\t"n" , "steps" : [ { } , { "steps" : [ ] } ] ',
    "whitespace that JSON lacks": '"name":\x0b"n"',
    "a comment": '"name":"n"/**/',
    "measurements after the steps": '"steps":[{"numericMeas":[{"name":"b"},{"name":"c"}]}],'
    '"numericMeas":[{"name":"a"}]',
    "raw values after the steps": '"steps":[{"tsGuid":"b","chart":{"label":"b"},'
    '"additionalResults":[{"name":"b"}]}],'
    '"tsGuid":"a","chart":{"label":"a","series":[{"xdata":"1"}]},"additionalResults":[{"name":"a"}]',
    "a name after the steps": '"steps":[{"steps":[{"name":"c"}],"name":"b"}],"name":"a"',
    "an iteration": '"loop":{"idx":0,"num":null,"endingIndex":null,"passed":null,"failed":null}',
    "an ending index that differs": '"loop":{"num":2,"endingIndex":3}',
    "an ending index alone": '"loop":{"endingIndex":3}',
    "a format": '"callExe":{"exitCode":1,"exitCodeFormat":"%d"}',
    "a null format": '"messagePopup":{"button":1,"buttonFormat":null}',
    "a new field in a block": '"loop":{"later":1}',
    "an attachment": '"attachment":{"name":"a","data":"eA==","id":"i"}',
    "an invalid attachment": '"attachment":{"data":"?"}',
    "an invalid chart": '"chart":{"series":[{"xdata":1}]}',
    "a chart with a new field": '"chart":{"later":1}',
    "a chart cut off": '"chart":{"label":"a"',
    "a chart with the wrong bracket": '"chart":{"series":[}]',
    "a chart with a comma": '"chart":,',
    "a chart with whitespace": '"chart": { "label" : "a" , "series" : [ ] } ',
    "additional results": r'"additionalResults":[{"name":"\"a\\","props":{"a":["\\\"]}",1.10,{"b":null}]}}]',
    "two values for a guid": '"tsGuid":"a" "b"',
    "a guid that is a number": '"tsGuid":1',
    "an empty guid": '"tsGuid":""',
    "a start": '"start":"2026-01-30T22:01:41.4707353+01:00"',
    "starts long ago and far ahead": '"start":"1900-01-30 22:01",'
    '"steps":[{"start":null},{"start":"9999-12-31T23:59:59.9999999Z"}]',
    "an impossible start": '"start":"2026-02-30T00:00:00Z"',
}  # fmt: skip


@pytest.mark.parametrize("inner", list(SHAPES.values()), ids=list(SHAPES))
def test_shapes(inner: str) -> None:
    assert_alike([root(inner)])
    assert_alike(
        [root('"name":"first"'), root(f'"name":"/","steps":[{{{inner}}},{{{inner}}}]'), root('"id":3')]
    )


WHOLE = {
    "nothing": b"",
    "whitespace": b"  ",
    "a list": b"[]",
    "empty": b"{}",
    "without a root": b'{"id":"x"}',
    "a null root": b'{"id":"x","root":null,"pn":"p"}',
    "a root that is a list": b'{"root":[]}',
    "two roots": b'{"root":{"name":"a"},"root":{"name":"b"}}',
    "two roots, the second null": b'{"root":{"name":"a"},"root":null}',
    "two roots, the first null": b'{"root":null,"root":{"name":"b"}}',
    "two roots, one with an escape": b'{"root":{"name":"a"},"r\\u006fot":{"name":"b"}}',
    "two roots, one in another case": b'{"root":{"name":"a"},"Root":{"name":"b"}}',
    "another case": b'{"Root":{"name":"a"}}',
    "a root in a root": b'{"additionalData":[{"props":{"root":{"name":"b"}}}],"root":{"name":"a"}}',
    "a value that ends in root": b'{"id":"\\"root","root":{"name":"a"}}',
    "a byte order mark": b'\xef\xbb\xbf{"root":{"name":"a"}}',
    "whitespace around": b' \n{"root" : {"name":"a"} }\n ',
    "text after the end": b'{"root":{"name":"a"}}x',
    "two documents": b'{"root":{"name":"a"}}{}',
    "a new field": b'{"later":{"a":[1.10,NaN]},"root":{"name":"a"}}',
    "a new field that is broken": b'{"later":{"a":[1.10,}},"root":{"name":"a"}}',
    "a quoted number": b'{"root":{"name":"a"},"processCode":"10"}',
    "a value of the wrong type": b'{"root":{"name":"a"},"processCode":"ten"}',
    "a missing comma": b'{"root":{"name":"a"}"pn":"p"}',
    "a missing end": b'{"root":{"name":"a"}',
    "a NUL": b'{"root":{"name":"a"}}\0',
    "a NUL inside": b'{"root":{\0"name":"a"}}',
}


@pytest.mark.parametrize("raw", list(WHOLE.values()), ids=list(WHOLE))
def test_whole_documents(raw: bytes) -> None:
    assert_alike([raw])
    assert_alike([raw, raw])


@pytest.mark.parametrize("levels", [1, 60, 99, 100, 101, 150, 400, 1000, 5000])
def test_nesting(levels: int) -> None:
    deep = root('"steps":[{' * levels + "}]" * levels)
    assert (steps.read_natively(deep) is not None) == (levels < 100)
    if levels < 400:
        assert_alike([deep])
        assert_alike([root(f'"additionalResults":[{{"props":{"[" * levels}{"]" * levels}}}]')])


def test_every_status_code_becomes_its_word() -> None:
    codes = [*columns.RESULTS, *string.ascii_letters, "PP", "", "Passed", "å"]
    raw = root('"steps":[' + ",".join(f'{{"status":"{code}"}}' for code in codes) + "]")
    assert is_native(raw)
    assert_alike([raw])


def test_a_document_that_is_cut_off() -> None:
    plant = Plant(3)
    raw = encoded(plant.document(next(iter(plant.uuids()))))
    for end in range(0, len(raw), 7):
        assert steps.read_natively(raw[:end]) is None


def test_unusual_values_outside_the_steps_do_not_prevent_native_reading() -> None:
    raw = b'{"id":"x","later":1.10,"processCode":"10","root":{"name":"a"}}'
    assert is_native(raw)
    assert_alike([raw])


def test_a_uuid_that_is_not_unicode_is_a_record_error() -> None:
    document = shredding.decode("\ud800", 1, b'{"root":{"name":"a"}}')
    assert document.steps is not None
    with pytest.raises(RecordError):
        shredding.shred([document], EVERYTHING)


def test_the_root_is_read_only_once() -> None:
    document = shredding.decode("x", 1, b'{"root":{"name":"a"}}')
    assert document.report.root is None
    assert shredding.shred([document], EVERYTHING)[STEPS].num_rows == 1


# ── declared columns ────────────────────────────────────────────────────────────────────────────


def declared_with(table: Table) -> list[Table]:
    """Return the native tables with another declaration of one of them."""
    return [table if each.name == table.name else each for each in steps.TABLES]


def columns_of(table: Table, raw: bytes) -> dict[str, list[Any]]:
    """Shred one document natively with a changed declaration of a table and return the table's columns."""
    shredder = steps.native_shredder(declared_with(table))
    assert shredder is not None
    parsed = shredder.parse(raw)
    assert parsed is not None
    rows, buffers = shredder.merge(["owner"], [parsed[0]])[table.name]
    return steps._batch(table, rows, buffers, {}).to_pydict()


def with_column(table: Table, column: str, /, **changes: Any) -> Table:
    """Return a table whose declaration of one column is changed."""
    return replace(
        table, columns=tuple(replace(c, **changes) if c.name == column else c for c in table.columns)
    )


def without_column(table: Table, name: str) -> Table:
    return replace(table, columns=tuple(column for column in table.columns if column.name != name))


LIMITS = measured('"name":"n","value":1.5,"lowLimit":1,"highLimit":2,"status":"P"')


def test_columns_may_be_declared_in_any_order() -> None:
    found = columns_of(NUMERIC_MEASUREMENTS, LIMITS)
    turned = replace(NUMERIC_MEASUREMENTS, columns=NUMERIC_MEASUREMENTS.columns[::-1])
    other = columns_of(turned, LIMITS)
    assert list(other)[:-1] == list(found)[-2::-1]
    assert other == found
    assert found["low_limit"] == [1.0]


def test_a_column_with_a_source_may_have_any_name() -> None:
    renamed = with_column(NUMERIC_MEASUREMENTS, "low_limit", name="lower")
    assert columns_of(renamed, LIMITS)["lower"] == [1.0]


def test_a_field_may_fill_two_columns() -> None:
    twice = Column("status_code", pa.string(), "status")
    found = columns_of(replace(NUMERIC_MEASUREMENTS, columns=(*NUMERIC_MEASUREMENTS.columns, twice)), LIMITS)
    assert (found["status"], found["status_code"]) == (["Passed"], ["P"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            replace(STEPS, columns=(*STEPS.columns, Column("later", pa.string(), "later"))),
            'cannot fill column steps.later (source "later", kind "", type string)',
        ),
        (
            replace(STEPS, columns=(*STEPS.columns, Column("later", pa.string(), "loop.later"))),
            "cannot fill column steps.later",
        ),
        (
            replace(STEPS, columns=(*STEPS.columns, Column("ending", pa.int32(), "loop.endingIndex"))),
            "cannot fill column steps.ending",
        ),
        (replace(STEPS, columns=(*STEPS.columns, Column("chart", pa.string(), "chart"))), "steps.chart"),
        (replace(STEPS, columns=(*STEPS.columns, Column("level", pa.int32()))), "column steps.level"),
        (with_column(STEPS, "depth", name="level"), "column steps.level"),
        (with_column(STEPS, "depth", type=pa.int64()), "column steps.depth"),
        (with_column(STEPS, "name", source="names name"), 'source "names name"'),
        (with_column(STEPS, "error_code", type=pa.int64()), "type int64"),
        (with_column(STEPS, "start", type=pa.timestamp("ns", "UTC")), "column steps.start"),
        (with_column(STEPS, "name", kind="uuid"), 'kind "uuid"'),
        (with_column(NUMERIC_MEASUREMENTS, "low_limit", kind=""), "numeric_measurements.low_limit"),
        (with_column(NUMERIC_MEASUREMENTS, "value", kind="limit"), "numeric_measurements.value"),
        (
            without_column(NUMERIC_MEASUREMENTS, "unit"),
            'reads the field "unit" for table numeric_measurements, but no column takes it',
        ),
        (without_column(STEPS, "sequence_path"), 'reads the field "path" for table steps'),
        (without_column(STEPS, "report_uuid"), "computes column steps.report_uuid, which is not declared"),
        (without_column(STEPS, "step_index"), "computes column steps.step_index, which is not declared"),
        (without_column(BOOLEAN_MEASUREMENTS, "measurement_index"), "boolean_measurements.measurement_index"),
        (replace(STEPS, columns=STEPS.columns * 3), "raise MAX_COLUMNS"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_columns_that_cannot_be_filled_are_an_error_at_import(table: Table, message: str) -> None:
    with pytest.raises(ImportError) as caught:
        steps.native_shredder(declared_with(table))
    assert message in str(caught.value)
    assert "Install wats-extract again" in str(caught.value)


def test_a_table_that_is_not_declared_is_an_error_at_import() -> None:
    with pytest.raises(ImportError, match="'steps'"):
        steps.native_shredder(steps.TABLES[1:])


def test_a_shredder_merges_only_its_own_documents() -> None:
    one, other = steps.native_shredder(), steps.native_shredder()
    assert one is not None
    assert other is not None
    parsed = one.parse(LIMITS)
    assert parsed is not None
    with pytest.raises(ValueError, match="parsed by another Shredder"):
        other.merge(["owner"], [parsed[0]])
    with pytest.raises(ValueError, match="one owner per document"):
        one.merge(["owner", "another"], [parsed[0]])


def test_pure_python_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(steps.PURE, "1")
    assert steps.native_shredder() is None
