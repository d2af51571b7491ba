"""The peak memory of whole runs with one answer at the limits of size. docs/scale.md has the figures."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.clients import raw_server

UUID = "3f1c2c1e-0000-4000-8000-000000000001"
LIMIT = 256 * 2**20
GIGABYTES = 6
"""The most memory of a run with one answer at the limits; docs/scale.md states it."""

MEASUREMENT = {"compOp": "GELE", "name": "U", "status": "P", "unit": "V", "value": 12.0625, "lowLimit": 11.5}
STEP = {"id": 1, "group": "M", "stepType": "NumericLimitStep", "name": "Voltage 12 V", "status": "P"} | {
    "totTime": 0.125,
    "numericMeas": [MEASUREMENT | {"highLimit": 13.5}],
}


def document(root: bytes) -> bytes:
    """A report with this root."""
    return b'{"id":"%b","root":%b}' % (UUID.encode(), root)


def repeated(begin: bytes, item: bytes, end: bytes, *, count: int = 0) -> bytes:
    """A document of equal items, as many as there may be."""
    return document(begin + item + (b"," + item) * ((count or (LIMIT - 10_000) // (len(item) + 1)) - 1) + end)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


FULL = LIMIT - 10_000
REPORTS: dict[str, Callable[[], bytes]] = {
    "a report of ordinary steps": lambda: repeated(b'{"steps":[', compact(STEP), b"]}"),
    "as many objects as possible": lambda: repeated(
        b'{"steps":[', b'{"id":1,"name":"step","status":"P"}', b"]}", count=4_900_000
    ),
    "paths of 1.9 GB": lambda: repeated(
        b'{"name":"' + b"x" * 100_000_000 + b'","steps":[', b"{}", b"]}", count=18
    ),
    "a long name and many steps": lambda: repeated(
        b'{"name":"' + b"x" * 1_000_000 + b'","steps":[', b"{}", b"]}", count=20_000
    ),
    "a long label and many series": lambda: repeated(
        b'{"chart":{"label":"' + b"x" * 1_000_000 + b'","series":[', b"{}", b"]}}", count=60_000
    ),
    "empty steps": lambda: repeated(b'{"steps":[', b"{}", b"]}"),
    "a chart of many points": lambda: document(
        b'{"chart":{"series":[{"xdata":"' + b"1.25;" * 50_000_000 + b'"}]}}'
    ),
    "an unknown list of numbers": lambda: repeated(b'{"new":[', b"1.5", b"]}", count=19_000_000),
    "a long text": lambda: document(b'{"reportText":"' + b"x" * FULL + b'"}'),
    "a long text of two bytes per letter": lambda: document(
        b'{"reportText":"' + "ü€".encode() * (FULL // 5) + b'"}'
    ),
    "a large file": lambda: document(b'{"attachment":{"name":"a","data":"' + b"AAAA" * (FULL // 4) + b'"}}'),
    "JSON that breaks off": lambda: repeated(b'{"steps":[', compact(STEP), b"")[:-1],
    "another object": lambda: compact({"Message": "x" * FULL}),
    "blanks": lambda: b" " * FULL,
    "a bomb": lambda: b" " * 4 * LIMIT,
}

IN_PYTHON = ("a report of ordinary steps", "paths of 1.9 GB", "a long name and many steps")
"""The reports that are shredded in Python, too, which takes minutes for some others."""

RUNS = [
    *((kind, "native", "duckdb") for kind in REPORTS),
    *((kind, "python", "parquet") for kind in IN_PYTHON),
]

RUN = """
import re, sys
from pathlib import Path
from tests.extraction import Extraction

url, folder, kind = sys.argv[1:]
extraction = Extraction(url, Path(folder), kind, names=["reports"], options={"attachments": "content"})
report = extraction.run(limits={"largest_response": 256 * 2**20, "timeout": 60.0})
status = Path("/proc/self/status").read_text()  # getrusage counts the program that started this one, too
size = int(re.search(r"VmHWM:\\s+([0-9]+)", status)[1])
print(report.exit_code, report.failures, sum(each.rows for each in report.resources.values()), size // 1024)
"""


def response(body: bytes) -> bytes:
    """A response, compressed."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("kind", "way", "destination"), RUNS)
def test_the_peak_memory_of_a_run_with_one_answer_at_the_limits(
    kind: str, way: str, destination: str, tmp_path: Path
) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN, encoding="utf-8")
    made = response(gzip.compress(REPORTS[kind](), 1))
    header = [{"uuid": UUID, "timeStamp": 5, "start": "2026-01-01T00:00:00Z"}]
    listed = response(gzip.compress(compact(header)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    environment |= {"WATS_EXTRACT_PURE": "1"} if way == "python" else {}
    with raw_server(lambda head: made if b"/Wsjf/" in head else listed) as (url, _):
        done = subprocess.run(
            [sys.executable, str(script), url, str(tmp_path), destination],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    code, failures, rows, megabytes = map(int, done.stdout.split())
    print(f"{kind}, {way}, {destination}: {failures} failures, {rows:,} rows, {megabytes:,} MB")
    assert (code, failures) in ((0, 0), (3, 1))
    assert (rows == 0) is (failures == 1)
    assert megabytes < GIGABYTES * 1000
