"""Checks that the body of a response with status 200 has the shape that its route declares.

Gateways and proxies return error objects, envelopes and login pages with status 200. A body of any other
shape is :class:`~wats_extract.errors.Unreadable`: the request is retried, and then fails.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from wats_extract.errors import Unreadable
from wats_extract.shred.records import BYTE_ORDER_MARK, REFUSED, loads, pieces

_LONGEST_DESCRIBED = 100_000
_NAMES_SHOWN = 5
_NAME = re.compile(rb'("(?:[^"\\]|\\.)*+")\s*:\s*', re.DOTALL)


@dataclass(frozen=True)
class Shape:
    """The shape of the JSON body that a route returns.

    Attributes:
        lists: Whether it may be a list of objects.
        within: The field with the list, if an object may wrap it.
        counted: The field of that object with the number of rows. If it is 0, the list may be absent.
        marks: The fields that identify a single object, in lower case: it must have one field of each group.
            Without groups, a single object is refused.
    """

    lists: bool = True
    within: str = ""
    counted: str = ""
    marks: tuple[frozenset[str], ...] = ()

    def __str__(self) -> str:
        """The shape in words, for messages."""
        one = "an object with " + " and ".join("/".join(sorted(group)) for group in self.marks)
        found = ["a list of objects"] if self.lists else []
        found += [f"an object with a list in {self.within}"] if self.within else []
        found += [one] if self.marks else []
        return " or ".join(found)

    def items(self, body: bytes) -> list[bytes]:
        """Split a body into its objects without decoding them.

        Raises:
            Unreadable: The body is cut off, or has another shape.
        """
        body = body.removeprefix(BYTE_ORDER_MARK).strip()
        if self.lists and body.startswith(b"["):
            return _split(body)
        if self.within and body.startswith(b"{"):
            return self._unwrapped(body)
        if self.marks and body.startswith(b"{"):
            names = {name.lower() for name, _ in fields_of(body)}
            if all(names & group for group in self.marks):
                return [body]
        raise self.mismatch(body)

    def mismatch(self, body: bytes) -> Unreadable:
        """Return the error for a body of another shape."""
        return Unreadable(f"expected {self}, found {described(body)}")

    def _unwrapped(self, body: bytes) -> list[bytes]:
        fields = {name.lower(): value for name, value in fields_of(body)}
        found = fields.get(self.within.lower(), b"null")
        if found.startswith(b"["):
            return _split(found)
        if found == b"null" and self.counted and fields.get(self.counted.lower()) == b"0":
            return []
        raise self.mismatch(body)


LIST = Shape()
"""A list of objects, as almost all routes return it. OData routes of WATS have no envelope."""


def wrapped_list(within: str, *, counted: str = "") -> Shape:
    """Return the shape of a list, which may be in a field of an object."""
    return Shape(within=within, counted=counted)


def one_object(marks: str) -> Shape:
    """Return the shape of a single object.

    Args:
        marks: The fields that identify it, in groups separated by spaces. It must have one field of each
            group; ``|`` separates the fields of a group.
    """
    return Shape(lists=False, marks=_groups(marks))


def list_or_object(marks: str) -> Shape:
    """Return the shape of a list, or of a single object in its place; see :func:`one_object`."""
    return Shape(marks=_groups(marks))


def fields_of(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Split an object into fields: the name, and the value without decoding it.

    Raises:
        Unreadable: The object is cut off.
    """
    begin = body.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
    for piece in pieces(body) if begin == b"{" else ():
        if written := _NAME.match(piece):
            yield str(loads(written[1])), piece[written.end() :]


def described(body: bytes) -> str:
    """Describe the body of a response in a few words: its JSON type, and the first fields of an object."""
    body = body.removeprefix(BYTE_ORDER_MARK).strip()
    if not body:
        return "nothing"
    if body.startswith(b"["):
        return "a list"
    if body.startswith(b"{") and len(body) < _LONGEST_DESCRIBED:
        with contextlib.suppress(Unreadable):
            names = [name[:40] for name, _ in fields_of(body)]
            more = ", …" if len(names) > _NAMES_SHOWN else ""
            return f"an object with {', '.join(names[:_NAMES_SHOWN])}{more}" if names else "an empty object"
    return body[:60].decode("utf-8", errors="replace")


def _split(body: bytes) -> list[bytes]:
    with contextlib.suppress(*REFUSED):
        return [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    return pieces(body)  # works if an item is invalid or nested too deeply


def _groups(marks: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(group.lower().split("|")) for group in marks.split())
