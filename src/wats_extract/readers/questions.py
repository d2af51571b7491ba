"""Read statistics by questions: the server computes them on request, so there is no list of items.

A question is an item. Its key says what is asked, and all rows of the response belong to it. So a newer
response replaces the previous one, and a question that fails is recorded like any other failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from wats_extract.errors import RecordError, RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import (
    Asked,
    Bounds,
    Chunk,
    Everything,
    Failure,
    Keys,
    Result,
    Row,
    Selection,
    Success,
    Window,
)
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.reader import Page, Query, RowsOf, Source, label

EVERYTHING = "everything"
"""The key of a question without conditions."""

BETWEEN_PARTS = "|"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True)
class Questions:
    """Lists the questions of a selection.

    Attributes:
        route: The route below ``/api``.
        parts: The fields of a question's key. Each combination of their selected values is one question. Its
            key has the values in this order, joined by ``|``; the last value may contain ``|`` itself.
            Without parts there is one question, whose key names the fields: ``partNumber=A&level=B``.
    """

    route: str
    parts: tuple[str, ...] = ()

    paging = "questions"
    cap = None
    versioned = False
    countable = True
    keys_at_once = 100_000

    def proper(self, key: str) -> str:
        """The key if it is a question; otherwise empty."""
        return key if self.asked(key) is not None else ""

    def asked(self, key: str) -> Asked | None:
        """The fields of the WATS filter that a key stands for; ``None`` if it is not a question."""
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

    def split(self, source: Source, window: Window, rows: RowsOf, parts: int) -> list[Bounds]:  # noqa: ARG002
        """Groups of questions."""
        keys = self.keys(window.selection)
        size = -(-len(keys) // parts)
        groups = [keys[place : place + size] for place in range(0, len(keys), size)] if keys else []
        return [Keys(tuple(group)) for group in groups] or [Everything()]

    def pages(self, source: Source, window: Window, rows: RowsOf, query: Query) -> Iterator[Page]:  # noqa: ARG002
        """The questions of the window, on one page. No request is sent."""
        keys = self.keys(window.selection)
        if keys:
            yield Page([Row(key, None) for key in keys], [None] * len(keys), cap=len(keys))

    def look_up(
        self,
        source: Source,  # noqa: ARG002
        window: Window,  # noqa: ARG002
        keys: list[str],
        rows: RowsOf,  # noqa: ARG002
        query: Query,  # noqa: ARG002
    ) -> dict[str, Row]:
        """All keys: any question may be asked."""
        return {key: Row(key, None) for key in keys}


@dataclass(frozen=True)
class QuestionedReader(PagedReader):
    """Reads a list that requires a filter, and whose rows are items of their own.

    All values of a field are requested together, so that a window covers all of them and the cursor holds for
    each. In ``fetch``, a key is either a question, which may have any number of rows, or the key of a row,
    which is found by reading the list up to that row.

    Attributes:
        questions: Tells what keys stand for.
    """

    questions: Questions

    def read(self, source: Source, window: Window) -> Iterator[Chunk]:
        """One chunk per page; for keys, chunks in the order of keys. A question without rows is a failure."""
        if not isinstance(window.bounds, Keys):
            yield from super().read(source, window)
            return
        for key in window.bounds.keys:
            if self.questions.asked(key) is None:
                yield from super().read(source, replace(window, bounds=Keys((key,))))
            else:
                yield from self._answer(source, window, key)

    def outcomes(
        self, source: Source, selection: Selection, keys: Iterable[str]
    ) -> Iterator[Result[dict[str, Any]]]:
        """Each key as decoded JSON: a row, or for a question an object with its rows under ``value``."""
        for key in keys:
            if self.questions.asked(key) is None:
                yield from super().outcomes(source, selection, [key])
            else:
                yield self._value(source, selection, key)

    def _answer(self, source: Source, window: Window, key: str) -> Iterator[Chunk]:
        count, failure = 0, None
        try:
            for chunk in super().read(source, self._asking(source, window.selection, key)):
                count += len(chunk.landed) + len(chunk.failures)
                yield replace(chunk, cursor=None)
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            failure = source.fetch_failure(key, error)
        except RecordError as error:
            failure = source.record_failure(key, error.message, raw=b"")
        if failure is None and not count:
            failure = source.not_found(key)
        if failure is not None:
            yield Chunk(label([key]), {}, {}, [failure])

    def _value(self, source: Source, selection: Selection, key: str) -> Success[dict[str, Any]] | Failure:
        try:
            window = self._asking(source, selection, key)
            pages = self.listing.pages(source, window, self.shredder.rows, {})
            rows = [self.shredder.value(row) for page in pages for row in page.rows if row.record is not None]
        except (TokenRefused, ServerUnreachable):
            raise
        except RequestError as error:
            return source.fetch_failure(key, error)
        except RecordError as error:
            return source.record_failure(key, error.message, raw=b"")
        return Success(key, {"value": rows}) if rows else source.not_found(key)

    def _asking(self, source: Source, selection: Selection, key: str) -> Window:
        """The window that asks one question."""
        return Window(source.resource, self.questions.selection(key, replace(selection, limit=None)))
