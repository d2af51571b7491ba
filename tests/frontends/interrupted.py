"""Press Ctrl-C during runs, and check what is left. `test_outcomes` calls these in new processes."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wats_extract as wx
from wats_extract import events
from wats_extract.destinations.duckdb.destination import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.frontends import interrupts
from wats_extract.state.tables import RUNS

DELAYS = (0.0, 0.001, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)
"""Seconds from the beginning of a run, which takes a third of a second, to Ctrl-C."""


def destination_of(file: Path) -> DuckDB | Parquet:
    kind = DuckDB if "type: duckdb" in file.read_text(encoding="utf-8") else Parquet
    return kind(file.parent / "data")


def runs(file: Path) -> list[str]:
    """The status of each run. Opening the destination for writing shows that nothing is locked or open."""
    destination = destination_of(file)
    with destination.exclusive("p"):
        destination.open()
        try:
            rows = destination.read(RUNS).to_pylist()
        finally:
            destination.close()
    return [row["status"] for row in sorted(rows, key=lambda row: row["number"])]


@contextmanager
def serving(kind: str) -> Iterator[Iterator[Path]]:
    """Serve twenty reports; gives pipeline files, each in a folder of its own."""
    os.environ["WATS_TOKEN"] = "demo"
    with serve(App(Plant(20), latency=0.005)) as server:
        yield (_written(Path(f"{number}"), kind, server.url) for number in itertools.count())


def _written(folder: Path, kind: str, url: str) -> Path:
    folder.mkdir()
    file = folder / "p.yaml"
    file.write_text(
        f'version: 1\nname: p\nsource: {{url: "{url}", max_in_flight: 2}}\n'
        f"destination: {{type: {kind}, path: data}}\n"
        "resources: [{name: report_headers}, {name: reports, chunk_size: 5}]\n",
        encoding="utf-8",
    )
    return file.resolve()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupting_at(number: int) -> events.Listener:
    """Press Ctrl-C three times, from the n-th event of a run on."""
    counted = itertools.count()

    def listen(event: events.Event) -> None:
        if number <= next(counted) < number + 3:
            interrupt()

    return listen


def interrupted(file: Path, *, at_event: int | None = None, after: float = 0.0) -> bool:
    """Run a pipeline that is interrupted; whether it was while it ran."""
    timer = threading.Timer(after, interrupt)
    ended = False
    try:
        if at_event is None:
            timer.start()
        wx.run(file, listen=events.nobody if at_event is None else interrupting_at(at_event))
        ended = True
        timer.join() if at_event is None else None
        time.sleep(5)
    except KeyboardInterrupt:
        return not ended
    raise AssertionError("nothing was interrupted")


def continues(file: Path) -> None:
    """The next run loads the rest."""
    report = wx.run(file)
    assert report.exit_code == 0, report
    assert wx.verify(file).status == "equal"


def any_event(kind: str) -> None:
    with serving(kind) as files:
        for number in (0, 1, 3, 6, 10, 15, 30):
            file = next(files)
            assert interrupted(file, at_event=number)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert runs(file) == ["interrupted"], (number, runs(file))
            continues(file)


def any_time(kind: str) -> None:
    with serving(kind) as files:
        seen = set()
        for delay in DELAYS:
            file = next(files)
            during = interrupted(file, after=delay)
            found = runs(file)
            # A run that has written its last row is complete, even if Ctrl-C comes before its file is closed.
            expected = ([], ["interrupted"], ["succeeded"]) if during else (["succeeded"],)
            assert found in expected, (delay, found)
            seen |= {*found}
            continues(file)
        assert "interrupted" in seen


def other_handler(kind: str) -> None:
    """In an asynchronous cell of a notebook, and in asyncio, another handler waits for the signal."""
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    with serving(kind) as files:
        file = next(files)
        assert interrupted(file, at_event=3)
        assert received == [signal.SIGINT]
        assert runs(file) == ["interrupted"]
        continues(file)


def other_thread(kind: str) -> None:
    """A run in another thread changes no handler."""
    handlers: list[object] = []
    with serving(kind) as files:
        file = next(files)
        thread = threading.Thread(
            target=lambda: wx.run(file, listen=lambda event: handlers.append(signal.getsignal(signal.SIGINT)))
        )
        thread.start()
        thread.join()
        assert set(handlers) == {signal.default_int_handler}
        assert runs(file) == ["succeeded"]


def hanging(kind: str) -> None:
    """If a run hangs, a later Ctrl-C takes effect at once."""
    interrupts.PATIENCE_SECONDS = 0.05
    try:
        with interrupts.deferred() as stopping:
            interrupt()
            assert stopping.wait(5)
            time.sleep(0.1)
            interrupt()
            time.sleep(5)
            raise AssertionError("it hangs")
    except KeyboardInterrupt:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
