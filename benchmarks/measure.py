"""Runs a program in its own process and measures it; starts the server that it reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

ENVIRONMENT = {
    "WATS_TOKEN": "benchmark",
    "NO_PROXY": "127.0.0.1",
}

MAX_ERROR_CHARACTERS = 300

_direct = build_opener(ProxyHandler({}))


class ChildFailed(Exception):
    """A measured program ended with an exit code other than 0."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Time and memory of a process from its start to its end, including its children.

    Attributes:
        wall: Elapsed seconds.
        cpu: CPU seconds of all cores, user and system.
        memory: Peak memory of the largest process, in bytes.
        output: The JSON object in the last line of stdout; empty if there is none.
    """

    wall: float
    cpu: float
    memory: int
    output: Mapping[str, Any]


def run(command: Sequence[str | Path], *, cores: int | None = None) -> Usage:
    """Run a program to its end.

    Python starts it by vfork, and the kernel then counts the peak memory of this process as the child's. So
    this process must stay smaller than the programs that it measures.

    Args:
        command: The program and its arguments.
        cores: Number of cores that it may use; all by default.

    Raises:
        ChildFailed: it ended with an exit code other than 0.
    """
    with tempfile.TemporaryFile() as errors, _pinned(cores):
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT},
            cwd=ROOT,
        )
        assert process.stdout is not None
        with process.stdout as output:
            lines = output.read().splitlines()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            reason = "".join(last)[:MAX_ERROR_CHARACTERS]
            raise ChildFailed(f"{Path(command[0]).name} ended with {process.returncode}: {reason}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit, _last_object(lines))


def _last_object(lines: Sequence[bytes]) -> Mapping[str, Any]:
    if not lines or not lines[-1].startswith(b"{"):
        return {}
    found: Mapping[str, Any] = json.loads(lines[-1])
    return found


@contextmanager
def _pinned(cores: int | None) -> Iterator[None]:
    """Let programs that are started inside use only the first ``cores`` cores."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


# ── the server ──


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str

    def requests(self) -> tuple[int, int]:
        """The number of requests so far, and how many of them were refused."""
        with _direct.open(f"{self.url}/stats") as response:
            stats = json.load(response)
        return stats["requests"], stats["refused"]


@contextmanager
def serving(reports: int, *options: str) -> Iterator[Server]:
    """Start a server with this many reports in its own process, and warm it up.

    Args:
        reports: Number of reports.
        options: Further options of ``python -m benchmarks.server``.
    """
    command = [sys.executable, "-m", "benchmarks.server", "--reports", str(reports), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            server = Server(process.stdout.readline().decode().strip())
            for query in ("", "&$select=uuid,timeStamp,start"):
                _direct.open(f"{server.url}/api/Report/Query/Header?$top=1{query}").close()
            yield server
        finally:
            process.kill()
