"""Tables by OData: products, assets, their types and log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from wats_extract.fake import odata
from wats_extract.fake.exchange import Call, Response, message_response
from wats_extract.fake.odata import Entity, Filter, ODataError, Order
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json

_OPTIONS = {"$filter", "$top", "$skip", "$orderby"}
_MOST = 1 << 40


@dataclass(frozen=True)
class Listing:
    """How a route lists a table.

    The documents name `$filter`, `$top` and `$orderby`; `$skip` is taken too, since clients send it, and
    everything else refused.

    Attributes:
        entity: what the rows look like.
        order: unless `$orderby` says otherwise; empty for the order of creation.
        usual: how many rows come unless `$top` says otherwise.
        filter_lifts: a `$filter` lifts the usual number, and without one `$top` can't raise it.
    """

    entity: Entity
    order: tuple[Order, ...] = ()
    usual: int = 1000
    filter_lifts: bool = False

    def answer(self, call: Call, rows: Iterable[Json]) -> Response:
        """A plain array of the rows asked for."""
        try:
            return call.json(self._listed(call, rows))
        except ODataError as error:
            return message_response(400, f"The query specified in the URI is not valid. {error}")

    def _listed(self, call: Call, rows: Iterable[Json]) -> list[Json]:
        given = call.query
        unknown = [name for name in given if name.startswith("$") and name not in _OPTIONS]
        if unknown:
            raise ODataError(f"Query option '{unknown[0]}' is not allowed.")
        found = odata.parse_filter(given["$filter"], self.entity) if given.get("$filter") else Filter()
        skip = odata.parse_count(given["$skip"], "$skip") if "$skip" in given else 0
        top, order = self._top(call), self._order(call)
        passing = (row for row in rows if found.matches(_Comparable(row, self.entity)))
        ordered = odata.smallest(skip + top, passing, order, self._sort_key) if order else passing
        return list(islice(ordered, skip, skip + top))

    def _order(self, call: Call) -> tuple[Order, ...]:
        text = call.query.get("$orderby")
        asked = odata.parse_order(text, self.entity) if text else self.order
        return self.order if call.quirks.ignore_orderby else asked

    def _top(self, call: Call) -> int:
        lifted = self.filter_lifts and bool(call.query.get("$filter"))
        text = call.query.get("$top")
        top = odata.parse_count(text, "$top") if text is not None else _MOST if lifted else self.usual
        if self.filter_lifts and not lifted:
            top = min(top, self.usual)
        return min(top, call.quirks.page_cap or _MOST)

    def _sort_key(self, row: Json, field: str) -> Any:
        """A value to order by; null comes first, as in SQL Server."""
        value = odata.collated(_Comparable(row, self.entity)[field])
        return (value is not None, value)


class _Comparable(Mapping[str, Any]):
    """A row as filters compare it: times are ticks."""

    def __init__(self, row: Json, entity: Entity) -> None:
        self._row, self._entity = row, entity

    def __getitem__(self, name: str) -> Any:
        value = self._row[name]
        return clock.parse(value) if value is not None and self._entity.fields[name] == "time" else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
