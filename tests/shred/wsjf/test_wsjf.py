"""Shredding keeps every value and every position, and reports values that do not fit."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import expected

from wats_extract.errors import RecordError, Unreadable
from wats_extract.fake.plant.data import Plant
from wats_extract.shred.columns import coordinates
from wats_extract.shred.records import Record
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf.shredding import WsjfOptions, WsjfShredder, decode, shred, started
from wats_extract.shred.wsjf.tables import TABLES
from wats_extract.tables import Table

EVERYTHING = WsjfOptions(attachments="content", keep_raw=True)


def shredded(document: dict[str, Any], options: WsjfOptions = EVERYTHING) -> dict[str, list[dict[str, Any]]]:
    raw = json.dumps(document).encode("utf-8")
    found = shred([decode(document["id"], 7, raw)], options)
    return {table.name: batch.to_pylist() for table, batch in found.items()}


class Maker:
    """Makes documents with all declared fields, each with a unique value."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0

    def next(self) -> int:
        self.count += 1
        return self.count

    def record(self, kind: type[Record], depth: int = 0) -> dict[str, Any]:
        hints = get_type_hints(kind)
        names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
        made = {
            name: self.value(kind, name, hints[attribute], depth)
            for name, attribute in names
            if attribute != "extra" and self.random.random() < 0.8
        }
        if self.random.random() < 0.3:
            made[f"newField{self.next()}"] = f"new {self.next()}"
        return made

    def value(self, kind: type[Record], name: str, hint: Any, depth: int) -> Any:
        option = next((option for option in get_args(hint) if option is not type(None)), hint)
        if get_origin(option) is list:
            return self.list(get_args(option)[0], depth)
        if option in (msgspec.Raw, Any):
            return [{"name": f"raw {self.next()}", "value": str(self.next())}]
        if isinstance(option, type) and issubclass(option, Record):
            return self.record(option, depth + 1)
        return self.leaf(kind, name, option)

    def list(self, kind: type[Record], depth: int) -> list[Any]:
        if kind is wsjf.Step and depth > 3:
            return []
        return [self.record(kind, depth + 1) for _ in range(self.random.randint(0, 3))]

    def leaf(self, kind: type[Record], name: str, option: type) -> Any:
        number = self.next()
        if name in ("start", "startUTC", "confirmDate", "finalizeDate"):
            return f"2026-01-01T00:00:{number % 60:02}.{number:06}Z"
        if name in ("xdata", "ydata"):
            return ";".join(str(float(self.next())) for _ in range(3))
        if kind is wsjf.Attachment and name == "data":
            return base64.b64encode(f"content {number}".encode()).decode()
        return {str: f"text {number}", int: number, float: number + 0.5, bool: number % 2 == 0}[option]


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, name)
    elif value is not None and not isinstance(value, bool):
        yield name, value


