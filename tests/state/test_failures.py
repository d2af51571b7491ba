"""The failures table: opened, failed again, resolved."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.flow import Commit, Destination, Failure
from wats_extract.state.failures import OpenFailures
from wats_extract.state.tables import BOOKKEEPING, FAILURES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def failed(key: str, code: str = "API_ERROR", *, resource: str = "reports", attempts: int = 6) -> Failure:
    return Failure(
        resource, key, "fetch", code, f"HTTP 500 ({key})", "try later", 500, "/api/x", attempts, "…"
    )


class Book:
    """Commits failures as a run does, into a real destination."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.commits = 0
        destination.open()
        destination.prepare(BOOKKEEPING)

    def commit(
        self,
        failures: Iterable[Failure] = (),
        landed: Iterable[tuple[str, str]] = (),
        *,
        hours: int = 0,
        pipeline: str = "p",
    ) -> OpenFailures:
        self.commits += 1
        failures_open = OpenFailures.of(self.destination, pipeline)
        now = NOW + timedelta(hours=hours)
        rows = failures_open.rows_for(failures, landed, run_id=f"run-{self.commits}", now=now)
        if rows:
            self.destination.commit(Commit(f"c{self.commits}", {}, {}, frozenset(), {FAILURES: rows}))
        failures_open.settle(rows)
        again = OpenFailures.of(self.destination, pipeline)
        for resource in ("reports", "report_headers"):
            assert again.keys(resource) == failures_open.keys(resource)  # memory and table agree
        return again

    def row(self, key: str) -> dict[str, Any]:
        [row] = [row for row in self.destination.read(FAILURES).to_pylist() if row["key"] == key]
        return row


@pytest.fixture(params=["duckdb", "parquet"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterable[Book]:
    book = Book(DuckDB(tmp_path / "f.duckdb") if request.param == "duckdb" else Parquet(tmp_path / "f"))
    yield book
    book.destination.close()


def test_a_failure_is_counted_resolved_and_opened_again(book: Book) -> None:
    assert len(book.commit([failed("a")])) == 1
    first = book.row("a")
    assert first == {
        "pipeline": "p",
        "resource": "reports",
        "key": "a",
        "stage": "fetch",
        "error_code": "API_ERROR",
        "message": "HTTP 500 (a)",
        "hint": "try later",
        "http_status": 500,
        "url": "/api/x",
        "attempts": 6,
        "first_failed_at": NOW,
        "last_failed_at": NOW,
        "status": "open",
        "resolved_at": None,
        "run_id": "run-1",
        "payload": "…",
    }

    assert len(book.commit([failed("a", "TIMEOUT", attempts=2)], hours=1)) == 1
    second = book.row("a")
    assert (second["first_failed_at"], second["last_failed_at"]) == (NOW, NOW + timedelta(hours=1))
    assert (second["attempts"], second["error_code"], second["run_id"]) == (8, "TIMEOUT", "run-2")

    assert len(book.commit([], [("reports", "a"), ("reports", "never failed")], hours=2)) == 0
    resolved = book.row("a")
    assert resolved == second | {"status": "resolved", "resolved_at": NOW + timedelta(hours=2)}

    assert len(book.commit([], [("reports", "a")], hours=3)) == 0
    assert book.row("a") == resolved

    assert len(book.commit([failed("a", attempts=1)], hours=4)) == 1
    again = book.row("a")
    assert (again["status"], again["resolved_at"], again["attempts"]) == ("open", None, 1)
    assert again["first_failed_at"] == NOW + timedelta(hours=4)


def test_an_item_that_fails_and_lands_in_the_same_commit_stays_open(book: Book) -> None:
    book.commit([failed("a")])
    assert book.commit([failed("a")], [("reports", "a")], hours=1).keys("reports") == ["a"]
    assert book.row("a")["attempts"] == 12


def test_resources_and_pipelines_are_separate(book: Book) -> None:
    book.commit([failed("a"), failed("a", resource="report_headers")])
    book.commit([failed("a")], pipeline="q")
    open_failures = book.commit([], [("report_headers", "a")], hours=1)
    assert len(open_failures) == 1
    assert open_failures.count(["reports"]) == 1
    assert open_failures.count(["report_headers"]) == 0
    assert open_failures.count(["reports", "report_headers"]) == 1
    assert OpenFailures.of(book.destination, "q").keys("reports") == ["a"]


def test_keys_are_ordered_by_age_and_filtered_by_code(book: Book) -> None:
    book.commit([failed("b"), failed("a", "TIMEOUT")], hours=1)
    book.commit([failed("c")], hours=0)
    open_failures = book.commit([failed("b")], hours=2)
    assert open_failures.keys("reports") == ["c", "a", "b"]
    assert open_failures.keys("reports", code="API_ERROR") == ["c", "b"]
    assert open_failures.keys("reports", code="NOT_FOUND") == []


@pytest.mark.parametrize("status", ["resolved", "ignored"])
def test_only_open_failures_count(status: str) -> None:
    row = {"resource": "reports", "key": "a", "status": status}
    assert len(OpenFailures("p", [row])) == 0
