"""The common parts of statistics: request bodies, tables and declarations.

A statistic is a question and the rows that the server computes for it. The rows have no key of their own;
they belong to the question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pyarrow as pa

from wats_extract.filters import odata, wats_filter
from wats_extract.flow import Selection
from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.questions import Questions
from wats_extract.readers.reader import Query
from wats_extract.readers.time_window import AHEAD, BEFORE_WATS
from wats_extract.resources.fields import place, table, text
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import Answers
from wats_extract.shred.flat import FlatShredder
from wats_extract.tables import Column, Table

MOST_ROWS = 1_000_000
"""The number of rows that are requested: far more than a statistic may have."""

MOST_MEASUREMENTS = 10_000
"""The largest number of measurements in one response, whatever is requested."""

GROUPINGS = {"none": -1, "year": 0, "quarter": 1, "month": 2, "week": 3, "day": 4, "hour": 5}
PERIODS = 30
"""The default of ``period_count``, for statistics whose routes take no dates."""

SILENT = "the columns: the specification does not list them"

CONDITIONS = {
    column.name: column
    for column in (
        *text("serialNumber partNumber revision batchNumber stationName testOperation status"),
        *text("miscDescription miscValue productGroup level swFilename swVersion socket"),
    )
}


def some(names: str) -> dict[str, Column]:
    """Return some fields of the WATS filter, for routes that take no others."""
    return {name: CONDITIONS[name] for name in names.split()}


# ── requests ────────────────────────────────────────────────────────────────────────────────────

Body: TypeAlias = Callable[[str, Selection], Query]
"""Returns the body of a request, from the key of the question and the selection."""


def fields_of(questions: Questions, key: str, selection: Selection) -> Query:
    """Return the fields of a question, as they stand in the body of a request."""
    return dict(wats_filter.body(questions.selection(key, selection).asked))


def dated(selection: Selection) -> Query:
    """Return the range of time. It is always sent, because the server defaults to the last few days."""
    return {
        "dateFrom": odata.timestamp_text(selection.since or BEFORE_WATS),
        "dateTo": odata.timestamp_text(selection.until or datetime.now(UTC) + AHEAD),
    }


def grouped(selection: Selection, otherwise: str) -> Query:
    """Return the length of periods."""
    return {"dateGrouping": GROUPINGS[selection.options.get("date_grouping") or otherwise]}


def dynamic(questions: Questions, dimensions: Mapping[str, str], otherwise: tuple[str, ...]) -> Body:
    """Return the bodies of a statistic that is broken down by dimensions, for a range of time."""

    def body(key: str, selection: Selection) -> Query:
        wanted = selection.options.get("dimensions") or otherwise
        return {
            **fields_of(questions, key, selection),
            **dated(selection),
            **grouped(selection, "month"),
            "dimensions": ";".join(dimensions[name] for name in wanted),
            "topCount": MOST_ROWS,
        }

    return body


def counted(questions: Questions) -> Body:
    """Return the bodies of a statistic about the latest periods."""

    def body(key: str, selection: Selection) -> Query:
        return {
            **fields_of(questions, key, selection),
            **grouped(selection, "day"),
            "periodCount": int(selection.options.get("period_count") or PERIODS),
            "includeCurrentPeriod": True,
            "topCount": MOST_ROWS,
        }

    return body


def between(questions: Questions, **more: str | int) -> Body:
    """Return the bodies of a statistic about a range of time."""

    def body(key: str, selection: Selection) -> Query:
        return {**fields_of(questions, key, selection), **dated(selection), **more}

    return body


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


def statistic_table(
    name: str, *columns: tuple[Column, ...], doc: str, docs: Mapping[str, str] | None = None
) -> Table:
    """Return a table of responses: the question, the index in its response, and the given columns."""
    return table(
        name,
        "question row_index",
        (Column("question", pa.string(), doc="the question; the same in all rows of a response"),),
        place("row_index", "the rows of the response"),
        *columns,
        doc=doc,
        docs=docs,
        owner="question",
    )


def placed(key: str, version: int | None, place: int) -> tuple[Any, ...]:  # noqa: ARG001
    """Return the first columns of a row: its question, and its index in the response."""
    return key, place


def answers(rows: FlatShredder, *, cap: int | None = MOST_ROWS, kind: type[Answers] = Answers) -> Answers:
    """Return a shredder for responses of at most ``cap`` rows."""
    return kind(rows, rows, placed, cap)


def no_query(key: str, options: Mapping[str, Any]) -> Query:  # noqa: ARG001
    """Return no query parameters: the body has everything."""
    return {}


def statistic(
    listed: Table,
    summary: str,
    *,
    questions: Questions,
    body: Body,
    filters: Mapping[str, Column],
    options: str = "",
    required: str = "",
    dimensions: Mapping[str, str] | None = None,
    query: Callable[[str, Mapping[str, Any]], Query] = no_query,
    shredder: Answers | None = None,
    unproven: str = SILENT,
) -> Resource:
    """Return the resource of a statistic that is requested by POST. It is named after its table.

    Args:
        listed: The table of its rows.
        summary: One line for the capability matrix.
        questions: Lists its questions.
        body: Returns the body of a question's request.
        filters: The fields of the WATS filter that the route takes.
        options: Its other keys in the pipeline file, separated by spaces.
        required: The names that ``filter`` must have, separated by spaces.
        dimensions: The dimensions that it may be broken down by.
        query: Returns the query parameters of a question's request.
        shredder: Shreds the responses; by default each record is a row of ``listed``.
        unproven: The assumptions that the specification does not confirm.
    """
    reader = ByKeyReader(
        listing=questions,
        asked={},
        route=questions.route,
        query=query,
        shredder=shredder or answers(FlatShredder(listed)),
        body=body,
    )
    return Resource(
        name=listed.name,
        summary=summary,
        route=questions.route,
        method="POST",
        reader=reader,
        tables=(listed,),
        key="question",
        filters=filters,
        filtered_by="fields",
        required=tuple(required.split()),
        options=frozenset(options.split()),
        dimensions=dimensions or {},
        unproven=unproven,
    )
