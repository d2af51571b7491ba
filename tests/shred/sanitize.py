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
from collections.abc import Sequence
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
    """Run all three; return 1 if a sanitizer or a test found something."""
    parser = argparse.ArgumentParser(description="Run the native module under ASan and UBSan.")
    parser.add_argument("--seconds", type=int, default=20, help="how long to search for new inputs")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="wats-extract-") as folder:
        built = build_steps.compile_steps(PACKAGE, Path(folder), options=OPTIONS)
        runner = Runner(Path(folder, "reports"), built.parent)
        for name, arguments in _runs(seconds).items():
            print(f"Sanitizers: {name}", flush=True)
            if runner.run(arguments, leaks=False) or runner.reports():
                print("\n\n".join(runner.reports()))
                print(f"FOUND something in: {name}")
                return 1
        print("Sanitizers: memory that is never freed", flush=True)
        failed = runner.run(["tests.shred.leaks"], leaks=True)
        leaks = [report for report in runner.reports() if "leak of" in report]
        if failed or not any(f"leak of {DELIBERATE} byte" in leak for leak in leaks):
            print("The check for leaks does not work here: it did not find the deliberate leak")
            return 1
        if found := [leak for leak in leaks if "/_steps." in leak]:
            print("\n\n".join(["FOUND leaks:", *found]))
            return 1
    print("The sanitizers found nothing.")
    return 0


def _runs(seconds: int) -> dict[str, list[str]]:
    return {
        "tests": ["pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        "search": ["tests.fuzz.search", "--seconds", str(seconds), "document"],
    }


class Runner:
    """Runs Python modules with the sanitizers and the module that was built with them.

    Args:
        folder: The folder for the reports of the sanitizers, since pytest captures stderr.
        built: The folder of the native module.
    """

    def __init__(self, folder: Path, built: Path) -> None:
        self._folder, self._built = folder, built
        folder.mkdir()

    def run(self, arguments: Sequence[str], *, leaks: bool) -> int:
        """Run a module with its arguments and return the exit code."""
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        # libstdc++ too: AddressSanitizer has to find the functions that throw exceptions when it starts.
        libraries = [_library(compiler, name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")]
        reports = f"log_path={self._folder / 'report'}"
        environment = {
            "LD_PRELOAD": " ".join(libraries),
            "PYTHONMALLOC": "malloc",  # the sanitizers do not watch Python's own allocator
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            # The tests' own tools leak. Slow unwinding is needed to find _steps behind frames of Python.
            "ASAN_OPTIONS": f"{reports}:detect_leaks={int(leaks)}:fast_unwind_on_malloc={int(not leaks)}",
            "LSAN_OPTIONS": "exitcode=0",
            "UBSAN_OPTIONS": f"{reports}:print_stacktrace=1",
            sanitized.FOLDER: str(self._built),
        }
        command = [sys.executable, "-m", "tests.shred.sanitized", *arguments]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode

    def reports(self) -> list[str]:
        """Return the paragraphs of all reports so far."""
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self._folder.iterdir()]
        return [paragraph for text in texts for paragraph in text.split("\n\n")]


def _library(compiler: str, name: str) -> str:
    command = [compiler, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():
        raise SystemExit(f"{compiler} has no {name}. On Debian and Ubuntu, gcc comes with it.")
    return found


if __name__ == "__main__":
    sys.exit(main())
