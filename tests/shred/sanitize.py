"""``make sanitize``: the native tests and the fuzz corpus under AddressSanitizer and UBSan.

::

    python -m tests.shred.sanitize [--seconds 20]

Builds the native module with both sanitizers into a temporary folder and runs, each in a process of its own:

1. the tests of shredding and of the fuzz target ``document`` with its corpus,
2. a search for new inputs of that target,
3. a check for memory that the module never frees.

Needs gcc or clang with their sanitizer libraries, on Linux.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.shred import sanitized
from tests.shred.leaks import DELIBERATE

import build_steps

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT.joinpath("src", *build_steps.PACKAGE.split("."))
OPTIONS = [
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    *("-fno-omit-frame-pointer", "-g", "-O1"),
]
TESTS = ["tests/shred/wsjf", "tests/fuzz/test_targets.py", "-k", "wsjf or document"]


def main() -> int:
    """Run all three; 1 if a sanitizer or a test found something."""
    parser = argparse.ArgumentParser(description="Run the native module under ASan and UBSan.")
    parser.add_argument("--seconds", type=int, default=20, help="how long to search for new inputs")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="wats-extract-") as folder:
        built = build_steps.compile_steps(PACKAGE, Path(folder), options=OPTIONS)
        environment = {**os.environ, **_environment(), sanitized.FOLDER: str(built.parent)}
        for name, command in _commands(seconds).items():
            print(f"Sanitizers: {name}", flush=True)
            done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
            if done.returncode:
                print(f"FOUND something in: {name}")
                return 1
        print("Sanitizers: memory that is never freed", flush=True)
        if leaks := _leaks(environment):
            print(f"FOUND leaks:\n{leaks}")
            return 1
    print("The sanitizers found nothing.")
    return 0


def _commands(seconds: int) -> dict[str, list[str]]:
    loaded = [sys.executable, "-m", "tests.shred.sanitized"]
    return {
        "tests": [*loaded, "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        "search": [*loaded, "tests.fuzz.search", "--seconds", str(seconds), "document"],
    }


def _environment() -> Mapping[str, str]:
    """Return variables that load the sanitizers before Python, and make it use malloc, which they watch."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    # libstdc++ too: AddressSanitizer has to find the functions that throw exceptions when it starts.
    libraries = [_library(compiler, name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
    return {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONMALLOC": "malloc",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # CPython frees little when it ends; _leaks() looks for memory of the module alone.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _library(compiler: str, name: str) -> str:
    command = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"{compiler} has no {name}. On Debian and Ubuntu, gcc comes with it.")
    return found


def _leaks(environment: Mapping[str, str]) -> str:
    """Return LeakSanitizer's reports of memory that the native module allocated and never freed."""
    options = {
        "ASAN_OPTIONS": "detect_leaks=1:fast_unwind_on_malloc=0:malloc_context_size=12",
        "LSAN_OPTIONS": "exitcode=0",
    }
    command = [sys.executable, "-m", "tests.shred.sanitized", "tests.shred.leaks"]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, **options}, capture_output=True, text=True, check=False
    )
    if done.returncode or f"leak of {DELIBERATE} byte" not in done.stderr:
        return f"The check does not work here:\n{done.stdout}{done.stderr}"
    reports = done.stderr.split("\n\n")
    return "\n\n".join(report for report in reports if "leak of" in report and "/_steps." in report)


if __name__ == "__main__":
    sys.exit(main())
