"""The pipeline file: YAML in, frozen models out, and every problem told at once, with its line.

::

    text ─compose→ nodes ─expand ${NAME}→ plain values + where each stands
         ─validate→ Pipeline        (keys and types: pydantic)
         ─compare→  catalogue       (resources, columns and options that exist)

Nothing is asked of a server before all three agree. This is the one file that knows the YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.filters.nearest import did_you_mean, nearest
from wats_extract.pipeline.model import DuckDB, Parquet, Pipeline, ResourceConfig, one_line
from wats_extract.pipeline.source import DEMO, Source, environment, plain, told, variable
from wats_extract.pipeline.yaml_source import Document, KeyPath, Problem, compose, distinct, refused
from wats_extract.resources.selecting import OPTIONS, Catalogue, filtered, lacking, takes_time

if TYPE_CHECKING:
    from wats_extract.resources.resource import Resource


# ── loading ─────────────────────────────────────────────────────────────────────────────────────


def load(
    path: str | Path,
    *,
    catalogue: Catalogue,
    environ: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Pipeline:
    """Read a pipeline file and check it against everything that is known without a server.

    Args:
        path: The file.
        catalogue: The resources that there are, by name.
        environ: The environment for ``${NAME}``; by default the process's, over the ``.env`` file
            beside the pipeline file, over the one in the current folder.
        now: The moment that ``30 days ago`` refers to while ``since`` and ``until`` are compared.

    Raises:
        PipelineFileError: with every problem on a line of its own: ``FILE:LINE: key.path: what``.
        ConfigurationError: if a ``.env`` file cannot be read.
    """
    path = Path(path)
    if environ is None:
        environ = environment(path.parent, Path.cwd())
    document = Document(compose(path), environ)
    if not isinstance(document.value, Mapping):
        raise refused(path, [Problem("should hold keys such as version, name and resources", line=1)])
    pipeline, findings = _validate(document, environ)
    compared = _compare(document.value.get("resources"), catalogue, now=now or datetime.now(UTC))
    problems = distinct([*document.problems, *_literal_token(document), *findings, *compared])
    if problems or pipeline is None:
        raise refused(path, [document.placed(each) for each in problems], secrets=_secrets(document, environ))
    return pipeline


def _secrets(document: Document, environ: Mapping[str, str]) -> list[str]:
    """What no message may hold, wherever else in the file it stands; short words are no tokens."""
    written = document.written.get(("source", "token"), "")
    secrets = ["" if "${" in written else written, variable("WATS_TOKEN", environ) or ""]
    return [secret for secret in secrets if len(secret) > 7]


def _literal_token(document: Document) -> Iterator[Problem]:
    """A token in the file is refused: whoever reads the file, or its history, would have it."""
    path = ("source", "token")
    written = document.written.get(path, "")
    if written in ("", "null", "~") or re.fullmatch(r"\$\{[A-Za-z_]\w*(:-)?\}", written):
        return
    yield Problem(
        "is written in the file, where everyone who can read it has it; write ${WATS_TOKEN} instead, "
        "and set WATS_TOKEN in the environment or in a .env file",
        path,
    )


# ── checking: values to models ──────────────────────────────────────────────────────────────────

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
    "remove it; every run reads the overlap again by itself": "lookback_window lookback overlap lag window",
    "remove it; the key of each table is known (`wats-extract resources NAME`)": "primary_key key merge_key "
    "unique_key key_properties keys",
    "remove it; the cursor is known, and every run goes on from it": "cursor cursor_field cursor_path "
    "replication_key replication_method incremental bookmark",
    "remove it; WATS takes a token, and no user name": "user username",
    "remove it; what is worth it is tried again by itself": "retries max_retries retry backoff retry_policy",
    "remove it; the state is kept in the destination": "state state_path state_file",
    "remove it; let a scheduler such as cron call `wats-extract run`": "schedule cron interval",
    "it is for postgres, which comes in a later version; duckdb and parquet take path": "uri dsn "
    "connection_string",
}
_ADVICE = {word: advice for advice, words in _NEEDLESS.items() for word in words.split()}

_LATER = ("postgres", "delta")
_VALUE_SHOWN = ("literal_error", "int_type", "int_parsing", "int_from_float", "bool_type", "bool_parsing")

_EXAMPLES = {
    "version": "version: 1",
    "name": "name: reports",
    "destination": "destination: {type: duckdb, path: data/wats.duckdb}",
    "resources": "resources: [{name: report_headers}]",
    "path": "path: data/wats.duckdb",
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


def _validate(document: Document, environ: Mapping[str, str]) -> tuple[Pipeline | None, list[Problem]]:
    try:
        return Pipeline.model_validate(_connected(document.value, environ)), []
    except ValidationError as error:
        return None, _findings(told(error), document)


def _connected(values: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The values with the environment's server and token where the file names none."""
    source = values.get("source")
    if not isinstance(source, Mapping | None):
        return values
    given = {name: value for name, value in (source or {}).items() if value is not None or name != "token"}
    found = {"url": variable("WATS_URL", environ) or DEMO, "token": variable("WATS_TOKEN", environ) or ""}
    return {**values, "source": found | given}


