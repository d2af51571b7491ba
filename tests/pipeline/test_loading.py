from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.errors import ConfigurationError, PipelineFileError
from wats_extract.pipeline import loading
from wats_extract.pipeline.job import disposition, fingerprint, selection
from wats_extract.pipeline.model import DuckDB, Parquet, Pipeline, ResourceConfig
from wats_extract.pipeline.schema import json_schema
from wats_extract.pipeline.source import Source
from wats_extract.pipeline.template import ENV_EXAMPLE, GITIGNORE, template
from wats_extract.tables import TIMESTAMP, Column

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
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
    """What the pipeline file asks of a resource."""

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
    """A good file, with some of its sections written otherwise."""
    return "".join(dedent(text) for text in (GOOD | sections).values())


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str | bytes, **environ: str) -> Pipeline:
        path = tmp_path / "reports.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return loading.load(path, catalogue=CATALOGUE, environ=environ, now=NOW)

    return load


def resource(text: str) -> dict[str, str]:
    """Keys of the first resource."""
    return {
        "resources": "resources:\n  - name: report_headers\n"
        + "".join(f"    {line}\n" for line in dedent(text).splitlines())
    }


# ── what is read ────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_contract(load: Any) -> None:
    read = load(
        """\
        version: 1
        name: reports
        source:
          url: ${WATS_URL:-demo}
          token: ${WATS_TOKEN:-}
          requests_per_minute: 500
          max_in_flight: 10
          max_requests: 20000
          timeout: 120s
        destination:
          type: duckdb
          path: data/wats.duckdb
        resources:
          - name: report_headers
            since: 2026-01-01
            until: 2026-02-01
            filter: {part_number: [PCBA-100, PCBA-200], result: Failed}
            expand: [subUnits, miscInfo]
            write_disposition: merge
          - name: reports
            chunk_size: 200
            attachments: none
            charts: true
            keep_raw: false
        max_failures: 0
        stop_at_failures: 20%
        """
    )
    assert (read.name, read.source.url, read.source.timeout) == ("reports", "demo", 120.0)
    assert (read.source.requests_per_minute, read.source.max_requests) == (500, 20000)
    assert isinstance(read.destination, DuckDB)
    assert (read.destination.path, read.destination.schema_name) == (Path("data/wats.duckdb"), "main")
    headers, reports = read.resources
    assert (headers.since, headers.until, headers.write_disposition) == ("2026-01-01", "2026-02-01", "merge")
    assert (reports.chunk_size, reports.attachments, reports.charts, reports.keep_raw) == (
        200,
        "none",
        True,
        False,
    )
    assert (str(read.max_failures), str(read.stop_at_failures)) == ("0", "20%")


def test_what_is_not_said_has_defaults(load: Any) -> None:
    read = load(text_with(source=""))
    assert (read.source.url, read.source.requests_per_minute, read.source.max_in_flight) == ("demo", None, 10)
    assert (read.resources[0].chunk_size, read.resources[0].attachments, read.resources[0].charts) == (
        200,
        "none",
        True,
    )
    assert (str(read.max_failures), str(read.stop_at_failures)) == ("0", "20%")


def test_models_are_frozen(load: Any) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(text_with()).name = "other"


def test_destinations(load: Any) -> None:
    read = load(text_with(destination="destination: {type: parquet, path: data/wats}\n")).destination
    assert isinstance(read, Parquet)
    assert read.path == Path("data/wats")
    read = load(
        text_with(destination="destination: {type: duckdb, path: ~/x.duckdb, schema: wats}\n")
    ).destination
    assert (read.path, read.schema_name) == (Path.home() / "x.duckdb", "wats")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_from_any_editor(load: Any, encoding: str) -> None:
    text = text_with(**resource("filter: {part_number: Prüfling}")).replace("\n", "\r\n")
    assert load(text.encode(encoding)).resources[0].filter == {"part_number": "Prüfling"}


def test_anchors_and_merge_keys(load: Any) -> None:
    read = load(
        text_with(
            resources="""\
            resources:
              - &first
                name: report_headers
                since: 2026-01-01
                filter: &failed {result: Failed}
              - <<: *first
                name: reports
                filter: *failed
                chunk_size: 5
            """
        )
    )
    assert [(each.name, each.since) for each in read.resources] == [
        ("report_headers", "2026-01-01"),
        ("reports", "2026-01-01"),
    ]
    assert read.resources[0].filter == read.resources[1].filter == {"result": "Failed"}