def cells_of(tables: dict[str, list[dict[str, Any]]]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for rows in tables.values():
        for row in rows:
            for column, value in row.items():
                if column in ("_extra", "properties") and value is not None:
                    found.update(item for _, item in leaves(json.loads(value)))
                elif isinstance(value, list):
                    found.update(value)
                elif isinstance(value, bytes) or value is not None:
                    found[value] += 1
    return found


@given(st.integers(0, 2**32))
def test_every_value_is_kept(seed: int) -> None:
    maker = Maker(seed)
    document = maker.record(wsjf.Report) | {"id": "0A000000-0000-4000-8000-00000000000B", "type": "T"}
    tables = shredded(document, WsjfOptions(attachments="content"))
    found = cells_of(tables)
    for name, value in leaves(document):
        if name == "id" and value == document["id"]:
            value = value.lower()
        elif name in ("start", "startUTC", "confirmDate", "finalizeDate"):
            if name == "startUTC" or value in found:
                continue  # the same instant as start, or a string in _extra
            value = expected.moment(value)
        elif name == "type":
            value = "UUT"
        elif name in ("xdata", "ydata"):
            assert all(found[float(each)] for each in value.split(";")), (name, value)
            continue
        elif name == "data":
            value = base64.b64decode(value)
        assert found[value], (name, value)


def test_generated_documents_match_the_independent_implementation() -> None:
    plant = Plant(60)
    for header in plant.headers():
        document = plant.document(header["uuid"])
        tables = shredded(document)
        for name, rows in expected.report_rows(document, 7).items():
            got = tables.get(name, [])
            assert len(got) == len(rows)
            for row, other in zip(rows, got, strict=True):
                if name == "additional_data":
                    other["properties"] = json.loads(other["properties"])
                assert all(_equal(other[key], value) for key, value in row.items()), (name, row, other)


def _equal(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)


def test_batches_have_the_declared_schema() -> None:
    plant = Plant(150)
    documents = [decode(u, 1, json.dumps(plant.document(u)).encode()) for u in plant.uuids()]
    found = shred(documents, EVERYTHING)
    assert set(found) == set(TABLES), "the demo data should fill every table"
    for table, batch in found.items():
        assert isinstance(table, Table)
        assert batch.schema == table.shredded_schema
        batch.validate(full=True)


def test_any_split_into_groups_gives_the_same_rows() -> None:
    plant = Plant(24)
    documents = [decode(u, 1, json.dumps(plant.document(u)).encode()) for u in plant.uuids()]
    whole = shred(documents, EVERYTHING)
    for size in (1, 5, 8):
        parts: dict[Table, list[pa.RecordBatch]] = {}
        for begin in range(0, len(documents), size):
            for table, batch in shred(documents[begin : begin + size], EVERYTHING).items():
                parts.setdefault(table, []).append(batch)
        for table, batch in whole.items():
            assert pa.Table.from_batches(parts[table]).combine_chunks().to_batches() == [batch]


def test_real_documents_match_the_independent_implementation(samples: dict[str, dict[str, Any]]) -> None:
    for name, document in samples.items():
        tables = shredded(document)
        for table, rows in expected.report_rows(document, 7).items():
            got = [{key: each[key] for key in rows[0]} for each in tables.get(table, [])] if rows else []
            assert len(got) == len(tables.get(table, [])) or not rows, (name, table)
            assert got == rows, (name, table)


def test_paths_double_slashes_within_names() -> None:
    inner = {"name": "c", "steps": []}
    root = {"name": "a/b", "steps": [inner, {"name": None}, {"name": ""}]}
    tables = shredded({"id": "x", "type": "T", "root": root})
    assert [row["path"] for row in tables["steps"]] == ["a//b", "a//b/c", "a//b/", "a//b/"]
    assert [row["parent_step_index"] for row in tables["steps"]] == [None, 0, 0, 0]


def test_loop_roles() -> None:
    steps = [
        {"name": "L", "loop": {"idx": None, "num": 2, "endingIndex": 2, "passed": 1, "failed": 1}},
        {"name": "L", "loop": {"idx": 0, "num": None, "endingIndex": None, "passed": None, "failed": None}},
        {"name": "L", "loop": {"idx": None, "num": 2, "endingIndex": 3}},
        {"name": "plain"},
    ]
    rows = shredded({"id": "x", "root": {"name": "r", "steps": steps}})["steps"][1:]
    assert [row["loop_role"] for row in rows] == ["header", "iteration", "header", "none"]
    assert [row["loop_index"] for row in rows] == [None, 0, None, None]
    assert json.loads(rows[2]["_extra"]) == {"loop": {"endingIndex": 3}}
    assert rows[0]["_extra"] is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (1.5, 1.5),
        ("NaN", "nan"),
        ("Infinity", "inf"),
        ("-infinity", "-inf"),
        ("INF", "inf"),
        ("4.5E-05", 4.5e-5),
        ("12.5", 12.5),
        (None, None),
    ],
)
def test_values_that_arrive_as_strings_are_numbers(value: Any, number: Any) -> None:
    measured = {"id": "x", "root": {"numericMeas": [{"value": value, "compOp": "LOG"}]}}
    (row,) = shredded(measured)["numeric_measurements"]
    assert repr(row["value"]) == repr(float(number) if isinstance(number, str) else number)


