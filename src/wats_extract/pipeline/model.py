"""The pipeline file as frozen models."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator

from wats_extract.engine.job import Tolerance
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.pipeline.source import WHOLE, Settings, Source


def _local_path(written: object) -> object:
    if not isinstance(written, str):
        return written
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", written):
        raise ValueError("object stores come in a later version; write a path on this machine or a share")
    try:
        return Path(written).expanduser()
    except RuntimeError:
        raise ValueError("begins with '~' and a user that this machine does not have") from None


LocalPath = Annotated[
    Path, BeforeValidator(_local_path), WithJsonSchema({"type": "string"}, mode="validation")
]


class DuckDB(Settings):
    """All tables in one DuckDB file."""

    type: Literal["duckdb"] = Field(description="The kind of destination.")
    path: LocalPath = Field(
        description="The file, such as data/wats.duckdb; relative to the folder the command is run in."
    )
    schema_name: str = Field(
        default="main",
        alias="schema",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The schema within the file that all tables are in.",
    )


class Parquet(Settings):
    """A folder with one folder of Parquet files for each table."""

    type: Literal["parquet"] = Field(description="The kind of destination.")
    path: LocalPath = Field(
        description="The folder, such as data/wats; relative to the folder the command is run in."
    )


Destination = Annotated[DuckDB | Parquet, Field(discriminator="type", description="Where the tables land.")]
Moment = Annotated[str, WithJsonSchema({"type": "string", "examples": ["2026-01-31", "30 days ago"]})]
Share = Annotated[
    Tolerance,
    BeforeValidator(Tolerance.parse),
    PlainSerializer(str),
    WithJsonSchema({"type": ["integer", "string"], "examples": [10, "1%"]}),
]

_DISPOSITIONS = {
    "upsert": "merge",
    "incremental": "merge",
    "append_dedup": "merge",
    "overwrite": "replace",
    "truncate": "replace",
    "full_refresh": "replace",
    "full": "replace",
    "insert": "append",
    "append_only": "append",
}


class ResourceConfig(Settings):
    """One resource of a pipeline, and which part of it is wanted."""

    name: str = Field(description="The resource; `wats-extract resources` lists them.")
    since: Moment | None = Field(
        default=None,
        description="Reports that start at or after: a date, a timestamp, or words such as '30 days ago'.",
    )
    until: Moment | None = Field(default=None, description="Reports that start before; written like since.")
    filter: Mapping[str, Any] | str | None = Field(
        default=None,
        description="Column to value or list of values, such as {part_number: [A, B], result: Failed}; "
        "or an OData text.",
    )
    expand: tuple[str, ...] = Field(
        default=(), description="What to fetch along with each header, such as [subUnits, miscInfo]."
    )
    write_disposition: Literal["merge", "append", "replace"] | None = Field(
        default=None,
        description="merge replaces what changed (the default where there is a key), append only adds, "
        "replace keeps just the latest full pass.",
    )
    chunk_size: Annotated[int, Field(ge=1, le=10_000), WHOLE] = Field(
        default=200, description="How many items are fetched and committed together."
    )
    attachments: Literal["none", "metadata", "content"] = Field(
        default="none", description="Attachments: none, their metadata, or their content too."
    )
    charts: bool = Field(default=True, description="Whether charts land in chart_series.")
    keep_raw: bool = Field(
        default=False, description="Whether the document itself lands too, compressed, in raw_reports."
    )
    dimensions: tuple[str, ...] = Field(
        default=(), description="What a statistic is broken down by, such as [part_number, period]."
    )
    date_grouping: Literal["none", "year", "quarter", "month", "week", "day", "hour"] | None = Field(
        default=None, description="How long a period of a statistic is."
    )
    period_count: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = Field(
        default=None, description="Of how many periods a statistic is, the current one included."
    )
    available_time: Annotated[tuple[float, ...], Field(min_length=7, max_length=7)] | None = Field(
        default=None, description="Hours that stations are available, Monday to Sunday."
    )
    acknowledge: bool = Field(
        default=False,
        description="Whether changes are deleted from the server's queue when they have landed.",
    )
    internal: bool = Field(
        default=False,
        description="Says that an internal route may be asked, which the vendor does not support.",
    )

    @field_validator("since", "until", mode="before")
    @classmethod
    def _a_moment(cls, written: object) -> object:
        if isinstance(written, date):
            return written.isoformat()
        if not isinstance(written, str | None):
            raise ValueError("should be a date such as 2026-01-31, or words such as '30 days ago'")
        if written is not None:
            _speaking(lambda: instant(written, now=datetime.now(UTC)))
        return written

    @field_validator("filter", mode="before")
    @classmethod
    def _a_filter(cls, written: object) -> object:
        if not isinstance(written, Mapping | str | None):
            raise ValueError("should be columns and values, such as {result: Failed}, or an OData text")
        return written

    @field_validator("write_disposition", mode="before")
    @classmethod
    def _our_word(cls, written: object) -> object:
        if isinstance(written, str) and written in _DISPOSITIONS:
            raise ValueError(f"{written!r} is called {_DISPOSITIONS[written]!r} here")
        return written


class Pipeline(Settings):
    """A pipeline file, checked: what to extract, from where, to where."""

    version: Literal[1] = Field(description="The version of this file's format: 1.")
    name: str = Field(description="Keys the state of the pipeline: lower-case letters, digits and _.")
    source: Source = Field(default_factory=Source, description="The WATS server, and how gently it is asked.")
    destination: Destination
    resources: tuple[ResourceConfig, ...] = Field(
        description="What to extract, in this order.", json_schema_extra={"minItems": 1}
    )
    max_failures: Share = Field(
        default=Tolerance.parse(0),
        description="Up to so many recorded failures still exit 0: a number, or a share such as '1%'.",
    )
    stop_at_failures: Share = Field(
        default=Tolerance.parse("20%"),
        description="Stop, exit 4, when so many of the recent items fail: a number or a share, as '20%'.",
    )

    @field_validator("version", mode="before")
    @classmethod
    def _known(cls, written: object) -> int:
        if isinstance(written, bool) or str(written) != "1":
            raise ValueError("is unknown to this wats-extract; write version: 1, or install a newer one")
        return 1

    @field_validator("resources", mode="before")
    @classmethod
    def _at_least_one(cls, written: object) -> object:
        # `min_length` counts only the resources without a problem.
        if not written and isinstance(written, Sequence):
            raise ValueError("should not be empty")
        return written

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            fitting = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            meant = f" (such as {fitting!r})" if fitting else ""
            raise ValueError(f"should be lower-case letters, digits and _ only{meant}")
        return name


def _speaking(act: Callable[[], object]) -> None:
    """Do it; what it says is wrong becomes a ``ValueError``, which pydantic collects."""
    try:
        act()
    except ConfigurationError as error:
        raise ValueError(one_line(error)) from None


def one_line(error: ConfigurationError) -> str:
    """An error's message and hint on one line."""
    return f"{error.message}. {error.hint}" if error.hint else error.message
