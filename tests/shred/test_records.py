"""The patient reading: what is read although a strict reader refuses it, and what stays refused."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from wats_extract.errors import RecordError, Unreadable
from wats_extract.shred.records import Record, read


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
        ('{"text": 1.50, "x": 1}', Whole(text="1.5", extra={"x": 1})),
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
        ('{"value": 1e400, "count": 1.0}', Whole(value=math.inf, count=1)),
    ],
    ids=str,
)
def test_what_fits_after_all(text: str, expected: Whole) -> None:
    assert whole(text) == expected


def test_bare_tokens_of_python_and_net() -> None:
    assert math.isnan(float(whole('{"value": NaN}').value or 0))
    assert whole('{"value": -Infinity}').value == -math.inf


def test_raw_trees_survive_both_ways() -> None:
    tree = [{"a": 1.0, "b": [None, "ø"]}]
    for text in ({"tree": tree}, {"Tree": tree, "count": "1"}):
        found = whole(json.dumps(text)).tree
        assert found is not None
        assert json.loads(bytes(found)) == tree


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"count": 1.5}', "$.count: expected a whole number, found 1.5"),
        ('{"count": "many"}', '$.count: expected a whole number, found "many"'),
        ('{"count": true}', "$.count"),
        ('{"value": {"x": 1}}', '$.value: expected a number, found {"x": 1}'),
        ('{"value": false}', "$.value"),
        ('{"text": ["a"]}', "$.text: expected a text"),
        ('{"flag": "perhaps"}', "$.flag: expected true or false"),
        ('{"flag": 2}', "$.flag"),
        ('{"part": "P"}', "$.part: expected an object"),
        ('{"parts": {"name": "a"}}', "$.parts: expected a list"),
        ('{"parts": [{"name": "a"}, {"name": []}]}', "$.parts[1].name: expected a text"),
        ('{"parts": [null]}', "$.parts: expected no null"),
        ("[]", "$: expected an object"),
        ('"text"', "$: expected an object"),
    ],
    ids=str,
)
def test_what_does_not_fit_says_where(text: str, where: str) -> None:
    with pytest.raises(RecordError) as caught:
        whole(text)
    assert caught.value.message.startswith(where)


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"count": 1', b'{"a":"\xff"}', b"{'a': 1}"], ids=repr)
def test_what_is_not_json_is_worth_another_try(text: bytes) -> None:
    with pytest.raises(Unreadable):
        whole(text)


def test_very_deep_nesting_is_refused_not_crashed_on() -> None:
    with pytest.raises(RecordError, match="nested too deeply"):
        whole('{"x":' + "[" * 100_000 + "]" * 100_000 + "}")