def test_dates_in_filters_stay_text(load: Any) -> None:
    read = load(text_with(**resource("filter: {part_number: 2026-01-01}")))
    assert read.resources[0].filter == {"part_number": "2026-01-01"}


# ── the environment ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "demo"),
        ({"WATS_URL": ""}, "demo"),
        ({"WATS_URL": "https://a"}, "https://a"),
        ({"PYWATS_SERVER_URL": "https://b/api/"}, "https://b"),
        ({"WATS_URL": "https://a", "PYWATS_SERVER_URL": "https://b"}, "https://a"),
    ],
)
@pytest.mark.parametrize(
    "source", ["", "source:\n", "source:\n  url: ${WATS_URL:-demo}\n", "source: {timeout: 5}\n"]
)
def test_where_the_server_is(load: Any, source: str, environ: dict[str, str], url: str) -> None:
    assert load(text_with(source=source), **environ).source.url == url


@pytest.mark.parametrize("name", ["WATS_TOKEN", "PYWATS_API_TOKEN"])
@pytest.mark.parametrize(
    "token", ["", "  token:\n", "  token: ${WATS_TOKEN:-}\n", "  token: '${WATS_TOKEN}'\n"]
)
def test_where_the_token_comes_from(load: Any, name: str, token: str) -> None:
    read = load(text_with(source=f"source:\n  url: https://a\n{token}"), **{name: SECRET})
    assert read.source.usable_token() == SECRET
    for shown in (repr(read), str(read.model_dump()), read.model_dump_json()):
        assert SECRET not in shown


def test_variables_fill_numbers_and_truth_values(load: Any) -> None:
    text = text_with(
        source="source: {max_in_flight: '${N}', max_requests: '${NONE:-}', timeout: '${T:-2m}'}\n",
        resources="""\
        resources:
          - {name: reports, charts: "${CHARTS}", chunk_size: "${N}", since: "${NONE:-}"}
          - {name: products, since: "${NONE:-}", filter: "${NONE:-}"}
        """,
        more="max_failures: ${SHARE:-1%}\n",
    )
    read = load(text, N="7", CHARTS="false")
    assert (read.source.max_in_flight, read.source.max_requests, read.source.timeout) == (7, None, 120.0)
    only = read.resources[0]
    assert (only.charts, only.chunk_size, only.since) == (False, 7, None)
    assert str(read.max_failures) == "1%"


def test_variables_stand_within_text_and_cannot_bring_yaml(load: Any) -> None:
    evil = "x'\nresources: []\nname: evil #"
    read = load(
        text_with(
            destination="destination: {type: duckdb, path: 'data/${SITE:-here}/${YEAR}.duckdb'}\n",
            resources="resources: [{name: reports, filter: {part_number: ['${PN}', '$${PN}']}}]\n",
        ),
        YEAR="2026",
        PN=evil.replace("\n", " "),
    )
    assert read.destination.path == Path("data/here/2026.duckdb")
    assert read.name == "reports"
    assert read.resources[0].filter == {"part_number": [evil.replace("\n", " "), "${PN}"]}


@given(value=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1))
def test_any_value_of_a_variable_stays_one_value(
    value: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text_with(**resource("filter: {part_number: '${PN}'}")), encoding="utf-8")
    try:
        read = loading.load(path, catalogue=CATALOGUE, environ={"PN": value})
    except PipelineFileError as error:
        assert "are possible" in str(error)  # noqa: PT017
    else:
        assert read.resources[0].filter == {"part_number": value}


