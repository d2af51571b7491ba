"""Runs the command line as a user does: in a folder, with an environment, for exit code and output."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.forked import INTERPRETER, Process, start
from wats_extract.fake.app import App
from wats_extract.fake.server import serve

SECRET = "c2VjcmV0LW1hcmtlci10b2tlbg"
"""The token of every command that has a server. No command may print it."""

DEMO = "demo?reports=20"
"""The server of a command that has no other one."""

MODULE = ("-m", "wats_extract.cli")

HANGS_AFTER = 60.0
"""Seconds after which a command that has not ended counts as hung."""


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """Runs ``wats-extract`` in a folder, with an environment of its own.

    Attributes:
        folder: Working directory of every command.
        env: All environment variables.
        token: ``WATS_TOKEN`` of commands that have a server.
    """

    folder: Path
    env: dict[str, str]
    token: str = SECRET
    _servers: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def inside(cls, folder: Path, *, token: str = SECRET) -> Self:
        """A command line that reads the demo until :meth:`serve` starts a server.

        Its environment asks for colours, which must not reach a pipe nevertheless.
        """
        ours = ("WATS_", "PYWATS_", "NO_COLOR", "COLUMNS", "LINES")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        env |= INTERPRETER | {"WATS_URL": DEMO}
        env |= {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm-256color"}
        return cls(folder, env, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def serve(self, app: App) -> None:
        """Start a server in this process, and let the environment name it. It stops with this object."""
        self.read(self._servers.enter_context(serve(app)).url)

    def read(self, url: str) -> None:
        """Let the environment name this server and the token."""
        self.env |= {"WATS_URL": url, "WATS_TOKEN": self.token}

    # ── commands ──

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a new interpreter, with options of ``subprocess.Popen``."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, *MODULE, *args]
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, encoding="utf-8", **pipes)

    def fork(self, *args: str) -> Process:
        """Start a command, in a fork where that is possible, which is quicker than `start`."""
        return start(*MODULE, *args, folder=self.folder, env=self.env)

    def python(self, code: str) -> Finished:
        """Run Python code to its end; see `finished`."""
        return self.finished(start("-c", code, folder=self.folder, env=self.env, teardown=False))

    def wats(self, *args: str) -> Finished:
        """Run ``wats-extract ARGS`` to its end; see `finished`."""
        return self.finished(start(*MODULE, *args, folder=self.folder, env=self.env, teardown=False))

    def finished(self, process: Process) -> Finished:
        """Wait for a process to end. It may print neither the token nor terminal control codes."""
        out, err = process.communicate(timeout=HANGS_AFTER)
        for text in (out, err):
            assert SECRET not in text
            assert "\x1b" not in text
            assert "\r" not in text
        return Finished(process.returncode, out, err)

    # ── files ──

    def pipeline(
        self,
        file: str = "p.yaml",
        *,
        url: str = "${WATS_URL}",
        source: str = "",
        kind: str = "duckdb",
        path: str = "data/wats.duckdb",
        resources: str = "[{name: report_headers}, {name: reports, chunk_size: 10}]",
        more: str = "",
    ) -> str:
        """Write a pipeline file and return its name."""
        (self.folder / file).write_text(
            "version: 1\n"
            f"name: {Path(file).stem}\n"
            f'source: {{url: "{url}", token: "${{WATS_TOKEN:-}}"{source}}}\n'
            f"destination: {{type: {kind}, path: {path}}}\n"
            f"resources: {resources}\n"
            f"{more}\n",
            encoding="utf-8",
        )
        return file
