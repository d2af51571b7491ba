"""Bounds the memory that one response may take once it is decoded and shredded.

A response of one megabyte can hold half a million empty objects, or one long name that thousands of rows
repeat. Servers send neither. What is beyond these bounds becomes a failure instead of filling the memory.
"""

from __future__ import annotations

from wats_extract.errors import RecordError

LEAST = 64 * 2**20
"""Bytes that any response may take."""

TIMES = 20
"""A larger response may take this many times its size. Real reports take six times theirs."""

MOST = 2**31 - 1
"""The most bytes that a response may take; no column of texts can hold more."""

MOST_OBJECTS = 5_000_000
"""The most objects of a response. Each row of a table is one; a real report of 256 MB has three million."""

MOST_ITEMS = 20_000_000
"""The most fields and items of a response; a real report of 256 MB has twelve million."""

_OBJECT, _LIST, _ITEM = 300, 64, 32
"""Bytes that a decoded object, list and further field or item take at least; many take twice as much."""


def budget_of(size: int) -> int:
    """Return how many bytes a response of a size may take."""
    return min(max(LEAST, TIMES * size), MOST)


def check_structure(raw: bytes) -> None:
    """Refuse a response that would take too much memory when it is decoded.

    Braces, brackets and commas are counted, or the tags of XML. Those within texts count, too: only nonsense
    has so many of them.

    Raises:
        RecordError: it has too many objects, lists or items.
    """
    if len(raw) * _OBJECT <= LEAST:
        return
    is_xml = raw[:100].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    objects = raw.count(b"<" if is_xml else b"{")
    items = raw.count(b",")
    size = _OBJECT * objects + _LIST * raw.count(b"[") + _ITEM * items
    if objects > MOST_OBJECTS or items > MOST_ITEMS or size > budget_of(len(raw)):
        raise RecordError(
            f"it is too large when decoded: {objects:,} objects and {items:,} items would take "
            f"{size / 1e6:,.0f} MB; a response of {len(raw) / 1e6:,.1f} MB may have {MOST_OBJECTS:,} and "
            f"{MOST_ITEMS:,}, and take {budget_of(len(raw)) / 1e6:,.0f} MB"
        )


class Budget:
    """Counts the bytes of a text that many rows of one response repeat.

    Args:
        size: The size of the response.
        what: The repeated text, for the message.
    """

    def __init__(self, size: int, what: str) -> None:
        self.total = budget_of(size)
        self._what, self._left = what, self.total

    def spend(self, size: int) -> None:
        """Count some bytes, before they are allocated.

        Raises:
            RecordError: they are too many.
        """
        self._left -= size
        if self._left < 0:
            raise RecordError(
                f"it is too large when shredded: {self._what} would take more than {self.total / 1e6:,.0f} MB"
            )