def test_env_files_beside_the_file_and_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, current = tmp_path / "beside", tmp_path / "current"
    for folder, text in (
        (beside, f"WATS_TOKEN={SECRET}\nNAME=beside\n"),
        (current, "NAME=current\nHERE=yes\n"),
    ):
        folder.mkdir()
        (folder / ".env").write_text(text, encoding="utf-8")
    for name in ("WATS_URL", "WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN", "NAME", "HERE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(current)
    (beside / "x.yaml").write_text(text_with(name="name: ${NAME}_${HERE}\n"), encoding="utf-8")
    before = dict(os.environ)
    read = loading.load(beside / "x.yaml", catalogue=CATALOGUE)
    assert (read.name, read.source.token.get_secret_value()) == ("beside_yes", SECRET)
    assert dict(os.environ) == before


# ── what is refused ─────────────────────────────────────────────────────────────────────────────

# Sections of the file, the key path, and what is told; `# <-` marks the line.
Case = tuple[dict[str, str], str, str]

STRUCTURE: list[Case] = [
    ({"version": "version: 2 # <-\n"}, "version", "write version: 1"),
    ({"version": "version: '1.0' # <-\n"}, "version", "write version: 1"),
    ({"version": "", "name": "name: reports # <-\n"}, "version", "is missing; add version: 1"),
    ({"version": "version: 1 # <-\n", "name": ""}, "name", "is missing; add name: reports"),
    (
        {"name": "name: My-Reports # <-\n"},
        "name",
        "lower-case letters, digits and _ only (such as 'my_reports')",
    ),
    ({"name": "name: 5 # <-\n"}, "name", "should be text; put it in quotes"),
    ({"name": "name: a\nname: b # <-\n"}, "name", "stands twice, first in line 2"),
    ({"more": "\n\n\nmax_failure: 1 # <-\n"}, "max_failure", "did you mean 'max_failures'?"),
    ({"more": "unheard_of: 1 # <-\n"}, "unheard_of", "there are version, name, source"),
    ({"more": "max_failures: lots # <-\n"}, "max_failures", "a percentage such as '1%'"),
    ({"more": "stop_at_failures: 120% # <-\n"}, "stop_at_failures", "a percentage such as '1%'"),
    ({"more": "token: x # <-\n"}, "token", "belongs under source"),
    ({"more": "path: x # <-\n"}, "path", "belongs under destination"),
    ({"more": "since: 2026-01-01 # <-\n"}, "since", "belongs to a resource"),
    ({"source": "source: demo # <-\n"}, "source", "should hold keys and values"),
    ({"source": "source:\n  url: demo\n  tokn: x # <-\n"}, "source.tokn", "did you mean 'token'?"),
    (
        {"source": "source:\n  max_in_flight: many # <-\n"},
        "source.max_in_flight",
        "a whole number, not 'many'",
    ),
    ({"source": "source:\n  max_in_flight: true # <-\n"}, "source.max_in_flight", "a whole number"),
    ({"source": "source:\n  max_in_flight: 1.5 # <-\n"}, "source.max_in_flight", "a whole number, not '1.5'"),
    ({"source": "source:\n  max_in_flight: 0 # <-\n"}, "source.max_in_flight", "should be at least 1"),
    ({"source": "source:\n  timeout: soon # <-\n"}, "source.timeout", "120s or 2m"),
    ({"source": "source:\n  url: acme.wats.com # <-\n"}, "source.url", "https://"),
    ({"source": "source:\n  url: http://acme.wats.com # <-\n"}, "source.url", "allow_http: true"),
    ({"source": "source:\n  url: [a] # <-\n"}, "source.url", "should be text"),
    ({"source": "source:\n  url: ${URL:-} # <-\n"}, "source.url", "is empty"),
    ({"destination": "destination: duckdb # <-\n"}, "destination", "should hold keys and values"),
    (
        {"version": "version: 1 # <-\n", "destination": ""},
        "destination",
        "is missing; add destination: {type",
    ),
    (
        {"destination": "destination: # <-\n  path: x\n"},
        "destination.type",
        "is missing; add type: duckdb, or",
    ),
    (
        {"destination": "destination:\n  type: duckbd # <-\n  path: x\n"},
        "destination.type",
        "did you mean 'duckdb'?",
    ),
    (
        {"destination": "destination:\n  path: x\n  type: [a] # <-\n"},
        "destination.type",
        "should be duckdb or parquet",
    ),
    (
        {"destination": "destination:\n  type: postgres # <-\n"},
        "destination.type",
        "comes in a later version; duckdb and parquet work now",
    ),
    (
        {"destination": "destination:\n  type: delta # <-\n"},
        "destination.type",
        "duckdb and parquet work now",
    ),
    ({"destination": "destination: # <-\n  type: duckdb\n"}, "destination.path", "is missing; add path"),
    (
        {"destination": "destination:\n  type: duckdb\n  path: 5 # <-\n"},
        "destination.path",
        "should be a path",
    ),
    (
        {"destination": "destination:\n  type: parquet\n  path: s3://x/y # <-\n"},
        "destination.path",
        "later version",
    ),
    (
        {"destination": "destination:\n  type: duckdb\n  path: x\n  schema: a-b # <-\n"},
        "destination.schema",
        "letters, digits and _",
    ),
    (
        {"destination": "destination:\n  type: parquet\n  path: x\n  schema: a # <-\n"},
        "destination.schema",
        "belongs under destination",
    ),
    ({"version": "version: 1 # <-\n", "resources": ""}, "resources", "is missing; add resources"),
    ({"resources": "resources: [] # <-\n"}, "resources", "should not be empty"),
    (
        {"resources": "resources: # <-\n  report_headers:\n    since: 2026-01-01\n"},
        "resources",
        "begins with '- name: '",
    ),
    (
        {"resources": "resources:\n  - name: products\n  - report_headers # <-\n"},
        "resources[1]",
        "begins with '- name: '",
    ),
    ({"resources": "resources:\n  - since: 2026-01-01 # <-\n"}, "resources[0].name", "is missing"),
]

RESOURCES: list[Case] = [
    (
        {"resources": "resources:\n  - name: report_header # <-\n"},
        "resources[0].name",
        "did you mean 'report_headers'?); there are report_headers, reports, products, yields",
    ),
    (
        {"resources": "resources:\n  - name: products\n  - name: reports\n  - name: products # <-\n"},
        "resources[2].name",
        "listed already, as resources[0]",
    ),
    (resource("chunksize: 5 # <-"), "resources[0].chunksize", "is called 'chunk_size' here"),
    (
        resource("charts: false # <-"),
        "resources[0].charts",
        "report_headers does not take it; it is an option of reports",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    expand: [subUnits] # <-\n"},
        "resources[0].expand",
        "nothing to expand",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    chunk_size: 0 # <-\n"},
        "resources[0].chunk_size",
        "at least 1",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    chunk_size: 10001 # <-\n"},
        "resources[0].chunk_size",
        "at most 10000",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    attachments: all # <-\n"},
        "resources[0].attachments",
        "'none', 'metadata' or 'content', not 'all'",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    charts: perhaps # <-\n"},
        "resources[0].charts",
        "true or false, not 'perhaps'",
    ),
    (resource("expand: subUnits # <-"), "resources[0].expand", "should be a list"),
    (
        resource("expand:\n  - miscInfo\n  - sub_units # <-"),
        "resources[0].expand[1]",
        "did you mean 'subUnits'?",
    ),
    (resource("filter: [a] # <-"), "resources[0].filter", "columns and values"),
    (
        resource("filter:\n  result: Failed\n  part_nmber: A # <-"),
        "resources[0].filter.part_nmber",
        "did you mean 'part_number'?",
    ),
    (
        resource("filter:\n  process_code: ten # <-"),
        "resources[0].filter.process_code",
        "holds whole numbers, not 'ten'",
    ),
    (resource("filter:\n  part_number: 100 # <-"), "resources[0].filter.part_number", "write 100 in quotes"),
    (resource("filter: part_number eq 'x' # <-"), "resources[0].filter", "did you mean 'partNumber'?"),
    (resource("filter: partNumber eq 'x # <-"), "resources[0].filter", "the quote does not close"),
    (
        resource(f"filter: {{part_number: {[f'PCBA-{n:06}' for n in range(200)]}}} # <-"),
        "resources[0].filter.part_number",
        "at most 1,700 are possible",
    ),
    (
        {"resources": "resources:\n  - name: products\n    filter: {name: A} # <-\n"},
        "resources[0].filter.name",
        "takes no filter",
    ),
    (
        {"resources": "resources:\n  - name: products\n    since: 2026-01-01 # <-\n"},
        "resources[0].since",
        "no start to select by",
    ),
    (
        {"resources": "resources:\n  - name: yields\n    write_disposition: merge # <-\n"},
        "resources[0].write_disposition",
        "no key to merge by",
    ),
    (resource("since: 2026-02-30 # <-"), "resources[0].since", "out of range"),
    (resource("since: last week # <-"), "resources[0].since", "'30 days ago'"),
    (resource("since: 2026 # <-"), "resources[0].since", "a date such as 2026-01-31"),
    (
        resource("since: 2026-02-01\nuntil: 2026-02-01 # <-"),
        "resources[0].until",
        "should be later than since (2026-02-01)",
    ),
    (
        resource("since: yesterday\nuntil: 3 days ago # <-"),
        "resources[0].until",
        "should be later than since (yesterday)",
    ),
    (
        resource("write_disposition: [merge] # <-"),
        "resources[0].write_disposition",
        "'merge', 'append' or 'replace'",
    ),
]

FOREIGN: list[Case] = [
    ({"resources": "streams: # <-\n  - name: reports\n"}, "streams", "is called 'resources' here"),
    (
        resource("write_mode: merge # <-"),
        "resources[0].write_mode",
        "'write_disposition' here; it is merge, append or replace",
    ),
    (
        resource("write_disposition: upsert # <-"),
        "resources[0].write_disposition",
        "'upsert' is called 'merge' here",
    ),
    (
        resource("write_disposition: overwrite # <-"),
        "resources[0].write_disposition",
        "'overwrite' is called 'replace' here",
    ),
    (resource("upsert: true # <-"), "resources[0].upsert", "write_disposition"),
    (
        resource("lookback_window: 3 # <-"),
        "resources[0].lookback_window",
        "remove it; every run reads the overlap",
    ),
    (
        resource("primary_key: uuid # <-"),
        "resources[0].primary_key",
        "remove it; the key of each table is known",
    ),
    (
        resource("replication_key: start # <-"),
        "resources[0].replication_key",
        "remove it; the cursor is known",
    ),
    (resource("start_date: 2026-01-01 # <-"), "resources[0].start_date", "is called 'since' here"),
    (resource("end_date: 2026-01-01 # <-"), "resources[0].end_date", "is called 'until' here"),
    (resource("batch_size: 5 # <-"), "resources[0].batch_size", "is called 'chunk_size' here"),
    (resource("endpoint: Report # <-"), "resources[0].endpoint", "is called 'url' and belongs under source"),
    *(
        ({"source": f"source:\n  {theirs}: {SECRET} # <-\n"}, f"source.{theirs}", f"is called {ours!r} here")
        for theirs, ours in {
            "base_url": "url",
            "host": "url",
            "endpoint": "url",
            "api_key": "token",
            "password": "token",
            "rate_limit": "requests_per_minute",
            "concurrency": "max_in_flight",
            "parallelism": "max_in_flight",
        }.items()
    ),
    ({"source": f"source:\n  username: {SECRET} # <-\n"}, "source.username", "WATS takes a token"),
    (
        {"destination": "destination:\n  type: duckdb\n  database: x # <-\n"},
        "destination.database",
        "is called 'path' here",
    ),
]

VARIABLES: list[Case] = [
    ({"name": "name: ${PIPELINE} # <-\n"}, "name", "PIPELINE is not set; set it, or add it to a .env file"),
    (
        resource("filter:\n  part_number:\n    - A\n    - ${PN} # <-"),
        "resources[0].filter.part_number[1]",
        "PN is not set",
    ),
    ({"source": "source:\n  token: ${WATS_TOKEN} # <-\n"}, "source.token", "WATS_TOKEN is not set"),
    ({"name": "name: ${a-b} # <-\n"}, "name", "write ${NAME} or ${NAME:-default}"),
    ({"name": "name: ${A:-${B}} # <-\n"}, "name", "write ${NAME} or ${NAME:-default}"),
    ({"source": f"source:\n  token: {SECRET} # <-\n"}, "source.token", "write ${WATS_TOKEN} instead"),
    (
        {"source": f"source:\n  token: ${{WATS_TOKEN:-{SECRET}}} # <-\n"},
        "source.token",
        "write ${WATS_TOKEN} instead",
    ),
    ({"source": "source:\n  token: 12345678 # <-\n"}, "source.token", "write ${WATS_TOKEN} instead"),
    (
        {"source": f"source:\n  url: https://me:{SECRET}@acme.wats.com # <-\n"},
        "source.url",
        "user name or password",
    ),
]

YAML: list[Case] = [
    ({"name": "name: a: b # <-\n"}, "", "column 8: broken YAML: a ': ' where no key can be"),
    ({"source": "source:\n\turl: demo # <-\n"}, "", "column 1: broken YAML: a tab begins the line"),
    (
        {"destination": 'destination:\n  type: duckdb\n  path: "C:\\data" # <-\n'},
        "",
        "use single quotes, or /",
    ),
    ({"source": "source:\n  url: demo\n max_in_flight: 1 # <-\n"}, "", "the indentation does not match"),
    ({"name": "name: @x # <-\n"}, "", "put it in quotes"),
    ({"name": "name: *x # <-\n"}, "", "put the value in quotes"),
    ({"resources": "resources: [{name: ${N}}] # <-\n"}, "", "needs quotes"),
    ({"more": "--- # <-\nversion: 1\n"}, "", "a second document"),
    ({"name": "name: a\x07b # <-\n"}, "", "a character that no YAML file has"),
    ({"name": "name: !!python/name:os.system x # <-\n"}, "name", "have no meaning here"),
    ({"source": "source:\n  max_in_flight: !!int x # <-\n"}, "source.max_in_flight", "is no int"),
    ({"source": "source:\n  url: {{ WATS_URL }} # <-\n"}, "source.url", "a variable is written ${NAME}"),
]


def cases() -> Iterator[Any]:
    for name, table in {
        "structure": STRUCTURE,
        "resources": RESOURCES,
        "foreign": FOREIGN,
        "variables": VARIABLES,
        "yaml": YAML,
    }.items():
        for sections, path, told in table:
            yield pytest.param(sections, path, told, id=f"{name}-{path}-{told[:30]}")


@pytest.mark.parametrize(("sections", "path", "told"), list(cases()))
def test_a_problem_is_told_with_its_place(
    load: Any, tmp_path: Path, sections: dict[str, str], path: str, told: str
) -> None:
    text = text_with(**sections)
    line = 1 + next(number for number, each in enumerate(text.splitlines()) if each.endswith("# <-"))
    with pytest.raises(PipelineFileError) as refused:
        load(text)
    place = f"{tmp_path / 'reports.yaml'}:{line}: "
    problems = refused.value.message.splitlines()
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{place}{path}: " if path else place), problems
    assert told in problems[0]
    assert SECRET not in str(refused.value)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(load: Any) -> None:
    with pytest.raises(PipelineFileError) as refused:
        load(
            text_with(
                version="version: 3\n",
                source=f"source:\n  token: {SECRET}\n  api_key: {SECRET}\n  rate_limit: 5\n",
                destination="destination:\n  type: delta\n",
                resources="""\
                resources:
                  - name: nothing
                    since: 2026-02-30
                  - name: reports
                    filter: {a: 1, process_code: ten}
                    charts: 7
                """,
                more=f"max_failures: ${{NOT_SET}}\n{SECRET}: 1\n",
            )
        )
    told = refused.value.message.splitlines()
    assert [int(re.search(r":(\d+): ", each)[1]) for each in told] == [
        1,
        4,
        5,
        6,
        8,
        10,
        11,
        13,
        13,
        14,
        15,
        16,
    ]  # type: ignore[index]
    assert SECRET not in str(refused.value)
    assert refused.value.exit_code == 2
    assert "json-schema" in refused.value.hint


def test_a_token_of_the_environment_is_not_shown_wherever_it_stands(load: Any) -> None:
    text = text_with(**resource("filter: {process_code: '${WATS_TOKEN}'}\nsince: ${WATS_TOKEN}"))
    with pytest.raises(PipelineFileError) as refused:
        load(text, WATS_TOKEN=SECRET)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "reports.yaml").touch()
    with pytest.raises(
        PipelineFileError, match=r"report\.yaml: there is no such file \(did you mean .*reports\.yaml"
    ):
        loading.load(tmp_path / "report.yaml", catalogue=CATALOGUE, environ={})
    with pytest.raises(PipelineFileError, match="`wats-extract init` writes one"):
        loading.load(tmp_path / "missing" / "zzz", catalogue=CATALOGUE, environ={})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match="is a folder; name the file in it"):
        loading.load(tmp_path, catalogue=CATALOGUE, environ={})


