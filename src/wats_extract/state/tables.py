"""The bookkeeping tables that every destination has, and what is kept in them.

State and failures are tables too, and travel through the same commit as the rows they speak of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wats_extract.errors import DestinationError
from wats_extract.tables import TIMESTAMP, Column, Table

_TEXT, _LONG = pa.string(), pa.int64()

RUNS = Table(
    "_wats_runs",
    key=("run_id",),
    doc="one row a run",
    stamped=False,
    columns=(
        Column("run_id", _TEXT),
        Column("pipeline", _TEXT),
        Column("command", _TEXT, doc="run, retry, backfill or verify"),
        Column("status", _TEXT, doc="running, or how it ended"),
        Column("started_at", TIMESTAMP),
        Column("ended_at", TIMESTAMP),
        Column("seconds", pa.float64()),
        Column("requests", _LONG),
        Column("bytes", _LONG, doc="of answers, inflated"),
        Column("rows", _LONG),
        Column("failures", _LONG, doc="recorded by this run"),
        Column("message", _TEXT, doc="why it stopped, where it did"),
        Column("version", _TEXT, doc="of wats-extract"),
    ),
)

STATE = Table(
    "_wats_state",
    key=("pipeline", "resource", "selection"),
    doc="the cursor of each resource, for each selection that was asked for",
    stamped=False,
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column("selection", _TEXT, doc="what the cursor belongs to: since, until and filter, as JSON"),
        Column("cursor", _TEXT, doc="a JSON object"),
        Column("updated_at", TIMESTAMP),
        Column("run_id", _TEXT),
    ),
)

COVERAGE = Table(
    "_wats_coverage",
    key=("pipeline", "resource", "field", "range_start", "range_end"),
    doc="one row per range that was read",
    stamped=False,
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column("field", _TEXT, doc="what the range is a range of: time_stamp or start"),
        Column("range_start", _TEXT),
        Column("range_end", _TEXT),
        Column("rows", _LONG),
        Column("cap", _LONG),
        Column("complete", pa.bool_()),
        Column("run_id", _TEXT),
    ),
)

FAILURES = Table(
    "_wats_failures",
    key=("pipeline", "resource", "key"),
    doc="what could not be extracted, and why",
    stamped=False,
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column("key", _TEXT),
        Column("stage", _TEXT, doc="fetch, shred or write"),
        Column("error_code", _TEXT),
        Column("message", _TEXT),
        Column("hint", _TEXT),
        Column("http_status", pa.int32()),
        Column("url", _TEXT, doc="without host"),
        Column("attempts", pa.int32()),
        Column("first_failed_at", TIMESTAMP),
        Column("last_failed_at", TIMESTAMP),
        Column("status", _TEXT, doc="open, resolved or ignored"),
        Column("resolved_at", TIMESTAMP),
        Column("run_id", _TEXT),
        Column("payload", _TEXT, doc="the first 2 kB of what could not be read"),
    ),
)

BOOKKEEPING = (RUNS, STATE, COVERAGE, FAILURES)


def cursor_in(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cursor that a row of ``_wats_state`` holds; empty for the beginning.

    Raises:
        DestinationError: it is none, for somebody has changed the table.
    """
    try:
        cursor = json.loads(row["cursor"])
    except (TypeError, ValueError):
        cursor = None
    if not isinstance(cursor, dict):
        raise DestinationError(
            f"_wats_state: the cursor of {row['resource']} was changed, and is no JSON object any more",
            hint="see wats-extract state FILE; then clear it, set it, or import what you have exported",
        )
    return cursor
