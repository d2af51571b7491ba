"""A deep comparison finds every differing value, names its place, and repairs it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Server
from tests.engine.test_incomplete import files_of
from tests.engine.test_verifying import found, verified
from tests.extraction import Extraction, assert_same, expected_tables

from wats_extract import events
from wats_extract.engine.fingerprints import differing, fingerprints, plus
from wats_extract.engine.verifying import verify
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Column, Table

OPTIONS: dict[str, Any] = {"attachments": "content", "keep_raw": True, "chunk_size": 10}
TABLES = {table.name: table for name in ("reports", "report_headers") for table in RESOURCES[name].tables}


def other(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case None:
            return None
        case bool():
            return not value
        case int() | float():
            return -2 if value == -1 else -1
        case str():
            return value + " "
        case bytes():
            return value + b"!"
        case list():
            return [*value, 1.0]
        case _:
            return value.replace(microsecond=(value.microsecond + 1) % 1_000_000)


def change(extraction: Extraction, table: Table, column: str) -> str:
    """Change one value that is not null by hand; returns the key of its item, or empty if all are null."""
    if extraction.kind == "parquet":
        for path in files_of(extraction, table.name):
            rows = pq.read_table(path, partitioning=None)
            values = rows[column].to_pylist()
            place = next((place for place, value in enumerate(values) if value is not None), None)
            if place is not None:
                values[place] = other(values[place])
                index = rows.schema.get_field_index(column)
                field = rows.schema.field(column)
                pq.write_table(rows.set_column(index, field, pa.array(values, field.type)), path)
                return str(rows[table.owner][place].as_py())
        return ""
    with duckdb.connect(str(extraction.folder / "wats.duckdb")) as connection:
        columns = f'rowid, "{table.owner}", "{column}"'
        query = f'SELECT {columns} FROM {table.name} WHERE "{column}" IS NOT NULL LIMIT 1'
        row = connection.execute(query).fetchone()
        if row is None:
            return ""
        update = f'UPDATE {table.name} SET "{column}" = ? WHERE rowid = {row[0]}'
        connection.execute(update, [other(row[2])])
        return str(row[1])


@pytest.mark.parametrize("name", ["reports", "report_headers"])
def test_any_differing_value_is_found_named_and_repaired(
    name: str, kind: str, server: Server, tmp_path: Path
) -> None:
    plant = Plant(30)
    _, url = server(plant)
    options = OPTIONS | {"expand": RESOURCES["report_headers"].expand}
    extraction = Extraction(url, tmp_path, kind, names=[name], options=options)
    assert extraction.run().exit_code == 0
    equal = verified(extraction, deep=True)
    assert (equal.status, equal.resources[name].documents) == ("equal", 30)
    changes = {}
    dice = random.Random(1)
    for table in RESOURCES[name].tables:
        fixed = {*table.key, table.owner, table.version, "start", "_extra"}
        columns = [column for column in table.shredded_schema.names if column not in fixed]
        for column in dice.sample(columns, 2) if len(columns) > 2 else columns:
            if item := change(extraction, table, column):
                changes[table.name, column] = item
    assert len(changes) > 8
    assert verified(extraction).status == "equal", "no version and no number of rows differs"

    report = verified(extraction, deep=True)
    each = report.resources[name]
    assert (report.status, report.exit_code) == ("different", 3)
    assert found(report, name) == {"changed": len(set(changes.values()))}
    assert each.values
    assert len(each.values) <= 10
    for place in each.values:
        assert changes[place["table"], place["column"]] == place["item"]
    assert verified(extraction, deep=True, repair=True).exit_code == 0
    assert verified(extraction, deep=True).exit_code == 0
    expected = expected_tables(plant)
    if name == "reports":
        del expected["report_headers"]
        assert_same(extraction, expected)


def test_a_document_that_cannot_be_read_again_is_not_equal(kind: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(20)
    app, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"])
    extraction.run()
    app.faults = Faults(broken={plant.uuids()[4]: "404"})
    app.faults.settle(len(plant), plant.uuid)
    report = verified(extraction, deep=True, repair=True)
    each = report.resources["reports"]
    assert (report.status, report.exit_code, each.unread, each.documents) == ("failures", 3, 1, 19)
    assert each.differences == report.open_failures == 0


def test_a_deep_comparison_reports_its_progress(server: Server, tmp_path: Path) -> None:
    _, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, names=["reports"])
    extraction.run()
    heard: list[events.Event] = []
    with extraction.client() as client:
        verify(extraction.job(), client, deep=True, listen=heard.append)
    fetched = [event.items for event in heard if isinstance(event, events.ItemsFetched)]
    assert sum(fetched) == 20
    listed = [event.items for event in heard if isinstance(event, events.ItemsListed)]
    assert sum(listed) == 20
    assert any(isinstance(event, events.Noted) and "steps" in event.message for event in heard)


# ── fingerprints ────────────────────────────────────────────────────────────────────────────────

ROWS = Table(
    "rows",
    key=("item", "place"),
    owner="item",
    columns=(
        Column("item", pa.string()),
        Column("place", pa.int32()),
        Column("number", pa.float64()),
        Column("whole", pa.int64()),
        Column("text", pa.string()),
        Column("series", pa.list_(pa.float64())),
        Column("content", pa.binary()),
        Column("flag", pa.bool_()),
    ),
)

numbers = st.floats(allow_nan=True, width=64) | st.sampled_from([-1.0, -2.0, 0.0, -0.0])
rows_of_items = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | numbers,
            "whole": st.none() | st.sampled_from([-1, -2, 0, 2**61 - 1]) | st.integers(-(2**63), 2**63 - 1),
            "text": st.none() | st.text(max_size=4),
            "series": st.none() | st.lists(numbers, max_size=3),
            "content": st.none() | st.binary(max_size=4),
            "flag": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [row | {"item": f"i{place % 2}", "place": place} for place, row in enumerate(rows)])


def summed(rows: list[dict[str, Any]], *, parts: int = 1, negative: bool = False) -> dict[str, bytes]:
    sums: dict[str, bytes] = {}
    for part in range(parts):
        batch = pa.RecordBatch.from_pylist(rows[part::parts], schema=ROWS.shredded_schema)
        for key, each in fingerprints(ROWS, batch, negative=negative):
            sums[key] = plus(sums[key], each) if key in sums else each
    return sums


@given(rows_of_items, st.randoms(), st.integers(1, 3))
def test_equal_rows_cancel_in_any_order_and_in_any_batches(
    rows: list[dict[str, Any]], dice: random.Random, parts: int
) -> None:
    shuffled = rows.copy()
    dice.shuffle(shuffled)
    one, two = summed(rows), summed(shuffled, parts=parts, negative=True)
    assert one.keys() == two.keys()
    for key, each in one.items():
        assert differing(plus(each, two[key]), ROWS.shredded_schema.names) == []


@pytest.mark.parametrize("pair", [(None, False), (True, False), ("1.5", "2.5"), ("", None)])
def test_values_that_change_places_do_not_cancel(pair: tuple[Any, Any]) -> None:
    column = "text" if isinstance(pair[0], str) else "flag"
    for first in range(500):
        both = [{"item": "i0", "place": first}, {"item": "i0", "place": first + 1}]
        one = summed([row | {column: value} for row, value in zip(both, pair, strict=True)])
        two = summed(
            [row | {column: value} for row, value in zip(both, pair[::-1], strict=True)], negative=True
        )
        assert differing(plus(one["i0"], two["i0"]), ROWS.shredded_schema.names) == [column]


@given(rows_of_items, rows_of_items)
def test_exactly_the_differing_columns_are_named(
    rows: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    if len(rows) != len(others):
        return
    names = ROWS.shredded_schema.names
    one, two = summed(rows), summed(others, negative=True)
    for key, each in one.items():
        expected = {
            name
            for row, other_row in zip(rows, others, strict=True)
            for name in names
            if row["item"] == key and repr(row.get(name)) != repr(other_row.get(name))
        }
        assert set(differing(plus(each, two[key]), names)) == expected
