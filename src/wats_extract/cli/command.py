"""What every command is. Light: ``--help`` imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from wats_extract.cli import output


class Command(click.Command):
    """A command with examples at the end of its help.

    Args:
        examples: What to type, without ``wats-extract`` in front.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(f"wats-extract {example}" for example in examples)

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """The examples, each on a line of its own however narrow the terminal is."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class ReportingCommand(Command):
    """A command whose ``--json`` holds also where its options are refused."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options; a scheduler that asked for JSON gets it when they are wrong, too."""
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if as_json:
                output.json_line(output.refusal(error, error.format_message()))
            raise
