"""Run 500 costs what run 10 cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.extraction import Extraction, assert_same, expected_tables

from wats_extract.destinations.parquet import files
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.state.tables import BOOKKEEPING

Server = Callable[..., tuple[App, str]]

REPORTS_PER_RUN = 10

MEASURED = """
import json, re, sys
from pathlib import Path
from tests.extraction import Extraction
from wats_extract.destinations.parquet import files

files.GRACE = 0.0

def numbers(name):
    found = re.findall(r"(\\w+):\\s+(\\d+)", Path("/proc/self", name).read_text())
    return {key: int(value) for key, value in found}

url, folder, kind = sys.argv[1:]
extraction = Extraction(url, Path(folder), kind, names=["reports"])
extraction.job()  # imports the libraries
before = numbers("io")["rchar"]
report = extraction.run()
print(json.dumps({
    "rows": sum(each.items for each in report.resources.values()),
    "requests": report.requests,
    "read_bytes": numbers("io")["rchar"] - before,
    "memory": numbers("status")["VmHWM"],
}))
"""


@dataclass(frozen=True)
class Cost:
    """What one run cost.

    Attributes:
        rows: Items that it loaded.
        requests: Requests that it sent.
        read_bytes: Bytes that it read from files and sockets.
        memory: Peak memory of the process, in kB.
    """

    rows: int
    requests: int
    read_bytes: int
    memory: int


def cost_of_a_run(url: str, folder: Path, kind: str) -> Cost:
    """Make a run in a process of its own."""
    command = [sys.executable, "-c", MEASURED, url, str(folder), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Fill the data files of a Parquet folder with nonsense of the same size and time."""
    whole = {path: path.read_bytes() for path in folder.glob("[!_]*/[!+]*.parquet")}
    for path, content in whole.items():
        overwrite(path, b"x" * len(content))
    yield
    for path, content in whole.items():
        overwrite(path, content)


def overwrite(path: Path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def index_size(folder: Path) -> int:
    """The size of the key index, which knows each data file; 0 in DuckDB."""
    return sum(path.stat().st_size for path in folder.glob("wats/_wats/keys.sqlite"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process reads")
@pytest.mark.parametrize(("early", "late"), [(4, 20), pytest.param(10, 500, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_a_late_run_costs_what_an_early_one_cost(
    kind: str, early: int, late: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GRACE", 0.0)  # as if hours were between the runs
    plant = Plant(REPORTS_PER_RUN)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, kind, names=["reports"])
    costs: dict[int, Cost] = {}
    for number in range(1, late + 1):
        plant.grow(REPORTS_PER_RUN)
        if number in (early, late):
            with unreadable(tmp_path / "wats"):
                costs[number] = cost_of_a_run(url, tmp_path, kind)
        else:
            assert extraction.run().exit_code == 0
    first, last = costs[early], costs[late]
    assert (last.rows, last.requests) == (first.rows, first.requests)
    assert last.memory <= 1.1 * first.memory
    assert last.read_bytes <= 1.3 * first.read_bytes + 10 * index_size(tmp_path)
    for table in BOOKKEEPING:
        names = list(tmp_path.glob(f"wats/{table.name}/*"))
        assert len(names) <= 1 + 2 * (1 + len(str(late // 100))), names
    assert len(extraction.table("_wats_runs")) == late
    covered = extraction.table("_wats_coverage")
    assert sorted(row["field"] for row in covered) == ["start", "time_stamp"]
    assert {row["rows"] for row in covered} == {len(plant)}
    tables = expected_tables(plant)
    assert_same(extraction, {name: tables[name] for name in ("reports", "steps", "numeric_measurements")})
