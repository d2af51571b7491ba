"""Starts Python programs without paying for their imports, where the platform can fork; see `fork_server`."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from tests import fork_server

ROOT = Path(__file__).resolve().parents[1]

INTERPRETER = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONUTF8": "1"}
"""Environment variables that Python reads when it starts. Programs find the library and the tests."""


class Process(Protocol):
    """The part of ``subprocess.Popen`` that tests use."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | Any: ...
    def poll(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...
    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]: ...


def start(*arguments: str, folder: Path, env: Mapping[str, str], teardown: bool = True) -> Process:
    """Start ``python ARGUMENTS`` with pipes as stdout and stderr.

    It is a new interpreter, not a fork, on platforms other than Linux and where ``env`` has other variables
    for Python itself.

    Args:
        arguments: Arguments of the interpreter.
        folder: Working directory.
        env: All environment variables.
        teardown: Whether a fork shuts its interpreter down in the usual way, which waits for threads.
    """
    if sys.platform == "linux" and _interpreter(env) == _interpreter(os.environ | INTERPRETER):
        return _server().start(arguments, folder, env, teardown=teardown)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def _interpreter(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


class Forked:
    """A program that runs in a fork of the server."""

    def __init__(self, server: Server, pid: int, output: tuple[Path, Path]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._output = server, output
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """The exit code, or ``None`` while the program runs."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._ended, number)

    def kill(self) -> None:
        """Kill the program, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return what was written to stdout and stderr.

        Raises:
            TimeoutError: the program still runs after ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.pid} has not ended after {timeout} s")
            self._reap()
        out, err = (path.read_text(encoding="utf-8") for path in self._output)
        return out, err

    def _reap(self) -> None:
        os.close(self._ended)
        self.returncode = self._server.ask(wait=self.pid)


class Server:
    """The process that forks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._numbers, self._lock = itertools.count(), threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, fork_server.__file__],
            env=os.environ | INTERPRETER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(
        self, arguments: tuple[str, ...], folder: Path, env: Mapping[str, str], *, teardown: bool
    ) -> Forked:
        number = next(self._numbers)
        out, err = (Path(self._folder.name, f"{number}.{name}") for name in ("out", "err"))
        for path in (out, err):
            path.touch()
        pid = self.ask(
            arguments=arguments,
            folder=str(folder),
            env=dict(env),
            out=str(out),
            err=str(err),
            teardown=teardown,
        )
        return Forked(self, pid, (out, err))

    def ask(self, **order: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            reply = self._process.stdout.readline()
        assert reply, "the fork server has ended; its stderr says why"
        return int(reply)

    def close(self) -> None:
        with self._process:
            self._process.terminate()
        self._folder.cleanup()


@cache
def _server() -> Server:
    server = Server()
    atexit.register(server.close)
    return server
