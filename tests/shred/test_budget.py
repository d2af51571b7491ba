"""A response may take a bounded amount of memory once it is decoded and shredded, however it is made."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import RecordError, Unreadable
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred import budget
from wats_extract.shred.documents import PlacedDocument, PlacedDocuments, SerialNumberFiles
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.header_tables import HEADER_SUB_UNITS, HEADERS
from wats_extract.shred.wsjf import shredding, steps
from wats_extract.tables import Table

UUID = "3f1c2c1e-0000-4000-8000-000000000001"
LONG = "x" * 1_000_000


@pytest.fixture(params=["native", "python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Shreds steps natively, or in Python."""
    if request.param == "python":
        monkeypatch.setattr(steps, "_native", None)
    return str(request.param)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most memory in use so far, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def shredded(raw: bytes) -> dict[Table, Any]:
    """The tables of a document."""
    return dict(shredding.shred([shredding.decode(UUID, 1, raw)], shredding.WsjfOptions("content")))


def document(root: str, more: str = "") -> bytes:
    """A document with this root."""
    return f'{{"id":"{UUID}","root":{root}{more}}}'.encode()


def items(item: str, count: int) -> str:
    """A list of equal items."""
    return "[" + ",".join([item] * count) + "]"


def nested(name: str, depth: int) -> str:
    """Steps within steps, each with the same name."""
    return f'{{"name":"{name}","steps":[' * depth + "{}" + "]}" * depth