def _findings(errors: Sequence[ErrorDetails], document: Document) -> list[Problem]:
    problems = []
    answered = set()
    for error in errors:
        level, path = _located(error)
        if error["type"] == "extra_forbidden":
            ours, text = _unknown_key(str(path[-1]), level)
            answered.add((*path[:-1], ours))
            problems.append(Problem(text, path))
        else:
            problems.append(Problem(_in_words(error, path, document), path))
    # A key under another name is answered already, and not missing as well.
    return [each for each in problems if each.path not in answered or each.path in document.lines]


def _located(error: ErrorDetails) -> tuple[str, KeyPath]:
    """The level (a key of ``_LEVELS``) and the key path of a finding.

    In a destination pydantic puts the type in between, and speaks of the type without naming its key.
    """
    loc = error["loc"]
    if error["type"].startswith("union_tag"):
        return "", (*loc, "type")
    level = next((str(step) for step in reversed(loc[:-1]) if step in _LEVELS), "")
    return level, (loc[0], *loc[2:]) if loc[0] == "destination" and len(loc) > 1 else loc


def _unknown_key(name: str, level: str) -> tuple[str, str]:
    """Our word for it, or nothing, and what to tell."""
    keys = _keys(_LEVELS[level])
    ours = _THEIRS.get(name.lower(), "")
    if ours in keys:
        return ours, f"is called {ours!r} here{_example(ours)}"
    if advice := _ADVICE.get(name.lower()):
        return "", f"is no setting here: {advice}"
    if close := nearest(name, keys):
        return close, f"is no setting (did you mean {close!r}?)"
    if homes := [_HOMES[each] for each, model in _LEVELS.items() if (ours or name) in _keys(model)]:
        called = f"is called {ours!r} and " if ours else ""
        return "", f"{called}belongs {homes[0]}"
    return "", f"is no setting; there are {', '.join(keys)}"


def _example(ours: str) -> str:
    examples = {
        "token": "; write token: ${WATS_TOKEN}",
        "write_disposition": "; it is merge, append or replace",
        "requests_per_minute": ", and counts requests in a minute",
    }
    return examples.get(ours, "")


def _in_words(error: ErrorDetails, path: KeyPath, document: Document) -> str:
    name = path[-1]
    if error["type"] == "union_tag_invalid":
        return _wrong_type(document.value["destination"]["type"])
    if error["type"] in ("missing", "union_tag_not_found") and name in _EXAMPLES:
        return f"is missing; add {_EXAMPLES[str(name)]}"
    if name == "resources" or path[:-1] == ("resources",):
        return f"{plain(error)}; a resource begins with '- name: '"
    written = document.written.get(path, "")
    return f"{plain(error)}, not {written!r}" if written and error["type"] in _VALUE_SHOWN else plain(error)


def _wrong_type(written: object) -> str:
    if written in _LATER:
        return f"{written} comes in a later version; duckdb and parquet work now"
    return f"should be duckdb or parquet{did_you_mean(str(written), ('duckdb', 'parquet'))}"


# ── comparing: what there is ────────────────────────────────────────────────────────────────────


