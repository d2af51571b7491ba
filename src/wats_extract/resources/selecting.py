"""Check what a caller selects from a resource, and make a ``Selection`` of it.

The pipeline file and every Python front end use this one check, so that a mistake has the same message
everywhere. Each problem has a key path such as ``filter.part_number``; the pipeline file adds file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from wats_extract.errors import ConfigurationError
from wats_extract.filters import odata, wats_filter
from wats_extract.filters.condition import Condition, fixed_columns, from_mapping
from wats_extract.filters.instants import Moment, instant
from wats_extract.filters.nearest import did_you_mean
from wats_extract.flow import Selection
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.reports import REPORT_HEADERS
from wats_extract.resources.resource import Resource

Catalogue: TypeAlias = Mapping[str, Resource]
KeyPath: TypeAlias = tuple[str | int, ...]
Filter: TypeAlias = Mapping[str, Any] | str | Condition
"""A filter as callers write it: columns and their values, OData text, or a condition."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a selection.

    Attributes:
        path: The option it belongs to, such as ``("filter", "part_number")``.
        text: What is wrong and what to write instead, to be read after the path.
    """

    path: KeyPath
    text: str


# ── options ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Option:
    """A key that only some resources take (``Resource.options``).

    Attributes:
        doc: What it does.
        default: The value for resources that take it; ``None`` leaves the choice to the resource.
        read: Returns the value, or raises ``ValueError`` saying what it should be.
        schema: Its JSON Schema in the pipeline file.
        from_text: Converts the text of an environment variable, for the pipeline file.
    """

    doc: str
    default: Any
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    from_text: Callable[[str], object] = lambda text: text


def whole_number(value: object, *, least: int = 1, most: int | None = None) -> int:
    """The value, if it is a whole number within bounds.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= (most or value):
        return value
    upto = f" to {most:,}" if most else ""
    raise ValueError(f"should be a whole number from {least}{upto}, not {_shown(value)}")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"should be true or false, not {_shown(value)}")


def _truth_from_text(text: str) -> object:
    return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(
        text.strip().lower(), text
    )


def _number_from_text(text: str) -> object:
    if re.fullmatch(r"\s*-?[0-9]{1,9}(\.[0-9]+)?\s*", text):
        return float(text) if "." in text else int(text)
    return text


def _names(value: object) -> tuple[str, ...]:
    """Names in their order, each once; a single text is one name."""
    if isinstance(value, str):
        return (value,)
    if value is None:
        return ()
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return tuple(dict.fromkeys(value))
    raise ValueError(f"should be a list of names, not {_shown(value)}")


