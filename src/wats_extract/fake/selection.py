"""The WATS filter: which reports a statistic is about; in the body, or in the query of a GET."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec

from wats_extract.fake.exchange import Call, invalid
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json, Range, Row
from wats_extract.fake.routes.products import GROUPS, groups_of
from wats_extract.fake.routes.reports import in_scope
from wats_extract.fake.routes.system import LEVELS, TOP_LEVEL

Test = Callable[[Json], bool]

_DAYS = {0: 365.0, 1: 92.0, 2: 31.0, 3: 7.0, 4: 1.0, 5: 1 / 24}
"""About how long a period is, by `dateGrouping`."""
_FIELDS: Mapping[str, str] = {
    "serialnumber": "serialNumber",
    "partnumber": "partNumber",
    "revision": "revision",
    "batchnumber": "batchNumber",
    "stationname": "stationName",
    "status": "result",
    "swfilename": "swFilename",
    "swversion": "swVersion",
    "socket": "testSocketIndex",
}
"""The header row's name for what a filter names."""


class Found:
    """A selected report: its row and its header, which is decoded once."""

    def __init__(self, row: Row) -> None:
        self.row, self.uuid, self.start, self.fields = row, row.uuid, row.start, row.fields

    @cached_property
    def expanded(self) -> Json:
        """The header row with misc infos and assets."""
        row: Json = msgspec.json.decode(self.row.text(("miscInfo", "uurMiscInfo", "assets")))
        return row | {"misc": [*row["miscInfo"], *row["uurMiscInfo"]]}

    @cached_property
    def document(self) -> Json:
        """The document; an empty one if it can't be read."""
        try:
            found: Json = msgspec.json.decode(self.row.document(), type=Json)
        except msgspec.DecodeError:
            return {}
        return found


@dataclass(frozen=True)
class Selection:
    """A WATS filter, read.

    Strings take `%` or `*` for any run, `_` or `?` for one character, and `;` between alternatives, without
    regard to case. An operation is meant by name or code, a level or product group by name or id. An empty
    string is no condition.

    Attributes:
        call: the request.
        given: the filter's members by name in lower case; the body goes before the query.
    """

    call: Call
    given: Json

    @classmethod
    def of(cls, call: Call) -> Selection:
        """The filter of a request.

        Raises:
            RefusedError: the body isn't an object of JSON.
        """
        return cls(call, {**call.query, **call.body()})

    def count(self, name: str, default: int) -> int:
        """A whole number of the filter.

        Raises:
            RefusedError: it isn't one, or negative.
        """
        value = self.given.get(name.lower())
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,12}", str(value)):
            raise invalid(name, str(value))
        return int(value)

    @property
    def grouping(self) -> int:
        """Of dates: -1 none, 0 year, 1 quarter, 2 month, 3 week, 4 day, 5 hour."""
        text = str(self.given.get("dategrouping", self.given.get("grouping", -1)))
        if text not in ("-1", "0", "1", "2", "3", "4", "5"):
            raise invalid("dateGrouping", text)
        return int(text)

    def window(self, days: float | None) -> Range:
        """From `dateFrom` to before `dateTo`; without both, so many days before the plant's present, or ever.

        `dateFrom` goes before `periodCount`, which finds nothing unless `includeCurrentPeriod` is said too,
        as clients of WATS have seen.
        """
        first, last = self._tick("dateFrom"), self._tick("dateTo")
        present = self.call.plant.now + 1
        if first is None and last is None and "periodcount" in self.given:
            if str(self.given.get("includecurrentperiod")).lower() != "true":
                return present, present
            days = self.count("periodCount", 30) * _DAYS.get(self.grouping, 1.0)
        if first is None and days is not None:
            first = (present if last is None else last) - int(days * clock.DAY)
        return EVER[0] if first is None else first, EVER[1] if last is None else last

    def reports(self, starts: Range, kind: str = "TR") -> Iterator[Found]:
        """The reports of these types that pass and start within the range, the newest first."""
        return (each for each in self.everything(starts, kind) if self.passes(each))

    def everything(self, starts: Range, kind: str = "TR") -> Iterator[Found]:
        """All reports of these types that the token may see and that start within the range, newest first."""
        rows = self.call.plant.started(EVERYWHERE, starts, newest_first=True)
        found = (Found(row) for row in rows if in_scope(row, self.call.scope))
        return (each for each in found if each.fields["reportType"] in kind)

    def passes(self, found: Found) -> bool:
        """Whether a report passes, its date aside."""
        return all(test(found.fields) for test in self._tests) and self._misc_passes(found)

    @cached_property
    def _tests(self) -> tuple[Test, ...]:
        tests = [
            _text_test(field, self.given[name]) for name, field in _FIELDS.items() if self.given.get(name)
        ]
        if operation := self.given.get("testoperation") or self.given.get("processcode"):
            tests.append(_operation_test(str(operation)))
        if group := self.given.get("productgroup") or self.given.get("productgroupid"):
            named = matching(_named(str(group), list(GROUPS)))
            tests.append(lambda row: any(map(named, groups_of(row["partNumber"]))))
        if level := self.given.get("level") or self.given.get("levelid"):
            inside = matching(_named(str(level), [TOP_LEVEL, *LEVELS]))
            tests.append(lambda row: any(map(inside, levels_of(row))))
        if (run := str(self.given.get("run", -2))) not in ("-1", "-2"):
            tests.append(lambda row: str(row.get("run")) == run)
        return tuple(tests)

    def _misc_passes(self, found: Found) -> bool:
        name, value = self.given.get("miscdescription"), self.given.get("miscvalue")
        if not name and not value:
            return True
        named, valued = matching(str(name or "%")), matching(str(value or "%"))
        return any(named(info["description"]) and valued(info["value"]) for info in found.expanded["misc"])

    def _tick(self, name: str) -> int | None:
        text = self.given.get(name.lower())
        try:
            return clock.parse(str(text)) if text else None
        except ValueError:
            raise invalid(name, str(text)) from None


