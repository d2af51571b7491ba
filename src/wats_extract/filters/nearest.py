"""The nearest right name for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or nothing."""
    folded = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """``(did you mean …?)`` with the nearest of some names, or nothing."""
    close = nearest(name, names)
    return f" (did you mean {close!r}?)" if close else ""
