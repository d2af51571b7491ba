"""``make fuzz``: search for input that breaks a target.

::

    python -m tests.fuzz.search [--seconds 30] [TARGET]…

Atheris guides the search by coverage. It has wheels only for Linux and some versions of Python; without it,
hypothesis generates the input.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS, seeds

_PIECES: Mapping[str, list[str]] = {
    "document": [
        '{"id":"x"',
        ',"root":{',
        '"steps":[',
        '"name":',
        '"numericMeas":[{"value":',
        '"start":"',
        "NaN",
    ],
    "page": [
        '[{"uuid":"',
        '","timeStamp":',
        "1e400",
        '"subUnits":[',
        '{"Resources":',
        r'"\ud800"',
        "null",
        "},{",
    ],
    "filter_text": ["partNumber", " eq ", " in (", "'", "''", " and ", " or ", "not ", "subUnits/any(s: s/"],
    "pipeline_file": ["version: 1\n", "name: ", "- name: ", "&a ", "*a", "<<: ", "${", "}", "!!", "\n  "],
    "moment": ["2026-", "01-", "T", "12:", "00", ".5", "Z", "+01:00", " days ago", "0000", "9999-12-31"],
}
_COMMON = [
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\0",
    "\\",
    "0",
    "-1",
    "1e9",
    "true",
    "null",
    "ø",
    "😀",
]


def _inputs(name: str) -> st.SearchStrategy[bytes]:
    parts = st.sampled_from([*_PIECES[name], *_COMMON]) | st.text(max_size=4)
    texts = st.lists(parts, max_size=20).map("".join)
    written = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return written | st.binary(max_size=40)


INPUTS = {name: _inputs(name) for name in TARGETS}


def main() -> int:
    """Search each target for a while; 1 if something was found."""
    parser = argparse.ArgumentParser(description="Fuzz the functions that parse untrusted input.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; all by default"
    )
    parser.add_argument("--seconds", type=int, default=30, help="seconds per target")
    given = parser.parse_args()
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {sorted(unknown)[0]!r}")
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed: hypothesis generates the input, not guided by coverage")
    found = 0
    for name in given.targets or TARGETS:
        found += not (_guided if guided else _unguided)(name, given.seconds)
    return 1 if found else 0


def _guided(name: str, seconds: int) -> bool:
    """Search with atheris, in a child process, because atheris ends its process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds(name)):
            Path(folder, str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=4000"]
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.guided",
            name,
            *options,
            f"-artifact_prefix={name}-",
            folder,
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    return _report(name, int(count[1]) if count else 0, done.stderr[-5000:] if done.returncode else "")


def _unguided(name: str, seconds: int) -> bool:
    """Search with hypothesis."""
    tried = 0
    problem = ""

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[name])
    def search(data: bytes) -> None:
        nonlocal tried
        tried += 1
        TARGETS[name](data)

    end = time.monotonic() + seconds
    while time.monotonic() < end and not problem:
        try:
            search()
        except Exception as error:  # a target handles all errors that are promised
            problem = f"{type(error).__name__}: {error}\n" + "\n".join(getattr(error, "__notes__", ()))
    return _report(name, tried, problem)


def _report(name: str, tried: int, problem: str) -> bool:
    print(f"{name}: {tried:,} inputs, {'nothing found' if not problem else 'FOUND:'}")
    if problem:
        print(problem)
    return not problem


if __name__ == "__main__":
    sys.exit(main())