EVERYWHERE: Range = (0, 1 << 62)


def matching(pattern: str) -> Callable[[object], bool]:
    """A test for text by a pattern with wildcards and alternatives."""
    signs = {"%": ".*", "*": ".*", "_": ".", "?": "."}
    parts = ("".join(signs.get(sign) or re.escape(sign) for sign in part) for part in pattern.split(";"))
    compiled = re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)
    return lambda value: value is not None and compiled.fullmatch(str(value)) is not None


def levels_of(row: Mapping[str, Any]) -> list[str]:
    """The levels that a report belongs to, the topmost first."""
    return [TOP_LEVEL, *(name for name, location in LEVELS.items() if location == row.get("location"))]


def period(tick: int, grouping: int) -> str | None:
    """How a period is written: `2026`, `2026-Q1`, `2026-01`, `2026-W02`, `2026-01-05`, `2026-01-05T06`."""
    if grouping < 0:
        return None
    moment = datetime.fromtimestamp(tick // clock.SECOND, UTC)
    year, week, _ = moment.isocalendar()
    return (
        f"{moment:%Y}",
        f"{moment:%Y}-Q{(moment.month + 2) // 3}",
        f"{moment:%Y-%m}",
        f"{year}-W{week:02}",
        f"{moment:%Y-%m-%d}",
        f"{moment:%Y-%m-%dT%H}",
    )[grouping]


def _text_test(field: str, pattern: object) -> Test:
    test = matching(str(pattern))
    return lambda row: test(row.get(field))


def _operation_test(pattern: str) -> Test:
    test = matching(pattern)
    return lambda row: test(row.get("processName")) or test(row.get("processCode"))


def _named(text: str, names: list[str]) -> str:
    """The text with ids, counted from 1, replaced by names."""
    parts = text.split(";")
    return ";".join(
        names[int(part) - 1] if part.isdecimal() and 0 < int(part) <= len(names) else part for part in parts
    )
