"""Bad input through the whole pipeline: a record is loaded, or becomes a failure with its text.

A value that does not fit its column goes to ``_extra``, so that nothing of a loaded record is lost.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.conftest import TOKEN
from tests.extraction import Extraction

from wats_extract.engine.job import RunReport
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Response
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

GOOD = 12
LARGEST = 2**63 - 1
NUL = "a\0b"
DIGITS = "9" * 5000


@dataclass(frozen=True)
class Bad:
    """A document, or a row of the list of reports.

    Attributes:
        text: The text, in which ``UUID`` stands for the key.
        message: A pattern for the message of the failure; if it is empty, the record must be loaded.
        values: Expected values in the first row of tables, by ``table.column``.
        either: Whether the record may be loaded as well as fail.
        foreign: Whether it is something other than the requested document.
        kept: The number of values that do not fit their column.
    """

    text: str | bytes
    message: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    either: bool = False
    foreign: bool = False
    kept: int = 0


def document(inner: str) -> str:
    """Return a document with more fields."""
    return f'{{"type":"T","id":"UUID","pn":"P","sn":"S","result":"P",{inner}}}'


def step(inner: str) -> str:
    return document(f'"root":{{"id":1,"name":"r",{inner}}}')


def measured(inner: str) -> str:
    return step(f'"numericMeas":[{{"compOp":"LOG",{inner}}}]')


def misc_info(inner: str) -> str:
    return document(f'"miscInfos":[{{{inner}}}]')


def kept(make: Callable[[str], str], place: str, field: str, value: str, *, as_text: bool = False) -> Bad:
    """Return a record with a value that its column cannot hold.

    Args:
        make: Makes the record from a field and its value.
        place: The table and the column.
        field: The name of the field.
        value: The value as JSON.
        as_text: Whether ``_extra`` has it as a string.
    """
    table = place.partition(".")[0]
    extra = f'{{"{field}":{json.dumps(value) if as_text else value}}}'
    return Bad(make(f'"{field}":{value}'), values={place: None, f"{table}._extra": extra}, kept=1)


def nested(depth: int) -> str:
    """Return a document with nested steps."""
    return document('"root":' + '{"name":"s","steps":[' * depth + "]}" * depth)


def tree(depth: int) -> str:
    return "[" * depth + "]" * depth


DOCUMENTS = {
    # broken JSON
    "cut off": Bad(document('"comment":"the end is mi')[:-1], "not JSON"),
    "an extra comma": Bad(document('"location":"L",'), "not JSON"),
    "single quotes": Bad("{'type':'T'}", "not JSON"),
    "two documents": Bad(document('"location":"L"') + "{}", "not JSON"),
    "a control character": Bad(document('"location":"a\x01b"'), "not JSON"),
    "an unknown escape": Bad(document(r'"location":"C:\x"'), "not JSON"),
    "not UTF-8": Bad(document('"location":"L"').encode().replace(b'"L"', b'"\xff"'), "not JSON"),
    "not UTF-8 in a value that is kept as JSON": Bad(
        document('"additionalData":[{"props":["L"]}]').encode().replace(b'"L"', b'"\xff"'), "utf-8"
    ),
    # wrong types
    "a list": Bad("[]", "expected a report, found a list", foreign=True),
    "a string": Bad('"report"', 'expected a report, found "report"', foreign=True),
    "a number": Bad("42", "expected a report, found 42", foreign=True),
    "no id": Bad('{"type":"T"}', "expected report .*, found an object with type", foreign=True),
    "a list for a string": Bad(document('"location":["L"]'), r"\$\.location: expected a string"),
    "a string for a list": Bad(document('"miscInfos":"none"'), r"\$\.miscInfos: expected a list"),
    "null in a list": Bad(document('"miscInfos":[null]'), r"\$\.miscInfos: expected no null"),
    "a string for a step": Bad(document('"root":"r"'), r"\$\.root: expected an object"),
    "true for a number": kept(document, "reports.process_code", "processCode", "true"),
    "a fraction for an integer": kept(document, "reports.process_code", "processCode", "1.50"),
    "a word for a number": kept(measured, "numeric_measurements.value", "value", '"ten"'),
    "a decimal comma": kept(measured, "numeric_measurements.value", "value", '"1,5"'),
    "a boolean for a string": Bad(document('"location":false'), values={"reports.location": "false"}),
    "a boolean for the id": Bad('{"id":true}', "requested report", foreign=True),
    "a word for a boolean": kept(step, "steps.caused_uut_failure", "causedUUTFailure", '"perhaps"'),
    "a value in another case": kept(document, "reports.process_code", "PROCESSCODE", '"x"'),
    "a word in a block": Bad(
        document('"uut":{"errorCode":"E7","user":"u"}'),
        values={
            "reports.error_code": None,
            "reports.user_name": "u",
            "reports._extra": '{"uut":{"errorCode":"E7"}}',
        },
        kept=1,
    ),
    "a number beyond 32 bits in a block": Bad(
        document('"uut":{"errorCode":4294967295}'),
        values={"reports.error_code": None, "reports._extra": '{"uut":{"errorCode":4294967295}}'},
        kept=1,
    ),
    "a word in a block of a step": Bad(
        step('"loop":{"num":"three","passed":2}'),
        values={"steps.loop_count": None, "steps.loop_passed": 2, "steps._extra": '{"loop":{"num":"three"}}'},
        kept=1,
    ),
    "a word in a chart": Bad(
        step('"chart":{"label":"l","series":[{"name":"n","xdata":"1;x","ydata":"2"}]}'),
        values={
            "chart_series.name": "n",
            "chart_series.x": None,
            "chart_series.y": [2.0],
            "chart_series._extra": '{"xdata":"1;x"}',
        },
        kept=1,
    ),
    "a fraction beside a new field": Bad(
        document('"miscInfos":[{"numeric":23.750,"later":[1.10],"text":"t"}]'),
        values={
            "misc_infos.numeric": None,
            "misc_infos.text": "t",
            "misc_infos._extra": '{"numeric":23.750,"later":[1.10]}',
        },
        kept=1,
    ),
    "another report": Bad('{"id":"0A000000-0000-4000-8000-000000000000"}', "requested report", foreign=True),
    "a number for a string": Bad(document('"location":1.10'), values={"reports.location": "1.10"}),
    "an integer with a fraction of zero": Bad(
        document('"processCode":10.0'), values={"reports.process_code": 10}
    ),
    "a quoted integer": Bad(document('"processCode":"10"'), values={"reports.process_code": 10}),
    "a new field": Bad(
        document('"later":{"a":[1.10,null]}'), values={"reports._extra": '{"later":{"a":[1.10,null]}}'}
    ),
    "another case": Bad(document('"LOCATION":"L"'), values={"reports.location": "L"}),
    "two names that differ in case": Bad(
        document('"Location":"other","location":"L"'),
        values={"reports.location": "L", "reports._extra": '{"Location":"other"}'},
    ),
    "test and repair": Bad(
        document('"uut":{"user":"a"},"uur":{"user":"b"}'),
        values={"reports.user_name": "a", "reports._extra": '{"uur":{"user":"b"}}'},
    ),
    # nesting
    "100 levels": Bad(nested(100), values={"steps.depth": 0}),
    "1,000 levels": Bad(nested(1000), "nested too deeply", either=True),
    "20,000 levels": Bad(nested(20_000), "nested too deeply", either=True),
    "1,000 levels of additional data": Bad(
        document(f'"additionalData":[{{"name":"d","props":{tree(1000)}}}]'), "nested too deeply", either=True
    ),
    "1,000 levels of a new field": Bad(document(f'"later":{tree(1000)}'), "nested too deeply", either=True),
    "900 levels of a new field": Bad(document(f'"later":{tree(900)}'), "nested too deeply", either=True),
    # lone surrogates
    "a lone surrogate": Bad(document(r'"location":"\ud800"'), "surrogate"),
    "a lone surrogate as id": Bad(r'{"id":"\ud800"}', "requested report", foreign=True),
    "a lone surrogate in additional data": Bad(
        document(r'"additionalData":[{"props":["\udfff"]}]'), "surrogate"
    ),
    "a lone surrogate in a new field": Bad(document(r'"later":"\ud800"'), "surrogate"),
    "a lone surrogate as a name": Bad(document(r'"\ud800":1'), "surrogate"),
    "a lone surrogate for a number": Bad(measured(r'"value":"\ud800"'), "surrogate"),
    "a lone surrogate for a date": Bad(step(r'"start":"\ud800"'), "surrogate"),
    "a surrogate pair": Bad(document(r'"location":"\ud83d\ude00"'), values={"reports.location": "😀"}),
    # NUL
    "NUL": Bad(
        document(r'"location":"a\u0000b","later":"a\u0000b","additionalData":[{"name":"a\u0000b"}]'),
        values={
            "reports.location": NUL,
            "reports._extra": r'{"later":"a\u0000b"}',
            "additional_data.name": NUL,
        },
    ),
    "NUL in additional data": Bad(
        document(r'"additionalData":[{"props":"a\u0000b"}]'),
        values={"additional_data.properties": r'"a\u0000b"'},
    ),
    "only NUL": Bad(step(r'"reportText":"\u0000"'), values={"steps.report_text": "\0"}),
    # numbers
    "the largest int64": Bad(
        document(f'"miscInfos":[{{"numeric":{LARGEST}}}]'), values={"misc_infos.numeric": LARGEST}
    ),
    "an integer above int64": kept(misc_info, "misc_infos.numeric", "numeric", str(LARGEST + 1)),
    "an integer above 64 bits": kept(misc_info, "misc_infos.numeric", "numeric", str(2**64)),
    "beyond 32 bits": kept(step, "steps.error_code", "errorCode", "2147483648"),
    "of 5,000 digits": kept(misc_info, "misc_infos.numeric", "numeric", DIGITS, as_text=True),
    "of 5,000 digits, new": Bad(
        document(f'"later":{DIGITS}'), values={"reports._extra": f'{{"later":"{DIGITS}"}}'}
    ),
    "a value of 5,000 digits": kept(measured, "numeric_measurements.value", "value", DIGITS, as_text=True),
    "a value of 400 digits": kept(measured, "numeric_measurements.value", "value", DIGITS[:400]),
    "a large value": Bad(measured(f'"value":{2**70}'), values={"numeric_measurements.value": 2.0**70}),
    "1e400": kept(measured, "numeric_measurements.value", "value", "1e400"),
    "quoted 1e400": kept(measured, "numeric_measurements.value", "value", '"1e400"'),
    "1_000": kept(measured, "numeric_measurements.value", "value", '"1_000"'),
    "1e400, new": Bad(document('"later":1e400'), values={"reports._extra": '{"later":1e400}'}),
    "an exponent": Bad(measured('"value":4.55E-05'), values={"numeric_measurements.value": 4.55e-05}),
    "leading zeros": Bad(document('"processCode":010'), "not JSON"),
    # NaN
    "NaN": Bad(measured('"value":NaN'), values={"numeric_measurements.value": math.nan}),
    "-Infinity": Bad(measured('"value":-Infinity'), values={"numeric_measurements.value": -math.inf}),
    "quoted NaN": Bad(measured('"value":"nan"'), values={"numeric_measurements.value": math.nan}),
    "NaN for an integer": kept(document, "reports.process_code", "processCode", "NaN", as_text=True),
    "NaN, new": Bad(document('"later":NaN'), values={"reports._extra": '{"later":"NaN"}'}),
    "NaN in a chart": Bad(
        step('"chart":{"series":[{"xdata":"1;NaN","ydata":"-Infinity"}]}'),
        values={"chart_series.x": [1.0, math.nan], "chart_series.y": [-math.inf]},
    ),
    # duplicate names
    "a duplicate name": Bad(
        document('"location":"first","location":"last"'), values={"reports.location": "last"}
    ),
    "a duplicate name for the lenient decoder": Bad(
        document('"location":"first","location":"last","later":1'), values={"reports.location": "last"}
    ),
    "a duplicate name with values of two types": Bad(
        document('"location":[],"location":"last"'), values={"reports.location": "last"}
    ),
    "a name that the records use internally": Bad(
        document('" extra":{"later":1}'), values={"reports._extra": '{" extra":{"later":1}}'}
    ),
}

_READ = {
    "2026-01-30T22:01:41.4707353+01:00": datetime(2026, 1, 30, 21, 1, 41, 470735, UTC),
    "2020-01-01T08:00:00.Z": datetime(2020, 1, 1, 8, tzinfo=UTC),
    "2024-04-15T02:49:36.93+00:00": datetime(2024, 4, 15, 2, 49, 36, 930000, UTC),
    "2018-04-01T13:40:40": datetime(2018, 4, 1, 13, 40, 40, tzinfo=UTC),
    "2025-09-29 12:42:29.824638+02:00": datetime(2025, 9, 29, 10, 42, 29, 824638, UTC),
    "2026-01-26T00:01:10.3366667": datetime(2026, 1, 26, 0, 1, 10, 336666, UTC),
    "2026-01-01": datetime(2026, 1, 1, tzinfo=UTC),
    "2026-01-01T10Z": datetime(2026, 1, 1, 10, tzinfo=UTC),
    "1969-12-31T23:59:59.9999999Z": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    "0001-01-01T00:00:00": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59.9999999Z": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
}
_OUTSIDE = ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.9999999-05:00"]
_IMPOSSIBLE = [
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-2026-01-01T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-12-31T23:59:60Z",
    "2026-01-01T00:60:00Z",
    "2026-01-01T00:00:00+99:00",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60",
    "2026-01-01T00:00:00 Europe/Oslo",
    "/Date(1767225600000)/",
    "01/02/2026 03:04:05",
    "now",
    "",
]
DOCUMENTS |= {
    f"{place} on {text}": Bad(make(f'"start":"{text}"'), values={f"{place}.start": moment})
    for text, moment in _READ.items()
    for place, make in (("reports", document), ("steps", step))
}
DOCUMENTS |= {
    f"{place} on {text or 'an empty string'}": kept(make, f"{place}.start", "start", json.dumps(text))
    for text in [*_IMPOSSIBLE, *_OUTSIDE]
    for place, make in (("reports", document), ("steps", step))
}
DOCUMENTS |= {
    "seconds since 1970": kept(step, "steps.start", "start", "1767225600", as_text=True),
    "a day as a number": kept(step, "steps.start", "start", "20260101", as_text=True),
    "an impossible start beside a good one": Bad(
        document('"start":"13/07/2026","startUTC":"2026-07-13T07:00:00Z"'),
        values={
            "reports.start": None,
            "reports._extra": '{"start":"13/07/2026","startUTC":"2026-07-13T07:00:00Z"}',
        },
        kept=1,
    ),
    "a good start beside an impossible one": Bad(
        document('"start":"2026-07-13T09:00:00+02:00","startUTC":"13/07/2026"'),
        values={
            "reports.start": datetime(2026, 7, 13, 7, tzinfo=UTC),
            "reports._extra": '{"startUTC":"13/07/2026"}',
        },
        kept=1,
    ),
}

EVIL = [
    "../../evil",
    "..\\..\\evil",
    "/tmp/evil",
    "C:\\evil",
    "evil\0",
    "NUL",
    ".",
    "",
    "evil" * 5000,
    "evil\n",
]
DOCUMENTS |= {
    f"an attachment called {name[:20]!r}": Bad(
        document(f'"binaryData":[{json.dumps({"name": name, "data": base64.b64encode(b"x").decode()})}]'),
        values={"attachments.name": name, "attachments.content": b"x"},
    )
    for name in EVIL
}
DOCUMENTS["data that is not base64"] = Bad(
    document('"binaryData":[{"name":"a","data":"?"}]'),
    values={"attachments.name": "a", "attachments.content": None, "attachments._extra": '{"data":"?"}'},
    kept=1,
)


def header(inner: str) -> str:
    """Return a row of the list with more fields."""
    return f'{{"uuid":"UUID","reportType":"T","timeStamp":TIME_STAMP,{inner}}}'


HEADERS = {
    "a new field": Bad(header('"later":1.10'), values={"report_headers._extra": '{"later":1.10}'}),
    "NUL": Bad(header(r'"comment":"a\u0000b"'), values={"report_headers.comment": NUL}),
    "NaN": Bad(header('"executionTime":NaN'), values={"report_headers.execution_time": math.nan}),
    "a duplicate name": Bad(
        header('"comment":1,"comment":"last"'), values={"report_headers.comment": "last"}
    ),
    "an upper-case uuid": Bad(
        header('"comment":"c"').replace("UUID", "BIG"), values={"report_headers.comment": "c"}
    ),
    "a number for a string": Bad(header('"partNumber":1.10'), values={"report_headers.part_number": "1.10"}),
    "a lone surrogate": Bad(header(r'"comment":"\ud800"'), "surrogate"),
    "an object for a number": Bad(header('"run":{"x":1}'), r"\$\.run: expected a whole number"),
    "beyond 32 bits": kept(header, "report_headers.run", "run", "2147483648"),
    "a word for a number": kept(header, "report_headers.run", "run", '"one"'),
    "an impossible date": kept(header, "report_headers.start", "start", '"2026-02-30T00:00:00Z"'),
    "a date outside the calendar": kept(header, "report_headers.start", "start", f'"{_OUTSIDE[0]}"'),
    "1,000 levels": Bad(header(f'"later":{tree(1000)}'), "nested too deeply", either=True),
    "20,000 levels": Bad(header(f'"later":{tree(20_000)}'), "nested too deeply", either=True),
    "an unknown escape": Bad(header(r'"comment":"\x"'), "scape"),
    "of 5,000 digits": kept(header, "report_headers.run", "run", DIGITS, as_text=True),
    "a version beyond 64 bits": Bad(header('"run":1').replace("TIME_STAMP", str(2**70)), "version"),
    "a version that is not a number": Bad(header('"run":1').replace("TIME_STAMP", "true"), "timeStamp"),
    "no version": Bad(header('"run":1').replace("TIME_STAMP", "null"), "version"),
}
KEYLESS = {
    "null": Bad("null", "expected an object"),
    "a list": Bad("[1]", "expected an object"),
    "a string": Bad('"row"', "expected an object"),
    "no key": Bad('{"reportType":"T","timeStamp":TIME_STAMP}', "lacks its key"),
    "no key, and a lone surrogate": Bad(r'{"comment":"\ud800","timeStamp":TIME_STAMP}', "lacks its key"),
    "a lone surrogate as key": Bad(r'{"uuid":"\ud800","timeStamp":TIME_STAMP}', "lacks its key"),
    "a key that is an object": Bad('{"uuid":{"x":1},"timeStamp":TIME_STAMP}', "uuid: expected a string"),
}
"""Rows without a key; the key of their failures is derived from their text."""


def key(number: int) -> str:
    return str(UUID(int=number, version=4))


class ReplacedRows(Faults):
    """Replaces rows of the list of reports by given texts: a comment ``#12`` marks row 12."""

    def __init__(self, rows: list[str]) -> None:
        super().__init__()
        self._rows = rows

    def draw(self) -> str:
        return "replaced"

    def spoil(self, kind: str, answer: Response) -> Response:
        def row(found: re.Match[bytes]) -> bytes:
            uuid = re.search(rb'"uuid":"([^"]*)"', found[0])
            stamp = re.search(rb'"timeStamp":(\d+)', found[0])
            text = self._rows[int(found[1])].encode()
            assert uuid is not None
            assert stamp is not None
            text = text.replace(b"BIG", uuid[1].upper()).replace(b"UUID", uuid[1])
            return text.replace(b"TIME_STAMP", stamp[1])

        return replace(answer, body=re.sub(rb'\{[^{}]*"#(\d+)"[^{}]*\}', row, answer.body))


