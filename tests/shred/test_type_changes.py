"""A field of another type is kept unchanged, in a column or in ``_extra``, or its record is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from tests.shred.documents import UUID, Path

from wats_extract.errors import RecordError, Unreadable
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.shred.columns import REPORT_TYPES, RESULTS
from wats_extract.shred.flat import FlatShredder
from wats_extract.shred.records import Record
from wats_extract.shred.wsjf import document as wsjf
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred

VALUES = ["abc", "7654321", 7654321, 1234.5, 2**40, True, {"k": 1.5}, ["v"]]
DERIVED = {"path", "loop_role", "start", "start_offset_minutes", "size_bytes", "sha256"}
"""Columns that are derived from several fields, or from a part of one."""

Tables = dict[str, list[dict[str, Any]]]


def complete(kind: type[Record]) -> dict[str, Any]:
    """Return an object with every declared field, each of its declared type."""
    hints = get_type_hints(kind)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    return {name: value(kind, name, hints[at]) for name, at in names if at != "extra"}


def value(kind: type[Record], name: str, hint: Any) -> Any:
    option = next((option for option in get_args(hint) if option is not type(None)), hint)
    if get_origin(option) is list:
        inner = get_args(option)[0]
        return [] if inner is kind else [complete(inner)]  # a step without steps
    if option in (msgspec.Raw, Any):
        return "tree"
    if isinstance(option, type) and issubclass(option, Record):
        return complete(option)
    if kind is wsjf.Attachment and name == "data":
        return "QUJD"
    if name in ("xdata", "ydata"):
        return "1;2"
    return {str: "2026-01-01T00:00:00Z", int: 3, float: 2.5, bool: True}[option]


def paths(document: Any, path: Path = ()) -> Iterator[Path]:
    """Return the paths of all values in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for name, item in items:
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from paths(item, (*path, name))


def put(document: Any, path: Path, value: Any) -> Any:
    changed = json.loads(json.dumps(document))
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return changed


def compact(value: Any) -> bytes:
    """Encode JSON as the tables hold it."""
    return json.dumps(value, separators=(",", ":")).encode()


def check(document: Any, read: Callable[[Any], Tables]) -> None:
    """Try every value at every path of a document."""
    before = read(document)
    for path in paths(document):
        old = document
        for step in path:
            old = old[step]
        for value in VALUES:
            if type(value) is type(old) and isinstance(value, dict | list | str):
                continue
            with suppress(RecordError, Unreadable):
                after = read(put(document, path, value))
                lost = unexplained(value, before, after)
                assert not lost, (path, value, lost)
        assert_null(read, document, path, before, old)


def assert_null(read: Callable[[Any], Tables], document: Any, path: Path, before: Tables, old: Any) -> None:
    """Check that null removes a value and adds nothing."""
    with suppress(RecordError):
        after = read(put(document, path, None))
        for table, rows in after.items():
            for one, other in (
                zip(before[table], rows, strict=True) if len(rows) == len(before[table]) else ()
            ):
                new = {name for name in one if one[name] != other[name] and other[name] is not None}
                assert new <= DERIVED | _ALTERNATIVES, (path, table, new)


_ALTERNATIVES = {"_extra", "user_name", "comment", "execution_time"}
"""``_extra``, and the columns that are read from a second field if the first is null."""


def unexplained(value: Any, before: Tables, after: Tables) -> list[Any]:
    """Return changes in the tables other than the unchanged value itself."""
    changes = [
        (name, row[name])
        for table, rows in after.items()
        for index, row in enumerate(rows)
        for name in row
        if index >= len(before.get(table, ())) or before[table][index][name] != row[name]
    ]
    if value in ([], {}) or (not changes and _holds(before, value)):  # the same value in another spelling
        return []
    kept = [change for change in changes if same(value, *change)]
    in_extra = any(name == "_extra" for name, _ in kept)
    changed = [
        (name, cell)
        for name, cell in changes
        if (name, cell) not in kept
        and name not in DERIVED | _ALTERNATIVES
        and not (in_extra and cell is None)  # the column cannot hold it
    ]
    return changed if kept else [*changes, "nothing holds it"]


def _holds(tables: Tables, value: Any) -> bool:
    return any(same(value, *cell) for rows in tables.values() for row in rows for cell in row.items())


def same(value: Any, name: str, cell: Any) -> bool:
    """Return whether a cell holds exactly a JSON value, in any of its spellings."""
    if cell is None:
        return False
    if isinstance(value, dict | list) or name == "_extra":
        spellings = (compact(value).decode(), str(value), str(value).removesuffix(".0"))
        return isinstance(cell, str) and any(each in cell for each in spellings)
    if cell == compact(value).decode():  # in a column of JSON
        return True
    if isinstance(cell, list):
        return cell == [value] or (isinstance(value, str) and cell == [float(value)])
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode() == str(value)
    if isinstance(cell, bool):
        return value in (cell, str(cell).lower()) or value in (int(cell), str(int(cell)))
    if isinstance(value, bool):
        return cell == json.dumps(value)  # in a column of numbers it would be 1
    if isinstance(cell, str):
        words = {RESULTS.get(str(value)), REPORT_TYPES.get(str(value))}
        return cell.lower() == str(value).lower() or cell in words
    return cell == value or (
        isinstance(value, str) and cell is not None and str(cell) in (value, f"{value}.0")
    )


def test_every_field_of_a_report() -> None:
    def read(document: Any) -> Tables:
        raw = compact(document)
        found = shred([decode(UUID, 7, raw)], WsjfOptions(attachments="content"))
        return {table.name: batch.to_pylist() for table, batch in found.items()}

    check(complete(wsjf.Report) | {"id": UUID}, read)


@pytest.mark.parametrize("name", ["report_headers", "assets", "processes", "users"])
def test_every_field_of_a_flat_record(name: str) -> None:
    shredder = getattr(RESOURCES[name].reader, "shredder", None)
    assert isinstance(shredder, FlatShredder)

    def read(document: Any) -> Tables:
        body = compact([document])
        if shredder.shape.within:
            body = compact({shredder.shape.within: [document]})
        (row,) = shredder.rows(body)
        if row.problem:
            raise RecordError(row.problem)
        return {table.name: batch.to_pylist() for table, batch in shredder.shred([row.record]).items()}

    check(complete(shredder.record_type), read)
