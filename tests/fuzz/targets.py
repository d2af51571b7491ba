"""Fuzzing targets: functions that take any bytes and raise an error only if the library breaks a promise."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from wats_extract.errors import ConfigurationError, PipelineFileError, RecordError, Unreadable
from wats_extract.fake.odata import ODataError, collated, parse_filter
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes import reports as server
from wats_extract.filters import odata
from wats_extract.filters.instants import instant as readable_instant
from wats_extract.pipeline import loading
from wats_extract.pipeline.template import template
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.instants import instant, instants, microseconds
from wats_extract.shred.records import REFUSED, fit, loads, pieces
from wats_extract.shred.shape import LIST
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf.shredding import Document, WsjfOptions, decode, shred
from wats_extract.tables import TIMESTAMP

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
TIME_LIMIT = 20.0
"""Seconds that no input may take, even on a slow machine."""

FILTERS = RESOURCES["report_headers"].filters
EVERYTHING = WsjfOptions(attachments="content", keep_raw=True)
UUID = "x"


WRONG_BODIES = (
    "{}",
    "null",
    "",
    '{"Message": "An error has occurred."}',
    '{"type": "about:blank", "title": "Bad Gateway", "status": 502}',
    '{"value": []}',
    '{"value": [{"id": "x"}]}',
    "<!DOCTYPE html><title>Sign in</title>",
)
"""Bodies with status 200 that are no data."""


def document(data: bytes) -> None:
    """A report is shredded or refused. Where the fast path reads it, the tolerant path reads the same."""
    with suppress(RecordError, Unreadable):
        tables = shred([decode(UUID, 7, data)], EVERYTHING)
        for table, batch in tables.items():
            assert batch.schema == table.shredded_schema
            batch.validate(full=True)
            for text in filter(None, batch["_extra"].to_pylist()):
                assert isinstance(json.loads(text), dict)
        with suppress(*REFUSED):
            wsjf.REPORT_DECODER.decode(data)
            tolerant = Document(UUID, 7, fit(loads(data, exact=True), wsjf.Report), data)
            again = shred([tolerant], EVERYTHING)
            assert {t.name: _plain(b) for t, b in tables.items()} == {
                t.name: _plain(b) for t, b in again.items()
            }


def _plain(batch: Any) -> str:
    rows = batch.to_pylist()
    for row in rows:  # the fast path keeps white space inside of it
        row.pop("properties", None)
    return repr(rows)


def page(data: bytes) -> None:
    """A page has rows and problems or is unreadable; each row is shredded or refused."""
    for name in ("report_headers", "assets", "users", "processes"):
        shredder = getattr(RESOURCES[name].reader, "shredder", None)
        assert isinstance(shredder, FlatShredder)
        with suppress(Unreadable):
            rows = shredder.rows(data)
            assert data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(
                b"[" if shredder.shape == LIST else (b"[", b"{")
            )
            for row in rows:
                row.key.encode("utf-8")
                row.problem.encode("utf-8")
                assert bool(row.problem) == (row.record is None)
                assert row.version is None or -(2**63) <= row.version < 2**63
                with suppress(RecordError):
                    shredder.shred([row.record] if row.record is not None else [])
                    json.dumps(shredder.value(row) if row.record is not None else None)
    with suppress(msgspec.DecodeError, RecursionError, Unreadable):
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
        assert pieces(data) == [bytes(item).strip() for item in items]


def filter_text(data: bytes) -> None:
    """Filters are written so that the server parses the same value. Any OData text is accepted or refused."""
    text = data.decode("utf-8", "replace")
    with suppress(ODataError):
        parse_filter(text, server.HEADER).matches(dict.fromkeys(server.HEADER.fields))
    with suppress(ConfigurationError):
        assert odata.literal_text(text, FILTERS) == text.strip()
        odata.both(text, "processCode eq 1")
    for name in FILTERS:
        with suppress(ConfigurationError):
            written = odata.filter_text({name: text}, FILTERS)
            column = FILTERS[name]
            parsed = parse_filter(written, server.HEADER)
            # A timestamp means its whole microsecond.
            operators = ["ge", "lt"] if column.type == TIMESTAMP else ["eq"]
            assert [(bound.field, bound.op) for bound in parsed.bounds] == [
                (column.source, each) for each in operators
            ]
            assert parsed.rest == ()
            if odata._kind(column) == "string":
                assert parsed.bounds[0].literal == collated(text)


def pipeline_file(data: bytes) -> None:
    """A file is a pipeline or is refused in time, with one line per problem."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.yaml"
        path.write_bytes(data)
        started = time.monotonic()
        message = f"{path}: "
        try:
            loading.load(path, catalogue=RESOURCES, environ={"NAME": "value"}, now=NOW)
        except PipelineFileError as error:
            message = error.message
        assert time.monotonic() - started < TIME_LIMIT
        assert all(line.startswith(f"{path}:") for line in message.splitlines()), message
        message.encode("utf-8")


