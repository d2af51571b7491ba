"""Values that do not fit their column: native and Python shredding give the same rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.shred.columns import kept_in
from wats_extract.shred.wsjf import steps as native_steps
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred

OPTIONS = WsjfOptions(attachments="content", keep_raw=True)

LEAVES = st.one_of(
    st.sampled_from(["1,5", "", "x", "NaN", "-Infinity", "12", "1e400", "0001-01-01T00:00:00+01:00", "P"]),
    st.sampled_from([4294967295, 2**63, 2**64, -(2**31) - 1, 23.75, 1e308, 0, True, False, None]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


def objects(*names: str, **inner: Any) -> Any:
    """Objects with leaves of any type, each of which may be missing."""
    return st.fixed_dictionaries({}, optional={**dict.fromkeys(names, LEAVES), **inner})


def lists(items: Any) -> Any:
    return st.lists(items, max_size=2)


MEASUREMENT = objects("name", "value", "lowLimit", "highLimit", "status", "unit", "compOp")
STEP = objects(
    *("id", "name", "group", "start", "status", "errorCode", "totTime", "causedSeqFailure", "tsGuid"),
    loop=objects("idx", "num", "passed", "failed"),
    callExe=objects("exitCode"),
    messagePopup=objects("response", "button"),
    numericMeas=lists(MEASUREMENT),
    stringMeas=lists(objects("name", "value", "limit")),
    booleanMeas=lists(objects("name", "status")),
    chart=objects("label", series=lists(objects("name", "xdata", "ydata"))),
)
DOCUMENT = objects(
    *("pn", "sn", "processCode", "result", "start", "startUTC"),
    uut=objects("user", "execTime", "errorCode", "batchLoopIndex"),
    uur=objects("user", "processCode", "confirmDate", "refUUT"),
    miscInfos=lists(objects("description", "numeric", "id")),
    subUnits=lists(objects("pn", "idx", failures=lists(objects("code", "refStepId")))),
    assets=lists(objects("assetSN", "usageCount")),
    assetStats=lists(objects("runningCount", "daysSinceCalibration", "isDaysSinceCalibrationUnknown")),
    root=objects("id", "name", "start", "errorCode", steps=lists(STEP)),
)


def tables_of(raw: bytes) -> dict[str, Any]:
    """The rows of all tables and the number of values that went to ``_extra``."""
    found = shred([decode("a", 1, raw)], OPTIONS)
    return {table.name: (repr(batch.to_pylist()), kept_in([batch])) for table, batch in found.items()}


def in_python(raw: bytes) -> dict[str, Any]:
    native, native_steps._native = native_steps._native, None
    try:
        return tables_of(raw)
    finally:
        native_steps._native = native


@given(DOCUMENT)
def test_a_document_of_any_leaves_lands_the_same_in_both_ways(document: dict[str, Any]) -> None:
    raw = json.dumps({"id": "a", **document}).encode()
    assert tables_of(raw) == in_python(raw)


@pytest.mark.parametrize("text", ['"1,5"', "1e400", "true", '"0x10"'])
def test_no_value_is_lost(text: str) -> None:
    raw = (
        f'{{"id":"a","root":{{"name":"r","numericMeas":[{{"value":1.5}},{{"value":{text},"unit":"V"}}],'
        f'"steps":[{{"name":"s","errorCode":7}}]}}}}'
    ).encode()
    found = {table.name: batch for table, batch in shred([decode("a", 1, raw)], WsjfOptions()).items()}
    one, other = found["numeric_measurements"].to_pylist()
    assert (one["value"], one["_extra"]) == (1.5, None)
    assert (other["value"], other["unit"], other["_extra"]) == (None, "V", f'{{"value":{text}}}')
    assert [row["error_code"] for row in found["steps"].to_pylist()] == [None, 7]
    assert kept_in(found.values()) == 1


def test_kept_values_of_both_ways_of_shredding_are_counted_together() -> None:
    good = b'{"id":"a","root":{"name":"r","start":"never"}}'
    other = b'{"id":"b","root":{"name":"r","errorCode":"x"}}'
    found = shred([decode("a", 1, good), decode("b", 1, other)], WsjfOptions())
    assert kept_in(found.values()) == 2


def test_many_values_that_do_not_fit_take_little_longer() -> None:
    measured = [{"value": "1,5", "name": str(number)} for number in range(50_000)]
    raw = json.dumps({"id": "a", "root": {"name": "r", "numericMeas": measured}}).encode()
    found = shred([decode("a", 1, raw)], WsjfOptions())
    assert kept_in(found.values()) == len(measured)
