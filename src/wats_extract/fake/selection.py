"""The WATS filter, which selects the reports of a statistic. It is in the body, or in the query of a GET."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec

from wats_extract.fake.exchange import Call, invalid, parse_tick
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import EVER, Json, Range, Row
from wats_extract.fake.routes.products import GROUPS, groups_of
from wats_extract.fake.routes.reports import in_scope
from wats_extract.fake.routes.system import LEVELS, TOP_LEVEL

Test = Callable[[Json], bool]

_PERIOD_DAYS = {0: 365.0, 1: 92.0, 2: 31.0, 3: 7.0, 4: 1.0, 5: 1 / 24}
"""The approximate length of a period, by `dateGrouping`."""
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
"""The header field that each filter field compares."""


class SelectedReport:
    """A report, its header row, and its document, decoded at first use."""

    def __init__(self, row: Row) -> None:
        self.row, self.uuid, self.start, self.fields = row, row.uuid, row.start, row.fields

    @cached_property
    def expanded(self) -> Json:
        """The header row with misc infos (in `misc` for tests and repairs alike) and assets."""
        row: Json = msgspec.json.decode(self.row.text(("miscInfo", "uurMiscInfo", "assets")))
        return row | {"misc": [*row["miscInfo"], *row["uurMiscInfo"]]}

    @cached_property
    def document(self) -> Json:
        """The document; empty if it is not a JSON object."""
        try:
            found: Json = msgspec.json.decode(self.row.document(), type=Json)
        except msgspec.DecodeError:
            return {}
        return found


@dataclass(frozen=True)
class Selection:
    """A parsed WATS filter.

    Strings match without regard to case. `%` or `*` stands for any text, `_` or `?` for one character, and
    `;` separates alternatives. An operation matches by name or code, a level or product group by name or id.
    An empty string sets no condition.

    Attributes:
        call: The request.
        given: The fields of the filter, by name in lower case. The body overrides the query.
    """

    call: Call
    given: Json

    @classmethod
    def of(cls, call: Call) -> Selection:
        """The filter of a request.

        Raises:
            RefusedError: The body is not a JSON object.
        """
        return cls(call, {**call.query, **call.body()})

    def count(self, name: str, default: int) -> int:
        """The value of a field as a whole number.

        Raises:
            RefusedError: It is not a whole number, or negative.
        """
        value = self.given.get(name.lower())
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,12}", str(value)):
            raise invalid(name, str(value))
        return int(value)

    @property
    def grouping(self) -> int:
        """The grouping of dates: -1 none, 0 year, 1 quarter, 2 month, 3 week, 4 day, 5 hour."""
        text = str(self.given.get("dategrouping", self.given.get("grouping", -1)))
        if text not in ("-1", "0", "1", "2", "3", "4", "5"):
            raise invalid("dateGrouping", text)
        return int(text)

    def time_range(self, days: float | None) -> Range:
        """The range of `start` in ticks: from `dateFrom` to before `dateTo`.

        `dateFrom` overrides `periodCount`. `periodCount` selects nothing without `includeCurrentPeriod`, as
        clients of WATS have observed.

        Args:
            days: The number of days before the end if the filter sets no beginning; None for no limit.
        """
        first, last = self._tick("dateFrom"), self._tick("dateTo")
        present = self.call.plant.now + 1
        if first is None and last is None and "periodcount" in self.given:
            if str(self.given.get("includecurrentperiod")).lower() != "true":
                return present, present
            days = self.count("periodCount", 30) * _PERIOD_DAYS.get(self.grouping, 1.0)
        if first is None and days is not None:
            first = (present if last is None else last) - int(days * clock.DAY)
        return EVER[0] if first is None else first, EVER[1] if last is None else last

    def reports(self, starts: Range, kind: str = "TR") -> Iterator[SelectedReport]:
        """The matching reports of these types that start within the range, newest first."""
        return (each for each in self.everything(starts, kind) if self.matches(each))

    def everything(self, starts: Range, kind: str = "TR") -> Iterator[SelectedReport]:
        """All reports of these types within the range that the token may read, newest first."""
        rows = self.call.plant.started(_ALL_POSITIONS, starts, newest_first=True)
        reports = (SelectedReport(row) for row in rows if in_scope(row, self.call.scope))
        return (each for each in reports if each.fields["reportType"] in kind)

    def matches(self, report: SelectedReport) -> bool:
        """Whether a report meets all conditions but the range of dates."""
        return all(test(report.fields) for test in self._tests) and self._misc_matches(report)

    @cached_property
    def _tests(self) -> tuple[Test, ...]:
        tests = [
            _text_test(field, self.given[name]) for name, field in _FIELDS.items() if self.given.get(name)
        ]
        if operation := self.given.get("testoperation") or self.given.get("processcode"):
            tests.append(_operation_test(str(operation)))
        if group := self.given.get("productgroup") or self.given.get("productgroupid"):
            group_matches = matching(_ids_to_names(str(group), list(GROUPS)))
            tests.append(lambda row: any(map(group_matches, groups_of(row["partNumber"]))))
        if level := self.given.get("level") or self.given.get("levelid"):
            level_matches = matching(_ids_to_names(str(level), [TOP_LEVEL, *LEVELS]))
            tests.append(lambda row: any(map(level_matches, levels_of(row))))
        if (run := str(self.given.get("run", -2))) not in ("-1", "-2"):
            tests.append(lambda row: str(row.get("run")) == run)
        return tuple(tests)

    def _misc_matches(self, report: SelectedReport) -> bool:
        name, value = self.given.get("miscdescription"), self.given.get("miscvalue")
        if not name and not value:
            return True
        name_matches, value_matches = matching(str(name or "%")), matching(str(value or "%"))
        return any(
            name_matches(info["description"]) and value_matches(info["value"])
            for info in report.expanded["misc"]
        )

    def _tick(self, name: str) -> int | None:
        value = self.given.get(name.lower())
        return parse_tick(name, str(value) if value else None, default=None)


_ALL_POSITIONS: Range = (0, 1 << 62)


def matching(pattern: str) -> Callable[[object], bool]:
    """A test for texts by a pattern with wildcards and alternatives."""
    wildcards = {"%": ".*", "*": ".*", "_": ".", "?": "."}
    parts = ("".join(wildcards.get(sign) or re.escape(sign) for sign in part) for part in pattern.split(";"))
    compiled = re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)
    return lambda value: value is not None and compiled.fullmatch(str(value)) is not None


def levels_of(row: Mapping[str, Any]) -> list[str]:
    """The levels of a report, top level first."""
    return [TOP_LEVEL, *(name for name, location in LEVELS.items() if location == row.get("location"))]


def period(tick: int, grouping: int) -> str | None:
    """The name of a period: `2026`, `2026-Q1`, `2026-01`, `2026-W02`, `2026-01-05`, `2026-01-05T06`."""
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


def _ids_to_names(text: str, names: list[str]) -> str:
    """The pattern with ids, counted from 1, replaced by names."""
    parts = text.split(";")
    return ";".join(
        names[int(part) - 1] if part.isdecimal() and 0 < int(part) <= len(names) else part for part in parts
    )