def moment(data: bytes) -> None:
    """A text is a timestamp or is refused. A column of texts gives the same result as a single one."""
    text = data.decode("utf-8", "replace")
    with suppress(ConfigurationError):
        assert readable_instant(text, now=NOW).tzinfo is UTC
    try:
        exact = microseconds(instant(text))
    except RecordError:
        exact = None
    try:
        column = instants([None, text])
    except RecordError:
        assert exact is None
    else:
        assert column.type == TIMESTAMP
        assert column[1].value == exact


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "document": document,
    "page": page,
    "filter_text": filter_text,
    "pipeline_file": pipeline_file,
    "moment": moment,
}


def seeds(name: str) -> list[bytes]:
    """Inputs to start from."""
    return [each if isinstance(each, bytes) else each.encode("utf-8") for each in _SEEDS[name]()]


def _documents() -> list[bytes | str]:
    plant = Plant(20)
    found: list[bytes | str] = []
    for uuid in plant.uuids():
        whole = plant.document(uuid) | {"id": UUID}
        if root := whole.get("root"):
            root["steps"] = (root.get("steps") or [])[:2]
        found.append(json.dumps(whole))
    data = base64.b64encode(b"content").decode()
    return [
        *found,
        *WRONG_BODIES,
        '{"id":"x","later":{"a":[1.5,null,NaN]}}',
        f'{{"binaryData":[{{"data":"{data}"}}]}}',
    ]


def _pages() -> list[bytes | str]:
    headers = list(Plant(6).headers())
    return [
        json.dumps(headers),
        "[]",
        *WRONG_BODIES,
        '{"Resources":[{"id":"1","userName":"a"}]}',
        '[{"code":1,"name":"ICT"}]',
    ]


def _filters() -> list[bytes | str]:
    return [
        "partNumber eq 'O''Brien'",
        "startswith(partNumber,'PCBA') and not (result ne 'Passed' or processCode in (1,2))",
        "subUnits/any(s: s/serialNumber eq '1') and start ge 2026-01-01T00:00:00Z",
        "00000000-0000-4000-8000-000000000001",
        "2026-01-01T00:00:00Z",
        "Failed",
        "12.5",
    ]


def _files() -> list[bytes | str]:
    return [
        template(),
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "version: 1\nname: ${NAME:-x}\ndestination: {type: duckdb, path: a}\nresources: [{name: assets}]\n",
        "<<: {a: 1}\n? {b: c}\n: !!set {d}\n",
        "a: 0x1F\nb: 1:30:00\nc: .inf\nd: 2026-01-01T00:00:00Z\ne: !!binary aGk=\n",
    ]


def _moments() -> list[bytes | str]:
    return [
        "2026-01-30T22:01:41.4707353+01:00",
        "2020-01-01T08:00:00.Z",
        "2025-09-29 12:42:29.824638+02:00",
        "2017-10-19",
        "30 days ago",
    ]


_SEEDS: Mapping[str, Callable[[], list[bytes | str]]] = {
    "document": _documents,
    "page": _pages,
    "filter_text": _filters,
    "pipeline_file": _files,
    "moment": _moments,
}