def test_a_limit_that_is_not_set_is_null() -> None:
    measured = {"value": 1.0, "lowLimit": -1.7976931348623157e308, "highLimit": 1.7976931348623157e308}
    (row,) = shredded({"id": "x", "root": {"numericMeas": [measured]}})["numeric_measurements"]
    assert (row["low_limit"], row["high_limit"]) == (None, None)


@pytest.mark.parametrize("document", [{"id": "y"}, {}, {"Message": "x"}, [], "x", {"value": [{"id": "x"}]}])
def test_a_document_has_to_identify_itself(document: Any) -> None:
    with pytest.raises(Unreadable):
        WsjfShredder().document("x", 1, json.dumps(document).encode())
    assert WsjfShredder().document("x", 1, b'{"ID": "X"}').report.id == "X"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"id": "x", "processCode": [1]}, "$.processCode: expected a whole number"),
        ({"id": "x", "root": {"steps": [{"name": {"a": 1}}]}}, "$.root.steps[0].name"),
        ({"id": "x", "sn": "\ud800"}, "surrogate"),
        ({"id": "x", "unheardOf": "\ud800"}, "surrogate"),
    ],
    ids=str,
)
def test_what_cannot_be_a_document_is_a_record_error(document: dict[str, Any], message: str) -> None:
    raw = json.dumps(document).encode("utf-8")
    with pytest.raises(RecordError) as caught:
        shred([decode("x", 1, raw)], EVERYTHING)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("document", "table", "column", "extra"),
    [
        ({"root": {"numericMeas": [{"value": "12,5"}]}}, "numeric_measurements", "value", {"value": "12,5"}),
        ({"root": {"start": "2026-02-30"}}, "steps", "start", {"start": "2026-02-30"}),
        ({"root": {"id": 2**40}}, "steps", "step_id", {"id": 2**40}),
        ({"processCode": 1.5}, "reports", "process_code", {"processCode": 1.5}),
        ({"binaryData": [{"data": "no base64!"}]}, "attachments", "content", {"data": "no base64!"}),
        ({"root": {"chart": {"series": [{"xdata": "1;two"}]}}}, "chart_series", "x", {"xdata": "1;two"}),
    ],
    ids=str,
)
def test_a_leaf_that_does_not_fit_is_null_and_stays_in_extra(
    document: dict[str, Any], table: str, column: str, extra: dict[str, Any]
) -> None:
    (row,) = shredded({"id": "x", **document})[table]
    assert row[column] is None
    assert json.loads(row["_extra"]) == extra


@pytest.mark.parametrize(
    ("start", "utc", "expected_start", "offset"),
    [
        ("2026-01-30T22:00:00+01:00", "2026-01-30T21:00:00Z", "2026-01-30T21:00:00Z", 60),
        ("2026-01-30T22:00:00Z", None, "2026-01-30T22:00:00Z", 0),
        ("2026-01-30T22:00:00-03:30", None, "2026-01-31T01:30:00Z", -210),
        ("2026-01-30T22:00:00", "2026-01-30T20:00:00.Z", "2026-01-30T20:00:00Z", 120),
        ("2026-01-30T22:00:00", None, "2026-01-30T22:00:00Z", None),
        (None, "2026-01-30T20:00:00Z", "2026-01-30T20:00:00Z", None),
        (None, None, None, None),
    ],
)
def test_the_start_and_its_offset(
    start: str | None, utc: str | None, expected_start: str | None, offset: int | None
) -> None:
    report = wsjf.Report(start=start, startUTC=utc)
    moment = expected.moment(expected_start)
    exact = None if moment is None else int(moment.timestamp()) * 1_000_000
    assert started(report) == (exact, offset)


def test_coordinates() -> None:
    assert coordinates("0;1.5;-2E3") == [0.0, 1.5, -2000.0]
    assert coordinates("") == []
    assert coordinates(None) is None
    assert coordinates("1;;3;") == [1.0, None, 3.0]
    assert coordinates(";") == [None]
    assert coordinates("1;2; ") == [1.0, 2.0]
    assert coordinates("1;2;;") == [1.0, 2.0, None]
    with pytest.raises(RecordError):
        coordinates("1;x")
