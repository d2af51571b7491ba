"""A pipeline file becomes models, or is refused with every problem."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.files import CATALOGUE, SECRET, SERVER, resource, text_with

from wats_extract.errors import ConfigurationError, PipelineFileError
from wats_extract.pipeline import loading
from wats_extract.pipeline.model import DuckDB, Parquet

# ── reading ────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_contract_is_read(load: Any, tmp_path: Path) -> None:
    read = load(
        """\
        version: 1
        name: reports
        source:
          url: ${WATS_URL}
          token: ${WATS_TOKEN}
          id: plant-a
          requests_per_minute: 500
          max_in_flight: 10
          max_requests: 20000
          timeout: 120s
        destination:
          type: duckdb
          path: ../data/wats.duckdb
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
        """,
        WATS_TOKEN=SECRET,
    )
    assert (read.name, read.source.url, read.source.timeout) == ("reports", SERVER, 120.0)
    assert read.source.identity == "plant-a"
    assert (read.source.requests_per_minute, read.source.max_requests) == (500, 20000)
    assert isinstance(read.destination, DuckDB)
    assert (read.destination.path, read.destination.schema_name) == (
        tmp_path.parent / "data" / "wats.duckdb",
        "main",
    )
    headers, reports = read.resources
    assert (headers.since, headers.until, headers.write_disposition) == ("2026-01-01", "2026-02-01", "merge")
    assert (reports.chunk_size, reports.attachments, reports.charts, reports.keep_raw) == (
        200,
        "none",
        True,
        False,
    )
    assert (str(read.max_failures), str(read.stop_at_failures)) == ("0", "20%")


def test_missing_keys_have_defaults(load: Any) -> None:
    read = load(text_with(source=""))
    assert (read.source.url, read.source.requests_per_minute, read.source.max_in_flight) == (SERVER, 500, 10)
    assert (read.resources[0].chunk_size, read.resources[0].attachments, read.resources[0].charts) == (
        200,
        "none",
        True,
    )
    assert (str(read.max_failures), str(read.stop_at_failures)) == ("0", "20%")


def test_models_are_frozen(load: Any) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(text_with()).name = "other"


def test_both_destinations_are_read(load: Any, tmp_path: Path) -> None:
    read = load(text_with(destination="destination: {type: parquet, path: data/wats}\n")).destination
    assert isinstance(read, Parquet)
    assert read.path == tmp_path / "data" / "wats"
    read = load(
        text_with(destination="destination: {type: duckdb, path: ~/x.duckdb, schema: wats}\n")
    ).destination
    assert (read.path, read.schema_name) == (Path.home() / "x.duckdb", "wats")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_byte_order_marks_do_not_matter(load: Any, encoding: str) -> None:
    text = text_with(**resource("filter: {part_number: Prüfling}")).replace("\n", "\r\n")
    assert load(text.encode(encoding)).resources[0].filter == {"part_number": "Prüfling"}


def test_anchors_and_merge_keys_are_expanded(load: Any) -> None:
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


# ── the environment ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"WATS_URL": "https://a"}, "https://a"),
        ({"WATS_URL": " demo?reports=5 "}, "demo?reports=5"),
        ({"WATS_URL": "", "PYWATS_SERVER_URL": "https://b/api/"}, "https://b"),
        ({"WATS_URL": " ", "PYWATS_SERVER_URL": "https://b/api/"}, "https://b"),
        ({"WATS_URL": "https://a", "PYWATS_SERVER_URL": "https://b"}, "https://a"),
    ],
)
@pytest.mark.parametrize(
    "source", ["", "source:\n", "source:\n  url: ${WATS_URL:-demo}\n", "source: {timeout: 5}\n"]
)
def test_the_server_comes_from_file_or_environment(
    load: Any, source: str, environ: dict[str, str], url: str
) -> None:
    assert load(text_with(source=source), **environ).source.url == url


@pytest.mark.parametrize("name", ["WATS_TOKEN", "PYWATS_API_TOKEN"])
@pytest.mark.parametrize(
    "token", ["", "  token:\n", "  token: ${WATS_TOKEN:-}\n", "  token: '${WATS_TOKEN}'\n"]
)
def test_the_token_comes_from_the_environment(load: Any, name: str, token: str) -> None:
    read = load(text_with(source=f"source:\n  url: https://a\n{token}"), **{name: SECRET})
    assert read.source.usable_token() == SECRET
    for shown in (repr(read), str(read.model_dump()), read.model_dump_json()):
        assert SECRET not in shown


def test_variables_become_numbers_and_truth_values(load: Any) -> None:
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


def test_variables_are_expanded_within_text_and_never_parsed_as_yaml(load: Any, tmp_path: Path) -> None:
    evil = "x'\nresources: []\nname: evil #"
    read = load(
        text_with(
            destination="destination: {type: duckdb, path: 'data/${SITE:-here}/${YEAR}.duckdb'}\n",
            resources="resources: [{name: reports, filter: {part_number: ['${PN}', '$${PN}']}}]\n",
        ),
        YEAR="2026",
        PN=evil.replace("\n", " "),
    )
    assert read.destination.path == tmp_path / "data" / "here" / "2026.duckdb"
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


def test_the_first_env_file_from_the_folder_of_the_file_upwards_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above, folder, current = (
        tmp_path / "above",
        tmp_path / "above" / "between" / "folder",
        tmp_path / "current",
    )
    for each in (folder, current):
        each.mkdir(parents=True)
    (above / ".env").write_text(f"WATS_URL={SERVER}\nWATS_TOKEN={SECRET}\nNAME=above\n", encoding="utf-8")
    (current / ".env").write_text("NAME=current\nHERE=yes\n", encoding="utf-8")
    (tmp_path / ".env").write_text("NAME=too_far\nHERE=yes\n", encoding="utf-8")
    (folder / ".env").mkdir()  # an environment of Python may have this name
    for name in ("WATS_URL", "WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN", "NAME", "HERE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(current)
    text = text_with(name="name: ${NAME}${HERE:-}\n", source="")
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    before = dict(os.environ)
    read = loading.load("../above/between/folder/x.yaml", catalogue=CATALOGUE)
    assert (read.name, read.source.url, read.source.token.get_secret_value()) == ("above", SERVER, SECRET)
    assert dict(os.environ) == before

    (folder.parent / ".env").write_text("NAME=between\n", encoding="utf-8")
    with pytest.raises(PipelineFileError, match="add --demo"):
        loading.load(folder / "x.yaml", catalogue=CATALOGUE)


# ── the demo ───────────────────────────────────────────────────────────────────────────────────────


NO_SERVER: list[dict[str, str]] = [
    {},
    {"WATS_URL": ""},
    {"WATS_URL": " \t"},
    {"WATS_URL": "", "PYWATS_SERVER_URL": " "},
    {"PYWATS_SERVER_URL": "demo"},
    {"WATS_URL": " ", "PYWATS_SERVER_URL": "demo?reports=5"},
    {"OTHER": "demo"},
]
ANY_URL = ["", "source:\n", "source: {timeout: 5}\n", "source: {url: }\n", "source: {url: ''}\n"] + [
    f"source: {{url: '{url}'}}\n"
    for url in (
        "${WATS_URL}",
        "${WATS_URL:-}",
        "${WATS_URL:-demo}",
        "${WATS_URL:-demo?reports=5}",
        "${OTHER:-demo}",
    )
]


@pytest.mark.parametrize("token", ["", SECRET])
@pytest.mark.parametrize("environ", NO_SERVER)
@pytest.mark.parametrize("source", ANY_URL)
def test_nothing_falls_back_to_the_demo(load: Any, source: str, environ: dict[str, str], token: str) -> None:
    environ = {"WATS_URL": "", "WATS_TOKEN": token} | environ
    with pytest.raises(PipelineFileError, match=r"source\.url: .*--demo"):
        load(text_with(source=source), **environ)


@pytest.mark.parametrize("environ", NO_SERVER)
@pytest.mark.parametrize("source", ANY_URL)
def test_the_demo_is_read_if_it_is_asked_for(tmp_path: Path, source: str, environ: dict[str, str]) -> None:
    path = tmp_path / "reports.yaml"
    source = source.replace("}\n", ", token: '${WATS_TOKEN}'}\n").replace("{url: ,", "{url: null,")
    path.write_text(text_with(source=source), encoding="utf-8")
    read = loading.load(path, catalogue=CATALOGUE, environ=environ, demo=True)
    assert read.source.demo is not None
    environ = environ | {"WATS_URL": "demo?reports=7"}
    if "OTHER" not in source and "''" not in source:
        assert loading.load(path, catalogue=CATALOGUE, environ=environ).source.url == "demo?reports=7"


@pytest.mark.parametrize("url", ["https://acme.wats.com", "http://acme.wats.com", "acme", "${WATS_URL}"])
def test_the_demo_replaces_the_server_of_the_file(tmp_path: Path, url: str) -> None:
    path = tmp_path / "reports.yaml"
    path.write_text(text_with(source=f"source: {{url: '{url}', id: plant-a}}\n"), encoding="utf-8")
    source = loading.load(path, catalogue=CATALOGUE, environ={"WATS_URL": SERVER}, demo=True).source
    assert (source.url, source.identity, source.requests_per_minute) == ("demo", "demo", None)


@pytest.mark.parametrize("name", ["WATS_TOKEN", "PYWATS_API_TOKEN", "OTHER"])
@pytest.mark.parametrize(
    ("url", "environ", "demo"),
    [
        ("demo", {}, False),
        ("demo?reports=5", {}, False),
        ("${WATS_URL}", {"WATS_URL": "demo"}, False),
        ("${WATS_URL}", {"WATS_URL": "demo?reports=5"}, False),
        ("${WATS_URL}", {}, True),
        (SERVER, {}, True),
    ],
)
def test_the_demo_with_a_token_is_refused(
    tmp_path: Path, url: str, environ: dict[str, str], demo: bool, name: str
) -> None:
    path = tmp_path / "reports.yaml"
    token = ", token: '${OTHER}'" if name == "OTHER" else ""
    path.write_text(text_with(source=f"source: {{url: '{url}'{token}}}\n"), encoding="utf-8")
    with pytest.raises(PipelineFileError, match=r"source\.url: a token is set") as refused:
        loading.load(path, catalogue=CATALOGUE, environ=environ | {name: SECRET}, demo=demo)
    assert SECRET not in str(refused.value)
    blank = environ | {name: " "}
    assert loading.load(path, catalogue=CATALOGUE, environ=blank, demo=demo).source.demo is not None


@pytest.mark.parametrize("environ", NO_SERVER)
@pytest.mark.parametrize("source", ANY_URL)
def test_a_command_without_requests_needs_no_server(
    tmp_path: Path, source: str, environ: dict[str, str]
) -> None:
    path = tmp_path / "reports.yaml"
    path.write_text(text_with(source=source), encoding="utf-8")
    source_ = loading.load(path, catalogue=CATALOGUE, environ=environ, offline=True).source
    assert (source_.url, source_.identity, source_.demo) == ("", "", None)
    with pytest.raises(ConfigurationError, match="there is no server to read from"):
        source_.usable_token()


# ── paths ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_paths_are_relative_to_the_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "real" / "x.yaml").write_text(
        text_with(
            source=f"source: {{url: '{SERVER}', ca_file: ../ca.pem}}\n",
            destination=f"destination: {{type: {kind}, path: ../data/wats}}\n",
        ),
        encoding="utf-8",
    )
    for folder, file in {
        ".": "real/x.yaml",
        "real": "x.yaml",
        "elsewhere": "../real/x.yaml",
        "elsewhere/deep": "link/x.yaml",
        "elsewhere/deep/link": "./x.yaml",
    }.items():
        monkeypatch.chdir(tmp_path / folder)
        read = loading.load(file, catalogue=CATALOGUE, environ={})
        assert read.destination.path == tmp_path / "data" / "wats"
        assert read.source.ca_file == tmp_path / "ca.pem"


def test_absolute_paths_stay(load: Any, tmp_path: Path) -> None:
    place = (tmp_path / "other" / "wats.duckdb").as_posix()
    read = load(text_with(destination=f"destination: {{type: duckdb, path: '{place}'}}\n"))
    assert read.destination.path == Path(place)


# ── problems ───────────────────────────────────────────────────────────────────────────────────────


# Sections of the file, the key path, and part of the message; `# <-` marks the line.
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
    ({"name": "name: a\nname: b # <-\n"}, "name", "occurs twice, first in line 2"),
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
    *(
        ({"source": f"source:\n  timeout: {written} # <-\n"}, "source.timeout", "120s or 2m")
        for written in (
            "-5",
            "0",
            "-0.0",
            ".inf",
            "-.inf",
            ".nan",
            "inf",
            "nan",
            "1e999",
            "true",
            "[1]",
            "9s9",
        )
    ),
    *(
        ({"source": f"source:\n  timeout: {written} # <-\n"}, "source.timeout", "between 1ms and 24h")
        for written in (
            "1.0e+300",
            "1.0e+12",
            "86401",
            "25h",
            "999999999999999999999h",
            "0.00001",
            "1.0e-300",
        )
    ),
    ({"source": f"source:\n  timeout: {'9' * 400} # <-\n"}, "source.timeout", "120s or 2m"),
    ({"source": f"source:\n  timeout: '{'9' * 300}' # <-\n"}, "source.timeout", "between 1ms and 24h"),
    ({"source": "source:\n  url: acme.wats.com # <-\n"}, "source.url", "https://"),
    ({"source": "source:\n  url: http://acme.wats.com # <-\n"}, "source.url", "allow_http: true"),
    ({"source": "source:\n  url: [a] # <-\n"}, "source.url", "should be text"),
    ({"source": "source:\n  url: ${URL:-} # <-\n"}, "source.url", "variable URL is not set, or empty"),
    ({"source": "source:\n  url: ${URL} # <-\n"}, "source.url", "variable URL is not set, or empty"),
    (
        {"source": "source:\n  url: ${URL:-demo} # <-\n"},
        "source.url",
        "neither a default nor another variable",
    ),
    ({"source": "source:\n  url: '\"https://a\"' # <-\n"}, "source.url", "without quotation marks"),
    ({"source": "source:\n  url: https://a\n  id: plant a # <-\n"}, "source.id", "a word without blanks"),
    ({"source": "source:\n  url: https://a\n  id: demo # <-\n"}, "source.id", "choose another word"),
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
        "object store or another database",
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
        "is not an option of report_headers, but of reports; report_headers takes expand",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    expand: [subUnits] # <-\n"},
        "resources[0].expand",
        "is not an option of reports, but of report_headers; reports takes chunk_size, attachments",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    chunk_size: 0 # <-\n"},
        "resources[0].chunk_size",
        "a whole number from 1 to 10,000, not 0",
    ),
    (
        {"resources": "resources:\n  - name: reports\n    chunk_size: 10001 # <-\n"},
        "resources[0].chunk_size",
        "a whole number from 1 to 10,000, not 10001",
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
    (resource("expand: sub_units # <-"), "resources[0].expand", "did you mean 'subUnits'?"),
    (resource("expand: {a: b} # <-"), "resources[0].expand", "should be a list of names"),
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
        "resources[0].filter",
        "products takes no filter; remove it, and filter the loaded table instead",
    ),
    (
        {"resources": "resources:\n  - name: products\n    since: 2026-01-01 # <-\n"},
        "resources[0].since",
        "products cannot be selected by time; remove it",
    ),
    (
        {"resources": "resources:\n  - name: yields\n    write_disposition: merge # <-\n"},
        "resources[0].write_disposition",
        "no key to merge by",
    ),
    (resource("since: 2026-02-30 # <-"), "resources[0].since", "out of range"),
    (resource("since: last week # <-"), "resources[0].since", "'30 days ago'"),
    (resource("since: 2026 # <-"), "resources[0].since", "2026 is not a date, a timestamp or an age"),
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
        "remove it; every run reads an overlap",
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
    ({"name": "name: ${PIPELINE} # <-\n"}, "name", "PIPELINE is not set; set it, add it to a .env file"),
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
    ({"name": "name: a: b # <-\n"}, "", "column 8: invalid YAML: a ': ' where no key is possible"),
    ({"source": "source:\n\turl: demo # <-\n"}, "", "column 1: invalid YAML: the line begins with a tab"),
    (
        {"destination": 'destination:\n  type: duckdb\n  path: "C:\\data" # <-\n'},
        "",
        "use single quotes, or /",
    ),
    ({"source": "source:\n  url: demo\n max_in_flight: 1 # <-\n"}, "", "the indentation does not match"),
    ({"name": "name: @x # <-\n"}, "", "a character that YAML reserves; put the value in quotes"),
    ({"name": "name: *x # <-\n"}, "", "put the value in quotes"),
    ({"resources": "resources: [{name: ${N}}] # <-\n"}, "", "put ${NAME} in quotes"),
    ({"more": "--- # <-\nversion: 1\n"}, "", "a second document"),
    ({"name": "name: a\x07b # <-\n"}, "", "a character that YAML does not allow"),
    ({"name": "name: !!python/name:os.system x # <-\n"}, "name", "are not supported"),
    ({"source": "source:\n  max_in_flight: !!int x # <-\n"}, "source.max_in_flight", "is not a valid int"),
    ({"source": "source:\n  url: {{ WATS_URL }} # <-\n"}, "source.url", "a variable is written ${NAME}"),
]


def _destination(path: str, kind: str = "duckdb") -> dict[str, str]:
    return {"destination": f"destination:\n  type: {kind}\n  path: {path} # <-\n"}


SLIPS: list[Case] = [
    *(
        (_destination(f'"data{escape}x"', kind), "destination.path", "use single quotes, or / in paths")
        for kind in ("duckdb", "parquet")
        for escape in (
            *("\\" + letter for letter in "0abtnvfreNLP_ "),
            *("\\x64", "\\x07", "\\u0041", "\\U00000041", "\\\\x\\n", "\\\\\\\\\\t"),
        )
    ),
    (_destination('"\\tmp/x"'), "destination.path", "use single quotes, or /"),
    (_destination('"data\\new\\ts.duckdb"'), "destination.path", "use single quotes, or /"),
    (_destination("\"'data/x'\"", "parquet"), "destination.path", "is in quotation marks"),
    (_destination("“data/x”"), "destination.path", "is in quotation marks"),
    (_destination("/"), "destination.path", "name a file, such as"),
    (
        {"source": 'source:\n  ca_file: "C:\\tls\\new.pem" # <-\n'},
        "source.ca_file",
        "use single quotes, or /",
    ),
    (
        {"source": 'source:\n  ca_file: "C:\\x64" # <-\n'},
        "source.ca_file",
        "use single quotes, or / in paths",
    ),
]
"""Paths that are not what their author meant."""


def cases() -> Iterator[Any]:
    for name, table in {
        "structure": STRUCTURE,
        "resources": RESOURCES,
        "foreign": FOREIGN,
        "variables": VARIABLES,
        "yaml": YAML,
        "slips": SLIPS,
    }.items():
        for sections, path, message in table:
            yield pytest.param(sections, path, message, id=f"{name}-{path}-{message[:30]}")


@pytest.mark.parametrize(("sections", "path", "message"), list(cases()))
def test_a_problem_is_reported_with_its_place(
    load: Any, tmp_path: Path, sections: dict[str, str], path: str, message: str
) -> None:
    text = text_with(**sections)
    line = 1 + next(number for number, each in enumerate(text.splitlines()) if each.endswith("# <-"))
    with pytest.raises(PipelineFileError) as refused:
        load(text)
    place = f"{tmp_path / 'reports.yaml'}:{line}: "
    problems = refused.value.message.splitlines()
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{place}{path}: " if path else place), problems
    assert message in problems[0]
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize(
    "written",
    [
        "'data\\new\\ts'",
        "data\\new\\ts",
        '"data\\\\new\\\\ts"',
        '"data\\/new"',
        '"data/Ünï код 試"',
        "it's/a 'b' c",
        '"a\\"b"',
    ],
)
def test_a_path_keeps_its_backslashes_and_letters(load: Any, tmp_path: Path, kind: str, written: str) -> None:
    read = load(text_with(destination=f"destination:\n  type: {kind}\n  path: {written}\n"))
    literal = written.strip("\"'") if written[0] in "\"'" else written
    if written.startswith('"'):
        literal = re.sub(r"\\(.)", r"\1", literal)
    assert read.destination.path == tmp_path / literal


@pytest.mark.parametrize(
    "value", ["data\tx", "data/x\n", "a\x1bb", "a\x85", "a\u2028b", "a\x7f", "'data/x'", '"data/x"']
)
@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("destination: {type: duckdb, path: '${PLACE}'}\n", "destination.path"),
        ("destination: {type: parquet, path: '${PLACE}'}\n", "destination.path"),
        ("source: {ca_file: '${PLACE}'}\n", "source.ca_file"),
    ],
)
def test_a_variable_brings_no_control_characters_and_quotes_into_a_path(
    load: Any, value: str, section: str, place: str
) -> None:
    with pytest.raises(PipelineFileError, match=rf":\d+: {place}: (contains|is in quotation)") as refused:
        load(text_with(**{section.partition(":")[0]: section}), PLACE=value)
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "token",
    [
        *(begin + SECRET + end for begin, end in ('""', "''", "``", "“”", "‘’", "«»", "„“")),
        f'"{SECRET}',
        f"{SECRET}'",
        f' "Basic {SECRET}" ',
        f'Basic "{SECRET}"',
    ],
)
@pytest.mark.parametrize(
    "written", ["", "source: {token: '${WATS_TOKEN}'}\n", "source: {token: '${MINE}'}\n"]
)
def test_a_token_in_quotes_is_refused_without_showing_it(load: Any, token: str, written: str) -> None:
    text = text_with(**({"source": written} if written else {}))
    with pytest.raises(PipelineFileError, match=r"source\.token: is in quotation marks; remove") as refused:
        load(text, WATS_TOKEN=token, MINE=token)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("value", [f"'\"{SECRET}\"'", f"“{SECRET}”", f'"\\"{SECRET}\\""'])
def test_a_token_of_a_dot_env_file_in_quotes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.delenv("WATS_TOKEN", raising=False)
    monkeypatch.delenv("PYWATS_API_TOKEN", raising=False)
    (tmp_path / ".env").write_text(f"WATS_TOKEN={value}\n", encoding="utf-8")
    path = tmp_path / "reports.yaml"
    path.write_text(text_with(source=f"source: {{url: '{SERVER}'}}\n"), encoding="utf-8")
    with pytest.raises(PipelineFileError, match=r"source\.token: is in quotation marks") as refused:
        loading.load(path, catalogue=CATALOGUE)
    assert SECRET not in str(refused.value)


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(load: Any) -> None:
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
    lines = refused.value.message.splitlines()
    assert [int(re.search(r":(\d+): ", each)[1]) for each in lines] == [
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


def test_a_token_of_the_environment_is_never_shown(load: Any) -> None:
    text = text_with(**resource("filter: {process_code: '${WATS_TOKEN}'}\nsince: ${WATS_TOKEN}"))
    with pytest.raises(PipelineFileError) as refused:
        load(text, WATS_TOKEN=SECRET)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
