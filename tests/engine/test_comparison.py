"""The scratch database of a comparison: where it is, what it leaves behind, and what it keeps in memory."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from pathlib import Path

import pytest

from wats_extract.engine.comparison import Ledger, ledger
from wats_extract.errors import DestinationError

ROWS = [(f"{number:036d}", number) for number in range(2000)]


@pytest.fixture
def no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("no_temporary_folder")
@pytest.mark.parametrize("kind", ["file", "file that is missing", "folder", "folder that is missing"])
def test_the_scratch_file_is_beside_the_destination_and_nothing_is_left(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "data" / "wats"
    place.parent.mkdir()
    if kind == "file":
        place.touch()
    elif kind == "folder":
        place.mkdir()
    before = sorted(tmp_path.rglob("*"))

    with ledger(str(place)) as found:
        found.on_server(ROWS)
        if os.name == "posix":  # even if the process were killed now
            assert sorted(tmp_path.rglob("*")) == before
        assert found.comparison(seen=-1).server == len(ROWS)

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["postgresql://host/database", "missing/data/wats.duckdb"])
def test_without_a_folder_beside_the_destination_the_temporary_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with ledger(place) as found:
        found.on_server(ROWS)
        assert found.comparison(seen=-1).server == len(ROWS)
    assert not files_in(tmp_path)


@pytest.mark.usefixtures("no_temporary_folder")
def test_without_any_writable_folder_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="TMPDIR"), ledger(str(tmp_path / "no" / "file.duckdb")):
        pytest.fail("there is no place for the ledger")


def test_a_full_disk_is_an_error_of_the_destination(tmp_path: Path) -> None:
    def fill() -> None:
        with ledger(str(tmp_path / "wats.duckdb")) as found:
            found._connection.execute("PRAGMA max_page_count = 30")
            found.on_server(ROWS)

    with pytest.raises(DestinationError, match=r"disk is full\n  free some disk space"):
        fill()
    assert not files_in(tmp_path)


@pytest.mark.parametrize("append", [False, True])
def test_no_query_sorts_or_materializes_what_grows_with_the_reports(append: bool) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    queries: list[str] = []
    found = Ledger(connection, append=append)
    connection.set_trace_callback(queries.append)
    found.on_server(ROWS)
    found.has_landed((key, number - number % 2, True, '{"steps": 2}') for key, number in ROWS[1:])
    found.has_failed([ROWS[0][0]])
    found.find_missing_and_duplicated()
    found.find_outdated()
    found.find_incomplete("steps", [(ROWS[5][0], 1)], listed=False)
    found.has_document(*ROWS[4])
    found.could_not_read([ROWS[9][0]])
    found.has_values(1, [(ROWS[4][0], b"\1" * 8)])
    found.find_changed([("reports", ["uuid"])] * 2)
    found.are_extra(found.unlisted())
    assert found.comparison(seen=10).differences
    for keys in (found.to_repair(), found.to_append()):
        assert len(list(keys)) == len(keys)
    connection.set_trace_callback(None)

    steps = {
        (query, str(step[3]))
        for query in queries
        if query.lstrip().startswith(("SELECT", "INSERT"))
        for step in connection.execute(f"EXPLAIN QUERY PLAN {query}")
    }
    connection.close()
    assert steps
    assert not [step for step in steps if re.search(r"TEMP B-TREE|MATERIALIZE|LIST SUBQUERY", step[1])]
