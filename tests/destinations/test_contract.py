"""The contract of ``Destination``, tested against every destination."""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import destination_samples as samples
import pyarrow as pa
import pytest
from destination_samples import ALL, CHARTS, FAMILY, KINDS, REPORTS, START, STEPS, Model, commit_of, contents

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet import bookkeeping
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.errors import DestinationError, PipelineLocked
from wats_extract.flow import Commit
from wats_extract.state.tables import BOOKKEEPING, COVERAGE, FAILURES, RUNS, STATE
from wats_extract.tables import TIMESTAMP, Column, Table

EVERY_TYPE = Table(
    "every_type",
    key=("id",),
    owner="id",
    columns=(
        Column("id", pa.string()),
        Column("text", pa.string()),
        Column("yes", pa.bool_()),
        Column("small", pa.int32()),
        Column("large", pa.int64()),
        Column("number", pa.float64()),
        Column("at", TIMESTAMP),
        Column("blob", pa.binary()),
        Column("numbers", pa.list_(pa.float64())),
    ),
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def destination(kind: str, tmp_path: Path) -> Iterator[Any]:
    made = samples.opened(kind, tmp_path)
    yield made
    made.close()


# ── types and values ────────────────────────────────────────────────────────────────────────────


def every_value() -> list[dict[str, Any]]:
    stamps = {"_extra": '{"new": 1}', "_wats_run_id": "r1", "_wats_extracted_at": START}
    odd = {
        "text": "äöü 漢字 🔧 'quoted' \"too\"\n",
        "yes": False,
        "small": -(2**31),
        "large": 2**63 - 1,
        "number": math.inf,
        "at": datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        "blob": bytes(range(256)),
        "numbers": [1.5, None, -math.inf],
    }
    empty = {"text": "", "blob": b"", "numbers": [], "number": -0.0}
    nulls = dict.fromkeys(odd)
    values = {"odd": odd, "empty": nulls | empty, "nulls": nulls}
    return [{"id": name} | row | stamps for name, row in sorted(values.items())]


def commit_types(destination: Any, rows: list[dict[str, Any]]) -> None:
    destination.prepare([EVERY_TYPE])
    commit = Commit("types", {EVERY_TYPE: samples.batches(EVERY_TYPE, rows)}, {}, frozenset(), {})
    destination.commit(commit)


def test_values_are_read_back(destination: Any) -> None:
    commit_types(destination, every_value())
    found = destination.read(EVERY_TYPE)
    assert found.schema.equals(EVERY_TYPE.schema)
    assert found.to_pylist() == every_value()


def test_nan_is_read_back(destination: Any) -> None:
    stamps = {"_wats_run_id": "r1", "_wats_extracted_at": START}
    commit_types(destination, [{"id": "nan", "number": math.nan, "numbers": [math.nan]} | stamps])
    (row,) = destination.read(EVERY_TYPE).to_pylist()
    assert math.isnan(row["number"])
    assert math.isnan(row["numbers"][0])


def test_other_programs_see_the_declared_types(kind: str, destination: Any, tmp_path: Path) -> None:
    commit_types(destination, every_value())
    destination.close()
    found = samples.native(kind, tmp_path, EVERY_TYPE)
    assert [(f.name, f.type) for f in found.schema] == [(f.name, f.type) for f in EVERY_TYPE.schema]
    assert found.num_rows == 3


def test_empty_tables_can_be_scanned(kind: str, destination: Any, tmp_path: Path) -> None:
    destination.close()
    for table in ALL:
        found = samples.native(kind, tmp_path, table)
        assert found.num_rows == 0
        assert [(f.name, f.type) for f in found.schema] == [(f.name, f.type) for f in table.schema]


# ── merge ───────────────────────────────────────────────────────────────────────────────────────


def test_an_item_is_replaced_with_all_its_rows(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 5, 2), "b": (1, 1, 1)}))
    destination.commit(commit_of("2", {"a": (2, 1, 0)}, replaced=["a"], minute=1))
    model = Model()
    model.commit(commit_of("1", {"a": (1, 5, 2), "b": (1, 1, 1)}))
    model.commit(commit_of("2", {"a": (2, 1, 0)}, replaced=["a"], minute=1))
    assert contents(destination) == model.contents()
    assert destination.count(FAMILY) == {"reports": 2, "steps": 2, "chart series": 1}


