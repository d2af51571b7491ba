"""``wats-extract check``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.cli.pipeline_file import file_argument, loaded
from wats_extract.errors import ConfigurationError, RequestError, Unreadable, WatsExtractError

if TYPE_CHECKING:
    from wats_extract.flow import Reply
    from wats_extract.http.client import Client
    from wats_extract.pipeline.model import Pipeline

T = TypeVar("T")


@click.command("check", cls=Command, examples=("check pipelines/reports.yaml",))
@file_argument
def command(file: Path) -> int:
    """See whether FILE can run, without running it.

    The file is read, the server asked, the token tried, the destination opened for writing. Exits with 0
    when all is well, 2 when the file or the token is wrong, 5 when the server is out of reach, 1 when the
    destination cannot be written.
    """
    steps = Steps()
    pipeline = steps.take("file", lambda: loaded(file), lambda found: f"{file}: {_names(found)}")
    if pipeline is not None:
        _check_source(steps, pipeline)
        steps.take("destination", lambda: _written(pipeline), lambda place: f"{place} can be written")
    return steps.exit_code


class Steps:
    """Checks, one after another; one that fails is told, and does not keep the next from being made.

    Attributes:
        exit_code: That of the first one that failed.
    """

    def __init__(self) -> None:
        self.exit_code = 0

    def take(self, name: str, act: Callable[[], T], said: Callable[[T], str]) -> T | None:
        """Make a check; ``None`` if it failed."""
        try:
            found = act()
        except WatsExtractError as error:
            self.fail(name, error)
            return None
        _tell(f"{output.mark(good=True)} {name:<12} {said(found)}", "green")
        return found

    def fail(self, name: str, error: WatsExtractError) -> None:
        """A check has failed."""
        self.exit_code = self.exit_code or error.exit_code
        _tell(f"{output.mark(good=False)} {name}", "red")
        output.error(error)

    def skip(self, name: str) -> None:
        """A check cannot be made, because an earlier one failed."""
        _tell(f"- {name:<12} not tried", "dim")


def _tell(text: str, style: str) -> None:
    output.say(text, style)
    sys.stdout.flush()


def _check_source(steps: Steps, pipeline: Pipeline) -> None:
    from wats_extract.cli import progress
    from wats_extract.pipeline.opening import open_client

    place = "the embedded demo server" if pipeline.source.demo else pipeline.source.url
    try:
        with open_client(pipeline.source, listen=progress.log()) as client:
            server = steps.take("server", lambda: _version(client), lambda said: f"{place} answers{said}")
            if server is None:
                steps.skip("token")
            else:
                steps.take("token", lambda: _reports(client), _what_it_reads)
    except ConfigurationError as error:
        steps.fail("token", error)


def _version(client: Client) -> str:
    """What the server says of itself, or nothing where it answers with a refusal.

    Raises:
        RequestError: nobody answers, or nothing but errors.
    """
    try:
        said = client.get("App/Version", decode=lambda reply: reply.body.decode("utf-8", "replace"))
    except RequestError as error:
        if error.http_status is None or error.http_status >= 500:
            raise
        return ""
    version = said.strip().strip('"')
    return f": WATS {version}" if len(version) < 40 else ""


def _reports(client: Client) -> int:
    """How many reports come when one is asked for.

    Raises:
        RequestError: the token does not reach them.
    """
    return client.get("Report/Query/Header", query={"$top": 1}, decode=_count)


def _count(reply: Reply) -> int:
    try:
        return len(json.loads(reply.body))
    except (ValueError, TypeError) as error:
        raise Unreadable(f"it is no list in JSON: {error}") from error


def _what_it_reads(reports: int) -> str:
    return "reads reports" if reports else "works, and there are no reports that it may read"


def _written(pipeline: Pipeline) -> str:
    """Open the destination as a run does, and say where it is."""
    from wats_extract.pipeline.opening import destination_of
    from wats_extract.state.tables import BOOKKEEPING

    destination = destination_of(pipeline)
    destination.open()
    try:
        destination.prepare(BOOKKEEPING)
    finally:
        destination.close()
    return destination.place


def _names(pipeline: Pipeline) -> str:
    return ", ".join(resource.name for resource in pipeline.resources)
