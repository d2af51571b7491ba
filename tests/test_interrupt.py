"""Ctrl-C and SIGTERM end a command within two seconds, whatever it waits for; the next run continues."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import duckdb
import pytest

from tests.command_line import SECRET, CommandLine, Finished
from tests.failing import FailingServer
from tests.forked import Process
from tests.http.clients import raw_server
from tests.waiting import wait_until
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process"
)

REPORTS = 40
GOOD = 25
"""Requests that are answered as usual: enough for a commit of ten reports."""

PROMPT = 2.0
"""Seconds within which a command must end."""

INTO_THE_WAIT = 0.2
"""Seconds between a command's last request and the signal, so that it is waiting by then."""


def serve(command_line: CommandLine, fault: str | None, **options: float) -> FailingServer:
    app = FailingServer(Plant(REPORTS), good=GOOD, fault=fault, token=SECRET, **options)
    command_line.serve(app)
    return app


def interrupt(
    command_line: CommandLine, process: Process, number: int, *, when: Callable[[], object]
) -> Finished:
    """Send a signal as soon as a condition holds, and check that the command ends in time."""
    wait_until(when)
    time.sleep(INTO_THE_WAIT)
    begun = time.monotonic()
    process.send_signal(number)
    ended = command_line.finished(process)
    assert time.monotonic() - begun < PROMPT
    return ended


def count_reports(command_line: CommandLine) -> int:
    with duckdb.connect(command_line.folder / "data/wats.duckdb", read_only=True) as tables:
        [(count,)] = tables.execute("SELECT count(*) FROM reports").fetchall()
    return int(count)


WAITS = {
    "a silent server": ("stall", ""),
    "a response that drips": ("drip", ""),
    "429 for a day": ("429-long", ""),
    "429 until next decade": ("429-far", ""),
    "backoff": ("503", ""),
    "the request budget": (None, f", requests_per_minute: {GOOD}"),
}
"""What a run waits for, as the server's fault and a setting of the source."""


@pytest.mark.parametrize(("fault", "source"), WAITS.values(), ids=WAITS)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_run_ends_at_a_commit(
    command_line: CommandLine, fault: str | None, source: str, number: int, code: int
) -> None:
    app = serve(command_line, fault)
    resources = "[{name: reports, chunk_size: 10}]"
    file = command_line.pipeline(resources=resources, source=f", max_in_flight: 3{source}")
    enough = GOOD if fault is None else GOOD + 1
    process = command_line.fork("run", file, "--json")
    ended = interrupt(command_line, process, number, when=lambda: app.total >= enough)
    assert ended.code == code
    assert "the next run resumes from there" in ended.err
    summary = json.loads(ended.out)
    assert summary["status"] == "interrupted"
    assert summary["resources"]["reports"]["items"] == count_reports(command_line) >= 10
    if number == signal.SIGTERM:
        return
    app.mend()
    rest = json.loads(command_line.wats("run", command_line.pipeline(resources=resources), "--json").out)
    assert rest["status"] == "succeeded"
    assert count_reports(command_line) == REPORTS


def test_a_run_ends_while_it_reads_a_large_page(command_line: CommandLine) -> None:
    app = serve(command_line, None, latency=0.3)  # so that it is not over when the signal comes
    file = command_line.pipeline(resources="[{name: report_headers}, {name: reports}]")
    process = command_line.fork("run", file, "--json")
    ended = interrupt(command_line, process, signal.SIGINT, when=lambda: app.total >= 3)
    assert ended.code in (0, 130)


FOLDERS = 1_300_000
"""Rows of a list without paging: 230 MB, close to the limit of a response."""


@pytest.fixture(scope="module")
def large_list() -> Iterator[str]:
    """A server whose list of virtual folders comes in one response of 230 MB."""
    row = '{"id": %d, "name": "a folder", "description": "' + "x" * 100 + '", "new": {"values": [1.5, 2]}}'
    rows = ",".join(row % each for each in range(FOLDERS))
    body = gzip.compress(f"[{rows}]".encode(), 1)
    head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    with raw_server(lambda asked: head.encode() + body) as (url, _):
        yield url


@pytest.mark.long
@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("seconds", [1.0, 4.0, 8.0, 13.0, 18.0, 60.0])
def test_a_run_ends_at_any_moment_of_a_list_of_230_megabytes(
    command_line: CommandLine, large_list: str, kind: str, seconds: float
) -> None:
    command_line.read(large_list)
    file = command_line.pipeline(resources="[{name: virtual_folders}]", kind=kind, path=f"data/wats.{kind}")
    process = command_line.start("run", file, "-q")
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ended = command_line.finished(process)
        assert time.monotonic() - begun < PROMPT
        assert ended.code in (0, 143)
        assert "Traceback" not in ended.err
    else:
        assert command_line.finished(process).code == 0


@pytest.mark.parametrize("command", ["plan", "preview", "verify", "check", "retry", "backfill"])
def test_every_command_that_makes_requests_ends(command_line: CommandLine, command: str) -> None:
    app = serve(command_line, None)
    file = command_line.pipeline(resources="[{name: reports}]")
    if command == "retry":
        app.faults = Faults(broken=2, broken_kinds=["404"])
        app.faults.settle(REPORTS, app.plant.uuid)
        assert command_line.wats("run", file, "-q").code == 3
    app.faults = Faults(rate=1.0, kinds=["stall"])
    more = {"preview": ["reports"], "backfill": ["--from", "2000-01-01", "--to", "2100-01-01"]}
    before = app.total
    process = command_line.fork(command, file, *more.get(command, []))
    ended = interrupt(command_line, process, signal.SIGINT, when=lambda: app.total > before)
    assert ended.code == 130
    assert "interrupted" in ended.err.lower()
    assert "Traceback" not in ended.err