def test_an_item_replaced_by_no_rows_is_deleted(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 2, 2), "b": (1, 2, 2)}))
    gone = Commit("2", {table: [] for table in FAMILY}, {"a": 2}, frozenset(["a"]), {})
    destination.commit(gone)
    assert destination.count(FAMILY) == {"reports": 1, "steps": 2, "chart series": 2}
    assert destination.landed(REPORTS, ["a", "b"]) == {"b": 1}


def test_the_same_commit_twice_leaves_the_same_tables(destination: Any) -> None:
    destination.commit(samples.first_commit())
    once = contents(destination)
    destination.commit(samples.first_commit())
    assert contents(destination) == once
    destination.commit(samples.second_commit())
    twice = contents(destination)
    destination.commit(samples.second_commit())
    assert contents(destination) == twice


def test_a_repeated_label_keeps_other_items(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 1, 1), "b": (1, 1, 1)}))
    destination.commit(commit_of("1", {"a": (2, 2, 0)}, replaced=["a"], minute=1))
    assert destination.landed(REPORTS, ["a", "b"]) == {"a": 2, "b": 1}
    assert destination.count(FAMILY) == {"reports": 2, "steps": 3, "chart series": 1}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_fifty_random_commits_equal_the_model(seed: int, destination: Any) -> None:
    chance, model = random.Random(seed), Model()
    for number in range(50):
        items = {
            f"item {chance.randrange(40)}": (number, chance.randrange(4), chance.randrange(3))
            for _ in range(chance.randrange(6))
        }
        label = f"p-reports-{chance.choice([number, number, number % 7])}"
        sweep = samples.runs_from(number - 20, number) if chance.random() < 0.1 else None
        replaced = destination.landed(REPORTS, [*items, "nobody"])
        assert replaced == model.landed(REPORTS, list(items))
        upsert = chance.random() < 0.5
        named = () if upsert else replaced
        commit = commit_of(label, items, replaced=named, minute=number, sweep_except=sweep, upsert=upsert)
        destination.commit(commit)
        model.commit(commit)
        if chance.random() < 0.2:
            destination.commit(commit)
        if chance.random() < 0.1:
            destination.close()
            destination.open()
        if number % 7 == 6:
            assert contents(destination) == model.contents()
    assert contents(destination) == model.contents()


def test_a_sweep_deletes_the_rows_of_other_runs(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 1, 1), "b": (1, 1, 0)}))
    destination.commit(commit_of("2", {"c": (1, 2, 0)}, minute=1))
    last = commit_of("3", {"b": (2, 1, 0)}, replaced=["b"], minute=2)
    swept = Commit(last.label, last.rows, last.landed, last.replaced, {}, samples.runs_from(1, 2))
    destination.commit(swept)
    assert destination.landed(REPORTS, ["a", "b", "c"]) == {"b": 2, "c": 1}
    assert destination.count(FAMILY) == {"reports": 2, "steps": 3, "chart series": 0}


def test_a_sweep_keeps_the_named_items(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 2, 1), "b": (1, 3, 0), "c": (1, 1, 1)}))
    runs = samples.runs_from(1, 2)
    last = commit_of("2", {"c": (2, 4, 0)}, replaced=["c"], minute=2, sweep_except=runs, kept=["a", "z"])
    destination.commit(last)
    assert destination.landed(REPORTS, ["a", "b", "c"]) == {"a": 1, "c": 2}
    assert destination.count(FAMILY) == {"reports": 2, "steps": 6, "chart series": 1}


# ── upsert ──────────────────────────────────────────────────────────────────────────────────────