@dataclass
class Run:
    """A finished run and its results."""

    extraction: Extraction
    report: RunReport
    failures: dict[str, dict[str, Any]]
    plant: Plant

    def row(self, table: str, uuid: str) -> dict[str, Any]:
        owner = "uuid" if table in ("reports", "report_headers") else "report_uuid"
        return next(row for row in self.tables(table) if row[owner] == uuid)

    def tables(self, name: str) -> list[dict[str, Any]]:
        if name not in self._tables:
            self._tables[name] = self.extraction.table(name)
        return self._tables[name]

    def __post_init__(self) -> None:
        self._tables: dict[str, list[dict[str, Any]]] = {}


def run(kind: str, folder: Path, plant: Plant, faults: Faults, **options: Any) -> Run:
    with serve(App(plant, token=TOKEN, faults=faults, gzip=False)) as server:
        extraction = Extraction(server.url, folder, kind, stop_at_failures="10000", **options)
        report = extraction.run()
    failures = {row["key"]: row for row in extraction.table("_wats_failures")}
    return Run(extraction, report, failures, plant)


@pytest.fixture(scope="module", params=["duckdb", "parquet"])
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over good and bad documents."""
    plant = Plant(GOOD)
    for number, bad in enumerate(DOCUMENTS.values()):
        raw = bad.text if isinstance(bad.text, bytes) else bad.text.encode()
        plant.receive(raw.replace(b"UUID", key(number).encode()), uuid=key(number))
    return run(request.param, tmp_path_factory.mktemp("documents"), plant, Faults(), names=["reports"])


@pytest.fixture(scope="module", params=["duckdb", "parquet"])
def headers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over good and bad rows of the list of reports."""
    plant = Plant(GOOD)
    every = [*HEADERS.values(), *KEYLESS.values()]
    for number in range(len(every)):
        plant.receive({"id": key(number)}, comment=f"#{number}")
    plant.grow(3)
    replaced = ReplacedRows([str(bad.text) for bad in every])
    return run(request.param, tmp_path_factory.mktemp("headers"), plant, replaced, names=["report_headers"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_loaded_unchanged_or_fails_with_its_text(documents: Run, name: str) -> None:
    check(documents, "reports", key(list(DOCUMENTS).index(name)), DOCUMENTS[name])


@pytest.mark.parametrize("name", HEADERS)
def test_a_row_of_the_list_is_loaded_unchanged_or_fails_with_its_text(headers: Run, name: str) -> None:
    check(headers, "report_headers", key(list(HEADERS).index(name)), HEADERS[name])


@pytest.mark.parametrize("name", KEYLESS)
def test_a_row_without_a_key_fails_with_its_text(headers: Run, name: str) -> None:
    bad = KEYLESS[name]
    beginning = str(bad.text).partition("TIME_STAMP")[0]
    (failure,) = (each for each in headers.failures.values() if each["payload"].startswith(beginning))
    assert failure["key"].startswith("without-key-")
    assert_failure(failure, bad)


def check(found: Run, table: str, uuid: str, bad: Bad) -> None:
    failure = found.failures.get(uuid)
    loaded = uuid in {row["uuid"] for row in found.tables(table)}
    assert (failure is None) == loaded
    if failure is not None and bad.message:
        assert_failure(failure, bad)
        return
    assert loaded, failure
    assert bad.either or not bad.message
    for place, value in bad.values.items():
        name, _, column = place.partition(".")
        other = found.row(name, uuid)[column]
        assert repr(other) == repr(value) or other == value, place


def assert_failure(failure: Mapping[str, Any], bad: Bad) -> None:
    kind = ("INVALID_RESPONSE", "fetch") if bad.foreign else ("INVALID_RECORD", "shred")
    assert (failure["error_code"], failure["stage"], failure["status"]) == (*kind, "open")
    assert re.search(bad.message, failure["message"]), failure["message"]
    assert len(failure["message"]) < 1000
    text = bad.text.decode(errors="replace") if isinstance(bad.text, bytes) else bad.text
    begin = text.partition("UUID")[0].partition("BIG")[0].partition("TIME_STAMP")[0]
    assert failure["payload"].startswith(begin[:2000])


def test_good_records_are_loaded_and_the_exit_code_is_3(documents: Run, headers: Run) -> None:
    for found, name, every in ((documents, "reports", DOCUMENTS), (headers, "report_headers", HEADERS)):
        assert (found.report.status, found.report.exit_code) == ("failures", 3)
        good = set(found.plant.uuids()) - {key(number) for number in range(len(every) + len(KEYLESS))}
        assert len(good) >= GOOD
        assert good <= {row["uuid"] for row in found.tables(name)}
        assert found.report.failures == len(found.failures)
        certain = [bad for bad in every.values() if bad.message and not bad.either]
        assert len(found.failures) >= len(certain)


def test_values_that_do_not_fit_are_counted(documents: Run, headers: Run) -> None:
    for found, every in ((documents, DOCUMENTS), (headers, HEADERS)):
        kept_values = sum(bad.kept for bad in every.values())
        assert found.report.values_kept_in_extra == kept_values > 3
        assert found.report.to_json()["values_kept_in_extra"] == kept_values
        (row,) = found.extraction.table("_wats_runs")
        assert row["values_kept_in_extra"] == kept_values


def test_bad_rows_do_not_change_the_cursor(headers: Run) -> None:
    cursor = headers.report.resources["report_headers"].cursor
    assert cursor is not None
    assert cursor.time_stamp == max(header["timeStamp"] for header in headers.plant.headers())


def test_attachment_names_do_not_escape_the_folder(documents: Run) -> None:
    written = [
        path.relative_to(documents.extraction.folder) for path in documents.extraction.folder.rglob("*")
    ]
    assert written
    assert not any("evil" in str(path) for path in [*written, *documents.extraction.folder.parent.iterdir()])


class Dots(Faults):
    """Gives products part numbers that would select another route within a path."""

    def draw(self) -> str:
        return "dots"

    def spoil(self, kind: str, answer: Response) -> Response:
        body = answer.body
        for dots in (b"..", b"."):
            body = re.sub(rb'"partNumber":"[^".]+"', b'"partNumber":"%s"' % dots, body, count=1)
        return replace(answer, body=body if body.startswith(b"[") else answer.body)


def test_keys_do_not_escape_their_route(tmp_path: Path) -> None:
    app = App(Plant(30), token=TOKEN, faults=Dots())
    with serve(app) as server:
        extraction = Extraction(server.url, tmp_path, names=["product_details"], stop_at_failures="1000")
        assert extraction.run().exit_code == 3
    assert {row["key"] for row in extraction.table("_wats_failures")} >= {".", ".."}
    assert len(extraction.table("product_details")) > 2
    assert all(asked.path.startswith("/api/Product/") for asked in app.requests)


# ── a large document ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("parquet", marks=pytest.mark.long)])
def test_a_document_of_100_mb_lands(kind: str, tmp_path: Path) -> None:
    data = base64.b64encode(bytes(63_000_000))  # 84 MB as text
    steps = b",".join(
        b'{"id":%d,"name":"step %d","stepType":"ET_NLT","group":"M","status":"P","totTime":0.001,'
        b'"numericMeas":[{"compOp":"GELE","value":%d.5,"lowLimit":0,"highLimit":1,"status":"P","unit":"V"}]}'
        % (number, number, number)
        for number in range(80_000)
    )
    uuid = key(1)
    raw = b'{"id":"%s","binaryData":[{"data":"%s"}],"root":{"name":"r","steps":[%s]}}'
    raw %= (uuid.encode(), data, steps)
    assert len(raw) > 95_000_000
    plant = Plant(3)
    plant.receive(raw, uuid=uuid)
    before = _peak()
    found = run(kind, tmp_path, plant, Faults(), names=["reports"])
    assert (found.report.status, found.failures) == ("succeeded", {})
    assert _peak() - before < 1200, "MB, including the embedded server"
    assert found.row("attachments", uuid)["size_bytes"] == 63_000_000
    assert found.extraction.frame("steps").filter(report_uuid=uuid).height == 80_001
    assert found.extraction.frame("numeric_measurements").filter(report_uuid=uuid)["value"].max() == 79_999.5


def _peak() -> float:
    """Return the peak memory of this process in MB, or 0 on platforms that do not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