@pytest.mark.skipif(sys.platform == "win32" or getattr(os, "geteuid", lambda: 1)() == 0, reason="permissions")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "reports.yaml"
    path.touch(mode=0)
    with pytest.raises(PipelineFileError, match="cannot be read: Permission denied"):
        loading.load(path, catalogue=CATALOGUE, environ={})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("version: 1\nname: Prüfling\n".encode("latin-1"), r"yaml:2: is not UTF-8 text"),
        ("version: 1\n".encode("utf-16"), r"yaml:1: is not UTF-8 text"),
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", r"yaml:1: should hold keys such as version"),
        (b"hello", r"yaml:1: should hold keys such as version"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: &a [*a]", "holds an alias"),
    ],
)
def test_what_is_no_pipeline_file(load: Any, data: bytes, told: str) -> None:
    with pytest.raises(PipelineFileError, match=told):
        load(data)


# ── what a run takes ────────────────────────────────────────────────────────────────────────────


def test_the_selection_of_a_resource(load: Any) -> None:
    read = load(
        text_with(
            resources="""\
            resources:
              - name: report_headers
                since: 30 days ago
                until: now
                filter: {part_number: [A, B], report_type: UUT}
                expand: [subUnits]
              - name: reports
                filter: " partNumber eq 'A' or partNumber eq 'B' "
                chunk_size: 5
                attachments: content
            """
        )
    )
    headers, reports = (selection(each, CATALOGUE[each.name], now=NOW) for each in read.resources)
    assert (headers.since, headers.until) == (NOW - timedelta(days=30), NOW)
    assert headers.filter == "partNumber in ('A','B') and reportType eq 'T'"
    assert headers.options["expand"] == ("subUnits",)
    assert (reports.since, reports.until, reports.limit) == (None, None, None)
    assert reports.filter == "partNumber eq 'A' or partNumber eq 'B'"
    assert dict(reports.options) == {
        "expand": (),
        "chunk_size": 5,
        "attachments": "content",
        "charts": True,
        "keep_raw": False,
    }


