"""Pipeline files, and a small catalogue to check them against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from textwrap import dedent
from typing import Any

import pyarrow as pa

from wats_extract.tables import TIMESTAMP, Column

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SERVER = "https://acme.wats.com"
SECRET = "aGVsbG86c2VjcmV0LW1hcmtlcg=="
FILTERS = {
    column.name: column
    for column in (
        Column("uuid", pa.string(), "uuid", kind="uuid"),
        Column("part_number", pa.string(), "partNumber", "of the unit"),
        Column("report_type", pa.string(), "reportType", kind="report_type"),
        Column("result", pa.string(), "result", kind="result"),
        Column("start", TIMESTAMP, "start"),
        Column("process_code", pa.int32(), "processCode"),
    )
}


@dataclass(frozen=True)
class Declared:
    """The parts of a resource declaration that the check of a pipeline file needs."""

    name: str
    summary: str = "something"
    key: str = "uuid"
    filters: Mapping[str, Column] = field(default_factory=dict)
    expand: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    filtered_by: str = "odata"
    required: tuple[str, ...] = ()
    dimensions: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False


CATALOGUE: Any = {
    resource.name: resource
    for resource in (
        Declared(
            "report_headers", filters=FILTERS, expand=("subUnits", "miscInfo"), options=frozenset({"expand"})
        ),
        Declared(
            "reports",
            filters=FILTERS,
            options=frozenset({"chunk_size", "attachments", "charts", "keep_raw"}),
        ),
        Declared("products", key="part_number"),
        Declared("yields", key=""),
    )
}

GOOD = {
    "version": "version: 1\n",
    "name": "name: reports\n",
    "source": "source:\n  url: demo\n",
    "destination": "destination:\n  type: duckdb\n  path: data/wats.duckdb\n",
    "resources": "resources:\n  - name: report_headers\n",
    "more": "",
}


def text_with(**sections: str) -> str:
    """A valid file, with some sections replaced."""
    return "".join(dedent(text) for text in (GOOD | sections).values())


def resource(text: str) -> dict[str, str]:
    """The section ``resources``, with these keys for ``report_headers``."""
    return {
        "resources": "resources:\n  - name: report_headers\n"
        + "".join(f"    {line}\n" for line in dedent(text).splitlines())
    }
