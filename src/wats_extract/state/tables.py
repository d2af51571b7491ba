"""The bookkeeping tables of every destination: runs, cursors, coverage and failures.

They are ordinary tables, so cursors and failures are part of the same commit as the rows they describe.
"""

from __future__ import annotations

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column, Table

_TEXT, _LONG = pa.string(), pa.int64()

RUNS = Table(
    "_wats_runs",
    key=("run_id",),
    doc="one row per run",
    stamped=False,
    active=frozenset({"running"}),
    columns=(
        Column("run_id", _TEXT),
        Column(
            "number",
            _LONG,
            doc="the order of the runs, which no wrong clock changes",
        ),
        Column("pipeline", _TEXT),
        Column("command", _TEXT, doc="run, retry, backfill or verify"),
        Column("server", _TEXT, doc="the identity of the server: source.id, or its address; demo"),
        Column("status", _TEXT, doc="running, or the outcome"),
        Column("started_at", TIMESTAMP),
        Column("ended_at", TIMESTAMP),
        Column("seconds", pa.float64()),
        Column("requests", _LONG),
        Column("bytes", _LONG, doc="size of the responses, uncompressed"),
        Column("rows", _LONG),
        Column("failures", _LONG, doc="failures recorded by this run"),
        Column(
            "values_kept_in_extra",
            _LONG,
            doc="values that their columns could not hold; `_extra` of their row has them",
        ),
        Column("message", _TEXT, doc="why the run stopped early"),
        Column("version", _TEXT, doc="version of wats-extract"),
    ),
)

STATE = Table(
    "_wats_state",
    key=("pipeline", "resource", "selection"),
    doc="one row per resource and selection: its cursor. The row with an empty pipeline and resource records "
    "the server that the destination belongs to",
    stamped=False,
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column(
            "selection",
            _TEXT,
            doc="the selection of this cursor, as JSON; in the row of the server its identity",
        ),
        Column("cursor", _TEXT, doc="a JSON object"),
        Column("updated_at", TIMESTAMP),
        Column("run_id", _TEXT),
    ),
)

COVERAGE = Table(
    "_wats_coverage",
    key=("pipeline", "resource", "field", "range_start", "range_end"),
    doc="one row per range that was read; a range is merged with those that it adjoins",
    stamped=False,
    scope=("pipeline", "resource", "field"),
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column("field", _TEXT, doc="the field that the range is on: time_stamp or start"),
        Column("range_start", _TEXT, doc="the start of the range, as text"),
        Column("range_end", _TEXT, doc="the end of the range: exclusive for start, inclusive for time_stamp"),
        Column("rows", _LONG, doc="rows that the server returned for the range, also repeated ones"),
        Column("cap", _LONG, doc="the maximum number of rows per response, as far as known"),
        Column("complete", pa.bool_(), doc="whether the range was read completely"),
        Column("run_id", _TEXT),
    ),
)

FAILURES = Table(
    "_wats_failures",
    key=("pipeline", "resource", "key"),
    doc="one row per item that could not be extracted",
    stamped=False,
    active=frozenset({"open", "ignored"}),
    columns=(
        Column("pipeline", _TEXT),
        Column("resource", _TEXT),
        Column("key", _TEXT),
        Column("stage", _TEXT, doc="fetch or shred"),
        Column("error_code", _TEXT),
        Column("message", _TEXT),
        Column("hint", _TEXT),
        Column("http_status", pa.int32()),
        Column("url", _TEXT, doc="the requested URL, without host"),
        Column("attempts", pa.int32(), doc="requests sent, over all runs"),
        Column("first_failed_at", TIMESTAMP),
        Column("last_failed_at", TIMESTAMP),
        Column("status", _TEXT, doc="open, resolved or ignored"),
        Column("resolved_at", TIMESTAMP),
        Column("run_id", _TEXT),
        Column("payload", _TEXT, doc="the first 2 kB of the response that could not be read"),
    ),
)

BOOKKEEPING = (RUNS, STATE, COVERAGE, FAILURES)
