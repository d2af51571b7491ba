"""The merging of ranges in ``_wats_coverage``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import DestinationError
from wats_extract.filters.odata import timestamp_text
from wats_extract.flow import Coverage
from wats_extract.state.coverage import CoveredRanges

START = datetime(2026, 1, 1, tzinfo=UTC)


def ranges() -> CoveredRanges:
    return CoveredRanges("p", "reports", [])


def numbers(begin: int | None, end: int, rows: int = 1, *, complete: bool = True) -> Coverage:
    return Coverage("time_stamp", "" if begin is None else str(begin), str(end), rows, None, complete)


def hours(begin: int, end: int, *, complete: bool = True, rows: int = 1) -> Coverage:
    texts = (timestamp_text(START + timedelta(hours=hour)) for hour in (begin, end))
    return Coverage("start", *texts, rows, 100, complete)


def found(rows: list[dict[str, Any]]) -> list[tuple[str, str, int, bool]]:
    return sorted((row["range_start"], row["range_end"], row["rows"], row["complete"]) for row in rows)


def added(*coverages: Coverage, goes_on: bool = False) -> list[tuple[str, str, int, bool]]:
    covered, rows = ranges(), []
    for number, coverage in enumerate(coverages):
        rows = covered.add(coverage, run_id=f"r{number}", goes_on=goes_on and number > 0)
    assert rows[-1]["run_id"] == f"r{len(coverages) - 1}"
    return found(rows)


def test_a_reading_that_goes_on_extends_its_range() -> None:
    runs = [numbers(None, 10, 5), *(numbers(10 * n, 10 * n + 10, 2) for n in range(1, 9))]
    assert added(*runs, goes_on=True) == [("", "90", 21, True)]


def test_a_later_end_of_the_same_range_adds_its_rows_if_the_reading_goes_on() -> None:
    assert found_rows(added(hours(0, 5, rows=4), hours(0, 9, rows=3), goes_on=True)) == [7]
    assert found_rows(added(hours(0, 5, rows=4), hours(0, 9, rows=3))) == [3]


def found_rows(rows: list[tuple[str, str, int, bool]]) -> list[int]:
    return [count for _, _, count, _ in rows]


def test_numbers_are_compared_as_numbers() -> None:
    assert added(numbers(5, 90), numbers(90, 1000), numbers(1000, 20_000)) == [("5", "20000", 3, True)]


def test_ranges_that_are_apart_stay_apart_until_the_gap_is_read() -> None:
    assert len(added(numbers(0, 1), numbers(2, 3))) == 2
    assert added(numbers(0, 1), numbers(2, 3), numbers(1, 2)) == [("0", "3", 3, True)]


def test_ranges_that_overlap_become_one() -> None:
    assert added(numbers(0, 6), numbers(4, 9)) == [("0", "9", 2, True)]
    assert added(numbers(4, 9), numbers(0, 6)) == [("0", "9", 2, True)]


def test_a_part_that_is_read_again_changes_nothing() -> None:
    assert added(numbers(0, 9, 7), numbers(2, 4, 3)) == [("0", "9", 7, True)]


def test_an_incomplete_range_stays_apart_until_it_is_read_again() -> None:
    cut = [numbers(0, 4), numbers(4, 5, complete=False), numbers(5, 9)]
    assert added(*cut) == [("0", "4", 1, True), ("4", "5", 1, False), ("5", "9", 1, True)]
    assert added(*cut, numbers(4, 5, 8)) == [("0", "9", 10, True)]


def test_a_complete_range_stays_if_a_later_reading_of_it_is_cut_off() -> None:
    assert added(numbers(0, 9), numbers(0, 9, complete=False)) == [("0", "9", 1, False), ("0", "9", 1, True)]


def test_limited_readings_are_completed_by_the_one_that_goes_on_to_the_end() -> None:
    limited = [numbers(None, 3), *(numbers(n, n + 1, complete=False) for n in range(3, 8))]
    assert added(*limited, goes_on=True) == [("", "3", 1, True), ("3", "8", 5, False)]
    assert added(*limited, numbers(8, 9), goes_on=True) == [("", "9", 7, True)]


def test_the_fields_of_a_resource_are_apart() -> None:
    covered = ranges()
    covered.add(numbers(0, 1), run_id="r")
    assert len(covered.add(hours(0, 1), run_id="r")) == 1


def test_a_row_that_somebody_changed_is_a_clear_error() -> None:
    row = {"field": "start", "range_start": "soon", "range_end": "later", "rows": 1, "cap": None}
    with pytest.raises(DestinationError, match="soon/later of reports") as error:
        CoveredRanges("p", "reports", [{**row, "resource": "reports", "complete": True, "run_id": "r"}])
    assert error.value.hint


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=20))
def test_complete_ranges_cover_what_was_read_and_do_not_touch(read: list[tuple[int, int]]) -> None:
    rows = added(*(numbers(begin, begin + length) for begin, length in read))
    bounds = sorted((int(begin), int(end)) for begin, end, _, _ in rows)
    covered = {number for begin, end in bounds for number in range(begin, end)}
    assert covered == {number for begin, length in read for number in range(begin, begin + length)}
    assert all(before[1] < after[0] for before, after in pairwise(bounds))
