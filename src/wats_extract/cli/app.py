"""The group of commands, and what becomes of errors: a sentence, a hint and an exit code."""

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

from wats_extract.cli import output
from wats_extract.errors import WatsExtractError
from wats_extract.filters.nearest import did_you_mean
from wats_extract.version import __version__

COMMANDS = {
    "init": "init",
    "check": "check",
    "run": "run",
    "plan": "plan",
    "status": "status",
    "failures": "failures",
    "retry": "retry",
    "verify": "verify",
    "backfill": "backfill",
    "state": "state",
    "preview": "preview",
    "resources": "resources",
    "demo-server": "demo_server",
    "json-schema": "json_schema",
}
"""Each command's module, in the order in which one needs them."""

INTERRUPTED = 130

TOKENS = ("WATS_TOKEN", "PYWATS_API_TOKEN")
"""Variables that no message may show; what a .env file holds is hidden when the file is read."""


class Commands(click.Group):
    """Commands whose modules are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All of them, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, or ``None``."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"wats_extract.cli.{COMMANDS[cmd_name]}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; where there is none, the nearest is named."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            meant = did_you_mean(name, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {name!r}{meant}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wats-extract", message="%(prog)s %(version)s")
def commands() -> None:
    """All data out of WATS, completely: into DuckDB or Parquet, and kept up to date.

    A pipeline file says what to extract and where to put it. To begin, without a WATS server at hand:

    \b
      wats-extract init
      wats-extract run pipelines/reports.yaml
    """  # noqa: D301 - the \b is for click: it keeps the lines


_RARELY = (50_000, 20, 50)
"""Objects, and rounds, before Python looks for cycles: imports make many objects, and next to no cycles."""


_M_ARENA_MAX, _HEAPS = -8, 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        arguments: What was typed behind the program's name; by default what the process was given.
    """
    gc.set_threshold(*_RARELY)
    _share_heaps()
    output.prepare_streams()
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own keep much that is not in use
    for name in TOKENS:
        output.hide(os.environ.get(name, ""))
    sys.exit(_exit_code(arguments))


def _share_heaps() -> None:
    """Few heaps for all threads: glibc gives each its own, and each keeps what its thread has freed."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):  # musl has none
        mallopt(_M_ARENA_MAX, _HEAPS)


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        answer = commands.main(arguments, prog_name="wats-extract", standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except click.Abort:
        output.complain("Interrupted", "before it was through.")
        return INTERRUPTED
    except click.ClickException as error:
        said = StringIO()
        error.show(said)
        output.relay(said.getvalue())  # it repeats what was typed
        return error.exit_code
    except WatsExtractError as error:
        output.error(error)
        return error.exit_code
    except Exception as error:
        output.bug(error)
        return 1
