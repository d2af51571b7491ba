"""A queue: changes stay until they are acknowledged, and the head does not move before.

Read only, by default: what stands in the queue is read once, and every run reads it again. With
``acknowledge: true`` each change is deleted from the server when it has been committed, and the next ones are
asked for until there are none. That takes it away from whoever else reads the queue.

Where a run is killed between commit and delete, the next one gets the change again and replaces its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wats_extract import events
from wats_extract.flow import Chunk
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reading import Page, Reading


@dataclass(frozen=True)
class QueueReader(PagedReader):
    """Reads a queue from its head.

    Attributes:
        most: Changes in one answer, and so in one chunk.
    """

    most: int

    waits_for_commits = True
    """What has been committed is deleted from the queue before the next chunk is asked for."""

    @property
    def paging(self) -> str:
        """How, in a word."""
        return "queue"

    @property
    def cap(self) -> int:
        """Changes asked for in one request."""
        return self.most

    def read(self, reading: Reading) -> Iterator[Chunk]:
        """One chunk an answer. Whoever takes the next one has committed the one before it.

        Raises:
            RequestError: the queue, or the acknowledgement of a change, stays without a usable answer.
        """
        left = reading.selection.limit
        acknowledge = bool(reading.selection.options.get("acknowledge"))
        seen: set[str] = set()
        for page in iter(lambda: self._head(reading), None):
            fresh = [row for row in page.rows if row.key not in seen][:left]
            if not fresh:
                return
            seen.update(row.key for row in fresh)
            reading.listen(events.ItemsListed(reading.resource, len(fresh)))
            whole = acknowledge or len(fresh) < self.most
            why = "" if whole else f"exactly {self.most:,} changes came, as many as were asked for"
            chunk = self._chunk(reading, fresh, None, Page(fresh, [None] * len(fresh), self.most, why))
            yield chunk
            for row in fresh:
                reading.judge(row.key in chunk.landed)
            if not acknowledge:
                return
            for key in chunk.landed:  # which is committed, since the next chunk is asked for
                reading.client.acknowledge(f"{self.listing.route}/{key}")
            if left is not None and (left := left - len(fresh)) <= 0:
                return

    def _head(self, reading: Reading) -> Page | None:
        query = {"maxCount": self.most}
        found = reading.client.get(
            self.listing.route, query=query, decode=lambda reply: self.shredder.rows(reply.body)
        )
        return Page(found, [None] * len(found), self.most) if found else None
