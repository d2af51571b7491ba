"""Resources that are listed by report uuid: their keys and versions alone, 10,000 a request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wats_extract.flow import Row
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.listing import ReportList
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reading import Page, Reading, RowsOf
from wats_extract.resources.resource import Resource

NAMES = ("uuid", "timeStamp", "start")
"""What is asked of each report, beside what a caller wants to know."""


@dataclass(frozen=True)
class ReportKeys:
    """The reports that a resource's rows are about, as the server lists them.

    Attributes:
        listing: Gives them, in the order of their ``timeStamp``.
        rows: Reads an answer.
        requests_each: Requests that each of them takes, beside the listing's.
    """

    listing: ReportList
    rows: RowsOf
    requests_each: int

    @property
    def at_once(self) -> int:
        """How many uuids one look-up may ask for."""
        return self.listing.keys_at_once

    def pages(self, reading: Reading, *, also: Sequence[str] = ()) -> Iterator[Page]:
        """Those of the reading's selection, from its cursor on.

        Args:
            reading: Which ones.
            also: More fields of the header, by their names in WATS.
        """
        return self.listing.pages(reading, self.rows, {"$select": ",".join((*NAMES, *also))})

    def look_up(self, reading: Reading, keys: Sequence[str]) -> dict[str, Row]:
        """Those of some uuids that the server has, whatever the reading selects."""
        return self.listing.look_up(reading, list(keys), self.rows, {"$select": ",".join(NAMES)})


def report_keys(resource: Resource) -> ReportKeys | None:
    """How a resource's reports are listed; ``None`` where it is not about reports."""
    reader = resource.reader
    if isinstance(reader, PagedReader | ByKeyReader) and isinstance(reader.listing, ReportList):
        each = 1 if isinstance(reader, ByKeyReader) else 0
        return ReportKeys(reader.listing, reader.shredder.rows, each)
    return None
