"""Reading a pipeline's destination, without disturbing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wats_extract.flow import Destination
    from wats_extract.pipeline import Pipeline


@contextmanager
def reading(pipeline: Pipeline) -> Iterator[Destination]:
    """The pipeline's destination, open for reading; one that does not exist yet is empty.

    Raises:
        DestinationError: it cannot be read, such as a DuckDB file that another process writes.
    """
    from wats_extract.session import destination_of

    destination = destination_of(pipeline)
    destination.open(read_only=True)
    try:
        yield destination
    finally:
        destination.close()
