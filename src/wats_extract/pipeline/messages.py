"""Word pydantic's findings for the user of a pipeline file, with the nearest right name.

Users bring words from dlt, Singer and Airbyte; each is answered with ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from wats_extract.filters.nearest import did_you_mean, nearest
from wats_extract.pipeline.model import DuckDB, Parquet, Pipeline, ResourceConfig
from wats_extract.pipeline.settings import in_plain_words
from wats_extract.pipeline.source import Source
from wats_extract.pipeline.yaml_source import Document, Problem
from wats_extract.resources.selecting import KeyPath

_OURS = {
    "resources": "streams stream tables endpoints entities datasets selected_streams",
    "url": "base_url host hostname server server_url api_url endpoint address uri_base",
    "token": "api_key apikey api_token access_token auth_token bearer_token password secret auth credentials",
    "requests_per_minute": "rate_limit rpm ratelimit requests_per_second throttle",
    "max_in_flight": "concurrency parallelism max_workers workers threads max_connections parallelized",
    "max_requests": "request_limit max_calls request_budget",
    "timeout": "request_timeout read_timeout timeout_seconds",
    "type": "kind driver connector destination_type",
    "path": "file filename folder directory database bucket_url db_path",
    "schema": "dataset dataset_name schema_name target_schema default_target_schema",
    "write_disposition": "write_mode mode load_mode sync_mode destination_sync_mode upsert overwrite append",
    "since": "start_date start from initial_value begin date_from start_time",
    "until": "end_date end to end_value date_to end_time",
    "filter": "where filters query odata",
    "expand": "include includes",
    "chunk_size": "batch_size page_size chunksize batch max_batch_size limit",
    "max_failures": "max_errors allowed_failures error_threshold max_bad_records",
    "stop_at_failures": "abort_at_failures fail_fast stop_on_errors",
}
_THEIRS = {theirs: ours for ours, words in _OURS.items() for theirs in words.split()}

_NEEDLESS = {
    "remove it; every run reads an overlap again anyway": "lookback_window lookback overlap lag window",
    "remove it; the key of each table is known (see `wats-extract resources NAME`)": "primary_key key "
    "merge_key unique_key key_properties keys",
    "remove it; the cursor is known, and every run continues from it": "cursor cursor_field cursor_path "
    "replication_key replication_method incremental bookmark",
    "remove it; WATS takes a token, not a user name": "user username",
    "remove it; failed requests are retried automatically": "retries max_retries retry backoff retry_policy",
    "remove it; the state is stored in the destination": "state state_path state_file",
    "remove it; let a scheduler such as cron run `wats-extract run`": "schedule cron interval",
    "it is for postgres, which comes in a later version; duckdb and parquet take a path": "uri dsn "
    "connection_string",
}
_ADVICE = {word: advice for advice, words in _NEEDLESS.items() for word in words.split()}

_LATER = ("postgres", "delta")
_VALUE_SHOWN = ("literal_error", "int_type", "int_parsing", "int_from_float", "bool_type", "bool_parsing")

_EXAMPLES = {
    "version": "version: 1",
    "name": "name: reports",
    "destination": "destination: {type: duckdb, path: ../data/wats.duckdb}",
    "resources": "resources: [{name: report_headers}]",
    "path": "path: ../data/wats.duckdb",
    "type": "type: duckdb, or type: parquet",
}

_LEVELS: dict[str, type[BaseModel]] = {
    "": Pipeline,
    "source": Source,
    "duckdb": DuckDB,
    "parquet": Parquet,
    "resources": ResourceConfig,
}

_HOMES = {
    "": "at the top level",
    "source": "under source",
    "duckdb": "under destination",
    "parquet": "under destination",
    "resources": "to a resource",
}


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def problems_of(errors: Sequence[ErrorDetails], document: Document) -> list[Problem]:
    """Each finding as a problem of the file."""
    problems = []
    renamed = set()
    for error in errors:
        level, path = _located(error)
        if error["type"] == "extra_forbidden":
            ours, text = _unknown_key(str(path[-1]), level)
            renamed.add((*path[:-1], ours))
            problems.append(Problem(text, path))
        else:
            problems.append(Problem(_in_words(error, path, document), path))
    # A key that is written under another name is not reported as missing as well.
    return [each for each in problems if each.path not in renamed or each.path in document.lines]


def _located(error: ErrorDetails) -> tuple[str, KeyPath]:
    """The level (a key of ``_LEVELS``) and the key path of a finding.

    In a destination pydantic inserts the type into the path, and omits the key ``type`` itself.
    """
    loc = error["loc"]
    if error["type"].startswith("union_tag"):
        return "", (*loc, "type")
    level = next((str(step) for step in reversed(loc[:-1]) if step in _LEVELS), "")
    return level, (loc[0], *loc[2:]) if loc[0] == "destination" and len(loc) > 1 else loc


def _unknown_key(name: str, level: str) -> tuple[str, str]:
    """Our name for an unknown key (empty if there is none), and the message."""
    keys = _keys(_LEVELS[level])
    ours = _THEIRS.get(name.lower(), "")
    if ours in keys:
        return ours, f"is called {ours!r} here{_example(ours)}"
    if advice := _ADVICE.get(name.lower()):
        return "", f"is not a setting: {advice}"
    if close := nearest(name, keys):
        return close, f"is not a setting (did you mean {close!r}?)"
    if homes := [_HOMES[each] for each, model in _LEVELS.items() if (ours or name) in _keys(model)]:
        called = f"is called {ours!r} and " if ours else ""
        return "", f"{called}belongs {homes[0]}"
    return "", f"is not a setting; there are {', '.join(keys)}"


def _example(ours: str) -> str:
    examples = {
        "token": "; write token: ${WATS_TOKEN}",
        "write_disposition": "; it is merge, append or replace",
        "requests_per_minute": ", which counts requests per minute",
    }
    return examples.get(ours, "")


def _in_words(error: ErrorDetails, path: KeyPath, document: Document) -> str:
    name = path[-1]
    if error["type"] == "union_tag_invalid":
        return _wrong_type(document.value["destination"]["type"])
    if error["type"] in ("missing", "union_tag_not_found") and name in _EXAMPLES:
        return f"is missing; add {_EXAMPLES[str(name)]}"
    if name == "resources" or path[:-1] == ("resources",):
        return f"{in_plain_words(error)}; a resource begins with '- name: '"
    text, written = in_plain_words(error), document.written.get(path, "")
    return f"{text}, not {written!r}" if written and error["type"] in _VALUE_SHOWN else text


def _wrong_type(written: object) -> str:
    if written in _LATER:
        return f"{written} comes in a later version; duckdb and parquet work now"
    return f"should be duckdb or parquet{did_you_mean(str(written), ('duckdb', 'parquet'))}"
