from __future__ import annotations

import os
import re
import struct
import threading
import time

import pytest

from wats_extract import events
from wats_extract.cli.progress import Log, Wait
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.flow import Failure

from .conftest import Desk, Serving

fcntl = pytest.importorskip("fcntl", reason="Windows has no pseudo-terminals")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")


def on_terminal(desk: Desk, *args: str, width: int = 100) -> tuple[int, str, str]:
    """Run a command with a terminal as stderr; return its exit code, stdout and the terminal's output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = desk.start(*args, stderr=theirs, stdin=theirs)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # Linux raises it when the other side is closed
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=30)
    return process.returncode, out, seen.decode()


def test_a_terminal_gets_progress_bars(desk: Desk, serving: Serving) -> None:
    serving(40, latency=0.05)
    code, out, seen = on_terminal(desk, "run", desk.pipeline(source=", max_in_flight: 4"), "--json")
    assert code == 0
    assert out.startswith("{")
    assert "\x1b" not in out
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert re.search(r"reports +━+ +\d+/40\+? +\d+ committed +\d+/s", plain)
    assert "40/40" in plain
    assert seen.endswith("\x1b[2K") or "\x1b[?25h" in seen, "the cursor is visible again"


def test_a_terminal_shows_the_reason_of_a_wait(desk: Desk, serving: Serving) -> None:
    app = serving(20, faults=Faults(rate=1, kinds=["429"], retry_after=2))
    mending = threading.Thread(target=mend_after_one_request, args=(app,))
    mending.start()
    _, _, seen = on_terminal(desk, "run", desk.pipeline(resources="[{name: report_headers}]"))
    mending.join()
    assert "HTTP 429: Too many requests. Please slow down, next try in 2 s" in seen
    assert re.search(r"HTTP 429.*, next try in 1 s", seen)


def mend_after_one_request(app: App) -> None:
    end = time.monotonic() + 30
    while not app.total and time.monotonic() < end:
        time.sleep(0.02)
    app.faults.mend()


def test_a_narrow_terminal_without_colours(desk: Desk, serving: Serving) -> None:
    serving(20)
    desk.env["NO_COLOR"] = "1"
    code, _, seen = on_terminal(desk, "run", desk.pipeline(), width=40)
    assert code == 0
    assert "20/20" in seen
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", seen)


def test_a_dumb_terminal_gets_log_lines(desk: Desk, serving: Serving) -> None:
    serving(20)
    desk.env["TERM"] = "dumb"
    _, _, seen = on_terminal(desk, "run", desk.pipeline())
    assert "reports: 20/20 fetched, 20 committed" in seen
    assert "\x1b" not in seen


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_log_has_a_progress_line_every_ten_seconds() -> None:
    lines: list[str] = []
    clock = Clock()
    log = Log(lines.append, clock)
    log.listen(events.ResourceStarted("reports"))
    log.listen(events.ItemsListed("reports", 1000))
    for second in range(25):
        clock.now = float(second)
        log.listen(events.ItemsFetched("reports", 4))
    log.listen(events.ItemFailed(Failure("reports", "a", "fetch", "TIMEOUT", "no answer")))
    log.listen(events.Committed("reports", 99, {}, failures=1))
    log.listen(events.ResourceEnded("reports"))
    assert lines == [
        "reports: started",
        "reports: 44/1,000+ fetched, 0 committed, 4/s",
        "reports: 84/1,000+ fetched, 0 committed, 4/s",
        "reports: 100/1,000+ fetched, 99 committed, 1 failed in 24.0 s",
    ]


def test_the_log_reports_a_long_wait_once() -> None:
    lines: list[str] = []
    clock = Clock()
    log = Log(lines.append, clock)
    for _ in range(10):
        log.listen(events.Waiting("HTTP 429", 41.0))
    log.listen(events.Waiting("HTTP 503", 2.0))
    assert lines == ["HTTP 429, next try in 41 s"]
    clock.now = 50.0
    log.listen(events.Waiting("HTTP 503", 2.0))
    assert lines == ["HTTP 429, next try in 41 s"]


def test_a_wait_that_ends_early_disappears_and_is_not_reported_twice() -> None:
    clock = Clock()
    wait = Wait(clock)
    assert wait.update(events.Waiting("no response yet from /api/A", 110.0))
    clock.now = 3.0
    assert str(wait) == "no response yet from /api/A, next try in 107 s"
    assert not wait.update(events.Waiting("HTTP 429", 41.0))
    assert not wait.update(events.Waiting("no response yet from /api/A", 0))
    assert str(wait) == ""
    assert not wait.update(events.Waiting("HTTP 429", 41.0)), "a longer wait was reported already"
    assert str(wait) == "HTTP 429, next try in 41 s"