HOSTILE = {
    "children of a long name": document(f'{{"name":"{LONG}","steps":{items("{}", 20_000)}}}'),
    "children of a long name that doubles": document(
        f'{{"name":"{"/" * 500_000}","steps":{items("{}", 300)}}}'
    ),
    "long names within long names": document(nested("x" * 100_000, 100)),
    "grandchildren of a long name": document(
        f'{{"name":"{LONG}","steps":{items(json.dumps({"steps": [{}] * 10}), 9)}}}'
    ),
    "series of a long label": document(f'{{"chart":{{"label":"{LONG}","series":{items("{}", 60_000)}}}}}'),
    "series of two long units": document(
        f'{{"steps":[{{"chart":{{"yUnit":"{LONG}","series":{items("{}", 60)}}}}},'
        f'{{"chart":{{"xLabel":"{LONG}","series":{items("{}", 60)}}}}}]}}'
    ),
    "points that are empty": document(f'{{"chart":{{"series":[{{"xdata":"{";" * 3_000_000}"}}]}}}}'),
    "empty steps": document(f'{{"steps":{items("{}", 400_000)}}}'),
    "empty measurements": document(f'{{"numericMeas":{items("{}", 400_000)}}}'),
    "empty series": document(f'{{"chart":{{"series":{items("{}", 400_000)}}}}}'),
    "empty results": document(f'{{"additionalResults":{items("{}", 400_000)}}}'),
    "empty misc infos": document("{}", f',"miscInfos":{items("{}", 400_000)}'),
    "empty sub units": document("{}", f',"subUnits":{items("{}", 400_000)}'),
    "empty failures": document("{}", f',"subUnits":[{{"failures":{items("{}", 400_000)}}}]'),
    "an unknown list of objects": document("{}", f',"new":{items("{}", 400_000)}'),
    "an unknown list of lists": document("{}", f',"new":{items("[]", 1_000_000)}'),
    "too many numbers": document("{}", f',"new":{items("1", 20_100_000)}'),
    "too many objects": document(f'{{"steps":{items(chr(123) + " " * 30 + chr(125), 5_000_000)}}}'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_document_that_grows_too_much_is_refused_before_it_does(
    kind: str, way: str, peak: Callable[[], int]
) -> None:
    raw = HOSTILE[kind]
    with pytest.raises(RecordError, match="too large when"):
        shredded(raw)
    assert peak() < 3 * budget.budget_of(len(raw))


ORDINARY = {
    "many steps": document(
        f'{{"steps":{items(json.dumps({"id": 7, "name": "Step", "status": "P"}), 100_000)}}}'
    ),
    "empty steps": document(f'{{"steps":{items("{}", 100_000)}}}'),
    "many measurements": document(
        f'{{"numericMeas":{items(json.dumps({"name": "U", "value": 1.5, "status": "P"}), 100_000)}}}'
    ),
    "a few children of a long name": document(f'{{"name":"{LONG}","steps":{items("{}", 60)}}}'),
    "many children of a name": document(f'{{"name":"{"x" * 500}","steps":{items("{}", 100_000)}}}'),
    "a deep tree": document(nested("Main sequence", 90)),
    "a few series of a long label": document(f'{{"chart":{{"label":"{LONG}","series":{items("{}", 60)}}}}}'),
    "a long chart": document(f'{{"chart":{{"series":[{{"xdata":"{"1.25;" * 500_000}"}}]}}}}'),
    "a long text of commas": document(f'{{"reportText":"{"{[,<" * 20_000}{"a" * 1_000_000}"}}'),
    "a list of numbers": document("{}", f',"new":{items("1.5", 500_000)}'),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_a_large_document_is_loaded(kind: str, way: str) -> None:
    found = {table.name: batch.num_rows for table, batch in shredded(ORDINARY[kind]).items()}
    assert found["steps"] >= 1
    assert sum(found.values()) >= 2


def test_a_step_with_all_its_fields_may_be_there_a_million_times() -> None:
    measurement = {"compOp": "GELE", "name": "U", "status": "P", "unit": "V", "value": 1.5, "lowLimit": 1.0}
    step: dict[str, Any] = {
        "id": 1,
        "group": "M",
        "stepType": "NumericLimitStep",
        "name": "Voltage",
        "status": "P",
    }
    step |= {"totTime": 0.5, "numericMeas": [measurement]}
    text = json.dumps(step, separators=(",", ":")).encode()
    budget.check_structure(b'{"root":{"steps":[' + b",".join([text] * 1_000_000) + b"]}}")


NAMES = st.text("ab/ü", max_size=12)
TREES: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries(
        {}, optional={"name": NAMES, "chart": st.just({"label": "abc", "series": [{}] * 3})}
    ),
    lambda below: st.fixed_dictionaries({"steps": st.lists(below, max_size=4)}, optional={"name": NAMES}),
    max_leaves=12,
)


@given(root=TREES, least=st.integers(0, 150))
def test_both_ways_of_shredding_refuse_the_same_documents(root: Any, least: int) -> None:
    raw = document(json.dumps(root, ensure_ascii=False))
    outcomes: list[Any] = []
    for native in (steps._native, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steps, "_native", native)
            patch.setattr(budget, "TIMES", 0)
            patch.setattr(budget, "LEAST", least)
            patch.setattr(shredding, "check_structure", lambda raw: None)
            try:
                outcomes.append({table: batch.to_pylist() for table, batch in shredded(raw).items()})
            except RecordError as error:
                outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]


# ── flat records ────────────────────────────────────────────────────────────────────────────────


REPORTS = FlatShredder(HEADERS, [Child(HEADER_SUB_UNITS, ("subUnits", "uurSubUnits"))])


def page(*records: dict[str, Any] | str) -> bytes:
    """A page of these records."""
    return f"[{','.join(each if isinstance(each, str) else json.dumps(each) for each in records)}]".encode()


def header(key: str, sub_units: str, **more: Any) -> str:
    """A row of the list of reports with expanded sub units."""
    fields = json.dumps({"uuid": key, "timeStamp": 5, **more})
    return f'{fields[:-1]},"subUnits":{sub_units}}}'


@pytest.mark.parametrize("sub_units", [items("{}", 20_000), items('{"partNumber":"A"}', 2_000)])
def test_a_long_key_that_many_child_rows_repeat_is_refused(sub_units: str, peak: Callable[[], int]) -> None:
    rows = REPORTS.rows(page(header(LONG, sub_units), header(UUID, sub_units)))
    assert [row.problem for row in rows] == ["", ""]
    with pytest.raises(RecordError, match=r"rows repeat its key of up to 1,000,000 characters"):
        REPORTS.shred([rows[0].record])
    assert len(REPORTS.shred([rows[1].record])) == 2
    assert peak() < 64e6


def test_a_long_key_that_many_records_of_a_document_repeat_is_refused(peak: Callable[[], int]) -> None:
    shredder = next(
        each.reader.shredder  # type: ignore[attr-defined]
        for each in RESOURCES.values()
        if isinstance(getattr(each.reader, "shredder", None), PlacedDocuments)
        and not isinstance(each.reader.shredder, SerialNumberFiles)  # type: ignore[attr-defined]
        and not each.reader.shredder.fetched.keyed  # type: ignore[attr-defined]
    )
    found = shredder.fetched.records(
        page(*[json.dumps(dict.fromkeys(list(shredder.fetched._names)[:1]))] * 3000)
    )
    placed = [shredder.placed(LONG, 1, index) for index in range(len(found))]
    with pytest.raises(RecordError, match="3,000 rows repeat its key"):
        shredder.shred([PlacedDocument(found, placed, b"")], {})
    assert peak() < 64e6


def test_a_record_that_grows_too_much_is_a_problem_and_the_others_of_its_page_are_not() -> None:
    rows = REPORTS.rows(page(header(UUID, "[]"), header("b", items("{}", 300_000)), header("c", "[{}]")))
    assert [row.problem[:37] for row in rows] == ["", "it is too large when decoded: 300,001", ""]
    assert [(row.key, row.version) for row in rows] == [(UUID, 5), ("b", 5), ("c", 5)]


def test_a_page_with_far_too_many_records_is_no_page(peak: Callable[[], int]) -> None:
    body = b"[" + b"1," * budget.MOST_ITEMS + b"1,1]"
    with pytest.raises(Unreadable, match="more than 20,000,000 values"):
        REPORTS.rows(body)
    with pytest.raises(RecordError, match="too large when decoded"):
        REPORTS.records(body)
    assert peak() < 3 * len(body)


def test_a_long_text_that_all_records_of_a_group_repeat_is_refused(peak: Callable[[], int]) -> None:
    shredder = RESOURCES["measurements"].reader.shredder  # type: ignore[attr-defined]
    group = {"measurementPath": LONG, "measurements": [{}] * 1_000}
    with pytest.raises(RecordError, match="the fields of its groups would take more than 67 MB"):
        shredder.rows(page(group))
    assert peak() < 64e6


def test_serial_numbers_in_xml_have_the_same_bounds(peak: Callable[[], int]) -> None:
    with pytest.raises(RecordError, match="too large when decoded"):
        budget.check_structure(b"\xef\xbb\xbf <SerialNumbers>" + b"<SN/>" * 1_000_000)
    budget.check_structure(b"<SerialNumbers>" + b'<SN id="A000000001" partNumber="B"/>' * 200_000)
    budget.check_structure(b'{"text":"' + b"<" * 20_000_000 + b'"}')
    assert peak() < 64e6
