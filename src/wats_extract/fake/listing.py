"""Lists by OData: products, assets, asset types and the asset log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from wats_extract.fake import odata
from wats_extract.fake.exchange import Call, Response, message_response
from wats_extract.fake.odata import UNLIMITED, Entity, Filter, ODataError, Order
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json

_OPTIONS = {"$filter", "$top", "$skip", "$orderby"}


@dataclass(frozen=True)
class Listing:
    """How a route lists a table by OData.

    The specification names `$filter`, `$top` and `$orderby`. `$skip` is accepted too, because clients send
    it. Any other option is refused.

    Attributes:
        entity: The properties of the rows.
        order: The order without `$orderby`; empty for the order of creation.
        default_top: The number of rows without `$top`.
        filter_lifts: A `$filter` lifts the default number. Without a `$filter`, `$top` cannot raise it.
    """

    entity: Entity
    order: tuple[Order, ...] = ()
    default_top: int = 1000
    filter_lifts: bool = False

    def response(self, call: Call, rows: Iterable[Json]) -> Response:
        """A JSON array of the requested rows, without an envelope."""
        try:
            return call.json(self._listed(call, rows))
        except ODataError as error:
            return message_response(400, odata.invalid_query(error))

    def _listed(self, call: Call, rows: Iterable[Json]) -> list[Json]:
        options = call.query
        odata.check_options(options, allowed=_OPTIONS)
        parsed = odata.parse_filter(options["$filter"], self.entity) if options.get("$filter") else Filter()
        skip = odata.parse_count("$skip", options.get("$skip"), default=0)
        top, order = self._top(call), self._order(call)
        passing = (row for row in rows if parsed.matches(_Comparable(row, self.entity)))
        ordered = odata.smallest(skip + top, passing, order, self._sort_key) if order else passing
        return list(islice(ordered, skip, skip + top))

    def _order(self, call: Call) -> tuple[Order, ...]:
        text = call.query.get("$orderby")
        requested = odata.parse_order(text, self.entity) if text else self.order
        return self.order if call.quirks.ignore_orderby else requested

    def _top(self, call: Call) -> int:
        lifted = self.filter_lifts and bool(call.query.get("$filter"))
        default = UNLIMITED if lifted else self.default_top
        top = odata.parse_count("$top", call.query.get("$top"), default=default)
        if self.filter_lifts and not lifted:
            top = min(top, self.default_top)
        return min(top, call.quirks.page_cap or UNLIMITED)

    def _sort_key(self, row: Json, field: str) -> Any:
        """A value to sort by. Nulls come first, as in SQL Server."""
        value = odata.collated(_Comparable(row, self.entity)[field])
        return (value is not None, value)


class _Comparable(Mapping[str, Any]):
    """A row as filters compare it, with times as ticks."""

    def __init__(self, row: Json, entity: Entity) -> None:
        self._row, self._entity = row, entity

    def __getitem__(self, name: str) -> Any:
        value = self._row[name]
        return clock.parse(value) if value is not None and self._entity.fields[name] == "time" else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
