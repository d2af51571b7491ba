"""Shared by `run`, `plan`, `retry`, `verify` and `backfill`: signals, progress, report, exit code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import click

from wats_extract import events
from wats_extract.cli import output, progress, signals, summary
from wats_extract.cli.command import Command
from wats_extract.cli.pipeline_file import loaded
from wats_extract.cli.summary import Outcome
from wats_extract.errors import Interrupted
from wats_extract.frontends.pipelines import unstarted
from wats_extract.pipeline.model import Pipeline

R = TypeVar("R", bound=Outcome)
R_co = TypeVar("R_co", bound=Outcome, covariant=True)
Show: TypeAlias = Callable[[R, Pipeline], None]

_STOPPING = "interrupted: finishing the current commit; the next run resumes from there"


class Operation(Protocol[R_co]):
    """A function that runs a pipeline in some way and reports the outcome."""

    def __call__(self, pipeline: Pipeline, /, *, listen: events.Listener, stopping: threading.Event) -> R_co:
        """Run the pipeline until it ends or ``stopping`` is set."""


class ReportingCommand(Command):
    """A command with ``--json``; it prints JSON even if the command line is wrong."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options. With ``--json``, report a usage error as JSON as well."""
        as_json = "--json" in args  # before click takes words out of the list
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if as_json:
                output.json_line(_refusal(error, message=error.format_message()))
            raise


def run_command(
    file: Path, operation: Operation[R], show: Show[R], *, demo: bool, as_json: bool, quiet: bool
) -> int:
    """Run an operation on a pipeline file and report its outcome.

    Args:
        file: The pipeline file.
        operation: Runs the pipeline.
        show: Prints the report for people.
        demo: Read the embedded demo server instead of the file's server.
        as_json: Print the report as JSON instead, even if the operation raises an error.
        quiet: Print problems only.

    Returns:
        The exit code.

    Raises:
        WatsExtractError: The operation could not start, or failed without a report.
    """
    pipeline = None
    try:
        with signals.caught() as stop:
            pipeline = loaded(file, demo=demo)
            report = _observed(operation, pipeline, stop, quiet=quiet)
    except Exception as error:
        if isinstance(error, Interrupted):
            error.exit_code = stop.exit_code
        if as_json:
            output.json_line(_refusal(error, pipeline=pipeline))
        raise
    if as_json:
        output.json_line(report.to_json())
    elif not quiet:
        show(report, pipeline)
    summary.report_problem(report, file, summarized=not (as_json or quiet))
    return stop.exit_code if report.status == "interrupted" else report.exit_code


def _observed(operation: Operation[R], pipeline: Pipeline, stop: signals.Stop, *, quiet: bool) -> R:
    with _listener(quiet=quiet) as listen:
        watcher = threading.Thread(target=_announce_stop, args=(stop, listen), daemon=True)
        watcher.start()
        try:
            return operation(pipeline, listen=listen, stopping=stop.event)
        finally:
            stop.event.set()
            watcher.join()


def _listener(*, quiet: bool) -> AbstractContextManager[events.Listener]:
    return nullcontext(events.nobody) if quiet else progress.shown()


def _announce_stop(stop: signals.Stop, listen: events.Listener) -> None:
    """Print a notice when a signal arrives. The signal's handler itself must not print."""
    if stop.wait():
        listen(events.Noted(_STOPPING))


def _refusal(error: Exception, *, pipeline: Pipeline | None = None, message: str = "") -> dict[str, Any]:
    """What ``--json`` prints for an error: an object with the keys of a report."""
    report = unstarted(error, pipeline)
    report.message = output.masked(message or report.message)
    return report.to_json() | {"run_id": None}