def _hours(value: object) -> tuple[float, ...]:
    if isinstance(value, list | tuple) and len(value) == 7:
        hours = [each for each in value if isinstance(each, int | float) and not isinstance(each, bool)]
        if len(hours) == 7 and all(math.isfinite(hour) and 0 <= hour <= 24 for hour in hours):
            return tuple(float(hour) for hour in hours)
    raise ValueError(f"should be a list of seven numbers from 0 to 24, Monday to Sunday, not {_shown(value)}")


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _choice(*choices: str, doc: str, default: str | None = None) -> Option:
    def read(value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        listed = _listed([repr(each) for each in choices], "or")
        raise ValueError(f"should be {listed}, not {_shown(value)}{did_you_mean(value, choices)}")

    return Option(doc, default, _or_none(read) if default is None else read, {"enum": [*choices]})


def _count(*, doc: str, default: int | None = None) -> Option:
    def read(value: object) -> int:
        return whole_number(value, most=10_000)

    schema = {"type": "integer", "minimum": 1, "maximum": 10_000}
    return Option(doc, default, _or_none(read) if default is None else read, schema, _number_from_text)


def _flag(*, doc: str, default: bool = False) -> Option:
    return Option(doc, default, _truth, {"type": "boolean"}, _truth_from_text)


def _list(*, doc: str, default: tuple[str, ...] | None = None) -> Option:
    names = {"type": "string"}
    schema = {"anyOf": [{"type": "array", "items": names}, names]}
    return Option(doc, default, _or_none(_names) if default is None else _names, schema)


OPTIONS: Mapping[str, Option] = {
    "expand": _list(doc="What to fetch along with each header, such as [subUnits, miscInfo].", default=()),
    "chunk_size": _count(doc="How many items are fetched and committed together.", default=200),
    "attachments": _choice(
        *("none", "metadata", "content"),
        doc="Attachments: none, their metadata, or their content as well.",
        default="none",
    ),
    "charts": _flag(doc="Whether to load charts, into chart_series.", default=True),
    "keep_raw": _flag(doc="Whether to load the document itself as well, compressed, into raw_reports."),
    "dimensions": _list(doc="What a statistic is grouped by, such as [part_number, period]."),
    "date_grouping": _choice(
        *("none", "year", "quarter", "month", "week", "day", "hour"),
        doc="The length of a period of a statistic.",
    ),
    "period_count": _count(doc="How many periods a statistic covers, including the current one."),
    "available_time": Option(
        doc="Hours per day that stations are available, Monday to Sunday.",
        default=None,
        read=_or_none(_hours),
        schema={"type": "array", "items": {"type": "number"}, "minItems": 7, "maxItems": 7},
        from_text=_number_from_text,
    ),
    "acknowledge": _flag(doc="Whether to delete changes from the server's queue after they are committed."),
    "internal": _flag(doc="Allow reading an internal route, which the vendor does not support."),
}
"""Options of resources by name, in the order in which they are documented."""


# ── the check ───────────────────────────────────────────────────────────────────────────────────


def select(
    resource: Resource,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    filter: Filter | None = None,  # noqa: A002
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    by_key: bool = False,
    now: datetime | None = None,
) -> Selection:
    """The selection that a caller describes; see :func:`examine` for the arguments.

    Raises:
        ConfigurationError: with every problem on a line of its own: ``OPTION: what is wrong``.
    """
    found = examine(
        resource,
        since=since,
        until=until,
        filter=filter,
        limit=limit,
        options=options,
        by_key=by_key,
        now=now,
    )
    if isinstance(found, Selection):
        return found
    raise ConfigurationError("\n".join(f"{dotted(each.path)}: {each.text}" for each in found))


def examine(
    resource: Resource,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    filter: Filter | None = None,  # noqa: A002
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    by_key: bool = False,
    now: datetime | None = None,
    catalogue: Catalogue = RESOURCES,
) -> Selection | list[Problem]:
    """The selection that a caller describes, or everything that is wrong with it.

    Args:
        resource: The resource's declaration.
        since: Items that start at or after this instant.
        until: Items that start before this instant.
        filter: Columns and their values, OData text, or a condition.
        limit: Stop after this many items.
        options: The resource's own options; the others have their defaults.
        by_key: The items are selected by their keys: no filter is required, and every resource takes a
            ``chunk_size``.
        now: The current time, from which ages such as ``30 days ago`` are counted.
        catalogue: All resources, to name the ones that take an option.
    """
    check = _Check(resource, catalogue)
    times = check.times(since, until, now or datetime.now(UTC))
    given = check.options(options or {}, by_key=by_key)
    filtered = check.filter(filter, by_key=by_key)
    most = None if limit is None else check.read(("limit",), lambda: whole_number(limit))
    if check.problems:
        return check.problems
    return Selection(
        since=times.get("since"), until=times.get("until"), limit=most, options=given, **filtered
    )


class _Check:
    """Checks one selection; collects problems instead of raising the first."""

    def __init__(self, resource: Resource, catalogue: Catalogue) -> None:
        self.resource = resource
        self.catalogue = catalogue
        self.problems: list[Problem] = []

    def refuse(self, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(path, text))

    def read(self, path: KeyPath, read: Callable[[], Any]) -> Any:
        """What ``read`` returns; ``None`` and a problem if it raises."""
        try:
            return read()
        except ValueError as error:
            self.refuse(path, str(error))
        except ConfigurationError as error:
            self.refuse(path, one_line(error))
        return None

    def times(self, since: Moment | None, until: Moment | None, now: datetime) -> dict[str, datetime]:
        given = {name: value for name, value in (("since", since), ("until", until)) if value is not None}
        if given and not takes_time(self.resource):
            for name in given:
                self.refuse((name,), f"{self.resource.name} cannot be selected by time; remove it")
            return {}
        times = {name: self.read((name,), partial(instant, value, now=now)) for name, value in given.items()}
        if times.get("since") and times.get("until") and times["since"] >= times["until"]:
            self.refuse(("until",), f"should be later than since ({since}), not {until}")
        return times

    def options(self, given: Mapping[str, Any], *, by_key: bool) -> dict[str, Any]:
        takes = self.resource.options & OPTIONS.keys()
        found = {name: OPTIONS[name].default for name in OPTIONS if name in takes}
        if by_key:  # whatever the resource, items are fetched in chunks
            takes |= {"chunk_size"}
        for name, value in given.items():
            if name not in takes:
                self.refuse((name,), _not_taken(name, self.resource, takes, self.catalogue))
            else:
                found[name] = self.read((name,), partial(OPTIONS[name].read, value))
        if self.resource.internal and found.get("internal") is not True:
            self.refuse(
                ("internal",),
                f"{self.resource.name} reads a route that the vendor does not support; "
                "set internal to true to read it all the same",
            )
        self._known("expand", given, self.resource.expand)
        self._known("dimensions", given, self.resource.dimensions)
        return {name: value for name, value in found.items() if value is not None}

    def _known(self, option: str, given: Mapping[str, Any], known: Iterable[str]) -> None:
        """Refuse unknown names in a list, and an empty list of dimensions."""
        value = given.get(option)
        if option not in self.resource.options or not isinstance(value, str | list | tuple):
            return
        if option == "dimensions" and not value:
            self.refuse((option,), "the list is empty; leave it out for the usual dimensions")
        names = [value] if isinstance(value, str) else value
        for index, name in enumerate(names):
            if isinstance(name, str) and name not in known:
                path = (option,) if isinstance(value, str) else (option, index)
                listed = f"{did_you_mean(name, known)}; there are {', '.join(known)}"
                self.refuse(path, f"there is no {name!r}{listed}")

    def filter(self, written: object, *, by_key: bool) -> dict[str, Any]:
        if isinstance(written, str) and not written.strip():
            written = None
        if written is not None and not isinstance(written, Mapping | str | Condition):
            self.refuse(("filter",), no_filter(written))
            return {}
        if written and not self.resource.filters:
            self.refuse(
                ("filter",),
                f"{self.resource.name} takes no filter; remove it, and filter the loaded table instead",
            )
            return {}
        if not by_key:
            self._require_columns(written)
        if isinstance(written, Mapping):
            before = len(self.problems)
            for name, value in written.items():
                self.read(("filter", str(name)), partial(self._pushed, {name: value}))
            if len(self.problems) > before:
                return {}
        # Columns that are right one by one may still be too long together.
        return self.read(("filter",), partial(self._pushed, written)) or {}

    def _require_columns(self, written: Filter | None) -> None:
        if isinstance(written, str):
            return  # resources with required columns take no OData text
        named = fixed_columns(written) if isinstance(written, Condition) else {*(written or ())}
        required = self.resource.required
        if missing := [name for name in required if name not in named]:
            example = ", ".join(f"{name}: …" for name in required)
            text = f"{self.resource.name} requires a filter on {_listed(missing, 'and')}"
            self.refuse(("filter",), f"{text}, such as {{{example}}}")

    def _pushed(self, written: Filter | None) -> dict[str, Any]:
        """The filter as a selection has it: OData text, or the fields of a WATS filter."""
        resource = self.resource
        if not written:
            return {}
        if isinstance(written, str):
            if resource.filtered_by == "fields":
                return {"asked": wats_filter.asked(written, resource.filters)}
            text = odata.literal_text(written, resource.filters, collections=_collections(resource))
            return {"filter": text}
        condition = from_mapping(written) if isinstance(written, Mapping) else written
        if resource.filtered_by == "fields":
            return {"asked": wats_filter.to_wats_filter(condition, resource.filters)}
        return {"filter": odata.to_odata(condition, resource.filters)}


def takes_time(resource: Resource) -> bool:
    """Whether a resource can be selected by ``since`` and ``until``."""
    return "since" in resource.options or "start" in resource.filters


def no_filter(value: object) -> str:
    """Why a value is not a filter."""
    kind = type(value)
    is_expression = kind.__module__.partition(".")[0] == "polars" and kind.__name__ == "Expr"
    found = "a Polars expression" if is_expression else _shown(value)
    return f"should be columns and values such as {{result: Failed}}, or OData text, not {found}"


def dotted(path: KeyPath) -> str:
    """A key path as text, such as ``resources[0].filter.result``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def one_line(error: ConfigurationError) -> str:
    """An error's message and hint on one line."""
    return f"{error.message}. {error.hint}" if error.hint else error.message


def _collections(resource: Resource) -> tuple[str, ...] | None:
    """The lists that ``any`` may search in OData text; ``None`` if they are not known."""
    if resource.filters == REPORT_HEADERS.filters:
        return REPORT_HEADERS.expand
    return resource.expand or None


def _not_taken(name: str, resource: Resource, takes: Iterable[str], catalogue: Catalogue) -> str:
    listed = ", ".join(each for each in OPTIONS if each in takes)
    rest = f"; {resource.name} takes {listed}" if listed else ""
    if name not in OPTIONS:
        return f"is not an option of {resource.name}{did_you_mean(name, takes)}{rest}"
    takers = [each.name for each in catalogue.values() if name in each.options]
    whose = f", but of {', '.join(takers)}" if takers else ""
    return f"is not an option of {resource.name}{whose}{rest}"


def _listed(names: Sequence[str], word: str) -> str:
    *rest, last = names
    return f"{', '.join(rest)} {word} {last}" if rest else last


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