def test_a_selection_is_checked_again_when_the_command_line_changed_it() -> None:
    config = ResourceConfig(name="reports", since="2026-01-01")
    turned = config.model_copy(update={"until": "2025-01-01"})
    with pytest.raises(
        ConfigurationError, match=r"until \(2025-01-01\) should be later than since \(2026-01-01\)"
    ):
        selection(turned, CATALOGUE["reports"], now=NOW)
    with pytest.raises(ConfigurationError, match="is not a date"):
        selection(config.model_copy(update={"since": "soon"}), CATALOGUE["reports"], now=NOW)


def test_the_fingerprint_keeps_words_as_written() -> None:
    one = ResourceConfig(name="reports", since="30 days ago", filter={"result": "P", "part_number": ["A"]})
    other = ResourceConfig(
        name="reports", since="30 days ago", filter={"part_number": ["A"], "result": "P"}, charts=False
    )
    server = Source(url="https://one.wats.com")
    assert fingerprint(one, server) == fingerprint(other, server)
    assert json.loads(fingerprint(one, server)) == {
        "since": "30 days ago",
        "until": None,
        "filter": {"part_number": ["A"], "result": "P"},
        "server": "one.wats.com",
    }
    later = one.model_copy(update={"since": "31 days ago"})
    assert fingerprint(one, server) != fingerprint(later, server)


