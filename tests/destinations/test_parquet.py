"""Behavior of the Parquet destination that others do not share: its files, its journal and its index."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import destination_samples as samples
import filelock
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from destination_samples import ALL, FAMILY, REPORTS, STEPS, Model, commit_of, contents

from wats_extract.destinations.parquet import bookkeeping, files, transactions
from wats_extract.destinations.parquet import keys as parquet_keys
from wats_extract.destinations.parquet.files import GRACE, SCHEMA_FILE
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.errors import DestinationError, Interrupted
from wats_extract.flow import Commit
from wats_extract.state.tables import BOOKKEEPING, FAILURES, RUNS, STATE


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def destination(tmp_path: Path, clock: Clock) -> Iterator[Parquet]:
    made = samples.opened("parquet", tmp_path, clock=clock)
    assert isinstance(made, Parquet)
    yield made
    made.close()


def names(destination: Parquet, table: str = "steps") -> set[str]:
    return {path.name for path in (destination.path / table).iterdir()}


def index_of(destination: Parquet) -> Path:
    return destination.path / "_wats" / "keys.sqlite"


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_files_are_named_after_their_commit(destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    assert names(destination) == {SCHEMA_FILE, "p-reports-1.parquet"}
    assert names(destination, "_wats_state") == {SCHEMA_FILE, "p-reports.parquet"}


def test_file_names_are_safe_on_every_system(destination: Parquet) -> None:
    label = 'a/b\\c:d*e?f"g<h>i|j~[k] ü 2026-01-01T00:00'
    for minute in (0, 1):
        destination.commit(commit_of(label, {"a": (1, 2, 1)}, minute=minute))
    for name in names(destination):
        assert not set(name) & set('/\\:*?"<>| ')
    assert destination.count(FAMILY) == {"reports": 1, "steps": 2, "chart series": 1}
    assert pl.scan_parquet(destination.path / "steps" / "*.parquet").collect().height == 2


def test_a_scan_planned_before_a_rewrite_reads_the_old_rows(destination: Parquet) -> None:
    path = destination.path / "steps" / "1.parquet"
    destination.commit(commit_of("1", {"a": (1, 5, 2), "b": (1, 3, 0)}))
    planned, rows = pq.read_metadata(path), pq.ParquetFile(path).read()
    destination.commit(commit_of("2", {"a": (2, 1, 0)}, replaced=["a"], minute=1))
    assert pq.ParquetFile(path, metadata=planned).read().equals(rows)
    assert pq.ParquetFile(path).read().num_rows == 0
    assert pq.ParquetFile(path.with_name("1~.parquet")).read()["report_uuid"].unique().to_pylist() == ["b"]
    destination.commit(commit_of("1", {"c": (2, 1, 0)}, minute=1))
    assert pq.ParquetFile(path, metadata=planned).read().equals(rows)
    assert sorted(set(pq.ParquetFile(path).read()["report_uuid"].to_pylist())) == ["b", "c"]


def test_retired_files_are_deleted_after_the_grace_period(destination: Parquet, clock: Clock) -> None:
    destination.commit(commit_of("1", {"a": (1, 5, 2)}))
    destination.commit(commit_of("2", {"a": (2, 1, 0)}, replaced=["a"], minute=1))
    assert names(destination) == {SCHEMA_FILE, "1.parquet", "2.parquet"}
    clock.now += GRACE + 1
    destination.open()
    assert names(destination) == {SCHEMA_FILE, "2.parquet"}
    assert destination.count(FAMILY) == {"reports": 1, "steps": 1, "chart series": 0}


def test_a_file_that_is_rewritten_again_and_again_stays_small(destination: Parquet, clock: Clock) -> None:
    sizes = []
    for minute in range(30):
        commit = commit_of("1", {"a": (minute, 30_000, 0)}, replaced=["a"], minute=minute)
        destination.commit(commit)
        clock.now += GRACE / 3
        sizes.append(sum(path.stat().st_size for path in (destination.path / "steps").iterdir()))
    assert sizes[5] > 4 * sizes[0]
    assert max(sizes) < 1_500_000


def test_a_column_that_a_newer_version_adds_is_added_to_every_file(destination: Parquet) -> None:
    for minute in (0, 1):
        destination.commit(commit_of(str(minute), {"a": (minute, 2, 0)}, replaced=["a"], minute=minute))
    destination.prepare([samples_grown()])
    found = pl.scan_parquet(destination.path / "steps" / "*.parquet").collect()
    assert found.columns == samples_grown().schema.names
    assert found.height == 2


def samples_grown() -> samples.Table:
    more = samples.Column("comment", pa.string())
    return samples.Table(STEPS.name, STEPS.key, (*STEPS.columns, more), STEPS.owner)


def test_polars_scans_during_commits(tmp_path: Path) -> None:
    samples.opened("parquet", tmp_path).close()
    folder = tmp_path / "files"
    command = [sys.executable, samples.__file__, "parquet", str(tmp_path), "many", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        scans, most = 0, 0
        while most < 40:
            for table in ALL:
                found = pl.scan_parquet(folder / table.name / "*.parquet").collect()
                assert found.columns == table.schema.names
                scans += 1
            most = pl.scan_parquet(folder / "reports" / "*.parquet").select(pl.len()).collect().item()
            assert writer.poll() is None
        writer.kill()
    assert scans > len(ALL)


CHURN = """
import sys
sys.path.insert(0, sys.argv[2])
import destination_samples as samples
from pathlib import Path
from wats_extract.destinations.parquet import files
files.GRACE = -1.0  # each commit deletes what the one before it has retired
from wats_extract.state.tables import FAILURES, STATE
destination = samples.opened("parquet", Path(sys.argv[1]))
for number in range(100_000):
    items = {f"item {n}": (number, 1, 1) for n in range(number % 3, 30, 3)}
    failure = {"pipeline": "p", "resource": "reports", "key": "x", "status": "open", "attempts": number}
    book = {STATE: [samples.state(number)], FAILURES: [failure]}
    destination.commit(samples.commit_of(f"{number % 7}", items, minute=number, upsert=True, book=book))
    print(number, flush=True)
