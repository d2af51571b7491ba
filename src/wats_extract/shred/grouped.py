"""Shreds records that come in groups: ``[{"measurementPath": …, "measurements": [{…}, …]}, …]``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from wats_extract.flow import Row
from wats_extract.shred.budget import Budget, check_structure
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.records import json_text, loads, read
from wats_extract.shred.shape import wrapped_list
from wats_extract.tables import Table


class GroupedShredder(FlatShredder):
    """Turns grouped records into rows; each row repeats the fields of its group.

    Records without groups, which some servers return, are read too.

    Args:
        table: The table, with one row per record.
        children: Lists within the records.
        within: The field of a group that holds its records. A response may be a single group.
        numbered: The name of a field that is added to each record: a number, from 0, among the records with
            the same values of ``same``.
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
        super().__init__(table, children, shape=wrapped_list(within))
        self.within = within
        self.numbered, self.same = numbered, tuple(same)

    def records(self, body: bytes) -> list[Any]:
        """Return the records of all groups.

        Raises:
            Unreadable: The response is cut off, or holds no groups.
            RecordError: A record does not fit.
        """
        return [read(raw, self.decoder) for raw in self._known_records(body)]

    def rows(self, body: bytes) -> list[Row]:
        """Return the records of all groups; one that does not fit becomes a row with the reason.

        Raises:
            Unreadable: The response is cut off, or holds no groups.
        """
        return [self._lenient_row(raw) for raw in self._known_records(body)]

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names of the declared fields, in lower case, without the field that is added to each record."""
        return super()._names - {self.numbered.lower()}

    def _known_records(self, body: bytes) -> list[bytes]:
        """Return the records, unless none of them has a declared field."""
        found = self._raw_records(body)
        if found and all(map(self._is_foreign, found)):
            raise self.foreign(found[0])
        return found

    def _raw_records(self, body: bytes) -> list[bytes]:
        check_structure(body)
        groups = loads(body, exact=True)
        if isinstance(groups, dict) and isinstance(_field(groups, self.within), list):
            groups = [groups]
        if not isinstance(groups, list):
            raise self.shape.mismatch(body)
        count: Counter[tuple[Any, ...]] = Counter()
        found = []
        for record in self._ungrouped(groups, Budget(len(body), "the fields of its groups")):
            if self.numbered and isinstance(record, dict):
                same = tuple(str(_field(record, name)) for name in self.same)
                record = {**record, self.numbered: count[same]}
                count[same] += 1
            found.append(json_text(record).encode("utf-8"))
        return found

    def _ungrouped(self, groups: list[Any], budget: Budget) -> Iterator[Any]:
        for group in groups:
            inside = _field(group, self.within) if isinstance(group, dict) else None
            if not isinstance(inside, list):
                yield group
                continue
            shared = {name: value for name, value in group.items() if value is not inside}
            budget.spend(len(json_text(shared)) * len(inside))
            for record in inside:
                yield {**shared, **record} if isinstance(record, dict) else record


def _field(record: dict[str, Any], name: str) -> Any:
    """Return a field by its name, in any case."""
    return next((value for key, value in record.items() if key.lower() == name.lower()), None)