def test_a_cursor_of_one_server_is_none_of_another() -> None:
    config = ResourceConfig(name="reports")
    servers = [
        "demo",
        "demo?reports=5",
        "https://one.wats.com",
        "https://two.wats.com",
        "http://127.0.0.1:80",
    ]
    prints = {fingerprint(config, Source(url=url)) for url in servers}
    assert len(prints) == len(servers)
    again = Source(url="http://127.0.0.1:81/wats")
    assert fingerprint(config, again) in prints, "a tunnel may get another port"


def test_the_disposition_follows_from_the_key() -> None:
    config = ResourceConfig(name="reports")
    assert disposition(config, CATALOGUE["reports"]) == "merge"
    assert disposition(config, CATALOGUE["yields"]) == "replace"
    chosen = ResourceConfig(name="reports", write_disposition="append")
    assert disposition(chosen, CATALOGUE["reports"]) == "append"


# ── the JSON Schema ─────────────────────────────────────────────────────────────────────────────


def validator() -> Any:
    return pytest.importorskip("jsonschema").Draft202012Validator(json_schema(CATALOGUE))


def as_editors_read(text: str) -> Any:
    yaml = pytest.importorskip("ruamel.yaml").YAML(typ="safe", pure=True)
    return json.loads(json.dumps(yaml.load(text), default=str))


