"""The write buffer: buffered commits leave the same tables as one commit at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.destinations import destination_samples as samples
from tests.destinations.destination_samples import ALL, CHARTS, FAMILY, KINDS, REPORTS, START, STEPS, Model

from wats_extract.engine.buffer import WriteBuffer
from wats_extract.errors import DestinationError, OutOfMemory
from wats_extract.flow import Commit
from wats_extract.state.tables import FAILURES, STATE
from wats_extract.tables import Column, Table

ASSETS = Table(
    "assets",
    key=("uuid",),
    owner="uuid",
    columns=(Column("uuid", pa.string()), Column("name", pa.string())),
)
"""The table of another resource, whose items have the same keys."""


class Recorder(Model):
    """A destination in memory that records its commits, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []
        self.error: Exception | None = None

    def commit(self, commit: Commit) -> None:
        if self.error is not None:
            raise self.error
        self.commits.append(commit)
        super().commit(commit)

    @property
    def labels(self) -> list[str]:
        return [commit.label for commit in self.commits]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def destination() -> Recorder:
    return Recorder()


@pytest.fixture
def durable() -> list[str]:
    """Receipts of durable commits."""
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(destination: Recorder, durable: list[str], clock: Clock) -> WriteBuffer[str]:
    return WriteBuffer(destination, on_durable=durable.extend, clock=clock)  # type: ignore[arg-type]


def commit_of(label: str, items: samples.Items, **more: Any) -> Commit:
    """A commit with a bookkeeping row of its own."""
    return samples.commit_of(
        label, items, **{"book": {STATE: [samples.state(label, selection=label)]}} | more
    )


def bookkeeping(label: str, *rows: dict[str, Any]) -> Commit:
    return Commit(label, {}, {}, frozenset(), {STATE: list(rows)})


def assets_of(label: str, *uuids: str, replaced: Sequence[str] = ()) -> Commit:
    rows = [
        {"uuid": uuid, "name": label, "_wats_run_id": "r1", "_wats_extracted_at": START} for uuid in uuids
    ]
    tables = {ASSETS: samples.batches(ASSETS, rows)}
    return Commit(label, tables, dict.fromkeys(uuids), frozenset(replaced), {})


# ── flushing ────────────────────────────────────────────────────────────────────────────────────