def test_an_upsert_replaces_existing_items(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 5, 2), "b": (1, 1, 1)}, upsert=True))
    destination.commit(commit_of("2", {"a": (2, 1, 0), "c": (1, 1, 1)}, minute=1, upsert=True))
    assert destination.landed(REPORTS, ["a", "b", "c"]) == {"a": 2, "b": 1, "c": 1}
    assert destination.count(FAMILY) == {"reports": 3, "steps": 3, "chart series": 2}


def test_an_upsert_replaces_items_of_a_table_with_several_rows_per_item(destination: Any) -> None:
    for version in (1, 2):
        rows = samples.rows_of(STEPS, {"a": (version, 4 - version, 0)}, START + timedelta(minutes=version))
        tables = {STEPS: samples.batches(STEPS, rows)}
        destination.commit(Commit(f"{version}", tables, {"a": None}, frozenset(), {}, upsert=True))
    assert destination.count([STEPS]) == {"steps": 2}
    assert set(destination.read(STEPS)["value"].to_pylist()) == {2.0, 2 + 1 / 7}


def test_an_upsert_without_items_changes_nothing(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 5, 2)}))
    destination.commit(Commit("2", {table: [] for table in FAMILY}, {}, frozenset(), {}, upsert=True))
    destination.commit(Commit("3", {}, {}, frozenset(), {STATE: [samples.state("3")]}, upsert=True))
    assert destination.landed(REPORTS, ["a"]) == {"a": 1}


# ── unchanged items ─────────────────────────────────────────────────────────────────────────────


def lazily(label: str, items: samples.Items, *, minute: int, **options: Any) -> Commit:
    """An upsert that leaves out what is unchanged."""
    return replace(commit_of(label, items, minute=minute, upsert=True, **options), keeps_unchanged=True)


def minutes(destination: Any) -> dict[str, dict[str, set[int]]]:
    """When the rows of each item were written, by table."""
    found: dict[str, dict[str, set[int]]] = {}
    for table in FAMILY:
        for row in destination.read(table).to_pylist():
            written = found.setdefault(table.name, {}).setdefault(row[table.owner], set())
            written.add(row["_wats_extracted_at"].minute)
    return found


def data_files(path: Path) -> dict[Path, int]:
    tables = [table.name for table in FAMILY]
    found = (each for each in path.glob("files/*/*.parquet") if each.parent.name in tables)
    return {each: each.stat().st_mtime_ns for each in found}


@pytest.mark.parametrize("named", [True, False])
def test_items_with_the_same_rows_are_not_written_again(
    named: bool, kind: str, destination: Any, tmp_path: Path
) -> None:
    items = {"a": (1, 3, 2), "b": (1, 1, 0), "c": (1, 0, 0)}
    destination.commit(lazily("1", items, minute=0))
    before, files_before = contents(destination, FAMILY), data_files(tmp_path)
    for minute in (1, 2):
        again = lazily(f"{minute}", items, minute=minute, replaced=items if named else ())
        destination.commit(again)
        assert contents(destination, FAMILY) == before
        assert data_files(tmp_path) == files_before
        assert destination.read(STATE)["cursor"].to_pylist() == [f"{minute}"]


@pytest.mark.parametrize("changed", [(2, 3, 2), (1, 4, 2), (1, 2, 2), (1, 3, 1), (1, 3, 3), (1, 0, 0)])
def test_an_item_is_written_again_in_all_tables_if_one_has_other_rows(
    changed: tuple[int, int, int], destination: Any
) -> None:
    destination.commit(lazily("1", {"a": (1, 3, 2), "b": (1, 2, 2)}, minute=0))
    destination.commit(lazily("1", {"a": changed, "b": (1, 2, 2), "n": (1, 1, 1)}, minute=1))
    model = Model()
    model.commit(commit_of("1", {"b": (1, 2, 2)}, minute=0))
    model.commit(commit_of("1", {"a": changed, "n": (1, 1, 1)}, minute=1))
    assert contents(destination, FAMILY) == model.contents(FAMILY)
    versions = {"a": changed[0], "b": 1, "n": 1}
    assert destination.landed(REPORTS, ["a", "b", "n", "x"]) == versions


