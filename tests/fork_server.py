"""Runs Python programs in forks of one process that has imported the library already.

A short command spends most of its time on imports, and a fork need not repeat them. `forked` starts this
script and sends one JSON object per line to its stdin. The reply on stdout is one number per line: the
process id of a program that was started, or the exit code of one that ended. The script ends with its stdin.

The server itself only imports. It must not use what it imports: thread pools do not survive a fork.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
import warnings
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, NoReturn

LAZY_IMPORTS = (
    "duckdb",
    "polars",
    "pyarrow.compute",
    "pyarrow.parquet",
    "rich.live",
    "rich.progress",
    "rich.table",
    "rich.traceback",
)
"""Modules of other packages that the library imports inside functions."""


def import_everything() -> None:
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the command line sets this before it imports pyarrow
    package = import_module("wats_extract")
    names = [module.name for module in walk_packages(package.__path__, "wats_extract.")]
    for name in (*names, *LAZY_IMPORTS):
        if not name.endswith("__main__"):
            with suppress(ImportError):  # of an optional dependency; a program that needs it fails by itself
                import_module(name)


def become(program: dict[str, Any]) -> None:
    """Turn this process, which must be a fork, into a program, and run it.

    Args:
        program: See `forked.Server.start`.
    """
    os.chdir(program["folder"])
    os.environ.clear()
    os.environ.update(program["env"])
    time.tzset()
    _redirect(1, program["out"])
    _redirect(2, program["err"])
    if program["teardown"]:
        _interpret(program["arguments"])
    else:
        _interpret_and_exit(program["arguments"])


def _interpret_and_exit(arguments: list[str]) -> NoReturn:
    """End the process without the interpreter's shutdown, which takes 0.1 s with so many modules."""
    code: object = 0
    try:
        _interpret(arguments)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _interpret(arguments: list[str]) -> None:
    """Do what ``python`` does with these arguments."""
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case [script, *rest]:
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")


def _redirect(descriptor: int, path: str, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> None:
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)


def main() -> None:
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _redirect(0, os.devnull, os.O_RDONLY)
    import_everything()
    # The other threads belong to memory allocators, which survive a fork.
    warnings.filterwarnings(
        "ignore", message="This process .* is multi-threaded", category=DeprecationWarning
    )
    for line in orders:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if not answer:
                orders.close()
                answers.close()
                become(order)
                return
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
