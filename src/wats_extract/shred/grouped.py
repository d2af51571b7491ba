"""Shred records that come in groups: ``[{"measurementPath": …, "measurements": [{…}, …]}, …]``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from wats_extract.errors import Unreadable
from wats_extract.flow import Row
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.records import json_text, loads, read
from wats_extract.tables import Table


class GroupedShredder(FlatShredder):
    """Turns grouped records into rows; what a group says of all its records stands in each.

    A server that gives the records without groups is read as well.

    Args:
        table: One row a record.
        children: Lists within the records.
        within: The field of a group that holds its records.
        numbered: The name of a field that records get: the place among those with the same ``same``.
        same: The fields by which records are numbered.
    """

    def __init__(
        self,
        table: Table,
        children: Sequence[Child] = (),
        *,
        within: str,
        numbered: str = "",
        same: Sequence[str] = (),
    ) -> None:
        super().__init__(table, children, within=within)
        self.numbered, self.same = numbered, tuple(same)

    def records(self, body: bytes) -> list[Any]:
        """The records of all groups.

        Raises:
            Unreadable: it is cut off, or holds no groups.
            RecordError: one of them does not fit.
        """
        return [read(raw, self.decoder) for raw in self._raw_records(body)]

    def rows(self, body: bytes) -> list[Row]:
        """The records of all groups, those that do not fit with the reason.

        Raises:
            Unreadable: it is cut off, or holds no groups.
        """
        return [self._patient_row(raw) for raw in self._raw_records(body)]

    def _raw_records(self, body: bytes) -> list[bytes]:
        groups = loads(body, exact=True)
        if isinstance(groups, dict):
            groups = [groups]
        if not isinstance(groups, list):
            raise Unreadable(f"expected a list, found {str(groups)[:60]!r}")
        count: Counter[tuple[Any, ...]] = Counter()
        found = []
        for record in self._ungrouped(groups):
            if self.numbered and isinstance(record, dict):
                same = tuple(str(_field(record, name)) for name in self.same)
                record = {**record, self.numbered: count[same]}
                count[same] += 1
            found.append(json_text(record).encode("utf-8"))
        return found

    def _ungrouped(self, groups: list[Any]) -> Iterator[Any]:
        for group in groups:
            inside = _field(group, self.within) if isinstance(group, dict) else None
            if not isinstance(inside, list):
                yield group
                continue
            shared = {name: value for name, value in group.items() if value is not inside}
            for record in inside:
                yield {**shared, **record} if isinstance(record, dict) else record


def _field(record: dict[str, Any], name: str) -> Any:
    """A field, however its name is spelled."""
    return next((value for key, value in record.items() if key.lower() == name.lower()), None)
