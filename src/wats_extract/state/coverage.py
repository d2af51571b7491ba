"""The ranges of a resource that were read, merged with those that they adjoin.

So the number of rows of ``_wats_coverage`` does not grow with the number of runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from wats_extract.cursor import instant_of
from wats_extract.errors import DestinationError
from wats_extract.flow import Coverage, Destination
from wats_extract.state.tables import COVERAGE

_BEGINNINGS = {"time_stamp": -(2**63), "start": datetime.min.replace(tzinfo=UTC)}
"""Where a range without a lower bound begins, by field."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range with its bounds as values.

    Attributes:
        coverage: The range.
        run_id: The run that read it last.
        begin: Its lower bound.
        end: Its upper bound.
    """

    coverage: Coverage
    run_id: str
    begin: Any
    end: Any

    @classmethod
    def of(cls, coverage: Coverage, run_id: str) -> _Range:
        return cls(
            coverage, run_id, _place(coverage.field, coverage.begin), _place(coverage.field, coverage.end)
        )

    def contains(self, other: _Range) -> bool:
        return bool(self.begin <= other.begin and other.end <= self.end)

    def touches(self, other: _Range) -> bool:
        return bool(max(self.begin, other.begin) <= min(self.end, other.end))


class CoveredRanges:
    """The ranges of one resource of a pipeline.

    Args:
        pipeline: The pipeline's name.
        resource: The resource's name.
        rows: Its rows of ``_wats_coverage``.
    """

    def __init__(self, pipeline: str, resource: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._place = {"pipeline": pipeline, "resource": resource}
        self._ranges: dict[str, list[_Range]] = {}
        for row in rows:
            self._ranges.setdefault(row["field"], []).append(_range_in(row))

    @classmethod
    def of(cls, destination: Destination, pipeline: str, resource: str) -> CoveredRanges:
        """Read the ranges of a resource from a destination."""
        found = destination.read(COVERAGE, pipeline=pipeline, resource=resource).to_pylist()
        return cls(pipeline, resource, found)

    def add(self, coverage: Coverage, *, run_id: str, goes_on: bool = False) -> list[dict[str, Any]]:
        """Add a range, and return all rows of its field, which replace those in the table.

        A range that was read again replaces its earlier reading, unless it is incomplete now. Ranges that
        overlap or adjoin become one if both are complete, or both are not.

        Args:
            coverage: The range.
            run_id: The run that read it.
            goes_on: Whether an earlier reading was continued, so that the range has its rows as well, and
                completes it.
        """
        new = merged = _Range.of(coverage, run_id)
        apart: list[_Range] = []
        for each in self._ranges.get(coverage.field, ()):
            if new.contains(each) and (coverage.complete or not each.coverage.complete):
                if goes_on and each.begin == new.begin:
                    merged = _with_rows_of(merged, each)
            elif each.contains(new) and each.coverage.complete == coverage.complete:
                merged = replace(each, run_id=run_id)
            elif each.touches(new) and (
                each.coverage.complete == coverage.complete
                or (goes_on and coverage.complete and each.end == new.begin)
            ):
                merged = _united(merged, each)
            else:
                apart.append(each)
        # what the new range has completed may adjoin a complete one before it
        for each in list(apart):
            if each.coverage.complete == coverage.complete and each.touches(merged):
                apart.remove(each)
                merged = merged if merged.contains(each) else _united(merged, each)
        self._ranges[coverage.field] = ranges = [*apart, merged]
        return [self._place | _row(each) for each in ranges]


def _range_in(row: Mapping[str, Any]) -> _Range:
    """The range in a row of ``_wats_coverage``.

    Raises:
        DestinationError: somebody changed the table, and the row does not hold a range.
    """
    bounds = row["range_start"], row["range_end"]
    coverage = Coverage(row["field"], *bounds, row["rows"] or 0, row["cap"], bool(row["complete"]))
    try:
        return _Range.of(coverage, row["run_id"])
    except (KeyError, ValueError):
        raise DestinationError(
            f"_wats_coverage: the range {coverage.key} of {row['resource']} was changed and cannot be read",
            hint="Delete that row; the table only says what was read, and no run depends on it.",
        ) from None


def _row(each: _Range) -> dict[str, Any]:
    coverage = each.coverage
    return {
        "field": coverage.field,
        "range_start": coverage.begin,
        "range_end": coverage.end,
        "rows": coverage.rows,
        "cap": coverage.cap,
        "complete": coverage.complete,
        "run_id": each.run_id,
    }


def _place(field: str, text: str) -> Any:
    """A bound as a value that can be compared; an empty text is no bound."""
    if not text:
        return _BEGINNINGS[field]
    return int(text) if field == "time_stamp" else instant_of(text)


def _with_rows_of(one: _Range, other: _Range) -> _Range:
    return replace(one, coverage=replace(one.coverage, rows=one.coverage.rows + other.coverage.rows))


def _united(one: _Range, other: _Range) -> _Range:
    """The range from the first begin to the last end; ``one`` was read last."""
    first = min(one, other, key=lambda each: each.begin)
    last = max(one, other, key=lambda each: each.end)
    coverage = replace(
        one.coverage,
        begin=first.coverage.begin,
        end=last.coverage.end,
        rows=one.coverage.rows + other.coverage.rows,
        cap=one.coverage.cap if one.coverage.cap is not None else other.coverage.cap,
    )
    return _Range(coverage, one.run_id, first.begin, last.end)
