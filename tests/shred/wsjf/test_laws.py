"""Properties of shredding: it loses no value, both decoders agree, and grouping does not matter."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests import expected
from tests.shred.documents import MOMENTS, TREES, UUID, Path, documents, leaves, records

from wats_extract.errors import Unreadable
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred import header_tables
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.records import fit, loads
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf.shredding import Document, WsjfOptions, decode, shred
from wats_extract.tables import Table

EVERYTHING = WsjfOptions(attachments="content")
HEADERS = FlatShredder(
    header_tables.HEADERS,
    [
        Child(header_tables.HEADER_SUB_UNITS, ("subUnits", "uurSubUnits")),
        Child(header_tables.HEADER_MISC_INFOS, ("miscInfo", "uurMiscInfo")),
        Child(header_tables.HEADER_ASSETS, ("assets",)),
        Child(header_tables.HEADER_ATTACHMENTS, ("attachments", "uurAttachments")),
    ],
)
Tables = dict[Table, pa.RecordBatch]


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def cells(tables: Tables) -> Counter[str]:
    """Return the values of the tables as text, with one spelling per number."""
    found: Counter[str] = Counter()
    for batch in tables.values():
        for row in batch.to_pylist():
            for name, value in row.items():
                if name in ("_extra", "properties") and value is not None:
                    found.update(_spelled(leaf) for _, leaf in leaves(json.loads(value)))
                elif isinstance(value, list):
                    found.update(map(_spelled, value))
                else:
                    found[_spelled(value)] += 1
    return found


def _spelled(value: Any) -> str:
    return repr(float(value)) if isinstance(value, int | float) else str(value)


def expected_cells(path: Path, value: Any) -> list[list[str]]:
    """Return the cells that a value of a WSJF document becomes, each as a list of possible spellings."""
    name = path[-1]
    known = "props" not in path and not any(str(each).startswith("new ") for each in path)
    choices = [_spelled(value)]
    if known and name in ("start", "startUTC", "confirmDate", "finalizeDate"):
        choices.append(str(expected.moment(value)))
    elif known and name in ("xdata", "ydata"):
        return [[_spelled(float(each))] for each in value.split(";") if each]
    elif known and name == "data":
        choices = [str(base64.b64decode(value))]
    elif known and isinstance(value, str):
        choices += [value.lower(), expected.WORDS.get(value, value), expected.TYPES.get(value, value)]
        with suppress(ValueError):
            choices.append(_spelled(float(value)))
    return [choices]


@given(documents())
@example({"id": UUID, "binaryData": [{"id": ""}]})
def test_no_value_of_a_document_is_lost(document: dict[str, Any]) -> None:
    found = cells(shred([decode(UUID, 7, encoded(document))], EVERYTHING))
    for path, value in leaves(document):
        if path[-1] == "endingIndex":
            continue  # it equals num, or is in _extra
        for choices in expected_cells(path, value):
            assert any(found[choice] for choice in choices), (path, value)


@given(documents())
def test_the_strict_and_the_lenient_decoder_agree(document: dict[str, Any]) -> None:
    raw = encoded(document)
    lenient = fit(loads(raw, exact=True), wsjf.Report)
    assert shred([decode(UUID, 7, raw)], EVERYTHING) == shred([Document(UUID, 7, lenient, raw)], EVERYTHING)


@given(st.lists(documents(), min_size=1, max_size=5), st.data())
def test_any_split_into_groups_gives_the_same_rows(made: list[dict[str, Any]], data: st.DataObject) -> None:
    read = [decode(UUID, index, encoded(each)) for index, each in enumerate(made)]
    cut = data.draw(st.integers(0, len(read)))
    assert joined([shred(read, EVERYTHING)]) == joined(
        [shred(part, EVERYTHING) for part in (read[:cut], read[cut:]) if part]
    )


def joined(parts: Sequence[Tables]) -> dict[str, pa.Table]:
    batches: dict[Table, list[pa.RecordBatch]] = {}
    for part in parts:
        for table, batch in part.items():
            batches.setdefault(table, []).append(batch)
    return {table.name: pa.Table.from_batches(each).combine_chunks() for table, each in batches.items()}


@given(st.lists(records(HEADERS.record_type), max_size=4))
def test_no_value_of_a_page_of_headers_is_lost_by_either_decoder(made: list[dict[str, Any]]) -> None:
    page = [
        each | {"uuid": f"{index}a", "timeStamp": index, "start": "2026-01-01T00:00:00Z"}
        for index, each in enumerate(made)
    ]
    rows = HEADERS.rows(encoded(page))
    assert [(row.key, row.version, row.problem) for row in rows] == [
        (each["uuid"], each["timeStamp"], "") for each in page
    ]
    mixed = HEADERS.rows(encoded([*page, None]))
    assert mixed[-1].problem
    tables = HEADERS.shred([row.record for row in rows])
    assert tables == HEADERS.shred([row.record for row in mixed[:-1]])
    found = cells(tables)
    for path, value in leaves(page):
        if path[-1] != "start":
            assert any(found[choice] for choice in expected_cells(path, value)[0]), (path, value)


@given(
    st.lists(st.dictionaries(st.sampled_from(["assetId", "serialNumber", "x"]), TREES | MOMENTS), max_size=3)
)
def test_every_record_of_a_page_becomes_a_row_or_a_problem(page: list[Any]) -> None:
    shredder = RESOURCES["assets"].reader.shredder
    if page and all(record.keys() <= {"x"} for record in page):
        with pytest.raises(Unreadable, match="expected records of assets"):
            shredder.rows(encoded(page))
        return
    rows = shredder.rows(encoded(page))
    assert len(rows) == len(page)
    assert all(row.key and bool(row.problem) == (row.record is None) for row in rows)
