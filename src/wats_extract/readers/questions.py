"""Questions in place of a list: statistics are asked for, and nothing lists what could be asked.

A question is an item: its key says what is asked, and all rows of its answer belong to it. So an answer that
comes again replaces the one before it, and a question that fails is a failure like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from wats_extract.errors import RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Asked, Chunk, Failure, Result, Row, Selection, Success
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reading import Page, Query, Reading, RowsOf, label, not_found

EVERYTHING = "everything"
"""The key of a question without any condition."""

BETWEEN_PARTS = "|"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Questions:
    """What a selection asks.

    Attributes:
        route: Below ``/api``.
        parts: The fields of which each combination of values is a question of its own. Its key has them in
            this order, joined by ``|``; the last may hold a ``|``. Without parts there is one question, and
            its key names its fields: ``partNumber=A&level=B``.
    """

    route: str
    parts: tuple[str, ...] = ()

    paging = "questions"
    cap = None
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """The key, where it is one."""
        return key if self.asked(key) is not None else ""

    def asked(self, key: str) -> Asked | None:
        """The fields that a key stands for; ``None`` where it is no question's."""
        if self.parts:
            values = key.split(BETWEEN_PARTS, len(self.parts) - 1)
            if len(values) < len(self.parts) or not all(values) or _UUID.fullmatch(values[0]):
                return None
            return {part: (value,) for part, value in zip(self.parts, values, strict=True)}
        if key == EVERYTHING:
            return {}
        fields: dict[str, tuple[str, ...]] = {}
        for name, value in parse_qsl(key):
            fields[name] = (*fields.get(name, ()), value)
        return fields or None

    def selection(self, key: str, selection: Selection) -> Selection:
        """The selection that asks just this question."""
        fields = self.asked(key) or {}
        return replace(selection, asked={**selection.asked, **fields} if self.parts else fields)

    def keys(self, selection: Selection) -> list[str]:
        """The questions of a selection."""
        if self.parts:
            values = (selection.asked.get(part, ()) for part in self.parts)
            return [BETWEEN_PARTS.join(each) for each in product(*values)]
        pairs = [(name, value) for name, values in sorted(selection.asked.items()) for value in values]
        return [urlencode(pairs, quote_via=quote, safe=" /|") or EVERYTHING]

    def pages(self, reading: Reading, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """The questions of a reading; nothing is asked for them."""
        keys = self.keys(reading.selection)
        if keys:
            yield Page([Row(key, None) for key in keys], [None] * len(keys), cap=len(keys))

    def look_up(self, reading: Reading, keys: list[str], rows: RowsOf, query: Query) -> dict[str, Row]:  # noqa: ARG002
        """Any question may be asked."""
        return {key: Row(key, None) for key in keys}


@dataclass(frozen=True)
class QuestionedReader(PagedReader):
    """A list that has to be asked something, whose rows are items of their own.

    Values of one field are asked for together, so that a window covers them all and the cursor is true of
    each. A key of ``fetch`` is a question, whose rows may be any number; the key of a row is found by
    reading on until it comes.

    Attributes:
        questions: What its keys stand for.
    """

    questions: Questions

    def read_keys(self, reading: Reading, keys: Iterable[str]) -> Iterator[Chunk]:
        """Chunks for a few keys, in their order; a question without rows is a failure."""
        for key in keys:
            if self.questions.asked(key) is None:
                yield from super().read_keys(reading, [key])
            else:
                yield from self._answer(reading, key)

    def read_each(self, reading: Reading, keys: Iterable[str]) -> Iterator[Result[dict[str, Any]]]:
        """Each key as decoded JSON: a row, or in ``value`` the rows that answer a question."""
        for key in keys:
            if self.questions.asked(key) is None:
                yield from super().read_each(reading, [key])
            else:
                yield self._value(reading, key)

    def _answer(self, reading: Reading, key: str) -> Iterator[Chunk]:
        count = 0
        try:
            for chunk in PagedReader.read(self, self._asking(reading, key)):
                count += len(chunk.landed) + len(chunk.failures)
                yield replace(chunk, cursor=None)
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            yield Chunk(label([key]), {}, {}, [reading.fetch_failure(key, error)])
        else:
            if not count:
                yield Chunk(label([key]), {}, {}, [not_found(reading, key, proper=key)])

    def _value(self, reading: Reading, key: str) -> Success[dict[str, Any]] | Failure:
        try:
            pages = self.listing.pages(self._asking(reading, key), self.shredder.rows, {})
            rows = [self.shredder.value(row) for page in pages for row in page.rows if row.record is not None]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            return reading.fetch_failure(key, error)
        return Success(key, {"value": rows}) if rows else not_found(reading, key, proper=key)

    def _asking(self, reading: Reading, key: str) -> Reading:
        selection = self.questions.selection(key, replace(reading.selection, limit=None))
        return replace(reading, selection=selection, cursor=None)
