"""Read a queue: the server returns the same changes again until they are acknowledged.

By default the queue is only read: every run gets the same first changes. With ``acknowledge: true`` the
engine deletes the changes of a chunk from the server once the chunk is durable, and the reader continues with
the next changes until the queue is empty. Other programs that read the queue no longer get these changes.

If a run is killed between commit and acknowledgement, the next run gets the same changes and replaces their
rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from wats_extract import events
from wats_extract.flow import Chunk, Keys, Window
from wats_extract.readers.paged import PagedReader, outcome_counts
from wats_extract.readers.reader import Page, Source


@dataclass(frozen=True)
class QueueReader(PagedReader):
    """Reads the first changes of a queue, again and again as they are acknowledged.

    Attributes:
        most: The largest number of changes per request, and so per chunk.
    """

    most: int

    reads_ahead = False
    """The server returns the next changes only after the previous ones are committed and acknowledged."""

    @property
    def paging(self) -> str:
        """How it is paged, in a word."""
        return "queue"

    @property
    def cap(self) -> int:
        """The largest number of changes per request."""
        return self.most

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """One chunk per request. Reading acknowledges nothing: each chunk lists what the engine may delete.

        With ``acknowledge: true`` one request follows the other, until a response has no new changes.

        Raises:
            RequestError: a request fails after all retries.
        """
        if isinstance(window.bounds, Keys):
            yield from super().read(source, window)
            return
        left = window.selection.limit
        acknowledge = bool(window.selection.options.get("acknowledge"))
        seen: set[str] = set()
        while page := self._first_page(source):
            fresh = [row for row in page.rows if row.key not in seen][:left]
            if not fresh:
                return
            seen.update(row.key for row in fresh)
            source.listen(events.ItemsListed(source.resource, len(fresh)))
            whole = acknowledge or len(fresh) < self.most
            why = "" if whole else f"exactly {self.most:,} changes came, as many as were requested"
            chunk = self._chunk(source, fresh, None, Page(fresh, [None] * len(fresh), self.most, why))
            if acknowledge:
                chunk = replace(chunk, acknowledge=[f"{self.listing.route}/{key}" for key in chunk.landed])
            yield chunk
            for failure, times in outcome_counts(chunk, [row.key for row in fresh]):
                source.judge(failure, times)
            if not acknowledge or (left is not None and (left := left - len(fresh)) <= 0):
                return

    def _first_page(self, source: Source) -> Page | None:
        query = {"maxCount": self.most}
        found = source.client.get(
            self.listing.route, query=query, decode=lambda reply: self.shredder.rows(reply.body)
        )
        return Page(found, [None] * len(found), self.most) if found else None
