"""Behavior of the DuckDB destination that others do not share."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import destination_samples as samples
import duckdb
import pytest
from destination_samples import ALL, FAMILY, REPORTS, STEPS, commit_of

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.duckdb.file import DatabaseFile
from wats_extract.errors import DestinationError, Interrupted
from wats_extract.state.tables import BOOKKEEPING
from wats_extract.tables import Table

HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"


def refused(path: Path, *, read_only: bool = False) -> DestinationError:
    with pytest.raises(DestinationError) as error:
        DuckDB(path).open(read_only=read_only)
    assert str(path) in error.value.message
    assert error.value.hint
    return error.value


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_another_process_has_open(read_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        error = refused(path, read_only=read_only)
        holder.communicate("")
    assert f"PID {holder.pid}" in error.message
    assert "close the program" in error.hint
    DuckDB(path).open()


def test_a_file_of_another_type_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.duckdb"
    text.write_text("not a database, but long enough to have been one", encoding="utf-8")
    foreign = tmp_path / "sqlite.duckdb"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    for path in (text, foreign):
        assert "not a valid DuckDB file" in refused(path).message
    assert text.read_text(encoding="utf-8").startswith("not a database")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DestinationError):
        DuckDB(tmp_path / "file" / "a.duckdb").open()


def test_a_write_ahead_log_without_its_file_is_refused(tmp_path: Path) -> None:
    process = samples.child("duckdb", tmp_path, "many", "0")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    log = tmp_path / "a.duckdb.wal"
    while not (log.exists() and log.stat().st_size):
        assert process.poll() is None
    process.kill()
    process.communicate()
    (tmp_path / "a.duckdb").rename(tmp_path / "away")
    assert "a.duckdb.wal" in refused(tmp_path / "a.duckdb").message
    samples.opened("duckdb", tmp_path / "other").close()
    (tmp_path / "other" / "a.duckdb").rename(tmp_path / "a.duckdb")
    assert "delete the .wal" in refused(tmp_path / "a.duckdb").hint
    (tmp_path / "away").replace(tmp_path / "a.duckdb")
    DuckDB(tmp_path / "a.duckdb").open()


def test_missing_folders_are_created(tmp_path: Path) -> None:
    destination = DuckDB(tmp_path / "a" / "b" / "c.duckdb")
    destination.open()
    destination.close()
    assert (tmp_path / "a" / "b" / "c.duckdb").is_file()


@pytest.mark.parametrize("schema", ["wats", 'with "quotes" and spaces'])
def test_a_schema_may_have_the_name_of_the_file(schema: str, tmp_path: Path) -> None:
    destination = DuckDB(path=tmp_path / f"{schema}.duckdb", schema=schema)
    destination.open()
    destination.prepare(ALL)
    destination.prepare(ALL)
    destination.commit(samples.first_commit())
    assert destination.landed(REPORTS, ["a"]) == {"a": 1}
    assert destination.count([REPORTS]) == {"reports": 3}
    destination.close()


def test_columns_added_by_users_are_kept_and_null_in_new_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(path) as connection:
        connection.execute("ALTER TABLE reports ADD COLUMN shift VARCHAR")
        connection.execute("CREATE VIEW failed AS SELECT * FROM steps WHERE NOT passed")
    destination = samples.opened("duckdb", tmp_path)
    destination.commit(samples.first_commit())
    destination.close()
    with duckdb.connect(path) as connection:
        assert connection.sql("SELECT count(*), count(shift) FROM reports").fetchall() == [(3, 0)]
        assert connection.sql("SELECT count(*) FROM failed").fetchall() == [(2,)]


# ── hostile files ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("uuid,time_stamp,name,start\nsecret,1,secret,2026-01-01\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("table", [REPORTS, *BOOKKEEPING], ids=lambda table: table.name)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_view_in_place_of_a_table_is_refused(
    table: Table, read_only: bool, secret: Path, tmp_path: Path
) -> None:
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute(f'DROP TABLE "{table.name}"')
        connection.execute(f"CREATE VIEW \"{table.name.upper()}\" AS FROM read_csv('{secret}')")
    destination = DuckDB(tmp_path / "a.duckdb")
    destination.open(read_only=read_only)
    uses: list[Callable[[], object]] = [
        lambda: destination.read(table),
        lambda: list(destination.scan(table, table.key)),
        lambda: destination.count([table]),
    ]
    if table.owner:
        uses.append(lambda: destination.landed(table, ["secret"]))
    if not read_only:
        book = {} if table.owner else {table: [{"run_id": "r"}]}
        uses.append(lambda: destination.prepare([table]))
        uses.append(lambda: destination.commit(commit_of("1", {"a": (1, 1, 1)}, book=book)))
    for use in uses:
        with pytest.raises(DestinationError, match=f"(?i){table.name} is a view, a table is needed") as error:
            use()
        assert error.value.hint
    destination.close()


READERS = ["read_text('{}')", "read_blob('{}')", "glob('{}')", "read_csv('{}')", "'{}'"]


@pytest.mark.parametrize("reader", READERS)
def test_nothing_in_a_file_reads_other_files(reader: str, secret: Path, tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute(f"CREATE VIEW other AS FROM {reader.format(secret)}")
        connection.execute(f"CREATE MACRO made() AS TABLE FROM {reader.format(secret)}")
    file = DatabaseFile(tmp_path / "a.duckdb", memory_limit="20MB", on_step=lambda step: None)
    for read_only in (True, False):
        file.open(read_only=read_only)
        for name in ("other", "made()"):
            with (
                pytest.raises(DestinationError, match="disabled by configuration") as error,
                file.reader("look") as connection,
            ):
                connection.execute(f"FROM wats.main.{name}").fetchall()
            assert "reads other files" in error.value.hint
        for statement in (
            f"COPY (SELECT 1) TO '{tmp_path / 'written.csv'}'",
            f"ATTACH '{tmp_path / 'new.duckdb'}'",
            "INSTALL sqlite",
            "LOAD sqlite",
            "SET enable_external_access = true",
        ):
            with file.reader("look") as connection, pytest.raises(duckdb.Error):
                connection.execute(statement)
        file.close()
    assert {path.name for path in tmp_path.iterdir()} == {"a.duckdb", "secret.csv"}


def test_a_generated_column_in_place_of_a_stored_one_is_refused(tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute("DROP TABLE reports")
        connection.execute(
            "CREATE TABLE reports (uuid VARCHAR, time_stamp BIGINT, start TIMESTAMPTZ, "
            "name VARCHAR GENERATED ALWAYS AS (upper(uuid)), _extra VARCHAR, _wats_run_id VARCHAR, "
            "_wats_extracted_at TIMESTAMPTZ)"
        )
        connection.execute("INSERT INTO reports BY NAME SELECT 'a' AS uuid")
    destination = DuckDB(tmp_path / "a.duckdb")
    destination.open()
    for use in (
        lambda: destination.read(REPORTS),
        lambda: list(destination.scan(REPORTS, ["uuid", "name"])),
        lambda: destination.prepare([REPORTS]),
    ):
        with pytest.raises(DestinationError, match=r"column name is .*(?i:generated)") as error:
            use()
        assert error.value.hint
    destination.close()


def test_a_link_in_place_of_the_spill_folder_is_not_followed(tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.tmp").write_bytes(b"x")
    (tmp_path / "a.duckdb.tmp").symlink_to(elsewhere)
    destination = DuckDB(tmp_path / "a.duckdb")
    destination.open()
    destination.commit(commit_of("1", {"a": (1, 1, 1)}))
    destination.close()
    assert (elsewhere / "mine.tmp").exists()


def test_key_columns_are_not_null(tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        described = connection.sql("DESCRIBE steps").fetchall()
    assert {row[0] for row in described if row[2] == "NO"} == set(STEPS.key)


def test_a_dropped_table_is_a_clear_error(tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute("DROP TABLE steps")
    destination = DuckDB(tmp_path / "a.duckdb")
    destination.open()
    with pytest.raises(DestinationError, match=r"commit 1: .*steps") as error:
        destination.commit(commit_of("1", {"a": (1, 1, 1)}))
    assert "prepare" in error.value.hint
    assert destination.count([REPORTS]) == {"reports": 0}
    destination.close()


def test_spill_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    destination = samples.opened("duckdb", tmp_path)
    destination.close()
    spilled = tmp_path / "a.duckdb.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"x")
    looking = DuckDB(tmp_path / "a.duckdb")
    looking.open(read_only=True)
    looking.close()
    assert list(spilled.iterdir())
    destination.open()
    assert not list(spilled.iterdir())
    destination.close()
    assert not spilled.exists()


def test_spill_files_written_while_the_file_is_opened_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = cast("DuckDB", samples.opened("duckdb", tmp_path))
    destination.close()
    spilled = tmp_path / "a.duckdb.tmp"
    spilled.mkdir()
    old, again = spilled / "duckdb_temp_1_0.tmp", spilled / "duckdb_temp_2_0.tmp"
    old.write_bytes(b"of a killed process")
    again.write_bytes(b"of a killed process, under a name that is reused")
    attached = destination._file._attached

    def attach(*, read_only: bool) -> duckdb.DuckDBPyConnection:
        (spilled / "duckdb_temp_2_1.tmp").write_bytes(b"written while the log is replayed")
        again.write_bytes(b"written, too")
        return attached(read_only=read_only)

    monkeypatch.setattr(destination._file, "_attached", attach)
    destination.open()
    assert {file.name for file in spilled.iterdir()} == {"duckdb_temp_2_0.tmp", "duckdb_temp_2_1.tmp"}
    destination.close()


def test_lookup_keys_are_not_compressed(tmp_path: Path) -> None:
    destination = samples.opened("duckdb", tmp_path)
    destination.commit(commit_of("1", {f"item {n}": (n, 1, 0) for n in range(20_000)}))
    destination.close()
    with duckdb.connect(tmp_path / "a.duckdb", read_only=True) as connection:
        found = {
            table: set(
                connection.execute(
                    "SELECT compression FROM pragma_storage_info(?) "
                    "WHERE column_name = ? AND segment_type = 'VARCHAR'",
                    [table, column],
                ).fetchall()
            )
            for table, column in (("reports", "uuid"), ("steps", "report_uuid"))
        }
    assert found["reports"] == {("Uncompressed",)}
    assert found["steps"]
    assert ("Uncompressed",) not in found["steps"]


# ── opening the file again ──────────────────────────────────────────────────────────────────────


def reopening(path: Path, on_step: Callable[[str], None] = lambda step: None) -> DuckDB:
    """A destination that opens its file again after 40 rows."""
    return cast("DuckDB", samples.opened("duckdb", path, reopen_rows=40, on_step=on_step))


def test_the_file_is_opened_again_after_many_rows(tmp_path: Path) -> None:
    steps: list[str] = []
    destination = reopening(tmp_path, steps.append)
    destination.commit(commit_of("1", {"a": (1, 10, 0)}))
    assert "closed" not in steps
    destination.commit(commit_of("2", {"b": (1, 40, 0)}, minute=1))
    assert steps[-2:] == ["committed", "closed"]
    assert destination.landed(REPORTS, ["a", "b"]) == {"a": 1, "b": 1}
    destination.commit(commit_of("3", {"c": (1, 1, 0)}, minute=2))
    assert steps.count("closed") == 1, "the rows are counted from 0 again"
    assert destination.count(FAMILY) == {"reports": 3, "steps": 51, "chart series": 0}
    refused(destination.path, read_only=True)
    destination.close()


def refused_to_others(path: Path) -> bool:
    """Whether another process fails to open a file."""
    see = "import duckdb, sys; duckdb.connect(sys.argv[1], read_only=True)"
    return bool(
        subprocess.run([sys.executable, "-c", see, path], capture_output=True, check=False).returncode
    )


def test_the_file_is_locked_after_it_was_opened_again(tmp_path: Path) -> None:
    destination = reopening(tmp_path)
    destination.commit(commit_of("1", {"a": (1, 50, 0)}))
    assert refused_to_others(destination.path)
    destination.close()
    assert not refused_to_others(destination.path)


def test_the_file_stays_open_during_a_scan(tmp_path: Path) -> None:
    steps: list[str] = []
    destination = reopening(tmp_path, steps.append)
    destination.commit(commit_of("1", {f"item {n}": (n, 0, 0) for n in range(30_000)}))
    steps.clear()
    reading = destination.scan(REPORTS, ["uuid"])
    found = next(reading).num_rows
    destination.commit(commit_of("2", {"a": (1, 50, 0)}, minute=1))
    assert "closed" not in steps
    assert found + sum(batch.num_rows for batch in reading) == 30_000
    destination.commit(commit_of("3", {"b": (1, 1, 0)}, minute=2))
    assert "closed" in steps
    destination.close()


def test_lookups_wait_while_the_file_is_opened_again(tmp_path: Path) -> None:
    destination = reopening(tmp_path)
    destination.commit(commit_of("0", {"first": (1, 50, 0)}))
    ended = threading.Event()
    found: set[int] = set()

    def look_up() -> None:
        while not ended.is_set():
            found.add(len(destination.landed(REPORTS, ["first"])))

    with ThreadPoolExecutor(2) as threads:
        looking = [threads.submit(look_up) for _ in range(2)]
        for n in range(20):
            destination.commit(commit_of(str(n), {f"item {n}": (n, 50, 0)}, minute=n + 1))
        ended.set()
        for each in looking:
            each.result()
    assert found == {1}
    destination.close()


class AnotherProgram:
    """A program that opens the file as soon as it is closed, and keeps it open."""

    def __init__(self, path: Path) -> None:
        self._path = path / "a.duckdb"
        self._stack = ExitStack()
        self._running: list[subprocess.Popen[str]] = []

    def sneak_in(self, step: str) -> None:
        if step == "closed":
            command = [sys.executable, "-c", HOLD, str(self._path)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            program = self._stack.enter_context(subprocess.Popen(command, text=True, **pipes))
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            self._running.append(program)

    def leave(self) -> None:
        for program in self._running:
            program.communicate("")
        self._running.clear()
        self._stack.close()


def test_another_program_that_opens_the_file_in_between_is_waited_for(tmp_path: Path) -> None:
    program = AnotherProgram(tmp_path)
    destination = reopening(tmp_path, program.sneak_in)
    waited: list[str] = []

    def wait(reason: str, seconds: float) -> None:
        assert 0 < seconds <= 60
        waited.append(reason)
        if len(waited) == 3:
            program.leave()

    destination.while_waiting = wait
    destination.commit(commit_of("1", {"a": (1, 50, 0)}))
    assert set(waited) == {f"another program has {destination.path} open"}
    assert len(waited) == 3
    assert destination.count(FAMILY) == {"reports": 1, "steps": 50, "chart series": 0}
    destination.close()


def test_waiting_for_another_program_can_be_interrupted(tmp_path: Path) -> None:
    program = AnotherProgram(tmp_path)
    destination = reopening(tmp_path, program.sneak_in)

    def stop(reason: str, seconds: float) -> None:
        raise Interrupted(reason)

    destination.while_waiting = stop
    with pytest.raises(Interrupted):
        destination.commit(commit_of("1", {"a": (1, 50, 0)}))
    destination.close()
    program.leave()
    destination.open()
    assert destination.count(FAMILY) == {"reports": 1, "steps": 50, "chart series": 0}
    destination.close()


# ── memory ──────────────────────────────────────────────────────────────────────────────────────


def test_a_small_memory_limit_is_enough_for_a_large_commit(tmp_path: Path) -> None:
    samples.opened("duckdb", tmp_path).close()
    small = DuckDB(tmp_path / "a.duckdb", memory_limit="16MB")
    small.open()
    small.commit(commit_of("1", {f"item {n}": (n, 40, 0) for n in range(5_000)}))
    assert small.count([STEPS]) == {"steps": 200_000}
    assert memory_limit(small) == "15.2 MiB"
    small.close()


def memory_limit(destination: DuckDB) -> str:
    found = destination._file.connection.execute("SELECT current_setting('memory_limit')").fetchall()
    return str(found[0][0])


@pytest.mark.parametrize(("items", "error"), [(1_000, "while it commits"), (9_000, "while it writes")])
def test_a_commit_that_runs_out_of_memory_is_made_again_with_a_raised_limit(
    items: int, error: str, tmp_path: Path
) -> None:
    samples.opened("duckdb", tmp_path).close()
    steps: list[str] = []
    small = DuckDB(tmp_path / "a.duckdb", memory_limit="2MB", reopen_rows=10_000, on_step=steps.append)
    small.open()
    commit = commit_of("1", {f"item {n}": (n, 20, 3) for n in range(items)})
    small.commit(commit)
    wrote = 2 if error == "while it commits" else 1
    assert steps.count("booked _wats_state") == wrote, f"it runs out of memory {error}"
    assert steps[-2:] == ["committed", "closed"]
    assert memory_limit(small) == "1.8 GiB", "the limit stays raised, even when the file is opened again"
    for _ in range(2):
        assert small.count(FAMILY) == {"reports": items, "steps": 20 * items, "chart series": 3 * items}
        small.commit(commit)
    small.close()


def test_a_lookup_that_runs_out_of_memory_is_repeated_with_a_raised_limit(tmp_path: Path) -> None:
    destination = samples.opened("duckdb", tmp_path)
    destination.commit(commit_of("1", {f"item {n}": (n, 0, 0) for n in range(50_000)}))
    destination.close()
    small = DuckDB(tmp_path / "a.duckdb", memory_limit="1MB")
    small.open()
    assert len(small.landed(REPORTS, [f"item {n}" for n in range(50_000)])) == 50_000
    assert memory_limit(small) == "1.8 GiB"
    small.close()