"""


def test_readers_without_a_lock_see_whole_tables_while_files_move_and_vanish(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHURN, str(tmp_path), str(Path(samples.__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            for _ in range(10):
                writer.stdout.readline()
            reader = samples.make("parquet", tmp_path)
            seen = set()
            while len(seen) < 8:
                assert writer.poll() is None
                reader.open(read_only=True)
                [state], [failed] = reader.read(STATE).to_pylist(), reader.read(FAILURES).to_pylist()
                seen.add(state["cursor"])
                assert failed["attempts"] >= int(state["cursor"])
                assert set(reader.landed(REPORTS, ["item 1", "item 2"])) == {"item 1", "item 2"}
                assert reader.count([STATE])[STATE.name] <= 2, "both slots, for a moment"
                scanned = [uuid for batch in reader.scan(REPORTS, ["uuid"]) for uuid in batch["uuid"]]
                assert len(scanned) >= 20, "a third moves with each commit"
                reader.close()
        finally:
            writer.kill()


# ── bookkeeping ─────────────────────────────────────────────────────────────────────────────────


def test_the_files_of_bookkeeping_tables_do_not_grow_with_the_runs(
    destination: Parquet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookkeeping, "MOST", 2)
    counts = []
    for number in range(100):
        run = {"run_id": f"r{number:04}", "pipeline": "p", "status": "running"}
        failed = {"pipeline": "p", "resource": "reports", "key": f"k{number}", "status": "open"}
        for status, failure in (("running", "open"), ("succeeded", "resolved")):
            book = {
                RUNS: [run | {"status": status}],
                FAILURES: [failed | {"status": failure}],
                STATE: [samples.state(number)],
            }
            destination.commit(Commit(f"{number}-{status}", {}, {}, frozenset(), book))
        clock.now += GRACE
        counts.append([len(names(destination, table.name)) for table in BOOKKEEPING])
    assert counts[99] == pytest.approx(counts[30], abs=3)
    assert names(destination, RUNS.name) >= {SCHEMA_FILE, "p+1.parquet"}
    assert destination.count([RUNS, FAILURES]) == {RUNS.name: 100, FAILURES.name: 100}
    for table, status in ((RUNS, "running"), (FAILURES, "open")):
        for path in (destination.path / table.name).glob("*+[0-9]*.parquet"):
            path.write_bytes(b"not a Parquet file: whoever reads history fails")
        assert destination.read(table, status=status).num_rows == 0
        with pytest.raises(DestinationError):
            destination.read(table)


# ── the index ───────────────────────────────────────────────────────────────────────────────────


def spoil(index: Path, how: str) -> None:
    if how == "deleted":
        index.unlink()
    elif how == "text":
        index.write_text("this is not SQLite, it is a sentence" * 100, encoding="utf-8")
    elif how == "pages":
        content = bytearray(index.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        index.write_bytes(content)
    elif how == "empty":
        index.write_bytes(b"")
    else:
        index.write_bytes((index.parent / "old").read_bytes())


@pytest.mark.parametrize("how", ["deleted", "text", "pages", "empty", "an old copy"])
@pytest.mark.parametrize("while_open", [True, False])
def test_a_damaged_index_is_rebuilt(how: str, while_open: bool, destination: Parquet) -> None:
    model = Model()

    def commit(number: int) -> None:
        destination.commit(samples.nth_commit(number))
        model.commit(samples.nth_commit(number))

    assert destination.landed(REPORTS, ["x"]) == {}
    commit(0)
    (destination.path / "_wats" / "old").write_bytes(index_of(destination).read_bytes())
    for number in range(1, 6):
        commit(number)
    spoil(index_of(destination), how)
    if not while_open:
        destination.close()
        destination.open()
    for number in range(6, 10):
        commit(number)
    assert contents(destination) == model.contents()
    versions = {row["uuid"]: row["time_stamp"] for row in model.tables[REPORTS]}
    assert destination.landed(REPORTS, [*versions, "x"]) == versions


def test_the_tables_do_not_depend_on_the_bookkeeping_folder(destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    before = contents(destination)
    destination.close()
    for path in (destination.path / "_wats").iterdir():
        path.unlink()
    destination.open()
    assert contents(destination) == before
    destination.commit(samples.second_commit())
    assert destination.landed(REPORTS, list("abcd")) == {"a": 2, "b": 1, "c": 1, "d": 1}


@pytest.mark.parametrize("read_only", [False, True])
def test_names_that_a_power_cut_has_undone_are_given_again(read_only: bool, destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    destination.commit(samples.second_commit())
    before = contents(destination)
    journal = json.loads((destination.path / "_wats" / "journal.json").read_text(encoding="utf-8"))
    for name in journal["files"]:
        path = destination.path / name
        path.rename(path.with_name(f".{path.name}.{journal['id']}.tmp"))
    destination.close()
    destination.open(read_only=read_only)
    assert contents(destination) == before
    assert destination.landed(REPORTS, list("abcd")) == {"a": 2, "b": 1, "c": 1, "d": 1}
    assert not list(destination.path.glob("**/.*.tmp"))


def test_names_are_synced_to_disk_before_the_next_journal_and_when_the_folder_is_closed(
    destination: Parquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    sync_folder = files.sync_folder

    def sync(folder: Path) -> None:
        sync_folder(folder)
        synced.add(folder.name)

    monkeypatch.setattr(files, "sync_folder", sync)
    tables = {table.name for table in (*FAMILY, STATE)}
    destination.commit(samples.first_commit())
    synced.clear()
    destination.commit(Commit("2", {}, {}, frozenset(), {STATE: [samples.state("2")]}))
    assert tables <= synced
    destination.commit(samples.second_commit())
    synced.clear()
    destination.close()
    assert synced == tables


def test_a_table_may_be_deleted_by_hand(destination: Parquet) -> None:
    destination.commit(commit_of("1", {"a": (1, 1, 1)}))
    shutil.rmtree(destination.path / "chart series")
    destination.commit(Commit("2", {}, {}, frozenset(), {STATE: [samples.state("2")]}))
    destination.prepare(ALL)
    destination.commit(commit_of("3", {"b": (1, 1, 1)}))
    assert destination.count(FAMILY) == {"reports": 2, "steps": 2, "chart series": 1}


def test_a_damaged_journal_is_a_clear_error(destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    journal = destination.path / "_wats" / "journal.json"
    journal.write_text("{", encoding="utf-8")
    with pytest.raises(DestinationError, match=r"journal\.json") as error:
        destination.open()
    assert error.value.hint


@pytest.mark.parametrize("most_appended", [0, 5, 50_000])
def test_the_index_has_every_key_once(
    destination: Parquet, most_appended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_keys, "_MOST_APPENDED", most_appended)
    destination.landed(REPORTS, ["x"])
    for number in [*range(12), 11]:  # the last one is repeated
        destination.commit(samples.nth_commit(number))
    with closing(sqlite3.connect(index_of(destination))) as connection:
        both = "SELECT key, version FROM sorted UNION ALL SELECT key, version FROM appended"
        kept = connection.execute(both).fetchall()
    landed = destination.read(REPORTS)
    uuids = landed["uuid"].to_pylist()
    expected = dict(zip(uuids, landed["time_stamp"].to_pylist(), strict=True))
    assert len(kept) == len(expected)
    assert dict(kept) == {parquet_keys._number(uuid): version for uuid, version in expected.items()}
    assert destination.landed(REPORTS, uuids) == expected


def test_an_index_of_another_layout_is_rebuilt(destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    index_of(destination).unlink()
    with closing(sqlite3.connect(index_of(destination))) as connection:
        connection.executescript("CREATE TABLE journal (id TEXT); INSERT INTO journal VALUES ('x')")
    assert destination.landed(REPORTS, ["a", "z"]) == {"a": 1}


# ── hostile folders ─────────────────────────────────────────────────────────────────────────────


def journal_of(destination: Parquet, **changes: object) -> None:
    path = destination.path / "_wats" / "journal.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


OUTSIDE = [
    "../outside/x.parquet",
    "steps/../../outside/x.parquet",
    "../x.parquet",
    "/{}/outside/x.parquet",
    "steps/..\\..\\outside\\x.parquet",
    "C:\\outside/x.parquet",
    "steps/C:x.parquet",
    "x.parquet",
    "./x.parquet",
    "steps/x.txt",
]


def tree(path: Path) -> dict[str, bytes]:
    found = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.endswith(".lock"))
    return {str(each.relative_to(path)): each.read_bytes() for each in found}


def outside_of(destination: Parquet) -> Path:
    """A folder beside the destination, with files as the destination has them."""
    outside = destination.path.parent / "outside"
    outside.mkdir()
    for name in ("x.parquet", f".x.parquet.{'a' * 32}.tmp", f".y.parquet.{'b' * 32}.tmp", ".z.tmp"):
        shutil.copy(destination.path / "steps" / SCHEMA_FILE, outside / name)
    return outside


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", ["files", "retired", "labels", "table"])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_journal_that_names_files_elsewhere_is_refused(
    name: str, place: str, read_only: bool, destination: Parquet
) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    outside_of(destination)
    name = name.format(destination.path.parent)
    change = {"table": "reports", "owner": "uuid", "version": "", "dropped": [], "labels": []}
    if place == "labels":
        journal_of(
            destination, id="a" * 32, change=change | {"labels": [f"../{name.removesuffix('.parquet')}"]}
        )
    elif place == "table":
        journal_of(destination, id="a" * 32, change=change | {"table": "../outside", "labels": ["x"]})
    else:
        journal_of(destination, id="a" * 32, **{place: [name]})
    before = tree(destination.path.parent)
    with pytest.raises(DestinationError) as error:
        destination.open(read_only=read_only)
    assert error.value.hint
    assert tree(destination.path.parent) == before


@pytest.mark.parametrize("id_", ["", "../../outside/x", "a" * 31, "A" * 32])
def test_a_journal_with_another_id_is_refused(id_: str, destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    journal_of(destination, id=id_)
    with pytest.raises(DestinationError, match="is not the id of a journal"):
        destination.open(read_only=True)


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_that_names_retired_files_elsewhere_is_refused(
    name: str, destination: Parquet, clock: Clock
) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    outside = outside_of(destination)
    (destination.path / "x.parquet").write_bytes((outside / "x.parquet").read_bytes())
    (destination.path / "steps" / "x.txt").write_bytes((outside / "x.parquet").read_bytes())
    with closing(sqlite3.connect(index_of(destination))) as connection, connection:
        connection.execute("INSERT INTO retired VALUES (?, 0)", (name.format(destination.path.parent),))
    before = {path for path in destination.path.parent.rglob("*") if "_wats" not in path.parts}
    with pytest.raises(DestinationError):
        destination.open()
    assert {path for path in destination.path.parent.rglob("*") if "_wats" not in path.parts} == before


@pytest.mark.parametrize("linked", ["steps", "_wats", "_wats/keys.sqlite", "_wats/journal.json"])
@pytest.mark.parametrize("read_only", [True, False])
def test_what_is_behind_a_link_is_not_changed(linked: str, read_only: bool, destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    outside = outside_of(destination)
    journal_of(destination, id="a" * 32, files=["steps/x.parquet"])
    shutil.move(destination.path / linked, outside / "moved")
    (destination.path / linked).symlink_to(outside / "moved")
    for name in (f".x.parquet.{'a' * 32}.tmp", f".y.parquet.{'b' * 32}.tmp", ".z.tmp"):
        if (outside / "moved").is_dir():
            shutil.copy(outside / name, outside / "moved" / name)
    before = tree(outside)
    with pytest.raises(DestinationError, match="is a link") as error:
        destination.open(read_only=read_only)
    assert error.value.hint
    assert tree(outside) == before


@pytest.mark.parametrize("linked", ["_wats", "_wats/p.lock"])
def test_no_lock_is_taken_behind_a_link(linked: str, destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    outside = outside_of(destination)
    place = destination.path / linked
    if place.exists():
        shutil.move(place, outside / "moved")
        (outside / "moved" / "p.lock.holder").write_text("mine", encoding="utf-8")
    else:
        (outside / "moved").write_text("mine", encoding="utf-8")
    place.symlink_to(outside / "moved")
    before = tree(outside)
    with pytest.raises(DestinationError, match="is a link"), destination.exclusive("p"):
        pass
    assert tree(outside) == before


def test_leftovers_behind_a_link_are_not_deleted(destination: Parquet) -> None:
    destination.commit(samples.first_commit())
    destination.close()
    outside = outside_of(destination)
    (destination.path / "notes").symlink_to(outside)
    mine, stale = destination.path / "steps" / ".mine.tmp", f".y.parquet.{'b' * 32}.tmp"
    mine.touch()
    (destination.path / "steps" / stale).touch()
    before = tree(outside)
    destination.open()
    assert tree(outside) == before
    assert mine.exists()
    assert stale not in names(destination)


def test_a_table_behind_a_link_is_refused(destination: Parquet) -> None:
    outside = destination.path.parent / "outside"
    shutil.move(destination.path / "steps", outside)
    (destination.path / "steps").symlink_to(outside)
    with pytest.raises(DestinationError, match="is a link"):
        destination.prepare(ALL)


def test_the_destination_itself_may_be_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "real")
    destination = samples.opened("parquet", tmp_path)
    destination.commit(samples.first_commit())
    destination.close()
    assert samples.native("parquet", tmp_path, REPORTS).num_rows == 3


# ── several writers ─────────────────────────────────────────────────────────────────────────────


def test_two_pipelines_share_a_folder(destination: Parquet, tmp_path: Path) -> None:
    command = [sys.executable, samples.__file__, "parquet", str(tmp_path), "many", "500000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        model = Model()
        for number in range(15):
            destination.commit(mine := as_pipeline("mine", samples.nth_commit(number)))
            model.commit(mine)
        other.kill()
    destination.open()
    uuids = {row["uuid"] for row in model.tables[REPORTS]}
    found = [row for row in destination.read(STEPS).to_pylist() if row["report_uuid"] in uuids]
    assert found == model.contents()["steps"]
    assert destination.read(STATE, pipeline="mine")["cursor"].to_pylist() == ["mine-000014"]


def as_pipeline(pipeline: str, commit: Commit) -> Commit:
    label = f"{pipeline}-{commit.label}"
    book = {STATE: [samples.state(label, pipeline=pipeline)]}
    return replace(commit, label=label, book=book)


def test_an_upsert_replaces_items_that_another_process_has_just_committed(
    destination: Parquet, tmp_path: Path
) -> None:
    assert destination.landed(REPORTS, ["a"]) == {}
    commit = commit_of("1", {"a": (1, 3, 2), "b": (1, 1, 1)}, upsert=True)
    other = samples.opened("parquet", tmp_path)
    other.commit(commit_of("other", {"a": (1, 1, 1), "c": (1, 1, 0)}))
    other.close()
    destination.commit(commit)
    assert destination.landed(REPORTS, ["a", "b", "c"]) == {"a": 1, "b": 1, "c": 1}
    assert destination.count(FAMILY) == {"reports": 3, "steps": 5, "chart series": 3}


def test_a_column_that_another_process_has_just_added_is_written(
    destination: Parquet, tmp_path: Path
) -> None:
    destination.commit(commit_of("1", {"a": (1, 2, 0)}))
    grown = samples_grown()
    other = samples.make("parquet", tmp_path)
    other.open()
    other.prepare([grown])
    other.close()
    destination.commit(commit_of("2", {"b": (1, 3, 2)}, minute=1))
    assert destination.read(grown)["comment"].to_pylist() == [None] * 5
    assert pl.scan_parquet(destination.path / "steps" / "*.parquet").collect().columns == grown.schema.names


# ── errors ──────────────────────────────────────────────────────────────────────────────────────


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DestinationError, match="cannot be opened"):
        Parquet(tmp_path / "file").open()


def test_a_table_that_was_not_prepared_is_a_clear_error(tmp_path: Path) -> None:
    destination = Parquet(tmp_path)
    destination.open()
    with pytest.raises(DestinationError, match="commit") as error:
        destination.commit(samples.first_commit())
    assert "prepare" in error.value.hint


def test_a_lock_that_cannot_be_created_is_not_reported_as_held(tmp_path: Path) -> None:
    (tmp_path / "_wats" / ".commit.lock").mkdir(parents=True)
    with pytest.raises(DestinationError) as error:
        Parquet(tmp_path).open()
    assert "committing" not in error.value.hint


def test_a_commit_lock_that_is_held_too_long_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(transactions, "_POLL_SECONDS", 0.01)
    (tmp_path / "_wats").mkdir()
    with filelock.FileLock(tmp_path / "_wats" / ".commit.lock"), pytest.raises(DestinationError) as error:
        Parquet(tmp_path).open()
    assert "committing into this folder" in error.value.hint


def test_waiting_for_another_process_is_reported_and_can_be_interrupted(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    def wait(reason: str, seconds: float) -> None:
        told.append((reason, seconds))
        raise Interrupted("interrupted")

    destination = Parquet(tmp_path)
    destination.while_waiting = wait
    (tmp_path / "_wats").mkdir()
    with filelock.FileLock(tmp_path / "_wats" / ".commit.lock"), pytest.raises(Interrupted):
        destination.open()
    [(reason, seconds)] = told
    assert reason == f"another process commits into {tmp_path}"
    assert 0 < seconds <= 600
