"""What statistics have in common: how they are asked, and how their answers are kept.

A statistic is a question and its answer: rows without a key of their own, which belong to the question.
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
"""Rows of a statistic that are asked for: far more than it may have."""

MOST_MEASUREMENTS = 10_000
"""Measurements in one answer, whatever is asked for."""

GROUPINGS = {"none": -1, "year": 0, "quarter": 1, "month": 2, "week": 3, "day": 4, "hour": 5}
PERIODS = 30
"""Periods of the statistics that know no dates, unless ``period_count`` says otherwise."""

SILENT = "the columns, on which the specification is silent"

CONDITIONS = {
    column.name: column
    for column in (
        *text("serialNumber partNumber revision batchNumber stationName testOperation status"),
        *text("miscDescription miscValue productGroup level swFilename swVersion socket"),
    )
}


def some(names: str) -> dict[str, Column]:
    """These fields of the WATS filter, for routes that know no others."""
    return {name: CONDITIONS[name] for name in names.split()}


# ── what is asked ───────────────────────────────────────────────────────────────────────────────

Body: TypeAlias = Callable[[str, Selection], Query]
"""What a question asks, from its key and what else is selected."""


def fields_of(questions: Questions, key: str, selection: Selection) -> Query:
    """The fields of a question, as a request holds them."""
    return dict(wats_filter.body(questions.selection(key, selection).asked))


def dated(selection: Selection) -> Query:
    """From when to when; without dates a server takes the last days only."""
    return {
        "dateFrom": odata.timestamp_text(selection.since or BEFORE_WATS),
        "dateTo": odata.timestamp_text(selection.until or datetime.now(UTC) + AHEAD),
    }


def grouped(selection: Selection, otherwise: str) -> Query:
    """How long periods are."""
    return {"dateGrouping": GROUPINGS[selection.options.get("date_grouping") or otherwise]}


def dynamic(questions: Questions, dimensions: Mapping[str, str], otherwise: tuple[str, ...]) -> Body:
    """Asks for a statistic by dimensions, of a range of time."""

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
    """Asks for a statistic of the last periods."""

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
    """Asks for a statistic of a range of time."""

    def body(key: str, selection: Selection) -> Query:
        return {**fields_of(questions, key, selection), **dated(selection), **more}

    return body


# ── how it is kept ──────────────────────────────────────────────────────────────────────────────


def statistic_table(
    name: str, *columns: tuple[Column, ...], doc: str, docs: Mapping[str, str] | None = None
) -> Table:
    """A table of answers: whose question, the place in its answer, and what it says."""
    return table(
        name,
        "question row_index",
        (Column("question", pa.string(), doc="what was asked; all rows of an answer have the same"),),
        place("row_index", "the rows of the answer"),
        *columns,
        doc=doc,
        docs=docs,
        owner="question",
    )


def placed(key: str, version: int | None, place: int) -> tuple[Any, ...]:  # noqa: ARG001 - has none
    """The first columns of a row: whose answer, and where in it."""
    return key, place


def answers(rows: FlatShredder, *, cap: int | None = MOST_ROWS, kind: type[Answers] = Answers) -> Answers:
    """Shreds answers of so many rows at most."""
    return kind(rows, rows, placed, cap)


def no_query(key: str, options: Mapping[str, Any]) -> Query:  # noqa: ARG001 - all is in the body
    """Nothing is asked beside the body."""
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
    """A statistic that is asked by POST, named as its table.

    Args:
        listed: Where its answers land.
        summary: One line for the capability matrix.
        questions: What may be asked, and where.
        body: What a question's request holds.
        filters: The fields of the WATS filter that the route knows.
        options: Its other keys in the pipeline file, separated by blanks.
        required: The names that ``filter`` has to have, separated by blanks.
        dimensions: What it may be broken down by.
        query: What is asked beside the body.
        shredder: What becomes of answers, where they are not just rows.
        unproven: What the specification leaves open.
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
