"""Ctrl-C and SIGTERM end a run within two seconds, whatever it waits for, and the next one goes on."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.cli.conftest import SECRET, Desk, Said, desk_in
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody can send Ctrl-C to one process there")

REPORTS = 40
GOOD = 25
"""Requests that are answered as usual, enough for a commit of ten reports."""


class Worsening(App):
    """A server that some requests later answers in one bad way only."""

    def __init__(self, kind: str | None, **options: Any) -> None:
        super().__init__(Plant(REPORTS), token=SECRET, **options)
        self._later = Faults(rate=1.0, kinds=[kind]) if kind else None

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        if self._later and self.total >= GOOD:
            self.faults = self._later
        with super().answering(request) as answer:
            yield answer

    def mend(self) -> None:
        self._later = None
        self.faults = Faults()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


@pytest.fixture
def serving(desk: Desk) -> Iterator[Callable[..., Worsening]]:
    with ExitStack() as stack:

        def start(kind: str | None, **options: Any) -> Worsening:
            app = Worsening(kind, **options)
            desk.env["WATS_URL"] = stack.enter_context(serve(app)).url
            return app

        yield start


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 40
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupted(
    desk: Desk, app: App, file: str, number: int, *, when: Callable[[], object]
) -> tuple[Said, float]:
    """Start a run, send it a signal, and say how long it went on."""
    process = desk.start("run", file, "--json")
    until(when)
    time.sleep(0.3)  # into the wait, which nothing tells of from outside
    asked = time.monotonic()
    process.send_signal(number)
    said = desk.finished(process)
    return said, time.monotonic() - asked


def landed(desk: Desk) -> int:
    with duckdb.connect(desk.folder / "data/wats.duckdb", read_only=True) as tables:
        [(count,)] = tables.execute("SELECT count(*) FROM reports").fetchall()
    return int(count)


WAITS = {
    "a silent server": ("stall", ""),
    "drops of an answer": ("drip", ""),
    "429 for a day": ("429-long", ""),
    "429 until next decade": ("429-far", ""),
    "backoff": ("503", ""),
    "the budget": (None, f", requests_per_minute: {GOOD}"),
}


@pytest.mark.parametrize(("kind", "source"), WAITS.values(), ids=WAITS)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_it_ends_within_two_seconds_at_a_commit(
    desk: Desk, serving: Any, kind: str | None, source: str, number: int, code: int
) -> None:
    app = serving(kind)
    file = desk.pipeline(resources="[{name: reports, chunk_size: 10}]", source=f", max_in_flight: 3{source}")
    enough = GOOD if kind is None else GOOD + 1
    said, seconds = interrupted(desk, app, file, number, when=lambda: app.total >= enough)
    assert seconds < 2
    assert said.code == code
    assert "the next run resumes from there" in said.err
    told = json.loads(said.out)
    assert told["status"] == "interrupted"
    assert told["resources"]["reports"]["items"] == landed(desk) >= 10
    if number == signal.SIGTERM:
        return
    app.mend()
    rest = json.loads(
        desk.wats("run", desk.pipeline(resources="[{name: reports, chunk_size: 10}]"), "--json").out
    )
    assert rest["status"] == "succeeded"
    assert landed(desk) == REPORTS


def test_it_ends_within_two_seconds_while_a_large_page_is_read(desk: Desk, serving: Any) -> None:
    app = serving(None, latency=0.3)  # so that it is not over when the signal comes
    file = desk.pipeline(resources="[{name: report_headers}, {name: reports}]")
    said, seconds = interrupted(desk, app, file, signal.SIGINT, when=lambda: app.total >= 3)
    assert seconds < 2
    assert said.code in (0, 130)


@pytest.mark.parametrize("command", ["plan", "preview", "verify", "check", "retry", "backfill"])
def test_every_command_that_asks_the_server_ends_so(desk: Desk, serving: Any, command: str) -> None:
    app = serving("stall")
    file = desk.pipeline(resources="[{name: reports}]")
    app.faults = Faults(rate=1.0, kinds=["stall"])
    if command == "retry":
        app.faults = Faults(broken=2, broken_kinds=["404"])
        app.faults.settle(REPORTS, app.plant.uuid)
        app._later = None
        assert desk.wats("run", file, "-q").code == 3
        app.faults = Faults(rate=1.0, kinds=["stall"])
    more = {"preview": ["reports"], "backfill": ["--from", "2000-01-01", "--to", "2100-01-01"]}
    before = app.total
    process = desk.start(command, file, *more.get(command, []))
    until(lambda: app.total > before)
    time.sleep(0.3)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = desk.finished(process)
    assert time.monotonic() - asked < 2
    assert said.code == 130
    assert "Interrupted" in said.err or "interrupted" in said.err
    assert "Traceback" not in said.err
