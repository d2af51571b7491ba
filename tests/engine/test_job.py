"""How many failures a run tolerates."""

from __future__ import annotations

import pytest

from wats_extract.engine.job import Tolerance


@pytest.mark.parametrize(
    ("written", "failures", "items", "allowed"),
    [
        (0, 0, 0, True),
        (0, 1, 100, False),
        (3, 3, 3, True),
        ("3", 4, 1000, False),
        ("1%", 1, 100, True),
        ("1%", 2, 100, False),
        ("1%", 0, 0, True),
        ("0.7%", 7, 1000, True),
        ("100 %", 5, 5, True),
    ],
)
def test_a_tolerance_allows_up_to_its_limit(
    written: object, failures: int, items: int, allowed: bool
) -> None:
    assert Tolerance.parse(written).allows(failures, items) is allowed


@pytest.mark.parametrize(
    ("written", "failures", "items", "reached"),
    [(0, 0, 10, False), (0, 1, 10, True), (5, 5, 9, True), ("20%", 19, 100, False), ("20%", 20, 100, True)],
)
def test_a_tolerance_is_reached_at_its_limit(
    written: object, failures: int, items: int, reached: bool
) -> None:
    assert Tolerance.parse(written).reached(failures, items) is reached


@pytest.mark.parametrize("written", ["", "lots", "101%", -1, "-1%", 0.5, True, None, "nan", "inf%", [1]])
def test_anything_else_is_not_a_tolerance(written: object) -> None:
    with pytest.raises(ValueError, match="whole number such as 10"):
        Tolerance.parse(written)


def test_a_tolerance_is_written_as_it_was_read() -> None:
    assert [str(Tolerance.parse(each)) for each in (5, "1%", "0.5 %")] == ["5", "1%", "0.5%"]
