"""The pipeline file as frozen models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from wats_extract.engine.job import Tolerance
from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.pipeline.settings import Settings, from_file
from wats_extract.pipeline.source import Source
from wats_extract.resources.selecting import OPTIONS, no_filter, one_line


def _local_path(written: object, info: ValidationInfo) -> object:
    if not isinstance(written, str):
        return written
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", written):
        raise ValueError(
            f"begins with {scheme[0]!r}, as an object store or another database does; write a path on this "
            f"machine or a share (a file whose name begins so is './{written}')"
        )
    try:
        return from_file(Path(written), info)
    except RuntimeError:
        raise ValueError(
            "begins with '~', and there is no such home folder here; write the whole path"
        ) from None


LocalPath = Annotated[
    Path, BeforeValidator(_local_path), WithJsonSchema({"type": "string"}, mode="validation")
]


class DuckDB(Settings):
    """All tables in one DuckDB file."""

    type: Literal["duckdb"] = Field(description="The kind of destination.")
    path: LocalPath = Field(
        description="The file, such as ../data/wats.duckdb; relative to the folder of the pipeline file."
    )
    schema_name: str = Field(
        default="main",
        alias="schema",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The schema within the file that holds the tables.",
    )

    @field_validator("path")
    @classmethod
    def _check_file(cls, path: Path) -> Path:
        if not path.name:
            raise ValueError("is the root folder; name a file, such as ../data/wats.duckdb")
        return path


class Parquet(Settings):
    """A folder with one folder of Parquet files per table."""

    type: Literal["parquet"] = Field(description="The kind of destination.")
    path: LocalPath = Field(
        description="The folder, such as ../data/wats; relative to the folder of the pipeline file."
    )


Destination = Annotated[
    DuckDB | Parquet, Field(discriminator="type", description="Where the tables are loaded.")
]
WrittenMoment = Annotated[str, WithJsonSchema({"type": "string", "examples": ["2026-01-31", "30 days ago"]})]
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


class OptionField:
    """Annotates a field with the check, the JSON Schema and the conversion of an option of resources."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The validator: what every front end checks, after text from the environment is converted."""
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The JSON Schema of the option."""
        return dict(OPTIONS[self.name].schema)

    def _read(self, written: object) -> Any:
        return OPTIONS[self.name].read(from_text(self.name, written))


def from_text(name: str, written: object) -> object:
    """The value of an option, with text converted: an environment variable gives every value as text."""
    if isinstance(written, list):
        return [from_text(name, each) for each in written]
    return OPTIONS[name].from_text(written) if isinstance(written, str) else written


def _option(name: str) -> Any:
    return Field(default=OPTIONS[name].default, description=OPTIONS[name].doc)


class ResourceConfig(Settings):
    """One resource of a pipeline, and which part of it to extract."""

    name: str = Field(description="The resource; `wats-extract resources` lists them.")
    since: WrittenMoment | None = Field(
        default=None,
        description="Reports that start at or after this: a date, a timestamp, or an age such as "
        "'30 days ago'.",
    )
    until: WrittenMoment | None = Field(
        default=None, description="Reports that start before this; written like since."
    )
    filter: Mapping[str, Any] | str | None = Field(
        default=None,
        description="Columns and their value or list of values, such as "
        "{part_number: [A, B], result: Failed}; or OData text.",
    )
    expand: Annotated[tuple[str, ...], OptionField("expand")] = _option("expand")
    write_disposition: Literal["merge", "append", "replace"] | None = Field(
        default=None,
        description="merge replaces rows that changed (the default if there is a key), append only adds "
        "rows, replace keeps only the latest full pass.",
    )
    chunk_size: Annotated[int, OptionField("chunk_size")] = _option("chunk_size")
    attachments: Annotated[str, OptionField("attachments")] = _option("attachments")
    charts: Annotated[bool, OptionField("charts")] = _option("charts")
    keep_raw: Annotated[bool, OptionField("keep_raw")] = _option("keep_raw")
    dimensions: Annotated[tuple[str, ...] | None, OptionField("dimensions")] = _option("dimensions")
    date_grouping: Annotated[str | None, OptionField("date_grouping")] = _option("date_grouping")
    period_count: Annotated[int | None, OptionField("period_count")] = _option("period_count")
    available_time: Annotated[tuple[float, ...] | None, OptionField("available_time")] = _option(
        "available_time"
    )
    acknowledge: Annotated[bool, OptionField("acknowledge")] = _option("acknowledge")
    internal: Annotated[bool, OptionField("internal")] = _option("internal")

    @property
    def options(self) -> dict[str, Any]:
        """The options that the file gives; the others have their defaults."""
        return {name: getattr(self, name) for name in OPTIONS if name in self.model_fields_set}

    @field_validator("since", "until", mode="before")
    @classmethod
    def _check_moment(cls, written: object) -> object:
        if written is None:
            return None
        try:
            instant(written, now=datetime.now(UTC))  # type: ignore[arg-type]
        except ConfigurationError as error:
            raise ValueError(one_line(error)) from None
        return written.isoformat() if isinstance(written, date) else written

    @field_validator("filter", mode="before")
    @classmethod
    def _check_filter(cls, written: object) -> object:
        if not isinstance(written, Mapping | str | None):
            raise ValueError(no_filter(written))
        return written

    @field_validator("write_disposition", mode="before")
    @classmethod
    def _check_word(cls, written: object) -> object:
        if isinstance(written, str) and written in _DISPOSITIONS:
            raise ValueError(f"{written!r} is called {_DISPOSITIONS[written]!r} here")
        return written


class Pipeline(Settings):
    """A pipeline file, checked: what to extract, from where, to where."""

    version: Literal[1] = Field(description="The version of this file's format: 1.")
    name: str = Field(description="Identifies the state of the pipeline: lower-case letters, digits and _.")
    source: Source = Field(
        default_factory=Source, description="The WATS server, and the limits for requests to it."
    )
    destination: Destination
    resources: tuple[ResourceConfig, ...] = Field(
        description="What to extract, in this order.", json_schema_extra={"minItems": 1}
    )
    max_failures: Share = Field(
        default=Tolerance.parse(0),
        description="Exit with 0 if at most this many failures are open: a number, or a share such as '1%'.",
    )
    stop_at_failures: Share = Field(
        default=Tolerance.parse("20%"),
        description="Stop with exit code 4 if this many recent items fail: a number, or a share such as "
        "'20%'.",
    )

    @field_validator("version", mode="before")
    @classmethod
    def _check_version(cls, written: object) -> int:
        if isinstance(written, bool) or str(written) != "1":
            raise ValueError("is unknown to this wats-extract; write version: 1, or install a newer one")
        return 1

    @field_validator("resources", mode="before")
    @classmethod
    def _check_not_empty(cls, written: object) -> object:
        # `min_length` would count only the resources without a problem.
        if not written and isinstance(written, Sequence):
            raise ValueError("should not be empty")
        return written

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9_]+", name):
            fitting = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
            example = f" (such as {fitting!r})" if fitting else ""
            raise ValueError(f"should be lower-case letters, digits and _ only{example}")
        return name