def _compare(resources: object, catalogue: Catalogue, *, now: datetime) -> Iterator[Problem]:
    """What only the catalogue knows; values of a wrong type are left to the models."""
    seen: dict[str, int] = {}
    for index, given in enumerate(resources if isinstance(resources, list) else []):
        name = given.get("name") if isinstance(given, Mapping) else None
        if not isinstance(name, str) or not name:
            continue
        path: KeyPath = ("resources", index)
        if name in seen:
            yield Problem(
                f"{name} is listed already, as resources[{seen[name]}]; join the two", (*path, "name")
            )
        elif name in catalogue:
            yield from _misfits(given, catalogue[name], path, catalogue=catalogue, now=now)
        else:
            yield Problem(_unknown_resource(name, catalogue), (*path, "name"))
        seen.setdefault(name, index)


def _unknown_resource(name: str, catalogue: Catalogue) -> str:
    return f"there is no resource {name!r}{did_you_mean(name, catalogue)}; there are {', '.join(catalogue)}"


def _misfits(
    given: Mapping[str, Any], resource: Resource, path: KeyPath, *, catalogue: Catalogue, now: datetime
) -> Iterator[Problem]:
    for option in OPTIONS:
        if option in given and option not in resource.options:
            yield Problem(_not_taken(option, resource, catalogue), (*path, option))
    yield from (Problem(text, (*path, key)) for key, text in lacking(resource, given))
    yield from _time_misfits(given, resource, path, now=now)
    yield from _expand_misfits(given.get("expand"), resource, (*path, "expand"))
    yield from _filter_misfits(given.get("filter"), resource, (*path, "filter"))
    if given.get("write_disposition") == "merge" and not resource.key:
        text = f"{resource.name} has no key to merge by; write append or replace"
        yield Problem(text, (*path, "write_disposition"))


def _not_taken(option: str, resource: Resource, catalogue: Catalogue) -> str:
    takers = [each.name for each in catalogue.values() if option in each.options]
    whose = f"; it is an option of {', '.join(takers)}" if takers else ""
    takes = ", ".join(name for name in OPTIONS if name in resource.options)
    return f"{resource.name} does not take it{whose}" + (f". {resource.name} takes {takes}" if takes else "")


def _time_misfits(
    given: Mapping[str, Any], resource: Resource, path: KeyPath, *, now: datetime
) -> Iterator[Problem]:
    texts = {name: given.get(name) for name in ("since", "until")}
    written = {name: text for name, text in texts.items() if text and isinstance(text, str)}
    if written and not takes_time(resource):
        for name in written:
            yield Problem(f"{resource.name} has no start to select by; remove it", (*path, name))
    elif len(written) == 2:
        try:
            since, until = (instant(each, now=now) for each in written.values())
        except ConfigurationError:
            return  # the model says which
        if since >= until:
            yield Problem(f"should be later than since ({written['since']})", (*path, "until"))


def _expand_misfits(names: object, resource: Resource, path: KeyPath) -> Iterator[Problem]:
    if names is not None and not resource.expand:
        yield Problem(f"{resource.name} has nothing to expand; remove it", path)
        return
    for index, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str) and name not in resource.expand:
            meant, listed = did_you_mean(name.replace("_", ""), resource.expand), ", ".join(resource.expand)
            yield Problem(f"{name!r} cannot be expanded{meant}; there are {listed}", (*path, index))


def _filter_misfits(written: object, resource: Resource, path: KeyPath) -> Iterator[Problem]:
    if not written or not isinstance(written, Mapping | str):
        return
    columns = written.items() if isinstance(written, Mapping) else ()
    wrong = {name: text for name, value in columns if (text := _complaint({name: value}, resource))}
    yield from (Problem(text, (*path, name)) for name, text in wrong.items())
    # Columns that are right one by one may still be too long together.
    if not wrong and (text := _complaint(written, resource)):
        yield Problem(text, path)


def _complaint(written: Mapping[str, Any] | str, resource: Resource) -> str:
    try:
        filtered(written, resource)
    except ConfigurationError as error:
        return one_line(error)
    return ""
