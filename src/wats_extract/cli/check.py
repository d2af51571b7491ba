"""``wats-extract check``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from wats_extract.cli import output, progress
from wats_extract.cli.command import Command
from wats_extract.cli.pipeline_file import demo_option, file_argument, loaded
from wats_extract.cli.reading import reading
from wats_extract.errors import (
    ConfigurationError,
    DestinationError,
    PipelineLocked,
    RequestError,
    Unreadable,
    WatsExtractError,
)
from wats_extract.flow import Reply
from wats_extract.http.client import Client
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import destination_of, open_client
from wats_extract.state.ownership import refuse_other_server
from wats_extract.state.tables import BOOKKEEPING

T = TypeVar("T")


@click.command("check", cls=Command, examples=("check pipelines/reports.yaml",))
@file_argument
@demo_option
def command(file: Path, demo: bool) -> int:  # noqa: FBT001 - click gives it by name
    """Check that FILE can run, without running it.

    Checks that the file is valid, the server responds and the token works, and that the destination can be
    written and does not belong to another server.

    \b
    Exit codes:
      0    all checks passed
      1    the destination cannot be written
      2    the file, the server's address or the token is wrong
      5    the server is unreachable
    """  # noqa: D301 - \b tells click to keep the line breaks
    checks = Checks()
    pipeline = checks.run(
        "file", lambda: loaded(file, demo=demo), lambda pipeline: f"{file}: {_names(pipeline)}"
    )
    if pipeline is None:
        return checks.exit_code
    if error := _other_server(pipeline):
        for name in ("server", "token"):
            checks.skip(name)
        checks.fail("destination", error)
    else:
        _check_source(checks, pipeline)
        checks.run("destination", lambda: _opened_for_writing(pipeline), lambda place: f"{place} is writable")
    return checks.exit_code


class Checks:
    """Runs checks and prints a line for each. A check that fails does not prevent the next one.

    Attributes:
        exit_code: The exit code of the first check that failed, or 0.
    """

    def __init__(self) -> None:
        self.exit_code = 0

    def run(self, name: str, check: Callable[[], T], describe: Callable[[T], str]) -> T | None:
        """Run a check, print a description of its result, and return the result; ``None`` if it failed."""
        try:
            found = check()
        except WatsExtractError as error:
            self.fail(name, error)
            return None
        _say(f"{output.mark(good=True)} {name:<12} {describe(found)}", "green")
        return found

    def fail(self, name: str, error: WatsExtractError) -> None:
        """Print that a check failed, and why."""
        self.exit_code = self.exit_code or error.exit_code
        _say(f"{output.mark(good=False)} {name}", "red")
        output.error(error)

    def skip(self, name: str) -> None:
        """Print that a check was skipped because an earlier one failed."""
        _say(f"- {name:<12} skipped", "dim")


def _say(text: str, style: str) -> None:
    output.say(text, style)
    sys.stdout.flush()


def _names(pipeline: Pipeline) -> str:
    return ", ".join(resource.name for resource in pipeline.resources)


# ── server and token ────────────────────────────────────────────────────────────────────────────


def _check_source(checks: Checks, pipeline: Pipeline) -> None:
    place = "the embedded demo server" if pipeline.source.demo else pipeline.source.url
    try:
        with open_client(pipeline.source, listen=progress.log_lines()) as client:
            server = checks.run(
                "server", lambda: _version(client), lambda version: f"{place} responds{version}"
            )
            if server is None:
                checks.skip("token")
            else:
                checks.run("token", lambda: _count_reports(client), _describe_access)
    except ConfigurationError as error:
        checks.fail("token", error)


def _version(client: Client) -> str:
    """Return the server's version for display; empty if the server responds but refuses to tell.

    Raises:
        RequestError: The server does not respond, or responds with 5xx only.
    """
    try:
        body = client.get("App/Version", decode=lambda reply: reply.body.decode("utf-8", "replace"))
    except RequestError as error:
        if error.http_status is None or error.http_status >= 500:
            raise
        return ""
    version = body.strip().strip('"')
    return f": WATS {version}" if len(version) < 40 else ""


def _count_reports(client: Client) -> int:
    """Request one report header; return 1, or 0 if the token can see no reports.

    Raises:
        RequestError: The token is refused.
    """
    return client.get("Report/Query/Header", query={"$top": 1}, decode=_length)


def _length(reply: Reply) -> int:
    try:
        return len(json.loads(reply.body))
    except (ValueError, TypeError) as error:
        raise Unreadable(f"the response is not a JSON list: {error}") from error


def _describe_access(reports: int) -> str:
    return "can read reports" if reports else "works, but can see no reports"


# ── destination ─────────────────────────────────────────────────────────────────────────────────


def _other_server(pipeline: Pipeline) -> ConfigurationError | None:
    """The error of a destination that belongs to another server; ``None`` also if it cannot be read."""
    try:
        with reading(pipeline) as destination:
            refuse_other_server(destination, pipeline.source.identity)
    except ConfigurationError as error:
        return error
    except (DestinationError, PipelineLocked):
        return None  # the check for writing reports it
    return None


def _opened_for_writing(pipeline: Pipeline) -> str:
    """Open the destination as a run does, and return its place."""
    destination = destination_of(pipeline)
    destination.open()
    try:
        destination.prepare(BOOKKEEPING)
    finally:
        destination.close()
    return destination.place