def test_random_commits_without_unchanged_items_equal_the_model(destination: Any) -> None:
    chance, model = random.Random(5), Model()
    for number in range(20):
        items = {
            f"item {chance.randrange(12)}": (chance.randrange(2), chance.randrange(3), chance.randrange(2))
            for _ in range(chance.randrange(1, 8))
        }
        destination.commit(lazily(f"{number % 5}", items, minute=number))
        model.commit(commit_of(f"{number % 5}", items, minute=number, upsert=True))
    stamps = {"_wats_extracted_at": None, "_wats_run_id": None}
    found, expected = contents(destination, FAMILY), model.contents(FAMILY)
    for table in FAMILY:
        plain = [[row | stamps for row in each[table.name]] for each in (found, expected)]
        assert plain[0] == plain[1]
    assert all(len(each) == 1 for table in minutes(destination).values() for each in table.values())


def test_unchanged_values_of_every_type_are_recognized(destination: Any) -> None:
    destination.prepare([EVERY_TYPE])
    for moment in (START, START + timedelta(days=1)):
        rows = [row | {"_wats_extracted_at": moment} for row in every_value()]
        rows.append(rows[0] | {"id": "nan", "number": math.nan, "numbers": [math.nan]})
        landed = dict.fromkeys(row["id"] for row in rows)
        tables = {EVERY_TYPE: samples.batches(EVERY_TYPE, rows)}
        destination.commit(Commit("1", tables, landed, frozenset(), {}, upsert=True, keeps_unchanged=True))
    assert set(destination.read(EVERY_TYPE)["_wats_extracted_at"].to_pylist()) == {START}


# ── one run at a time ───────────────────────────────────────────────────────────────────────────


def test_a_pipeline_runs_once_at_a_time(kind: str, destination: Any, tmp_path: Path) -> None:
    other = samples.make(kind, tmp_path)
    assert other.holder("p") is None
    with destination.exclusive("p"):
        seen = other.holder("p")
        assert seen is not None
        assert seen.holder is not None
        assert seen.holder.pid == os.getpid()
        with pytest.raises(PipelineLocked, match=rf"'p': process {os.getpid()} "), other.exclusive("p"):
            pass
        with other.exclusive("q"):
            assert destination.holder("q") is not None
    assert other.holder("p") is None
    with other.exclusive("p"):
        pass


def test_a_commit_is_refused_after_another_process_took_over(
    kind: str, destination: Any, tmp_path: Path
) -> None:
    with destination.exclusive("p"):
        destination.commit(samples.first_commit())
        before = contents(destination)
        [holder] = tmp_path.glob("**/*p.lock.holder")
        holder.write_text('{"pid": 1, "host": "elsewhere", "since": "now", "mark": "x"}')
        with pytest.raises(PipelineLocked, match=r"took over pipeline 'p'.* process 1 on elsewhere"):
            destination.commit(samples.second_commit())
        assert contents(destination) == before
        holder.unlink()
    destination.commit(samples.second_commit())


def test_the_lock_can_be_held_before_the_destination_exists(kind: str, tmp_path: Path) -> None:
    destination = samples.make(kind, tmp_path / "new")
    with destination.exclusive("p"):
        destination.open()
        destination.prepare(ALL)
        destination.commit(samples.first_commit())
        destination.close()


# ── bookkeeping ─────────────────────────────────────────────────────────────────────────────────


def failure(key: str, status: str, **other: Any) -> dict[str, Any]:
    return {"pipeline": "p", "resource": "reports", "key": key, "status": status, "attempts": 1} | other


