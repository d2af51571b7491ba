from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

SRC = Path(__file__).resolve().parents[2] / "src"
SECRET = "c2VjcmV0LW1hcmtlci10b2tlbg"
PROGRAM = (sys.executable, "-m", "wats_extract.cli")
TIMEOUT = 60.0
"""Seconds until a command counts as hanging."""


@dataclass(frozen=True)
class Said:
    """The output and exit code of a command."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """A folder and an environment in which a user runs commands."""

    folder: Path
    env: dict[str, str]

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``wats-extract`` with these arguments; stdout and stderr are pipes by default."""
        return subprocess.Popen(
            [*PROGRAM, *args],
            cwd=self.folder,
            env=self.env,
            text=True,
            encoding="utf-8",
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def wats(self, *args: str) -> Said:
        """Run ``wats-extract`` with these arguments, with pipes as stdout and stderr."""
        return self.finished(self.start(*args))

    @staticmethod
    def finished(process: subprocess.Popen[str]) -> Said:
        """Wait for a command and check that its output holds neither the token nor escape codes."""
        out, err = process.communicate(timeout=TIMEOUT)
        assert SECRET not in out + err
        assert "\x1b" not in out + err
        assert "\r" not in out + err
        return Said(process.returncode, out, err)

    def pipeline(
        self,
        file: str = "p.yaml",
        *,
        url: str = "${WATS_URL:-demo?reports=20}",
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


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def desk_in(folder: Path) -> Desk:
    """Make a desk. Its environment asks for colours, but pipes must not get any."""
    ours = ("WATS_", "PYWATS_", "NO_COLOR", "COLUMNS", "LINES")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env |= {"PYTHONPATH": str(SRC), "WATS_TOKEN": SECRET, "PYTHONUTF8": "1"}
    return Desk(folder, env | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm-256color"})


Serving = Callable[..., App]


@pytest.fixture
def serving(desk: Desk) -> Iterator[Serving]:
    """A function that starts an embedded server in this process and points ``WATS_URL`` to it."""
    with ExitStack() as stack:

        def start(reports: int = 20, **options: Any) -> App:
            app = App(Plant(reports), token=SECRET, **options)
            desk.env["WATS_URL"] = stack.enter_context(serve(app)).url
            return app

        yield start
