"""Records without their numeric key, or with one that does not fit, in every resource and destination."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conftest import DESTINATIONS, TOKEN
from tests.extraction import Extraction

from wats_extract.fake.app import App
from wats_extract.fake.exchange import Response
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.tables import Column, Table

NUMBERED = [
    name
    for name, resource in RESOURCES.items()
    if resource.table.owner and pa.types.is_integer(resource.table.schema.field(resource.table.owner).type)
]

MISSING = object()
BAD_KEYS: list[Any] = [
    *(MISSING, None, "", "x", "1,5", 1.5, True, {"x": 1}, [1], "without-key-0"),
    *(2**31, -(2**31) - 1, 3_000_000_000, 2**63, 2**64, 10**30, -(2**70), "\ud800", "1\0"),
]


class BadKeys(Faults):
    """Adds copies of a record to its list, each with a key that is missing or that does not fit."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__()
        self._fields = {field.lower() for field in fields}

    def draw(self) -> str:
        return "keys"

    def spoil(self, kind: str, answer: Response) -> Response:
        try:
            value = json.loads(answer.body)
        except ValueError:
            return answer
        holders = [value, *value.values()] if isinstance(value, dict) else [value]
        for records in holders:
            if isinstance(records, list) and records and isinstance(records[0], dict):
                records[1:1] = self._copies(records[0])
        return replace(answer, body=json.dumps(value).encode())

    def _copies(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        name = next((name for name in record if name.lower() in self._fields), None)
        if name is None:
            return []
        rest = {other: value for other, value in record.items() if other.lower() not in self._fields}
        return [rest if key is MISSING else {**rest, name: key} for key in BAD_KEYS]


def key_fields(name: str) -> list[str]:
    table = RESOURCES[name].table
    return [field for c in table.columns if c.name in table.key for field in c.source.split()]


@pytest.mark.parametrize("disposition", ["merge", "replace"])
@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize("name", NUMBERED)
def test_records_with_bad_keys_fail_and_the_others_land(
    name: str, kind: str, disposition: str, tmp_path: Path
) -> None:
    app = App(Plant(30), token=TOKEN)
    with serve(app) as server:
        extraction = Extraction(server.url, tmp_path / "good", kind, [name], options={})
        assert extraction.run().exit_code == 0
        good = keys_of(extraction, name)
    assert good
    app = App(Plant(30), token=TOKEN, faults=BadKeys(key_fields(name)))
    with serve(app) as server:
        extraction = Extraction(
            server.url, tmp_path / "bad", kind, [name], {}, disposition, stop_at_failures="100000"
        )
        for _ in range(2):  # the second run compares with loaded rows and open failures
            report = extraction.run()
            assert (report.status, report.exit_code, report.message) == ("failures", 3, "")
            assert keys_of(extraction, name) == good
    failures = extraction.table("_wats_failures")
    assert {row["error_code"] for row in failures} == {"INVALID_RECORD"}
    assert len(failures) >= len(BAD_KEYS)  # more for lists of several pages


def keys_of(extraction: Extraction, name: str) -> list[Any]:
    table = RESOURCES[name].table
    return sorted(extraction.frame(table.name)[table.owner].to_list())


@pytest.mark.parametrize("type_", [pa.int32(), pa.int64()], ids=str)
def test_texts_that_no_owner_column_can_hold_belong_to_no_row(type_: pa.DataType) -> None:
    table = Table("t", key=("id",), owner="id", columns=(Column("id", type_),))
    last = 2 ** (type_.bit_width - 1) - 1
    fits = ["0", "7", "-7", str(last), str(-last - 1)]
    odd = ["", "x", "07", "+7", " 7", "7 ", "-0", "7.0", "1_0", "٣", "\ud800", "9" * 5000]
    odd += [str(last + 1), str(-last - 2)]
    found = table.owners([*odd, *fits])
    assert (found.type, found.to_pylist()) == (type_, [int(key) for key in fits])


def test_texts_that_are_not_unicode_belong_to_no_row() -> None:
    table = Table("t", key=("id",), owner="id", columns=(Column("id", pa.string()),))
    assert table.owners(["a", "\ud800", "ä", "\0"]).to_pylist() == ["a", "ä", "\0"]
