"""The command group: loads a command when it is called, and turns errors into messages and exit codes."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import StringIO
from typing import NoReturn

import click

from wats_extract.cli import output, streams
from wats_extract.errors import Interrupted, WatsExtractError
from wats_extract.filters.nearest import nearest
from wats_extract.version import __version__

COMMANDS = {
    "init": "Create a pipeline file to start from.",
    "check": "Check that FILE can run, without running it.",
    "run": "Extract what FILE selects, incrementally.",
    "plan": "Show what a run of FILE would read.",
    "status": "Show runs, cursors, row counts and open failures.",
    "failures": "List the items that could not be extracted.",
    "retry": "Fetch the failed items of FILE again.",
    "verify": "Compare the server with the destination.",
    "backfill": "Extract an older range of reports.",
    "state": "Show or change the cursors of FILE.",
    "preview": "Show the first rows of a resource.",
    "resources": "List the resources that can be extracted.",
    "demo-server": "Run the embedded WATS server by itself.",
    "json-schema": "Print the JSON Schema of pipeline files.",
}
"""Short help by command, in the order of ``--help``. Listing commands must not import them."""

TOKENS = ("WATS_TOKEN", "PYWATS_API_TOKEN")
"""Environment variables whose values are masked in all output. ``.env`` files are masked when loaded."""


_INTERRUPTED = (130, 143)
"""The exit codes after Ctrl-C and SIGTERM."""


class Commands(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command, or return ``None`` for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"wats_extract.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run; for an unknown name, suggest the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = nearest(name, COMMANDS)
            hint = f"did you mean {close!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
            ctx.fail(f"unknown command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands with their short help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wats-extract", message="%(prog)s %(version)s")
def commands() -> None:
    """Extract all data from WATS into DuckDB or Parquet, and keep it up to date.

    A pipeline file says what to extract and where to load it. To try it without a WATS server:

    \b
      wats-extract init
      wats-extract run pipelines/reports.yaml --demo
    """  # noqa: D301 - \b tells click to keep the line breaks


# ── the process ─────────────────────────────────────────────────────────────────────────────────

_GC_THRESHOLDS = (50_000, 20, 50)
"""Higher than the defaults: imports allocate many objects and hardly any cycles, so collecting is wasted."""

_M_ARENA_MAX = -8
"""``M_ARENA_MAX`` of ``mallopt``, from glibc's ``malloc.h``."""

_ARENAS = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit the process.

    Args:
        arguments: The words after the program's name; by default those of the process.
    """
    gc.set_threshold(*_GC_THRESHOLDS)
    _limit_arenas()
    streams.prepare()
    # Arrow's own memory pools keep memory that is no longer used. Arrow reads this when it is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    for name in TOKENS:
        output.hide(os.environ.get(name, ""))
    exit_code = _exit_code(arguments)
    if exit_code in _INTERRUPTED:
        _exit_at_once(exit_code)
    sys.exit(exit_code)


def _limit_arenas() -> None:
    """Let threads share memory arenas: glibc gives each thread its own, and keeps what the thread frees."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):  # not in musl
        mallopt(_M_ARENA_MAX, _ARENAS)


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        result = commands.main(arguments, prog_name="wats-extract", standalone_mode=False)
    except click.Abort:
        return _interrupted(Interrupted.exit_code)
    except click.ClickException as error:
        message = StringIO()
        error.show(message)
        output.relay(message.getvalue())  # the message repeats the user's words, which may hold a token
        return error.exit_code
    except Interrupted as error:
        return _interrupted(error.exit_code)
    except WatsExtractError as error:
        output.error(error)
        return error.exit_code
    except Exception as error:
        output.bug(error)
        return 1
    return result if isinstance(result, int) else 0


def _exit_at_once(exit_code: int) -> NoReturn:
    """Exit without Python's clean-up, which may take ten seconds if a page of 240 MB is still being read."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(exit_code)


def _interrupted(exit_code: int) -> int:
    output.problem("Interrupted", "the command was stopped before it finished")
    return exit_code