def test_a_bookkeeping_row_replaces_the_row_with_its_key(destination: Any) -> None:
    window = {"pipeline": "p", "resource": "reports", "field": "start", "range_start": "1", "range_end": "2"}
    first = {
        STATE: [samples.state(1)],
        FAILURES: [failure("x", "open"), failure("y", "open"), failure("z", "open", resource="assets")],
        RUNS: [{"run_id": "r1", "status": "running", "started_at": START}],
        COVERAGE: [window | {"complete": True}],
    }
    second = {
        STATE: [samples.state(2), samples.state(3)],
        FAILURES: [failure("x", "resolved", resolved_at=START)],
        RUNS: [{"run_id": "r1", "status": "done"}, {"run_id": "r2", "status": "running"}],
    }
    for label, book in (("1", first), ("2", second)):
        destination.commit(Commit(label, {}, {}, frozenset(), book))
    assert [row["cursor"] for row in destination.read(STATE).to_pylist()] == ["3"]
    found = {(row["resource"], row["key"]): row["status"] for row in destination.read(FAILURES).to_pylist()}
    assert found == {("reports", "x"): "resolved", ("reports", "y"): "open", ("assets", "z"): "open"}
    runs = destination.read(RUNS).to_pylist()
    assert [(row["run_id"], row["status"], row["started_at"]) for row in runs] == [
        ("r1", "done", None),
        ("r2", "running", None),
    ]
    assert destination.read(COVERAGE).to_pylist()[0]["complete"] is True


def test_rows_of_a_scope_replace_all_earlier_rows_of_it(destination: Any) -> None:
    def ranges(*bounds: int, resource: str = "reports") -> list[dict[str, Any]]:
        place = {"pipeline": "p", "resource": resource, "field": "time_stamp"}
        return [
            place | {"range_start": str(a), "range_end": str(b)} for a, b in pairwise(bounds) if (a + b) % 2
        ]

    for label, rows in (
        ("1", ranges(0, 1, 2, 3)),
        ("2", ranges(7, 8, resource="assets")),
        ("3", ranges(0, 3)),
    ):
        destination.commit(Commit(label, {}, {}, frozenset(), {COVERAGE: rows}))
    found = destination.read(COVERAGE).to_pylist()
    assert [(row["resource"], row["range_start"], row["range_end"]) for row in found] == [
        ("assets", "7", "8"),
        ("reports", "0", "3"),
    ]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_random_bookkeeping_equals_the_model(
    seed: int, destination: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookkeeping, "MOST", 3)
    chance, model = random.Random(seed), Model()
    for number in range(30):
        statuses = ["open", "resolved", "resolved", "ignored"]
        keys = {chance.randrange(40) for _ in range(chance.randrange(1, 6))}
        failures = [failure(f"k{key}", chance.choice(statuses), attempts=number) for key in keys]
        run = {"run_id": f"r{number:04}", "pipeline": "p", "status": "running"}
        book = {FAILURES: failures, RUNS: [run], STATE: [samples.state(number)]}
        again = {"run_id": f"r{chance.randrange(number + 1):04}", "pipeline": "p", "status": "late"}
        for each in (book, {RUNS: [run | {"status": "succeeded"}]}, {RUNS: [again]}):
            commit = Commit(f"{number}", {}, {}, frozenset(), each)
            destination.commit(commit)
            model.commit(commit)
        assert contents(destination, BOOKKEEPING) == model.contents(BOOKKEEPING)
        opened = [row for row in model.contents([FAILURES])[FAILURES.name] if row["status"] == "open"]
        assert destination.read(FAILURES, status="open").to_pylist() == opened
        assert destination.read(RUNS, status="running").num_rows == 0


def test_read_filters_by_equality(destination: Any) -> None:
    rows = [failure("x", "open"), failure("y", "resolved"), failure("x", "open", pipeline="other")]
    destination.commit(Commit("1", {}, {}, frozenset(), {FAILURES: rows}))
    found = destination.read(FAILURES, pipeline="p", status="open")
    assert found.schema.equals(FAILURES.schema)
    assert [row["key"] for row in found.to_pylist()] == ["x"]
    assert destination.read(FAILURES, pipeline="'; DROP TABLE reports; --").num_rows == 0


