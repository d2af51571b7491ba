"""Pipeline locks: held by real processes, and released when these end in any way."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.extraction import Extraction

from wats_extract import events
from wats_extract.destinations.duckdb.destination import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.run import execute
from wats_extract.errors import DestinationError, Interrupted, PipelineLocked
from wats_extract.fake.plant.data import Plant
from wats_extract.state import lock
from wats_extract.state.lock import hold_lock, read_holder

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="processes are suspended, and flock is, on POSIX")

HOLD = """
import sys
from pathlib import Path
from wats_extract.state import lock
from wats_extract.errors import PipelineLocked

lock.BEAT_SECONDS = 0.05
with lock.hold_lock(Path(sys.argv[1]), "reports") as hold:
    print("held", flush=True)
    for _ in sys.stdin:
        try:
            hold.check()
        except PipelineLocked as error:
            print(error.message, flush=True)
        else:
            print("still held", flush=True)
"""
ELSEWHERE = """
import errno, fcntl, socket

def no_lock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = no_lock
socket.gethostname = lambda: "elsewhere"
"""
"""Makes a process behave as on another machine that shares files with this one, but no locks."""

Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds a lock until its input ends, and checks it at each line."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, *, before: str = "") -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", before + HOLD, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refused(path: Path, **more: Any) -> PipelineLocked:
    with pytest.raises(PipelineLocked) as told, hold_lock(path, "reports", **more):
        pass
    return told.value


def holder_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def check_result(process: subprocess.Popen[str]) -> str:
    """Let a process check its lock, and return what it prints."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 40
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_lock_holder_is_named(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "deep" / "reports.lock"
    before = datetime.now(UTC).replace(microsecond=0)
    process = hold(path)
    error = refused(path)
    assert error.exit_code == 6
    assert f"process {process.pid} on {socket.gethostname()}, since " in error.message
    assert "'reports'" in error.message
    assert str(path) in error.hint
    since = re.search(r"since (\S+), last heartbeat \d+ s ago$", error.message)
    assert since is not None
    assert before <= datetime.fromisoformat(since[1]) <= datetime.now(UTC)

    assert check_result(process) == "still held\n"
    process.communicate()
    assert process.returncode == 0
    with hold_lock(path, "reports"):
        assert f"process {os.getpid()} " in refused(path).message


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_releases_the_lock(tmp_path: Path, hold: Hold, end: signal.Signals) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path)
    refused(path)
    process.send_signal(end)
    process.wait(timeout=10)
    with hold_lock(path, "reports"):
        assert f"process {os.getpid()} " in refused(path).message


def test_pipelines_have_separate_locks(tmp_path: Path, hold: Hold) -> None:
    hold(tmp_path / "a.lock")
    with hold_lock(tmp_path / "b.lock", "b"):
        refused(tmp_path / "a.lock")


def test_an_error_releases_the_lock_and_deletes_the_holder_file(tmp_path: Path) -> None:
    path = tmp_path / "reports.lock"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), hold_lock(path, "reports"):
            raise error
    with hold_lock(path, "reports"):
        assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".holder")]
    assert not [each.name for each in tmp_path.iterdir() if each.name.endswith(".holder")]


def test_two_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "reports.lock"
    errors: list[PipelineLocked] = []
    with hold_lock(path, "reports"):
        thread = threading.Thread(target=lambda: errors.append(refused(path)))
        thread.start()
        thread.join(timeout=10)
    assert len(errors) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_holder_file_is_not_an_error(tmp_path: Path, hold: Hold, text: str) -> None:
    path = tmp_path / "reports.lock"
    hold(path)
    path.with_name("reports.lock.holder").write_text(text, encoding="utf-8")
    assert "unknown process" in refused(path).message


@pytest.mark.parametrize(
    "obstacle", ["the folder is a file", "the lock is a folder", "the holder is a folder"]
)
def test_a_folder_that_is_not_writable_is_named(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "home" / "reports.lock"
    if obstacle == "the folder is a file":
        path.parent.write_text("")
    elif obstacle == "the lock is a folder":
        path.mkdir(parents=True)
    else:
        path.with_name("reports.lock.holder").mkdir(parents=True)
    kept = []
    for _ in range(2):  # the first attempt must release the lock, although its error is kept
        with (
            pytest.raises(DestinationError, match=re.escape(str(path.parent))) as told,
            hold_lock(path, "reports"),
        ):
            pass
        kept.append(told)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("folder", ["/proc", "/proc/self", "/proc/self/missing"])
def test_a_folder_that_takes_no_files_is_not_taken_for_another_process(folder: str) -> None:
    for path in (Path(folder, ".x.duckdb.reports.lock"), Path(folder, "x", "_wats", "reports.lock")):
        with pytest.raises(DestinationError, match="is not writable"), hold_lock(path, "reports"):
            pytest.fail("nothing can be locked there")


@pytest.mark.skipif(sys.platform != "linux", reason="links and special files")
@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "dangling/x", "loop/x", "x" * 300])
def test_a_destination_that_cannot_be_made_is_exit_1_and_not_another_process(
    tmp_path: Path, kind: str, place: str
) -> None:
    (tmp_path / "dangling").symlink_to("missing/folder")
    (tmp_path / "loop").symlink_to("loop")
    destination = (DuckDB if kind == "duckdb" else Parquet)(tmp_path / place)
    with pytest.raises(DestinationError) as raised, destination.exclusive("reports"):
        destination.open()
    assert raised.value.exit_code == 1


