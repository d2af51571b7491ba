"""Reading a pipeline's destination, without disturbing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wats_extract.errors import DestinationError, PipelineLocked

if TYPE_CHECKING:
    from wats_extract.flow import Destination
    from wats_extract.pipeline.model import Pipeline


@contextmanager
def reading(pipeline: Pipeline) -> Iterator[Destination]:
    """The pipeline's destination, open for reading; one that does not exist yet is empty.

    Raises:
        PipelineLocked: a run is under way, and lets nobody read meanwhile.
        DestinationError: it cannot be read, such as a DuckDB file that another program writes.
    """
    from wats_extract.pipeline.opening import destination_of
    from wats_extract.state.lock import sighted

    destination = destination_of(pipeline)
    try:
        destination.open(read_only=True)
    except DestinationError:
        running = sighted(destination.lock_path(pipeline.name))
        if running is None or not running.beats:
            raise
        raise PipelineLocked(
            f"a run of pipeline {pipeline.name!r} is under way: {running}",
            hint=f"Until it ends nobody else can read {destination.place}.",
        ) from None
    try:
        yield destination
    finally:
        destination.close()