def test_missing_tables_are_empty(destination: Any) -> None:
    destination.commit(commit_of("1", {"a": (1, 2, 0)}))
    assert destination.count([STEPS, EVERY_TYPE, CHARTS]) == {"steps": 2, "chart series": 0}
    assert destination.landed(EVERY_TYPE, ["a"]) == {}
    assert destination.read(EVERY_TYPE).num_rows == 0


def test_landed_returns_versions(destination: Any) -> None:
    destination.commit(commit_of("1", {f"item {n}": (n, 1, 0) for n in range(2_000)}))
    assert destination.landed(REPORTS, []) == {}
    asked = [f"item {n}" for n in range(1_000, 3_000)]
    assert destination.landed(REPORTS, asked) == {f"item {n}": n for n in range(1_000, 2_000)}
    assert destination.landed(STEPS, ["item 7", "it's"]) == {"item 7": None}


def test_scan_reads_some_columns_of_all_rows(kind: str, destination: Any, tmp_path: Path) -> None:
    assert list(destination.scan(EVERY_TYPE, ["id"])) == []
    destination.commit(commit_of("1", {f"item {n}": (n, 1, 0) for n in range(15_000)}))
    destination.commit(commit_of("2", {"item 7": (70, 1, 0)}, replaced={"item 7"}))
    columns = [REPORTS.owner, REPORTS.version]
    for read_only in (False, True):
        destination.open(read_only=read_only)
        found: dict[str, int] = {}
        for batch in destination.scan(REPORTS, columns):
            assert batch.num_rows <= 10_240, "bounded memory"
            assert destination.count([REPORTS]) == {REPORTS.name: 15_000}, "during the scan"
            found |= dict(zip(*batch.to_pydict().values(), strict=True))
        assert found == {f"item {n}": 70 if n == 7 else n for n in range(15_000)}
        destination.close()


def test_the_largest_value_and_rows_with_a_least_value(destination: Any) -> None:
    version = REPORTS.version
    assert destination.largest(REPORTS, version) is None
    assert list(destination.scan(REPORTS, [version], least=(version, 5))) == []
    for label in range(3):
        items = {f"item {n}": (n, 1, 0) for n in range(100 * label, 100 * label + 100)}
        destination.commit(commit_of(f"{label}", items))
    assert destination.largest(REPORTS, version) == 299
    batches = destination.scan(REPORTS, [REPORTS.owner], least=(version, 197))
    found = {key for batch in batches for key in batch[REPORTS.owner].to_pylist()}
    assert found == {f"item {n}" for n in range(197, 300)}
    destination.commit(commit_of("4", {"item 299": (7, 1, 0)}, replaced={"item 299"}))
    assert destination.largest(REPORTS, version) == 298


# ── neighbours ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["sqlite:/x.db", "md:x", "md:/x", "postgres:dbname=x", "https://h/x", "s3://b/x", "s3:/b/x", "file:/x"],
)
def test_a_path_with_a_scheme_is_refused(path: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=f"^{path}: a destination is a path on this machine") as error:
        DuckDB(path) if kind == "duckdb" else Parquet(path)
    assert error.value.hint


def test_a_path_with_a_colon_that_is_no_scheme_is_accepted(kind: str, tmp_path: Path) -> None:
    destination = samples.opened(kind, tmp_path / "md:x")
    destination.commit(samples.first_commit())
    destination.close()
    assert samples.native(kind, tmp_path / "md:x", REPORTS).num_rows == 3


# ── open, prepare ───────────────────────────────────────────────────────────────────────────────


def test_tables_are_unchanged_after_reopening(kind: str, destination: Any, tmp_path: Path) -> None:
    destination.commit(samples.first_commit())
    before = contents(destination)
    destination.close()
    again = samples.opened(kind, tmp_path)
    assert contents(again) == before
    assert again.landed(REPORTS, ["a", "z"]) == {"a": 1}
    again.close()
    again.open(read_only=True)
    assert contents(again) == before
    assert again.landed(REPORTS, ["a", "z"]) == {"a": 1}
    with pytest.raises(DestinationError):
        again.commit(samples.second_commit())
    again.close()


