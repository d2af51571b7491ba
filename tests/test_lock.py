"""One run of a pipeline at a time: held by real processes, and freed when they end, however they do."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from wats_extract.errors import DestinationError, PipelineLocked
from wats_extract.lock import only_run

HOLD = """
import sys
from pathlib import Path
from wats_extract.lock import only_run

with only_run(Path(sys.argv[1]), "reports"):
    print("held", flush=True)
    sys.stdin.readline()
"""
Hold = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a process that holds a lock until it reads a line."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)],
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


def refused(path: Path) -> PipelineLocked:
    with pytest.raises(PipelineLocked) as told, only_run(path, "reports"):
        pass
    return told.value


def test_a_process_that_holds_it_is_named(tmp_path: Path, hold: Hold) -> None:
    path = tmp_path / "deep" / "reports.lock"
    before = datetime.now(UTC).replace(microsecond=0)
    process = hold(path)
    error = refused(path)
    assert error.exit_code == 6
    assert f"process {process.pid} on {socket.gethostname()}, since " in error.message
    assert "'reports'" in error.message
    assert str(path) in error.hint
    since = re.search(r"since (\S+)", error.message)
    assert since is not None
    assert before <= datetime.fromisoformat(since[1]) <= datetime.now(UTC)

    process.communicate("go\n")
    assert process.returncode == 0
    with only_run(path, "reports"):
        assert f"process {os.getpid()} " in refused(path).message


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_was_killed_leaves_it_free(tmp_path: Path, hold: Hold, end: signal.Signals) -> None:
    path = tmp_path / "reports.lock"
    process = hold(path)
    refused(path)
    process.send_signal(end)
    process.wait(timeout=10)
    with only_run(path, "reports"):
        assert f"process {os.getpid()} " in refused(path).message


def test_another_pipeline_is_not_kept_out(tmp_path: Path, hold: Hold) -> None:
    hold(tmp_path / "a.lock")
    with only_run(tmp_path / "b.lock", "b"):
        refused(tmp_path / "a.lock")


def test_it_is_free_after_an_error_and_nothing_of_the_holder_stays(tmp_path: Path) -> None:
    path = tmp_path / "reports.lock"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), only_run(path, "reports"):
            raise error
    with only_run(path, "reports"):
        assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".holder")]
    assert not [each.name for each in tmp_path.iterdir() if each.name.endswith(".holder")]


def test_two_threads_of_one_process_are_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "reports.lock"
    errors: list[PipelineLocked] = []
    with only_run(path, "reports"):
        thread = threading.Thread(target=lambda: errors.append(refused(path)))
        thread.start()
        thread.join(timeout=10)
    assert len(errors) == 1


@pytest.mark.parametrize("told", ["", "{", "[]", '{"pid": 1}'])
def test_a_holder_that_cannot_be_read_is_no_error_of_its_own(tmp_path: Path, hold: Hold, told: str) -> None:
    path = tmp_path / "reports.lock"
    hold(path)
    path.with_name("reports.lock.holder").write_text(told, encoding="utf-8")
    assert "which process is not known" in refused(path).message


@pytest.mark.parametrize(
    "obstacle", ["the folder is a file", "the lock is a folder", "the holder is a folder"]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, obstacle: str) -> None:
    path = tmp_path / "home" / "reports.lock"
    if obstacle == "the folder is a file":
        path.parent.write_text("")
    elif obstacle == "the lock is a folder":
        path.mkdir(parents=True)
    else:
        path.with_name("reports.lock.holder").mkdir(parents=True)
    kept = []
    for _ in range(2):  # the second time it is not locked by the first, whose error is still at hand
        with (
            pytest.raises(DestinationError, match=re.escape(str(path.parent))) as told,
            only_run(path, "reports"),
        ):
            pass
        kept.append(told)
