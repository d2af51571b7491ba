"""Server faults, alone and mixed: the same tables come out, or the run ends with the right exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.command_line import SECRET, CommandLine
from tests.conftest import TOKEN, Server
from tests.extraction import Extraction, assert_same, expected_tables
from tests.failing import FailingServer
from tests.retrying import IMPATIENT
from wats_extract.fake.faults import TRANSIENT_KINDS, Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

REPORTS = 30
LIMITS = {"largest_response": 50_000_000}
TIMEOUTS = {"stall": 0.5, "drip": 0.2, "drip-head": 0.2}
"""Seconds without a byte after which a request fails, for faults that would take as long as the default."""

PATIENT = replace(IMPATIENT, attempts=12)
"""Twice the usual attempts: with six, one item in 15,000 fails by chance, which is too often for a test."""


@pytest.mark.parametrize("fault", TRANSIENT_KINDS)
def test_one_request_in_five_fails_in_one_way(fault: str, server: Server, tmp_path: Path) -> None:
    reports = 10 if fault == "drip" else REPORTS  # each drip takes five timeouts
    plant = Plant(reports)
    app, url = server(plant, faults=Faults(rate=0.2, kinds=[fault], seed=7))
    extraction = Extraction(url, tmp_path, policy=PATIENT)
    report = extraction.run(limits=LIMITS | {"timeout": TIMEOUTS.get(fault, 5.0)})
    assert (report.status, report.failures) == ("succeeded", 0)
    assert fault == "slow" or app.total > reports + 4, "some requests were repeated"
    assert_same(extraction, expected_tables(plant))


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_one_request_in_five_fails_in_any_way(kind: str, seed: int, server: Server, tmp_path: Path) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant, faults=Faults(rate=0.2, kinds=TRANSIENT_KINDS, seed=seed))
    extraction = Extraction(url, tmp_path, kind, policy=PATIENT)
    report = extraction.run(limits=LIMITS | {"timeout": 0.5})
    assert (report.status, report.failures) == ("succeeded", 0)
    assert_same(extraction, expected_tables(plant))


# ── servers that go down ────────────────────────────────────────────────────────────────────────

GOOD = 45
"""Requests that succeed before the server fails: enough for some commits of ten reports."""

OUTAGES = [
    ("503", 5, "unreachable", "out of reach: HTTP 503"),
    ("html", 5, "unreachable", "out of reach"),
    ("drop", 5, "unreachable", "out of reach: the connection failed"),
    ("stall", 5, "unreachable", "out of reach: no response within"),
    ("401", 2, "refused", "HTTP 401"),
]


@pytest.mark.parametrize(("fault", "code", "status", "says"), OUTAGES)
def test_a_server_that_fails_for_good_ends_the_run_and_keeps_what_was_committed(
    tmp_path: Path, fault: str, code: int, status: str, says: str
) -> None:
    app = FailingServer(Plant(60), token=TOKEN, good=GOOD, fault=fault)
    with serve(app) as server:
        extraction = Extraction(server.url, tmp_path, names=["reports"], options={"chunk_size": 10})
        report = extraction.run(limits={"max_in_flight": 4, "timeout": TIMEOUTS.get(fault, 5.0)})
        assert (report.exit_code, report.status) == (code, status)
        assert says in report.message
        items = report.resources["reports"].items
        assert 20 <= items < 60
        assert len(extraction.table("reports")) == items
        assert extraction.table("_wats_failures") == []
        if fault == "401":
            assert app.total < GOOD + 2 * 4 + 2, "no request is sent with a token that was refused"
        app.mend()
        assert extraction.run().exit_code == 0
        assert len(extraction.table("reports")) == 60


@pytest.mark.parametrize(
    ("fault", "code", "status", "says"),
    [pytest.param(*outage, marks=[] if outage[0] == "401" else pytest.mark.long) for outage in OUTAGES],
)
def test_the_command_says_why_the_run_ended(
    command_line: CommandLine, fault: str, code: int, status: str, says: str
) -> None:
    """The same as a process, which waits as long between attempts as it does in production."""
    app = FailingServer(Plant(60), token=SECRET, good=GOOD, fault=fault)
    command_line.serve(app)
    file = command_line.pipeline(
        resources="[{name: reports, chunk_size: 10}]", source=", max_in_flight: 4, timeout: 1s"
    )
    ended = command_line.wats("run", file, "--json")
    summary: dict[str, Any] = json.loads(ended.out)
    assert (ended.code, summary["status"]) == (code, status)
    assert says in ended.err
    assert 20 <= summary["resources"]["reports"]["items"] < 60
    assert _counts(command_line) == (summary["resources"]["reports"]["items"], 0)
    app.mend()
    assert command_line.wats("run", file, "-q").code == 0
    assert _counts(command_line) == (60, 0)


def _counts(command_line: CommandLine) -> tuple[int, int]:
    """The numbers of reports and of failures in the destination."""
    with duckdb.connect(command_line.folder / "data/wats.duckdb", read_only=True) as tables:
        [reports] = tables.execute("SELECT count(*) FROM reports").fetchall()
        [failures] = tables.execute("SELECT count(*) FROM _wats_failures").fetchall()
    return reports[0], failures[0]
