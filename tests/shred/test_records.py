"""The lenient decoder: values that it accepts although the strict one refuses them, and values it refuses."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import RecordError, Unreadable
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.header_tables import HEADERS
from wats_extract.shred.records import Record, json_text, loads, pieces, read


class Part(Record):
    name: str | None = None
    partNumber: str | None = None  # noqa: N815


class Whole(Record):
    count: int | None = None
    value: float | str | None = None
    text: str | None = None
    flag: bool | None = None
    part: Part | None = None
    parts: list[Part] | None = None
    tree: msgspec.Raw | None = None


DECODER = msgspec.json.Decoder(Whole)


def whole(text: str | bytes) -> Whole:
    return read(text if isinstance(text, bytes) else text.encode("utf-8"), DECODER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Whole()),
        ('{"count": 1.0}', Whole(count=1)),
        ('{"count": "12"}', Whole(count=12)),
        ('{"value": 3}', Whole(value=3.0)),
        ('{"value": "NaN"}', Whole(value="NaN")),
        ('{"text": 12}', Whole(text="12")),
        ('{"text": 1.50, "x": 1}', Whole(text="1.50", extra={"x": 1})),
        ('{"text": 1e2}', Whole(text="1e2")),
        ('{"text": 12345678901234567890123}', Whole(text="12345678901234567890123")),
        ('{"count": 1e2}', Whole(count=100)),
        ('{"count": "12.0"}', Whole(count=12)),
        ('{"count": 9007199254740993.0}', Whole(count=2**53 + 1)),
        ('{"count": -0.0}', Whole(count=0)),
        ('{" extra": {"x": 1}}', Whole(extra={" extra": {"x": 1}})),
        ('{"text": true}', Whole(text="true")),
        ('{"flag": "True"}', Whole(flag=True)),
        ('{"flag": 0}', Whole(flag=False)),
        ('{"COUNT": 3, "Text": "a"}', Whole(count=3, text="a")),
        ('{"part": {"PartNumber": "P"}}', Whole(part=Part(partNumber="P"))),
        ('{"part": {"new": [1, {"a": null}]}}', Whole(part=Part(extra={"new": [1, {"a": None}]}))),
        ('{"parts": [{"name": "a"}], "later": "b"}', Whole(parts=[Part(name="a")], extra={"later": "b"})),
        ('{"text": "first", "text": "last"}', Whole(text="last")),
        ('{"text": "exact", "TEXT": "other"}', Whole(text="exact", extra={"TEXT": "other"})),
        ('\ufeff{"count": 1}', Whole(count=1)),
        ('{"TEXT": "other", "text": "exact"}', Whole(text="exact", extra={"TEXT": "other"})),
        ('{"x": 1e400}', Whole(extra={"x": math.inf})),
    ],
    ids=str,
)
def test_lenient_values(text: str, expected: Whole) -> None:
    assert whole(text) == expected


def test_bare_nan_and_infinity() -> None:
    assert whole('{"value": NaN}').value == "NaN"
    assert whole('{"value": -Infinity}').value == "-Infinity"
    assert json_text(whole('{"later": [NaN, 1e400, 1.10]}').extra) == '{"later":["NaN",1e400,1.10]}'


def test_raw_trees_are_the_same_from_both_decoders() -> None:
    tree = [{"a": 1.0, "b": [None, "ø"]}]
    for text in ({"tree": tree}, {"Tree": tree, "count": "1"}):
        found = whole(json.dumps(text)).tree
        assert found is not None
        assert json.loads(bytes(found)) == tree


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "1.50"),
        ("count", '"many"'),
        ("count", "true"),
        ("count", '"1_000"'),
        ("count", "1e999999999999999999999"),
        ("count", "1.00000000000000000000001"),
        ("value", "1e400"),
        ("value", "-1e400"),
        pytest.param("value", "1" + "0" * 400, id="400 digits"),
        ("value", "false"),
        ("flag", '"perhaps"'),
        ("flag", "2"),
        ("COUNT", '"many"'),
    ],
    ids=str,
)
def test_a_leaf_that_does_not_fit_is_null_and_kept_as_it_was_written(field: str, value: str) -> None:
    found = whole(f'{{"{field}": {value}, "text": "t"}}')
    assert (getattr(found, field.lower()), found.text) == (None, "t")
    counted: list[None] = []
    assert json_text(found.extra, on_kept=lambda: counted.append(None)) == f'{{"{field}":{value}}}'
    assert len(counted) == 1


def test_a_leaf_of_a_required_field_has_to_fit() -> None:
    class Keyed(Record):
        required: ClassVar[frozenset[str]] = frozenset({"id"})
        id: int | None = None
        other: int | None = None

    decoder = msgspec.json.Decoder(Keyed)
    assert read(b'{"id": 1, "other": "x"}', decoder).other is None
    for name in ("id", "ID"):
        with pytest.raises(RecordError, match="expected a whole number"):
            read(b'{"%s": "x"}' % name.encode(), decoder)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"value": {"x": 1}}', '$.value: expected a number, found {"x": 1}'),
        ('{"text": ["a"]}', "$.text: expected a string"),
        ('{"count": {}}', "$.count: expected a whole number"),
        ('{"flag": []}', "$.flag: expected true or false"),
        ('{"part": "P"}', "$.part: expected an object"),
        ('{"parts": {"name": "a"}}', "$.parts: expected a list"),
        ('{"parts": [{"name": "a"}, {"name": []}]}', "$.parts[1].name: expected a string"),
        ('{"parts": [null]}', "$.parts: expected no null"),
        ("[]", "$: expected an object"),
        ('"text"', "$: expected an object"),
        ("null", "$: expected an object"),
    ],
    ids=str,
)
def test_mismatches_name_the_path(text: str, where: str) -> None:
    with pytest.raises(RecordError) as caught:
        whole(text)
    assert caught.value.message.startswith(where)


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"count": 1', b'{"a":"\xff"}', b"{'a': 1}"], ids=repr)
def test_text_that_is_not_json_is_unreadable(text: bytes) -> None:
    with pytest.raises(Unreadable):
        whole(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RecordError, match="nested too deeply"):
        whole('{"x":' + "[" * 100_000 + "]" * 100_000 + "}")


def test_deep_nesting_is_refused_when_encoding() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(RecordError, match="nested too deeply"):
        json_text(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", []),
        (' [ 1 , [2,3], {"a": "],["} ] ', ["1", "[2,3]", '{"a": "],["}']),
        ('\ufeff{"a": [1, 2], "b\\"": {}}', ['"a": [1, 2]', '"b\\"": {}']),
        (f"[{'[' * 5000}{']' * 5000}]", [f"{'[' * 5000}{']' * 5000}"]),
        ('[nonsense, {"a": tru}]', ["nonsense", '{"a": tru}']),
    ],
    ids=lambda value: str(value)[:30],
)
def test_pieces_of_complete_text(text: str, found: list[str]) -> None:
    assert pieces(text.encode("utf-8")) == [each.encode("utf-8") for each in found]


@pytest.mark.parametrize("text", ["", "1", '"[]"', "[", "[1]]", "[1", '["a]', "[1] 2", "<html>", '{"a": [1}'])
def test_pieces_of_incomplete_text(text: str) -> None:
    with pytest.raises(Unreadable):
        pieces(text.encode("utf-8"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1]))
def test_pieces_are_the_items(items: list[Any], indent: int | None) -> None:
    found = pieces(json.dumps(items, indent=indent).encode("utf-8"))
    assert [json.loads(each) for each in found] == items


@given(JSON)
def test_exact_decoding_round_trips(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=True).replace("Infinity", "1e999")
    if not any(0xD800 <= ord(each) < 0xE000 for each in text):
        again = json.loads(json_text(loads(text.encode("utf-8"), exact=True)))
        assert again == json.loads(text)


def test_a_kept_value_is_in_the_decoded_json_of_its_record() -> None:
    shredder = FlatShredder(HEADERS)
    (row,) = shredder.rows(
        b'[{"uuid": "a", "timeStamp": 1, "run": "one", "executionTime": true, "new": 1.5}]'
    )
    value = shredder.value(row)
    assert value == {"uuid": "a", "timeStamp": 1, "run": "one", "executionTime": True, "new": 1.5}
    (row,) = shredder.rows(b'[{"uuid": "a", "timeStamp": 1, "run": 1.50}]')
    assert shredder.value(row)["run"] == 1.5
