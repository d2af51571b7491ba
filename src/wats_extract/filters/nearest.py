"""Suggest the right name for a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: object, names: Iterable[str]) -> str:
    """The known name that is most like ``name``; empty if none is close.

    Case, underscores and hyphens do not count, so ``sub_units`` finds ``subUnits``.
    """
    if not isinstance(name, str):
        return ""
    known = {_folded(each): each for each in names}
    close = get_close_matches(_folded(name), list(known), n=1, cutoff=0.6)
    return known[close[0]] if close else ""


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """The end of an error message, such as ``(did you mean 'token'?)``; empty if no name is close."""
    close = nearest(name, names)
    return f" (did you mean {close!r}?)" if close else ""


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
