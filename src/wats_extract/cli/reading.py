"""Opening a pipeline's destination read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wats_extract.errors import DestinationError, PipelineLocked
from wats_extract.flow import Destination
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import destination_of


@contextmanager
def reading(pipeline: Pipeline) -> Iterator[Destination]:
    """Open the pipeline's destination read-only. A destination that does not exist yet reads as empty.

    Raises:
        PipelineLocked: A run is in progress and has the destination open exclusively.
        DestinationError: The destination cannot be read, for example because another program has the DuckDB
            file open.
    """
    destination = destination_of(pipeline)
    try:
        destination.open(read_only=True)
    except DestinationError:
        running = destination.holder(pipeline.name)
        if running is None or not running.beats:
            raise
        raise PipelineLocked(
            f"a run of pipeline {pipeline.name!r} is in progress: {running}",
            hint=f"{destination.place} cannot be read until the run ends.",
        ) from None
    try:
        yield destination
    finally:
        destination.close()