def test_opening_a_missing_destination_for_reading_creates_nothing(kind: str, tmp_path: Path) -> None:
    destination = samples.make(kind, tmp_path / "nowhere")
    destination.open(read_only=True)
    assert destination.landed(REPORTS, ["a"]) == {}
    assert destination.read(STATE, pipeline="p").schema.equals(STATE.schema)
    assert destination.count(ALL) == {}
    destination.close()
    assert not (tmp_path / "nowhere").exists()


def newer(table: Table, *columns: Column) -> Table:
    return Table(table.name, table.key, (*table.columns, *columns), table.owner, table.version)


def test_a_newer_version_adds_columns(kind: str, destination: Any, tmp_path: Path) -> None:
    destination.commit(commit_of("1", {"a": (1, 2, 0)}))
    destination.prepare(ALL)
    grown = newer(STEPS, Column("comment", pa.string()), Column("tries", pa.int32()))
    destination.prepare([grown])
    row = {"report_uuid": "b", "step_index": 0, "comment": "new", "_wats_extracted_at": START}
    destination.commit(Commit("2", {grown: samples.batches(grown, [row])}, {"b": 1}, frozenset(), {}))
    found = destination.read(grown)
    assert found.schema.equals(grown.schema)
    assert [row["comment"] for row in found.to_pylist()] == [None, None, "new"]
    destination.close()
    assert samples.native(kind, tmp_path, grown)["comment"].null_count == 2


def test_an_older_version_keeps_new_columns(destination: Any) -> None:
    grown = newer(STEPS, Column("comment", pa.string()))
    destination.prepare([grown])
    destination.prepare([STEPS])
    destination.commit(commit_of("1", {"a": (1, 2, 0)}))
    assert destination.read(grown)["comment"].to_pylist() == [None, None]
    assert destination.read(STEPS).schema.equals(STEPS.schema)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            Table("steps", STEPS.key, (*STEPS.columns[:2], Column("value", pa.string())), "report_uuid"),
            "value",
        ),
        (newer(Table("steps", ("new",), STEPS.columns, "report_uuid"), Column("new", pa.int32())), "missing"),
    ],
)
def test_a_column_of_another_type_is_a_clear_error(changed: Table, message: str, destination: Any) -> None:
    destination.commit(samples.first_commit())
    with pytest.raises(DestinationError, match=rf"table steps: column .*{message}.* is needed") as error:
        destination.prepare([newer(REPORTS, Column("more", pa.string())), changed])
    assert error.value.hint
    destination.prepare(ALL)
    destination.commit(samples.second_commit())


# ── all or nothing ──────────────────────────────────────────────────────────────────────────────


def broken_commits() -> dict[str, Commit]:
    good = samples.second_commit()
    wrong = pa.RecordBatch.from_pydict({"report_uuid": ["a"], "value": ["not a number"]})
    keyless = [{"report_uuid": None, "series_index": 1, "_wats_extracted_at": START}]
    return {
        "a wrong schema": Commit("x", {**good.rows, CHARTS: [wrong]}, {}, frozenset("a"), good.book),
        "no key": Commit("x", {**good.rows, CHARTS: loose(CHARTS, keyless)}, {}, frozenset("a"), good.book),
        "a wrong bookkeeping row": Commit(
            "x", good.rows, {}, frozenset("a"), {RUNS: [{"run_id": "r", "rows": "many"}]}
        ),
    }


def loose(table: Table, rows: list[dict[str, Any]]) -> list[pa.RecordBatch]:
    """A batch with a null in a key column, which its schema does not allow."""
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in table.schema]
    return [pa.RecordBatch.from_arrays(arrays, schema=table.schema)]


