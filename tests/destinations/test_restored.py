"""Whatever is restored into a Parquet folder, each row is there once after the next run."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import destination_samples as samples
import pytest
from destination_samples import ALL, FAMILY, KINDS, REPORTS, STEPS, Model, commit_of, contents

from wats_extract import events
from wats_extract.destinations.parquet.files import SCHEMA_FILE
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.flow import Commit
from wats_extract.state.tables import BOOKKEEPING, FAILURES, RUNS, STATE

Restore = Callable[[Path, Path], None]
"""Lays an older copy of a folder over the folder."""


def opened(path: Path) -> Parquet:
    """Open the destination as a run does."""
    destination = samples.opened("parquet", path)
    assert isinstance(destination, Parquet)
    for table in BOOKKEEPING:
        destination.reconcile([table])
    destination.reconcile(FAMILY)
    return destination


def booked(number: int) -> Commit:
    """The n-th commit, with a row of a run and a failure that later ones resolve."""
    commit = samples.nth_commit(number)
    book = {
        **commit.book,
        RUNS: [{"run_id": f"r{number}", "pipeline": "p", "status": "succeeded"}],
        FAILURES: [
            {"pipeline": "p", "resource": "reports", "key": f"k{number % 4}", "status": status}
            for status in ("open" if number % 3 else "resolved",)
        ],
    }
    return Commit(commit.label, commit.rows, commit.landed, commit.replaced, book, upsert=commit.upsert)


def filled(path: Path, *, upto: int = 10) -> tuple[Path, Path, Model]:
    """A folder after some commits, an older copy of it, and a model of the newer state."""
    destination, model, older = opened(path), Model(), path / "older"
    for number in range(upto):
        if number == upto // 2:
            destination.close()
            shutil.copytree(destination.path, older)
            destination = opened(path)
        destination.commit(booked(number))
        model.commit(booked(number))
    destination.close()
    return destination.path, older, model


def over(folder: Path, older: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in older.glob(pattern):
            if path.is_file():
                shutil.copy2(path, folder / path.relative_to(older))


def everything(folder: Path, older: Path) -> None:
    over(folder, older, "*/*")


def everything_with_new_times(folder: Path, older: Path) -> None:
    for path in older.glob("*/*"):
        shutil.copy(path, folder / path.relative_to(older))


def only_the_tables(folder: Path, older: Path) -> None:
    over(folder, older, "[!_]*/*", "_wats_*/*")


def only(*patterns: str) -> Restore:
    return lambda folder, older: over(folder, older, *patterns)


def everything_and_no_index(folder: Path, older: Path) -> None:
    everything(folder, older)
    (folder / "_wats" / "keys.sqlite").unlink()


def everything_and_no_bookkeeping_folder(folder: Path, older: Path) -> None:
    everything(folder, older)
    shutil.rmtree(folder / "_wats")


def a_copied_file(table: str, *, first: bool) -> Restore:
    def restore(folder: Path, older: Path) -> None:
        names = sorted(path for path in (folder / table).glob("*.parquet") if path.name != SCHEMA_FILE)
        for path in names:
            name = f"{'!' if first else 'z'} copy of {path.name}"
            shutil.copy2(path, path.with_name(name))

    return restore


LOSES_NOTHING: dict[str, Restore] = {
    each.__name__: each
    for each in (
        everything,
        everything_with_new_times,
        only_the_tables,
        everything_and_no_index,
        everything_and_no_bookkeeping_folder,
    )
} | {
    "the index": only("_wats/keys.sqlite"),
    "the journal": only("_wats/journal.json"),
    "the folder of both": only("_wats/*"),
    "the bookkeeping tables": only("_wats_*/*"),
    **{table.name: only(f"{table.name}/*") for table in ALL},
    **{f"{table.name}, copied": a_copied_file(table.name, first=False) for table in ALL},
    **{f"{table.name}, copied before": a_copied_file(table.name, first=True) for table in ALL},
}


def exactly_the_older_one(folder: Path, older: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(older, folder)


def older_tables_below_the_newer_index(folder: Path, older: Path) -> None:
    shutil.move(folder / "_wats", folder.parent / "kept")
    exactly_the_older_one(folder, older)
    shutil.rmtree(folder / "_wats")
    shutil.move(folder.parent / "kept", folder / "_wats")


def a_deleted_file(table: str, number: int) -> Restore:
    def restore(folder: Path, older: Path) -> None:
        destination = Parquet(folder)
        names = sorted(path for path in (folder / table).glob("[!+]*.parquet"))
        assert destination.path == folder
        names[number].unlink()

    return restore


LOSES_ROWS: dict[str, Restore] = {
    "exactly the older one": exactly_the_older_one,
    "older tables below the newer index": older_tables_below_the_newer_index,
    **{
        f"{table.name}, file {number} deleted": a_deleted_file(table.name, number)
        for table in FAMILY
        for number in (0, -1)
    },
}


def assert_each_row_is_there_once(path: Path) -> None:
    """Check the files as other programs read them."""
    copies = {}
    for table in ALL:
        rows = samples.native("parquet", path, table).to_pylist()
        keys = Counter(tuple(row[name] for name in table.key) for row in rows)
        assert [key for key, count in keys.items() if count > 1] == [], table.name
        if table.owner:
            copies[table.name] = {
                (row[table.owner], row["_wats_run_id"], row["_wats_extracted_at"]) for row in rows
            }
    for table in FAMILY:
        assert copies[table.name] <= copies[REPORTS.name], "rows of a copy that the main table has not"


@pytest.mark.parametrize("restore", LOSES_NOTHING.values(), ids=LOSES_NOTHING)
def test_an_older_copy_that_is_laid_over_a_folder_doubles_and_loses_nothing(
    restore: Restore, tmp_path: Path
) -> None:
    folder, older, model = filled(tmp_path)
    restore(folder, older)
    destination = opened(tmp_path)
    assert_each_row_is_there_once(tmp_path)
    assert contents(destination, FAMILY) == model.contents(FAMILY)
    for number in range(10, 14):  # the index knows where the rows are
        destination.commit(booked(number))
        model.commit(booked(number))
    assert contents(destination, FAMILY) == model.contents(FAMILY)
    versions = {row["uuid"]: row["time_stamp"] for row in model.tables[REPORTS]}
    assert destination.landed(REPORTS, [*versions, "x"]) == versions
    destination.close()
    assert_each_row_is_there_once(tmp_path)


@pytest.mark.parametrize(
    "restore", (LOSES_ROWS | {"everything": everything}).values(), ids=[*LOSES_ROWS, "everything"]
)
def test_items_that_are_fetched_again_are_there_once(restore: Restore, tmp_path: Path) -> None:
    folder, older, model = filled(tmp_path)
    restore(folder, older)
    destination = opened(tmp_path)
    assert_each_row_is_there_once(tmp_path)
    items = {row["uuid"]: (99, 2, 1) for row in model.tables[REPORTS]}
    repair = commit_of("repair", items, replaced=items, minute=99)
    destination.commit(repair)
    model.commit(repair)
    assert contents(destination, FAMILY) == model.contents(FAMILY)
    destination.close()
    assert_each_row_is_there_once(tmp_path)


def test_a_cursor_goes_back_rather_than_ahead(tmp_path: Path) -> None:
    destination = opened(tmp_path)
    for number in range(4):
        row = samples.state(number, updated_at=samples.START.replace(minute=number))
        destination.commit(Commit(f"{number}", {}, {}, frozenset(), {STATE: [row]}))
        if number == 2:
            older = shutil.copytree(destination.path, tmp_path / "older")
    everything(destination.path, older)
    destination.close()
    destination = opened(tmp_path)
    assert destination.read(STATE)["cursor"].to_pylist() == ["2"]


def test_items_may_have_several_copies_if_they_are_appended(tmp_path: Path) -> None:
    destination = samples.opened("parquet", tmp_path)
    assert isinstance(destination, Parquet)
    model = Model()
    for number in range(6):
        commit = commit_of(f"{number}", {"a": (number, 2, 1), "b": (number, 1, 1)}, minute=number)
        destination.commit(commit)
        model.commit(commit)
    destination.close()
    a_copied_file("reports", first=True)(destination.path, destination.path)
    a_copied_file("steps", first=False)(destination.path, destination.path)
    destination.open()
    assert destination.count([REPORTS, STEPS]) == {"reports": 24, "steps": 36}
    destination.reconcile(FAMILY, append=True)
    assert destination.count(FAMILY) == {"reports": 12, "steps": 18, "chart series": 12}
    found = [sorted(map(str, rows)) for rows in contents(destination, FAMILY).values()]
    assert found == [sorted(map(str, rows)) for rows in model.contents(FAMILY).values()]


def test_removed_rows_are_reported(tmp_path: Path) -> None:
    folder, older, _ = filled(tmp_path)
    everything(folder, older)
    destination = samples.opened("parquet", tmp_path)
    noted: list[events.Event] = []
    with destination.exclusive("p", listen=noted.append):
        for _ in range(2):
            destination.reconcile(FAMILY)
    assert [each.message.split(": ")[0] for each in noted if isinstance(each, events.Noted)] == [
        str(folder / REPORTS.name)
    ]


def test_files_that_nobody_changed_are_not_read(tmp_path: Path) -> None:
    folder, _, model = filled(tmp_path)
    for table in FAMILY:
        for path in (folder / table.name).glob("[!+]*.parquet"):
            stat, size = path.stat(), path.stat().st_size
            path.write_bytes(b"x" * size)  # who reads it fails

            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    destination = opened(tmp_path)
    versions = {row["uuid"]: row["time_stamp"] for row in model.tables[REPORTS]}
    assert destination.landed(REPORTS, list(versions)) == versions
    destination.close()


@pytest.mark.parametrize("kind", KINDS)
def test_reconciling_tables_that_are_whole_changes_nothing(kind: str, tmp_path: Path) -> None:
    destination: Any = samples.opened(kind, tmp_path)
    destination.commit(samples.first_commit())
    before = contents(destination)
    for _ in range(2):
        destination.reconcile(FAMILY)
        assert contents(destination) == before
        assert destination.landed(REPORTS, ["a", "z"]) == {"a": 1}
    destination.close()
