"""What the commands that ask the server share: load, listen, stop when asked, and say how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias, TypeVar

from wats_extract import events
from wats_extract.cli import output, signals, summary
from wats_extract.cli.pipeline_file import loaded
from wats_extract.cli.summary import Outcome
from wats_extract.pipeline.model import Pipeline

R = TypeVar("R", bound=Outcome)
Begin: TypeAlias = Callable[[Pipeline, events.Listener, threading.Event], R]
Tell: TypeAlias = Callable[[R, Pipeline], None]

_INTERRUPTED = "interrupted: finishing the current commit; the next run goes on from there"


def carry_out(file: Path, begin: Begin[R], tell: Tell[R], *, as_json: bool, quiet: bool) -> int:
    """Run a pipeline file, in whichever way ``begin`` does, and report it.

    Args:
        file: The pipeline file.
        begin: Runs the pipeline.
        tell: Shows the report to people.
        as_json: Print the report as JSON instead, also where the run is refused.
        quiet: Show nothing but what went wrong.

    Returns:
        The exit code.

    Raises:
        WatsExtractError: the run was refused, or the destination failed before it began.
    """
    try:
        with signals.caught() as stop:
            pipeline = loaded(file)
            report = _observed(pipeline, begin, stop, quiet=quiet)
    except Exception as error:
        if as_json:
            output.json_line(output.refusal(error))
        raise
    if as_json:
        output.json_line(report.to_json())
    elif not quiet:
        tell(report, pipeline)
    summary.complain(report, file, told=not (as_json or quiet))
    return stop.exit_code if report.status == "interrupted" else report.exit_code


def _observed(pipeline: Pipeline, begin: Begin[R], stop: signals.Stop, *, quiet: bool) -> R:
    with _told(quiet=quiet) as listen:
        watcher = threading.Thread(target=_announce, args=(stop, listen), daemon=True)
        watcher.start()
        try:
            return begin(pipeline, listen, stop.event)
        finally:
            stop.event.set()
            watcher.join()


def _told(*, quiet: bool) -> AbstractContextManager[events.Listener]:
    if quiet:
        return nullcontext(events.nobody)
    from wats_extract.cli import progress  # here, for rich takes a while to import

    return progress.told()


def _announce(stop: signals.Stop, listen: events.Listener) -> None:
    if stop.wait():
        listen(events.Noted(_INTERRUPTED))