# ── heartbeat ───────────────────────────────────────────────────────────────────────────────────


def test_a_holder_sends_heartbeats(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path)
    holder = holder_of(path)
    for _ in range(3):
        os.utime(holder, (0, 0))
        until(lambda: holder.stat().st_mtime > 0)
    seen = read_holder(path)
    assert seen is not None
    assert seen.beats
    process.communicate()
    assert read_holder(path) is None


@POSIX
def test_a_suspended_process_keeps_the_lock_and_is_reported_as_suspended(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path)
    suspend(process)
    hour_ago = time.time() - 3600
    os.utime(holder_of(path), (hour_ago, hour_ago))
    assert re.search(r"last heartbeat 3,6\d\d s ago\. It is suspended or hangs$", refused(path).message)
    process.send_signal(signal.SIGCONT)
    assert check_result(process) == "still held\n"


@POSIX
def test_a_live_holder_on_another_machine_keeps_the_lock(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path, before=ELSEWHERE)
    assert f"process {process.pid} on elsewhere, since " in refused(path).message
    assert check_result(process) == "still held\n"


@POSIX
@pytest.mark.parametrize("no_locks_here", [False, True])
def test_the_lock_of_a_crashed_holder_on_another_machine_is_taken_over(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch, no_locks_here: bool
) -> None:
    monkeypatch.setattr(lock, "DEAD_SECONDS", 0.5)
    path = tmp_path / "reports.lock"
    process = hold(path, before=ELSEWHERE)
    process.kill()
    process.wait()
    if no_locks_here:
        without_locks(monkeypatch)
    told: list[events.Event] = []
    with hold_lock(path, "reports", listen=told.append) as held:
        held.check()
        seen = read_holder(path)
        assert seen is not None
        assert seen.holder is not None
        assert seen.holder.pid == os.getpid()
    waiting, over = told
    assert isinstance(waiting, events.Waiting)
    assert waiting.seconds == 0.5
    assert f"process {process.pid} on elsewhere" in waiting.reason
    assert over == events.Waiting(waiting.reason, 0)
    assert read_holder(path) is None


@POSIX
def test_a_suspended_holder_on_another_machine_notices_the_takeover(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "DEAD_SECONDS", 0.5)
    path = tmp_path / "reports.lock"
    process = hold(path, before=ELSEWHERE)
    suspend(process)
    with hold_lock(path, "reports") as held:
        process.send_signal(signal.SIGCONT)
        said = check_result(process)
        assert said.startswith("another process took over pipeline 'reports'")
        assert f"process {os.getpid()} on {socket.gethostname()}, since " in said
        process.communicate()
        held.check()  # the other process has not touched the lock


def suspend(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_lock)


@POSIX
def test_the_heartbeat_decides_without_locks(
    tmp_path: Path, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    path = tmp_path / "reports.lock"
    process = hold(path)
    assert f"process {process.pid} on {socket.gethostname()}" in refused(path).message
    process.communicate()
    with hold_lock(path, "reports") as held:
        held.check()


@POSIX
def test_the_wait_for_a_heartbeat_can_be_interrupted(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path, before=ELSEWHERE)
    process.kill()
    process.wait()

    def stopped() -> None:
        raise Interrupted("interrupted")

    began = time.monotonic()
    with pytest.raises(Interrupted), hold_lock(path, "reports", check=stopped):
        pass
    assert time.monotonic() - began < 2
    with pytest.raises(Interrupted), hold_lock(path, "reports", check=stopped):
        pass  # the lock was released: the second attempt waits for the heartbeat again


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_a_run_commits_nothing_after_a_takeover(kind: str, server: Any, tmp_path: Path) -> None:
    _, url = server(Plant(30))
    extraction = Extraction(url, tmp_path, kind, names=["reports"], options={"chunk_size": 5})
    lock_path = {"duckdb": tmp_path / ".wats.duckdb.test.lock", "parquet": tmp_path / "wats/_wats/test.lock"}
    holder_file = holder_of(lock_path[kind])

    def take_over(event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            holder_file.write_text('{"pid": 1, "host": "elsewhere", "since": "now", "mark": "x"}')

    with (
        pytest.raises(PipelineLocked, match=r"took over .*process 1 on elsewhere, since now") as error,
        extraction.client() as client,
    ):
        execute(extraction.job(), client, listen=take_over)
    assert error.value.exit_code == 6
    assert len(extraction.table("reports")) == 0
    assert holder_file.exists(), "it belongs to the other process"
    holder_file.unlink()
    assert extraction.run().status == "succeeded"
    assert len(extraction.table("reports")) == 30
