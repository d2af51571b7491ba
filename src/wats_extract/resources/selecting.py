"""Check what a caller selects from a resource, and turn it into a ``Selection``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from wats_extract.filters import odata, wats_filter
from wats_extract.filters.nearest import did_you_mean
from wats_extract.resources.resource import Resource

Catalogue: TypeAlias = Mapping[str, Resource]
OPTIONS = (
    "chunk_size",
    "attachments",
    "charts",
    "keep_raw",
    "dimensions",
    "date_grouping",
    "period_count",
    "available_time",
    "acknowledge",
    "internal",
)
"""Keys of a resource that only some resources take (``Resource.options``)."""


def filtered(written: Mapping[str, Any] | str | None, resource: Resource) -> dict[str, Any]:
    """What a filter is in a selection: OData, or the fields of a WATS filter.

    Raises:
        ConfigurationError: it does not fit the resource.
    """
    if resource.filtered_by == "fields":
        return {"asked": wats_filter.asked(written or {}, resource.filters)}
    if isinstance(written, str):
        return {"filter": odata.literal_text(written, resource.filters)}
    return {"filter": odata.filter_text(written or {}, resource.filters)}


def lacking(resource: Resource, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a resource needs and is not given: the key of the file, and what to write."""
    if resource.internal and given.get("internal") is not True:
        text = f"{resource.name} is behind a route that the vendor does not support; add internal: true"
        yield "name", text
    written = given.get("filter")
    named = written if isinstance(written, Mapping) else {}
    if missing := [name for name in resource.required if name not in named]:
        example = ", ".join(f"{name}: …" for name in resource.required)
        yield (
            "filter",
            f"{resource.name} has to be asked about {' and '.join(missing)}: filter: {{{example}}}",
        )
    for name in given.get("dimensions") or ():
        if isinstance(name, str) and resource.dimensions and name not in resource.dimensions:
            listed = ", ".join(resource.dimensions)
            yield (
                "dimensions",
                f"there is no dimension {name!r}{did_you_mean(name, resource.dimensions)}; {listed}",
            )


def takes_time(resource: Resource) -> bool:
    """Whether ``since`` and ``until`` mean something to a resource."""
    return "since" in resource.options or "start" in resource.filters
