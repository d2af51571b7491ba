"""Suggestions for misspelt names."""

from __future__ import annotations

import pytest

from wats_extract.filters.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tokn", "token"),
        ("URL", "url"),
        ("subunits", "subUnits"),
        ("SUB-UNITS", "subUnits"),
        ("xyz", ""),
        (5, ""),
    ],
)
def test_the_nearest_name(name: object, meant: str) -> None:
    assert nearest(name, ["token", "url", "subUnits"]) == meant
    assert did_you_mean(name, ["token", "url", "subUnits"]) == (
        f" (did you mean {meant!r}?)" if meant else ""
    )