def test_buffered_commits_become_one(
    buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    for number, item in enumerate("abc"):
        buffer.add(commit_of(f"c{number}", {item: (number, 2, 1)}), f"receipt {number}")
    assert destination.commits == []
    assert durable == []
    buffer.flush()
    [merged] = destination.commits
    assert merged.label == "c0"
    assert merged.landed == {"a": 0, "b": 1, "c": 2}
    assert [row["selection"] for row in merged.book[STATE]] == ["c0", "c1", "c2"]
    assert {table: len(rows) for table, rows in destination.tables.items() if rows} == {
        REPORTS: 3,
        STEPS: 6,
        CHARTS: 3,
        STATE: 3,
    }
    assert durable == ["receipt 0", "receipt 1", "receipt 2"]
    buffer.flush()
    assert len(destination.commits) == 1
    assert len(durable) == 3


def test_receipts_are_reported_after_the_commit(destination: Recorder) -> None:
    seen: list[int] = []
    buffer = WriteBuffer(destination, on_durable=lambda _: seen.append(len(destination.commits)))  # type: ignore[arg-type]
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    buffer.flush()
    assert seen == [1]


@pytest.mark.parametrize("bound", ["max_rows", "max_bytes"])
def test_a_full_buffer_is_flushed(bound: str, destination: Recorder, durable: list[str]) -> None:
    first, second = commit_of("1", {"a": (1, 3, 0), "b": (1, 3, 0)}), commit_of("2", {"c": (1, 3, 0)})
    size = {"max_rows": 2, "max_bytes": sum(batch.nbytes for rows in first.rows.values() for batch in rows)}
    buffer = WriteBuffer(destination, on_durable=durable.extend, **{bound: size[bound] + 1})  # type: ignore[arg-type]
    buffer.add(first, "1")
    assert durable == []
    buffer.add(second, "2")
    assert durable == ["1", "2"]
    assert destination.labels == ["1"]


def test_an_old_buffer_is_flushed(buffer: WriteBuffer[str], durable: list[str], clock: Clock) -> None:
    for number in range(5):
        clock.now = 100.0 + number
        buffer.add(commit_of(f"{number}", {f"{number}": (1, 1, 0)}), f"{number}")
    assert durable == []
    clock.now = 105.0
    buffer.add(commit_of("5", {"5": (1, 1, 0)}), "5")
    assert durable == ["0", "1", "2", "3", "4", "5"]
    clock.now = 109.0
    buffer.add(commit_of("6", {"6": (1, 1, 0)}), "6")
    assert len(durable) == 6, "the age is counted from the first commit after a flush"


def test_an_idle_buffer_is_flushed(buffer: WriteBuffer[str], durable: list[str], clock: Clock) -> None:
    clock.now = 100.0
    buffer.flush_if_idle()
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    clock.now = 100.9
    buffer.flush_if_idle()
    buffer.add(commit_of("2", {"b": (1, 1, 0)}), "2")
    clock.now = 101.8
    buffer.flush_if_idle()
    assert durable == []
    clock.now = 101.9
    buffer.flush_if_idle()
    assert durable == ["1", "2"]


# ── merging ─────────────────────────────────────────────────────────────────────────────────────


def test_a_buffered_item_is_flushed_before_it_is_replaced(
    buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    buffer.add(commit_of("1", {"a": (1, 3, 2), "b": (1, 1, 1)}), "1")
    buffer.add(commit_of("2", {"a": (2, 2, 0)}, replaced=["a"], minute=1), "2")
    assert durable == ["1"]
    buffer.flush()
    assert destination.labels == ["1", "2"]
    assert [row["time_stamp"] for row in destination.contents()["reports"]] == [2, 1]
    assert len(destination.tables[STEPS]) == 3


def test_commits_into_other_tables_are_not_merged(buffer: WriteBuffer[str], destination: Recorder) -> None:
    destination.commit(commit_of("0", {"a": (1, 3, 2)}))
    buffer.add(assets_of("1", "a"), "1")
    buffer.add(commit_of("2", {"b": (1, 1, 0)}), "2")
    buffer.add(assets_of("3", "a", replaced=["a"]), "3")
    buffer.flush()
    assert destination.labels == ["0", "1", "2", "3"]
    assert len(destination.tables[STEPS]) == 4, "replacing an asset deletes no report"


def test_upserts_are_not_merged_with_other_commits(buffer: WriteBuffer[str], destination: Recorder) -> None:
    for number, upsert in enumerate([False, True, True, False]):
        items = {f"{number}": (1, 1, 0)}
        buffer.add(commit_of(f"{number}", items, upsert=upsert), "")
    buffer.flush()
    assert [(commit.label, commit.upsert) for commit in destination.commits] == [
        ("0", False),
        ("1", True),
        ("3", False),
    ]


def test_bookkeeping_is_merged_with_rows_of_any_resource(
    buffer: WriteBuffer[str], destination: Recorder
) -> None:
    buffer.add(bookkeeping("1", samples.state("early", selection="s")), "1")
    buffer.add(commit_of("2", {"a": (1, 1, 0)}), "2")
    buffer.add(bookkeeping("3", samples.state("late", selection="s"), samples.state("x", resource="r")), "3")
    buffer.flush()
    [merged] = destination.commits
    assert merged.label == "2", "files are named after a commit that has rows"
    assert [row["cursor"] for row in merged.book[STATE]] == ["late", "2", "x"]
    buffer.add(bookkeeping("4", samples.state("last", selection="s")), "4")
    buffer.flush()
    assert destination.labels == ["2", "4"]


def test_a_commit_without_tables_deletes_no_rows(buffer: WriteBuffer[str], destination: Recorder) -> None:
    destination.commit(commit_of("1", {"a": (1, 1, 0)}))
    buffer.add(Commit("2", {}, {"a": 2}, frozenset("a"), {}), "2")
    buffer.add(commit_of("3", {"b": (1, 1, 0)}), "3")
    buffer.flush()
    assert destination.labels == ["1", "3"]
    assert buffer.landed(REPORTS, ["a", "b"]) == {"a": 1, "b": 1}


def test_a_sweep_is_flushed_on_its_own(
    buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    buffer.add(commit_of("1", {"a": (1, 1, 0), "b": (1, 1, 0)}), "1")
    sweep = commit_of("2", {}, sweep_except=frozenset(), kept=["b"])
    buffer.add(sweep, "2")
    assert durable == ["1", "2"]
    assert destination.commits[1].sweep_except == sweep.sweep_except
    assert [row["uuid"] for row in destination.tables[REPORTS]] == ["b"]
    buffer.add(commit_of("3", {"c": (1, 1, 0)}), "3")
    buffer.flush()
    assert [row["uuid"] for row in destination.tables[REPORTS]] == ["b", "c"]


# ── errors ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [RuntimeError("full"), KeyboardInterrupt()])
def test_nothing_is_buffered_after_a_failed_commit(
    error: Any, buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    destination.error = error
    with pytest.raises(type(error)):
        buffer.flush()
    destination.error = None
    buffer.flush()
    assert destination.commits == []
    assert buffer.landed(REPORTS, ["a"]) == {}
    buffer.add(commit_of("2", {"b": (1, 1, 0)}), "2")
    buffer.flush()
    assert destination.labels == durable == ["2"]


def test_nothing_is_buffered_after_an_error_while_adding(
    buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    with pytest.raises(KeyError):
        buffer.add(bookkeeping("2", {"pipeline": "a row without its other keys"}), "2")
    buffer.flush()
    assert destination.commits == []
    buffer.add(commit_of("3", {"a": (1, 1, 0)}), "3")
    destination.error = RuntimeError("full")
    with pytest.raises(RuntimeError):
        buffer.add(commit_of("4", {"a": (2, 1, 0)}, upsert=True), "4")
    destination.error = None
    buffer.flush()
    assert destination.commits == []
    assert durable == []


def test_nothing_is_buffered_after_an_error_in_on_durable(destination: Recorder) -> None:
    def stop(receipts: Sequence[str]) -> None:
        raise KeyboardInterrupt

    buffer: WriteBuffer[str] = WriteBuffer(destination, on_durable=stop)  # type: ignore[arg-type]
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    with pytest.raises(KeyboardInterrupt):
        buffer.flush()
    buffer.flush()
    assert destination.labels == ["1"]


def test_discarded_commits_are_never_made(
    buffer: WriteBuffer[str], destination: Recorder, durable: list[str]
) -> None:
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    buffer.discard()
    buffer.flush()
    assert destination.commits == []
    assert durable == []
    assert buffer.landed(REPORTS, ["a"]) == {}


# ── landed ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("upsert", [False, True])
def test_landed_sees_durable_and_buffered_rows(
    upsert: bool, buffer: WriteBuffer[str], destination: Recorder
) -> None:
    destination.commit(commit_of("1", {"a": (1, 3, 2), "b": (1, 1, 1), "c": (1, 1, 0)}))
    named = [] if upsert else ["a", "c"]
    items = {"a": (5, 0, 1), "c": (2, 2, 0), "d": (7, 1, 0)}
    buffer.add(commit_of("2", items, replaced=named, minute=1, upsert=upsert), "2")
    keys = list("abcdx")
    expected = {
        REPORTS: {"a": 5, "b": 1, "c": 2, "d": 7},
        STEPS: dict.fromkeys("bcd"),
        CHARTS: dict.fromkeys("ab"),
        ASSETS: {},
    }
    for table, found in expected.items():
        assert buffer.landed(table, keys) == found
        assert buffer.landed(table, []) == {}
    assert len(destination.commits) == 1
    buffer.flush()
    for table, found in expected.items():
        assert buffer.landed(table, keys) == found


def test_landed_returns_the_latest_version(buffer: WriteBuffer[str], destination: Recorder) -> None:
    destination.commit(commit_of("1", {"a": (8, 1, 0)}))
    buffer.add(commit_of("2", {"a": (3, 1, 0)}, minute=1), "2")
    assert buffer.landed(REPORTS, ["a"]) == {"a": 8}, "appended, not replaced"


def test_landed_passes_the_range_of_versions_on(destination: Recorder) -> None:
    asked: list[Any] = []

    class Asked(Recorder):
        def landed(self, table: Table, keys: Sequence[str], **more: Any) -> dict[str, int | None]:
            asked.append(more["versions"])
            return {}

    buffer: WriteBuffer[str] = WriteBuffer(Asked(), on_durable=lambda _: None)  # type: ignore[arg-type]
    buffer.landed(REPORTS, ["a"], versions=(3, 4))
    assert asked == [(3, 4)]


def test_landed_sees_rows_while_they_are_committed() -> None:
    committing, answered = threading.Event(), threading.Event()

    class Slow(Recorder):
        def commit(self, commit: Commit) -> None:
            committing.set()
            assert answered.wait(10)
            super().commit(commit)

    buffer: WriteBuffer[str] = WriteBuffer(Slow(), on_durable=lambda _: None)  # type: ignore[arg-type]
    buffer.add(commit_of("1", {"a": (1, 1, 0)}), "1")
    with ThreadPoolExecutor(1) as threads:
        flushed = threads.submit(buffer.flush)
        assert committing.wait(10)
        assert buffer.landed(REPORTS, ["a"]) == {"a": 1}
        answered.set()
        flushed.result()
    assert buffer.landed(REPORTS, ["a"]) == {"a": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_another_thread_never_misses_an_item(kind: str, tmp_path: Path) -> None:
    destination = samples.opened(kind, tmp_path)
    buffer = WriteBuffer(destination, on_durable=lambda _: None, max_rows=4)
    added: list[str] = []
    ended = threading.Event()

    def look_up() -> int:
        rounds = 0
        while not ended.is_set():
            expected = added[:]
            assert buffer.landed(REPORTS, expected).keys() == set(expected)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(look_up) for _ in range(2)]
        try:
            for number in range(60):
                buffer.add(commit_of(f"{number}", {f"item {number}": (number, 2, 0)}, minute=number), "")
                added.append(f"item {number}")
        finally:
            ended.set()
        assert all(reader.result() for reader in readers)
    buffer.flush()
    assert destination.count([REPORTS]) == {"reports": 60}
    destination.close()


# ── the law ─────────────────────────────────────────────────────────────────────────────────────

KEYS = tuple("abcd")
items = st.dictionaries(st.sampled_from(KEYS), st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=3)


@dataclass(frozen=True)
class Step:
    """One commit of a sequence.

    Attributes:
        items: uuid → number of steps, number of charts.
        what: What kind of commit it is.
        label: Labels may repeat.
        repeated: For a repetition: how many commits ago the repeated one was.
        flushed: Whether the buffer is flushed afterwards.
    """

    items: dict[str, tuple[int, int]]
    what: str = "upsert"
    label: int = 0
    repeated: int = 1
    flushed: bool = False


WHAT = ("upsert", "upsert", "named", "named", "assets", "bookkeeping", "sweep", "repetition")
sequences = st.lists(
    st.builds(Step, items, st.sampled_from(WHAT), st.integers(0, 2), st.integers(1, 4), st.booleans()),
    max_size=9,
)


def made(step: Step, number: int, model: Model, earlier: Sequence[Commit]) -> Commit:
    """The commit of a step, given the tables that the commits before it leave."""
    versioned = {uuid: (number, *sizes) for uuid, sizes in step.items.items()}
    label = f"{step.what}-{step.label}"
    book = {
        STATE: [samples.state(number, selection=str(step.label))],
        FAILURES: [
            {"pipeline": "p", "resource": "reports", "key": uuid, "attempts": number} for uuid in step.items
        ],
    }
    if step.what == "bookkeeping":
        return Commit(label, {}, {}, frozenset(), book)
    if step.what == "repetition":
        return (
            replace(earlier[-step.repeated], upsert=True)
            if step.repeated <= len(earlier)
            else Commit(label, {}, {}, frozenset(), book)
        )
    if step.what == "assets":
        uuids = list(step.items)
        commit = assets_of(label, *uuids, replaced=list(model.landed(ASSETS, uuids)))
        return replace(commit, book=book)
    swept = samples.runs_from(number - 1, number) if step.what == "sweep" else None
    return samples.commit_of(
        label,
        versioned,
        minute=number,
        replaced=() if step.what == "upsert" else model.landed(REPORTS, list(versioned)),
        upsert=step.what == "upsert",
        book=book,
        sweep_except=swept,
        kept=["a"] if swept else (),
    )


def assert_law(sequence: Sequence[Step], destination: Any, contents: Any, *, max_rows: int) -> None:
    """Buffered commits are reported in order, and leave the same tables as one commit at a time."""
    receipts: list[int] = []
    buffer = WriteBuffer(destination, on_durable=receipts.extend, max_rows=max_rows)
    model = Model()
    commits: list[Commit] = []
    tables = (*FAMILY, ASSETS, STATE, FAILURES)
    for number, step in enumerate(sequence):
        commit = made(step, number, model, [each for each in commits if each.sweep_except is None])
        buffer.add(commit, number)
        model.commit(commit)
        commits.append(commit)
        for table in (*FAMILY, ASSETS):
            assert buffer.landed(table, KEYS) == model.landed(table, KEYS)
        if step.flushed:
            buffer.flush()
            assert contents(tables) == model.contents(tables)
            assert receipts == list(range(number + 1))
    buffer.flush()
    assert contents(tables) == model.contents(tables)
    assert receipts == list(range(len(sequence)))


@given(sequences, st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_buffered_commits_leave_the_tables_of_single_commits(sequence: list[Step], max_rows: int) -> None:
    destination = Recorder()
    assert_law(sequence, destination, destination.contents, max_rows=max_rows)


@pytest.mark.parametrize("kind", KINDS)
@given(sequence=sequences, max_rows=st.integers(1, 6))
@example(
    sequence=[Step({"a": (1, 1)}), Step({"b": (1, 1)}), Step({}, "repetition", repeated=1, flushed=True)],
    max_rows=6,
)
@settings(max_examples=10, deadline=None)
def test_buffered_commits_leave_the_same_tables_in_real_destinations(
    kind: str, sequence: list[Step], max_rows: int
) -> None:
    with TemporaryDirectory() as folder:
        destination = samples.opened(kind, Path(folder))
        destination.prepare([ASSETS, *ALL])
        try:
            assert_law(
                sequence,
                destination,
                lambda tables: samples.contents(destination, tables),
                max_rows=max_rows,
            )
        finally:
            destination.close()


# ── commits that do not fit into memory ─────────────────────────────────────────────────────────


class Tight(Recorder):
    """A destination with memory for so many rows of a commit, in all tables together."""

    def __init__(self, rows: int, error: Exception) -> None:
        super().__init__()
        self._rows, self._full = rows, error

    def commit(self, commit: Commit) -> None:
        if sum(batch.num_rows for batches in commit.rows.values() for batch in batches) > self._rows:
            raise self._full
        super().commit(commit)


FULL = [MemoryError(), OutOfMemory("full"), pa.ArrowMemoryError("full")]


def refuse(receipt: str, key: str, rows: Any) -> tuple[str, Any]:
    """Note an item that does not fit in its receipt, and book it."""
    return f"{receipt} without {key} of {sum(rows.values())} rows", {STATE: [samples.state(f"no {key}")]}


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize(
    ("large", "commits"),
    [((), 1), (("a",), 5), (("d",), 5), (("f",), 5), (("b", "c"), 6), (("a", "f"), 7), (tuple("abcdef"), 1)],
)
def test_a_commit_that_does_not_fit_into_memory_is_divided_down_to_one_item(
    error: Exception, large: tuple[str, ...], commits: int, durable: list[str]
) -> None:
    destination = Tight(30, error)
    buffer = WriteBuffer(destination, on_durable=durable.extend, on_refused=refuse)  # type: ignore[arg-type]
    pairs = {"c0": "ab", "c1": "cd", "c2": "ef"}
    for label, pair in pairs.items():
        items = {uuid: (1, 40, 0) if uuid in large else (1, 2, 1) for uuid in pair}
        buffer.add(commit_of(label, items), label)
    buffer.flush()
    assert sorted(row["uuid"] for row in destination.tables[REPORTS]) == sorted(set("abcdef") - set(large))
    assert len(destination.tables[STEPS]) == 2 * (6 - len(large))
    assert durable == [
        "".join([label, *(f" without {uuid} of 41 rows" for uuid in pair if uuid in large)])
        for label, pair in pairs.items()
    ]
    selections = {row["selection"] for row in destination.commits[-1].book[STATE]}
    assert {"c0", "c1", "c2"} <= selections
    assert not any(commit.book for commit in destination.commits[:-1]), "no cursor before the rows"
    labels = [commit.label for commit in destination.commits]
    assert len(labels) == len(set(labels)) <= commits
    buffer.flush()
    assert len(destination.commits) == len(labels)


def test_a_crash_between_the_parts_of_a_commit_leaves_the_cursor(durable: list[str]) -> None:
    class Crashing(Tight):
        def commit(self, commit: Commit) -> None:
            if self.commits:
                raise DestinationError("the disk is gone")
            super().commit(commit)

    destination = Crashing(8, MemoryError())
    buffer = WriteBuffer(destination, on_durable=durable.extend, on_refused=refuse)  # type: ignore[arg-type]
    buffer.add(commit_of("c", dict.fromkeys("abcd", (1, 3, 0))), "c")
    with pytest.raises(DestinationError, match="the disk is gone"):
        buffer.flush()
    assert [row["uuid"] for row in destination.tables[REPORTS]] == ["a", "b"]
    assert destination.tables[STATE] == []
    assert durable == []


def test_without_items_a_commit_cannot_be_divided(durable: list[str]) -> None:
    destination = Recorder()
    destination.error = MemoryError()
    buffer = WriteBuffer(destination, on_durable=durable.extend, on_refused=refuse)  # type: ignore[arg-type]
    buffer.add(bookkeeping("c", samples.state("c")), "c")
    with pytest.raises(MemoryError):
        buffer.flush()
    assert durable == []


def test_a_commit_that_fills_the_buffer_by_itself_takes_no_others_down(
    destination: Recorder, durable: list[str]
) -> None:
    buffer = WriteBuffer(destination, on_durable=durable.extend, max_bytes=10_000)  # type: ignore[arg-type]
    buffer.add(commit_of("small", {"a": (1, 2, 0)}), "small")
    buffer.add(commit_of("large", {"b": (1, 1000, 0)}), "large")
    buffer.add(commit_of("next", {"c": (1, 2, 0)}), "next")
    buffer.flush()
    assert destination.labels == durable == ["small", "large", "next"]