@pytest.mark.parametrize(
    "text",
    [
        text_with(),
        template(),
        text_with(source="source: {max_in_flight: '${N}', timeout: 2m, token: '${WATS_TOKEN}'}\n"),
        text_with(
            **resource(
                "filter: {part_number: [A, null], result: Failed}\nexpand: [subUnits]\nsince: 2026-01-01"
            )
        ),
        text_with(**resource("filter: partNumber eq 'A'")),
        text_with(more="max_failures: 1%\n"),
    ],
)
def test_the_schema_takes_what_is_right(text: str) -> None:
    validator().validate(as_editors_read(text))


@pytest.mark.parametrize(
    "sections",
    [
        {"version": "version: 2\n"},
        {"more": "streams: []\n"},
        {"source": f"source: {{token: {SECRET}}}\n"},
        {"source": "source: {max_in_flight: 0}\n"},
        {"destination": "destination: {type: postgres, path: x}\n"},
        {"resources": "resources: [{name: nothing}]\n"},
        resource("charts: true"),
        resource("filter: {nothing: 1}"),
        resource("filter: {result: Faild}"),
        resource("filter: {process_code: ten}"),
        resource("expand: [nothing]"),
        {"resources": "resources: [{name: products, since: 2026-01-01}]\n"},
        {"resources": "resources: [{name: products, filter: x}]\n"},
    ],
)
def test_the_schema_refuses_what_is_wrong(sections: dict[str, str]) -> None:
    assert not validator().is_valid(as_editors_read(text_with(**sections)))