@pytest.mark.parametrize("reason", list(broken_commits()))
def test_a_failed_commit_changes_nothing(reason: str, kind: str, destination: Any, tmp_path: Path) -> None:
    destination.commit(samples.first_commit())
    before = contents(destination)
    with pytest.raises(DestinationError, match="commit x"):
        destination.commit(broken_commits()[reason])
    assert contents(destination) == before
    assert not list(tmp_path.glob("**/.*.tmp"))
    destination.commit(samples.second_commit())


def steps_of_a_commit(kind: str, path: Path) -> list[str]:
    steps: list[str] = []
    destination = samples.opened(kind, path)
    destination.commit(samples.first_commit())
    destination.close()
    watched = samples.make(kind, path, on_step=steps.append)
    watched.open()
    watched.commit(samples.second_commit())
    watched.close()
    return steps


def wait_for_death(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 9, errors


def prepared(kind: str, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tables before and after the second commit, and leave ``path`` as before it."""
    destination = samples.opened(kind, path)
    destination.commit(samples.first_commit())
    before = contents(destination)
    destination.close()
    copied = shutil.copytree(path, path.with_name("copy"))
    other = samples.make(kind, copied)
    other.open()
    other.commit(samples.second_commit())
    after = contents(other)
    other.close()
    return before, after


def test_a_kill_at_any_step_leaves_all_or_nothing(kind: str, tmp_path: Path) -> None:
    steps = steps_of_a_commit(kind, tmp_path / "watched")
    assert len(steps) >= 5
    before, after = prepared(kind, tmp_path / "base")
    for step in steps:
        path = Path(shutil.copytree(tmp_path / "base", tmp_path / step))
        wait_for_death(samples.child(kind, path, "die", step))
        looked = samples.make(kind, path)
        looked.open(read_only=True)
        seen = contents(looked)
        looked.close()
        destination = samples.opened(kind, path)
        decided = step in ("journaled", "indexed", "committed", "closed") or step.startswith("renamed")
        assert contents(destination) == seen == (after if decided else before), step
        assert not list(path.glob("**/.*.tmp"))
        destination.commit(samples.second_commit())
        assert contents(destination) == after, step
        assert destination.landed(REPORTS, list("abcd")) == {"a": 2, "b": 1, "c": 1, "d": 1}
        destination.close()


def failing_at(step: str) -> Callable[[str], None]:
    def fail(now: str) -> None:
        if now == step:
            raise KeyboardInterrupt

    return fail


def test_an_interrupt_at_any_step_leaves_all_or_nothing(kind: str, tmp_path: Path) -> None:
    steps = steps_of_a_commit(kind, tmp_path / "watched")
    before, after = prepared(kind, tmp_path / "base")
    for step in steps:
        path = Path(shutil.copytree(tmp_path / "base", tmp_path / step))
        destination = samples.make(kind, path, on_step=failing_at(step))
        destination.open()
        with pytest.raises(KeyboardInterrupt):
            destination.commit(samples.second_commit())
        destination.close()
        destination = samples.opened(kind, path)
        assert contents(destination) in (before, after), step
        destination.commit(samples.second_commit())
        assert contents(destination) == after, step
        destination.close()


def test_a_kill_at_any_instant_leaves_whole_commits(kind: str, tmp_path: Path) -> None:
    chance, model, first = random.Random(1), Model(), 0
    for _ in range(4):
        process = samples.child(kind, tmp_path, "many", str(first))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.05, 0.4))
        process.kill()
        process.communicate()
        destination = samples.opened(kind, tmp_path)
        found = contents(destination)
        destination.close()
        last = int(found[STATE.name][0]["cursor"]) if found[STATE.name] else first - 1
        for number in range(first, last + 1):
            model.commit(samples.nth_commit(number))
        assert found == model.contents()
        first = last + 1
    assert first > 0


def test_bookkeeping_tables_are_prepared_like_any_table(destination: Any) -> None:
    assert destination.count(BOOKKEEPING) == {table.name: 0 for table in BOOKKEEPING}
