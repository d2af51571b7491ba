"""Whoever reads stdout and stderr, or nobody: a command does the same and has the same exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import duckdb
import pytest
from tests.command_line import HANGS_AFTER, MODULE

from .conftest import Desk, Serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full, and descriptors to close")


def closed(*descriptors: int) -> Callable[[ExitStack], dict[str, Any]]:
    def close() -> None:
        for each in descriptors:
            os.close(each)

    return lambda stack: {"preexec_fn": close}


def full(stack: ExitStack) -> dict[str, Any]:
    device = os.open("/dev/full", os.O_WRONLY)
    stack.callback(os.close, device)
    return {"stdout": device, "stderr": device}


def reader_gone(stack: ExitStack) -> dict[str, Any]:
    reading, writing = os.pipe()
    os.close(reading)
    stack.callback(os.close, writing)
    return {"stdout": writing, "stderr": writing}


def terminal_gone(stack: ExitStack) -> dict[str, Any]:
    ours, theirs = os.openpty()
    os.close(ours)
    stack.callback(os.close, theirs)
    return {"stdin": theirs, "stdout": theirs, "stderr": theirs}


SITUATIONS = {
    "no stdout": closed(1),
    "no stderr": closed(2),
    "no stream": closed(0, 1, 2),
    "full disk": full,
    "reader gone": reader_gone,
    "terminal gone": terminal_gone,
}


def exit_code(desk: Desk, situation: str, *args: str, **environment: str) -> int:
    """Run a command in a situation; what it can still print is no traceback."""
    with ExitStack() as stack:
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **SITUATIONS[situation](stack),
        }
        command = [sys.executable, *MODULE, *args]
        process = subprocess.Popen(command, cwd=desk.folder, env=desk.env | environment, **streams)
        for printed in process.communicate(timeout=HANGS_AFTER):
            assert b"Traceback" not in (printed or b"")
        return process.returncode


def loaded(desk: Desk, file: str = "data/wats.duckdb") -> list[tuple[Any, ...]]:
    with duckdb.connect(desk.folder / file, read_only=True) as connection:
        runs = connection.execute("SELECT status FROM _wats_runs ORDER BY number").fetchall()
        return [*runs, *connection.execute("SELECT count(*) FROM report_headers").fetchall()]


@pytest.mark.parametrize(
    ("situation", "unbuffered"), [*((each, "") for each in SITUATIONS), ("full disk", "1")]
)
def test_a_run_that_loads_everything_exits_with_0(desk: Desk, situation: str, unbuffered: str) -> None:
    file = desk.pipeline(resources="[{name: report_headers}]")
    flags = ["--json", "-q"] if unbuffered else []
    assert exit_code(desk, situation, "run", file, *flags, PYTHONUNBUFFERED=unbuffered) == 0
    assert loaded(desk) == [("succeeded",), (20,)]


@pytest.mark.parametrize("situation", ["no stream", "full disk"])
def test_every_command_keeps_its_exit_code(desk: Desk, situation: str) -> None:
    file = desk.pipeline(resources="[{name: report_headers}, {name: processes}]")
    expected = {
        "--help": 0,
        "nonsense": 2,
        "run missing.yaml --json": 2,
        "init new": 0,
        f"check {file}": 0,
        f"run {file}": 0,
        f"plan {file}": 0,
        f"status {file}": 0,
        f"failures {file} --format json": 0,
        f"retry {file}": 0,
        f"verify {file} --json": 0,
        f"backfill {file} --from 2020-01-01 --to 2020-02-01": 0,
        f"state {file} export": 0,
        f"state {file} clear": 2,  # nobody can answer whether to do so
        f"preview {file} report_headers": 0,
        "resources": 0,
        "json-schema": 0,
    }
    if situation != "no stream":  # one of each kind will do
        expected = {each: expected[each] for each in ("--help", "nonsense", f"run {file}", "json-schema")}
    assert {each: exit_code(desk, situation, *each.split()) for each in expected} == expected


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything(desk: Desk, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [sys.executable, *MODULE, "json-schema"]
    environment = desk.env | {"PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    printed = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while part := pipe.read(3000):
            printed += part
            time.sleep(0.001)
    _, problems = process.communicate(timeout=HANGS_AFTER)
    assert (process.returncode, problems) == (0, b"")
    assert json.loads(printed)["title"]


def test_a_file_never_takes_the_number_of_a_missing_stream(desk: Desk) -> None:
    """What a library prints to descriptor 2 would end up in that file, which may be the database."""
    script = (
        "import os, sys\n"
        "from wats_extract.cli import streams\n"
        "streams.prepare()\n"
        "file = os.open('first', os.O_CREAT | os.O_WRONLY)\n"
        "print('x', file=sys.stdout), print('x', file=sys.stderr), os.write(2, b'x')\n"
        "sys.exit(0 if file > 2 and sys.stdin.read() == '' else 1)\n"
    )
    options = closed(0, 1, 2)(ExitStack())
    process = subprocess.Popen([sys.executable, "-c", script], cwd=desk.folder, env=desk.env, **options)
    assert process.wait(HANGS_AFTER) == 0
    assert (desk.folder / "first").read_bytes() == b""


def test_a_run_goes_on_after_its_reader_has_left(desk: Desk, serving: Serving) -> None:
    serving(30, latency=0.05)
    process = desk.start("run", desk.pipeline(source=", max_in_flight: 1"), stderr=subprocess.STDOUT)
    assert process.stdout is not None
    assert "started" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(HANGS_AFTER) == 0
    assert loaded(desk) == [("succeeded",), (30,)]