def described(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, each in schema.get("properties", {}).items():
            yield f"{path}.{name}", each
        for name, each in schema.items():
            if name not in ("if", "properties"):
                yield from described(each, f"{path}.{name}")
        for name, each in schema.get("properties", {}).items():
            yield from described(each, f"{path}.{name}")
    elif isinstance(schema, list):
        for each in schema:
            yield from described(each, path)


def test_every_property_of_the_schema_is_described() -> None:
    schema = json_schema(CATALOGUE)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    texts = {path: each for path, each in described(schema) if isinstance(each, dict)}
    bare = [
        path for path, each in texts.items() if "description" not in each and not path.endswith("then.expand")
    ]
    assert not bare
    assert "title" not in json.dumps(schema["$defs"])


# ── what `init` writes ──────────────────────────────────────────────────────────────────────────


def test_the_template_works_as_it_is(load: Any) -> None:
    read = load(template())
    assert (read.source.demo is not None, [each.name for each in read.resources]) == (
        True,
        ["report_headers", "reports"],
    )


def test_what_the_template_comments_out_works_too(load: Any) -> None:
    text = re.sub(r"(?m)^( *)# ?(\w+: )", r"\1\2", template())
    read = load(text, WATS_URL="https://acme.wats.com", WATS_TOKEN=SECRET)
    assert read.source.max_requests == 20000
    assert read.resources[0].filter == {"part_number": ["PCBA-100", "PCBA-200"], "result": "Failed"}


def test_the_env_example_has_every_variable_of_the_template() -> None:
    names = set(re.findall(r"\$\{(WATS_\w+)", template()))
    assert names == set(re.findall(r"(?m)^(\w+)=$", ENV_EXAMPLE))
    assert ".env" in GITIGNORE.splitlines()


def test_the_template_names_resources_that_there_are(tmp_path: Path) -> None:
    catalogue = pytest.importorskip("wats_extract.resources.catalogue").RESOURCES
    path = tmp_path / "reports.yaml"
    path.write_text(template(), encoding="utf-8")
    read = loading.load(path, catalogue=catalogue, environ={})
    for each in read.resources:
        assert selection(each, catalogue[each.name], now=NOW).since == datetime(2026, 1, 1, tzinfo=UTC)
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(json_schema(catalogue))
