"""``wats-extract check``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.errors import ConfigurationError, RequestError, WatsExtractError

if TYPE_CHECKING:
    from wats_extract.client import Client
    from wats_extract.pipeline import Pipeline


@click.command("check", cls=Command, examples=("check pipelines/reports.yaml",))
@file_argument
def command(file: Path) -> int:
    """See whether FILE could run: file, server, token, destination.

    Nothing is extracted. Exits with 0 when all is well, 2 when the file or the token is wrong, 5 when the
    server is out of reach, 1 when the destination cannot be written.
    """
    steps = Steps()
    pipeline = steps.take("file", lambda: loaded(file), lambda it: f"{file}: {', '.join(_names(it))}")
    if pipeline is not None:
        _check_source(steps, pipeline)
        steps.take("destination", lambda: _written(pipeline), lambda place: f"{place} can be written")
    return steps.exit_code


class Steps:
    """Checks, one after another; a failed one is told and does not keep the next from being made.

    Attributes:
        exit_code: That of the first error.
    """

    def __init__(self) -> None:
        self.exit_code = 0

    def take[T](self, name: str, act: Callable[[], T], said: Callable[[T], str]) -> T | None:
        """Make a check; ``None`` if it failed."""
        try:
            found = act()
        except WatsExtractError as error:
            self.fail(name, error)
            return None
        self._line(f"{output.mark(good=True)} {name:<12} {said(found)}", "green")
        return found

    def fail(self, name: str, error: WatsExtractError) -> None:
        """A check failed."""
        self.exit_code = self.exit_code or error.exit_code
        self._line(f"{output.mark(good=False)} {name}", "red")
        output.error(error)

    def _line(self, text: str, style: str) -> None:
        output.say(text, style)
        sys.stdout.flush()


def _names(pipeline: Pipeline) -> list[str]:
    return [resource.name for resource in pipeline.resources]
