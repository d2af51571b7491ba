"""Runs a program in a process of its own, and says what that took; starts the server that it asks."""

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

LONGEST_COMPLAINT = 300

_direct = build_opener(ProxyHandler({}))


class ChildFailed(Exception):
    """A program that is measured did not end well."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one process took from its start to its end, its own children included.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of all cores, in the program and in the system.
        memory: Bytes of the largest process at its peak.
        said: The JSON object that is the last line of its output, if it is one.
    """

    wall: float
    cpu: float
    memory: int
    said: Mapping[str, Any]


def run(command: Sequence[str | Path], *, cores: int | None = None) -> Took:
    """Run a program to its end, on so many cores if that is said.

    Python starts it by vfork, which counts this process's own peak as the child's: so this one has to stay
    smaller than what it measures, and draws its plots at the end.

    Raises:
        ChildFailed: it ended with another code than 0.
    """
    with tempfile.TemporaryFile() as complaints, _pinned(cores):
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=complaints,
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
            complaints.seek(0)
            last = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
            why = "".join(last)[:LONGEST_COMPLAINT]
            raise ChildFailed(f"{Path(command[0]).name} ended with {process.returncode}: {why}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Took(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * unit, _said(lines))


def _said(lines: Sequence[bytes]) -> Mapping[str, Any]:
    if not lines or not lines[-1].startswith(b"{"):
        return {}
    said: Mapping[str, Any] = json.loads(lines[-1])
    return said


@contextmanager
def _pinned(cores: int | None) -> Iterator[None]:
    """Programs that are started inside run on the first so many of our cores."""
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
    """A server that runs."""

    url: str

    def requests(self) -> tuple[int, int]:
        """Requests so far, and how many of them were refused."""
        with _direct.open(f"{self.url}/stats") as answer:
            stats = json.load(answer)
        return stats["requests"], stats["refused"]


@contextmanager
def serving(reports: int, *options: str) -> Iterator[Server]:
    """A server with so many reports, in a process of its own, warmed up."""
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
