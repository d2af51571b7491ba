"""One check of a selection, for the pipeline file and for Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import wats_extract as wx
from wats_extract.errors import ConfigurationError, PipelineFileError
from wats_extract.filters.condition import And, Comparison, Not, OneOf, Or, TextMatch, matches
from wats_extract.flow import Selection
from wats_extract.pipeline.job import selection
from wats_extract.pipeline.loading import load
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.selecting import OPTIONS, Problem, examine, select

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
MEASURED = {"part_number": "A", "test_operation": "ICT", "measurement_path": "x"}


class Unreachable(wx.Wats):
    """A connection that fails the test if anything is requested."""

    def __init__(self) -> None:
        self._client = None  # type: ignore[assignment]


def problems(name: str, **given: Any) -> list[tuple[Any, str]]:
    options = {key: given.pop(key) for key in list(given) if key not in ("since", "until", "filter", "limit")}
    found = examine(RESOURCES[name], options=options, now=NOW, **given)
    assert isinstance(found, list)
    return [(each.path, each.text) for each in found]


# ── the same mistakes in a file and in Python ───────────────────────────────────────────────────

# Resource, arguments, key path, message.
BOTH: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "dynamic_yield",
        {"date_grouping": "foo"},
        "date_grouping",
        "should be 'none', 'year', 'quarter', 'month', 'week', 'day' or 'hour', not 'foo'",
    ),
    ("dynamic_yield", {"date_grouping": "moth"}, "date_grouping", "not 'moth' (did you mean 'month'?)"),
    ("dynamic_yield", {"date_grouping": 5}, "date_grouping", "or 'hour', not 5"),
    (
        "dynamic_yield",
        {"dimensions": ["period", "part"]},
        "dimensions[1]",
        "there is no 'part'; there are part_number,",
    ),
    ("dynamic_yield", {"dimensions": "perod"}, "dimensions", "there is no 'perod' (did you mean 'period'?)"),
    (
        "dynamic_yield",
        {"dimensions": []},
        "dimensions",
        "the list is empty; leave it out for the usual dimensions",
    ),
    ("high_volume", {"period_count": 0}, "period_count", "should be a whole number from 1 to 10,000, not 0"),
    ("oee_analysis", {"available_time": [24, 24]}, "available_time", "a list of seven numbers from 0 to 24"),
    ("oee_analysis", {"available_time": [25] * 7}, "available_time", "a list of seven numbers from 0 to 24"),
    ("oee_analysis", {"available_time": 8}, "available_time", "Monday to Sunday, not 8"),
    (
        "reports",
        {"attachments": "nonsense"},
        "attachments",
        "should be 'none', 'metadata' or 'content', not 'nonsense'",
    ),
    (
        "reports",
        {"attachments": None},
        "attachments",
        "should be 'none', 'metadata' or 'content', not nothing",
    ),
    ("reports", {"attachments": True}, "attachments", "not True"),
    ("reports", {"charts": "perhaps"}, "charts", "should be true or false, not 'perhaps'"),
    ("reports", {"charts": 1}, "charts", "should be true or false, not 1"),
    ("reports", {"chunk_size": 0}, "chunk_size", "should be a whole number from 1 to 10,000, not 0"),
    ("reports", {"chunk_size": 10_001}, "chunk_size", "not 10001"),
    ("reports", {"chunk_size": 2.5}, "chunk_size", "not 2.5"),
    ("reports", {"chunk_size": True}, "chunk_size", "not True"),
    (
        "report_headers",
        {"charts": True},
        "charts",
        "is not an option of report_headers, but of reports, wsxf_reports",
    ),
    (
        "report_headers",
        {"chunk_size": 5},
        "chunk_size",
        "is not an option of report_headers, but of reports,",
    ),
    (
        "report_headers",
        {"expand": "sub_units"},
        "expand",
        "there is no 'sub_units' (did you mean 'subUnits'?)",
    ),
    (
        "report_headers",
        {"expand": ["subUnits", "x"]},
        "expand[1]",
        "there is no 'x'; there are subUnits, miscInfo",
    ),
    ("report_headers", {"expand": [5]}, "expand", "should be a list of names, not [5]"),
    ("report_headers", {"expand": {"subUnits": True}}, "expand", "should be a list of names"),
    ("alarms", {}, "internal", "alarms reads a route that the vendor does not support; set internal to true"),
    ("alarms", {"internal": False}, "internal", "set internal to true"),
    ("products", {"since": "2026-01-01"}, "since", "products cannot be selected by time; remove it"),
    ("products", {"until": "soon"}, "until", "products cannot be selected by time; remove it"),
    ("reports", {"since": "soon"}, "since", "'soon' is not a date, a timestamp or an age such as"),
    ("reports", {"since": 2026}, "since", "2026 is not a date, a timestamp or an age such as"),
    ("reports", {"since": "2026-02-30"}, "since", "(day is out of range for month)"),
    (
        "reports",
        {"since": "2026-02-01", "until": "2026-02-01"},
        "until",
        "should be later than since (2026-02-01), not 2026-02-01",
    ),
    (
        "reports",
        {"since": "yesterday", "until": "3 days ago"},
        "until",
        "should be later than since (yesterday)",
    ),
    (
        "reports",
        {"filter": {"part_nmber": "A"}},
        "filter.part_nmber",
        "no column 'part_nmber' (did you mean 'part_number'?)",
    ),
    (
        "reports",
        {"filter": {"process_code": "ten"}},
        "filter.process_code",
        "process_code holds whole numbers, not 'ten'",
    ),
    (
        "reports",
        {"filter": {"part_number": 100}},
        "filter.part_number",
        "part_number holds text: write 100 in quotes",
    ),
    ("reports", {"filter": {"result": "Faild"}}, "filter.result", "not 'Faild' (did you mean 'Failed'?)"),
    (
        "reports",
        {"filter": {"part_number": []}},
        "filter.part_number",
        "an empty list, which matches nothing",
    ),
    (
        "reports",
        {"filter": {"part_number": {"gt": "A"}}},
        "filter.part_number",
        "takes a value or a list of values",
    ),
    (
        "reports",
        {"filter": {"part_number": ["x" * 900, "y" * 900]}},
        "filter.part_number",
        "at most 1,700 are possible",
    ),
    (
        "reports",
        {"filter": {"part_number": "x" * 900, "comment": "y" * 900}},
        "filter",
        "at most 1,700 are possible",
    ),
    (
        "reports",
        {"filter": "garbage here"},
        "filter",
        "there is no column 'garbage' (character 1 of the OData text)",
    ),
    (
        "reports",
        {"filter": "partNumber eq"},
        "filter",
        "found the end of the filter (character 14 of the OData text)",
    ),
    ("units", {"filter": "subUnit/any()"}, "filter", "there is no list 'subUnit' (did you mean 'subUnits'?)"),
    ("assets", {"filter": "state eq 'x'"}, "filter", "state is a number: write x without quotes"),
    (
        "reports",
        {"filter": ["A"]},
        "filter",
        "should be columns and values such as {result: Failed}, or OData text, not ['A']",
    ),
    ("reports", {"filter": 5}, "filter", "should be columns and values"),
    ("tickets", {"filter": {"x": 1}}, "filter", "tickets takes no filter; remove it"),
    ("tickets", {"filter": "x eq 1"}, "filter", "tickets takes no filter; remove it"),
    (
        "measurements",
        {},
        "filter",
        "measurements requires a filter on part_number, test_operation and measurement_path",
    ),
    (
        "measurements",
        {"filter": {"part_number": "A", "test_operation": "B"}},
        "filter",
        "requires a filter on measurement_path, such as {part_number: …,",
    ),
    (
        "measurements",
        {"filter": "partNumber eq 'A'"},
        "filter",
        "takes fields and values such as {part_number: A}, not OData text",
    ),
    (
        "measurements",
        {"filter": MEASURED | {"part_number": "A;B"}},
        "filter.part_number",
        "write several values as a list",
    ),
    (
        "measurements",
        {"filter": MEASURED | {"part_number": None}},
        "filter.part_number",
        "cannot select null",
    ),
]


@pytest.mark.parametrize(("name", "given", "path", "message"), BOTH)
def test_python_refuses_it_before_any_request(
    name: str, given: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Unreachable().stream(name, **given)
    assert refused.value.message.startswith(f"{path}: "), refused.value
    assert message in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(("name", "given", "path", "message"), BOTH)
def test_a_pipeline_file_refuses_it_in_the_same_words(
    tmp_path: Path, name: str, given: dict[str, Any], path: str, message: str
) -> None:
    file = tmp_path / "p.yaml"
    written = {
        "version": 1,
        "name": "p",
        "destination": {"type": "duckdb", "path": "x"},
        "resources": [{"name": name, **given}],
    }
    file.write_text(json.dumps(written, indent=1), encoding="utf-8")
    with pytest.raises(PipelineFileError) as refused:
        load(file, catalogue=RESOURCES, environ={}, now=NOW, demo=True)
    (line,) = refused.value.message.splitlines()
    assert re.fullmatch(rf"{re.escape(str(file))}:\d+: resources\[0\]\.{re.escape(path)}: .*", line), line
    assert message in line


# ── mistakes that only Python can make ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("reports", {"chart": False}, "chart: is not an option of reports (did you mean 'charts'?)"),
        ("reports", {"limit": -1}, "limit: should be a whole number from 1, not -1"),
        ("reports", {"limit": 0}, "limit: should be a whole number from 1, not 0"),
        ("reports", {"limit": "5"}, "limit: should be a whole number from 1, not '5'"),
        ("reports", {"charts": "yes"}, "charts: should be true or false, not 'yes'"),
        ("reports", {"chunk_size": "5"}, "chunk_size: should be a whole number from 1 to 10,000, not '5'"),
        ("reports", {"since": b"2026-01-01"}, "since: b'2026-01-01' is not a date"),
        ("reports", {"since": ""}, "since: '' is not a date"),
        ("reports", {"filter": pl.col("result") == "Failed"}, "or OData text, not a Polars expression"),
        ("reports", {"filter": b"x eq 1"}, "or OData text, not b'x eq 1'"),
        ("reports", {"filter": lambda row: True}, "or OData text, not <function"),
        ("reports", {"filter": {"part_number": b"A"}}, "part_number cannot be compared with bytes"),
        ("reports", {"filter": {5: "A"}}, "filter.5: a column is named by text, not 5"),
        ("reports", {"filter": Comparison("nothing", "=", 1)}, "filter: there is no column 'nothing'"),
        (
            "reports",
            {"filter": Comparison("result", "<", "P")},
            "filter: result can be compared with = and != only",
        ),
        ("tickets", {"filter": Comparison("a", "=", 1)}, "filter: tickets takes no filter"),
        (
            "measurements",
            {"filter": Comparison("part_number", "=", "A")},
            "requires a filter on test_operation and",
        ),
        ("volume_yield", {"filter": Comparison("part_number", ">", "A")}, "the WATS filter has no >"),
        ("report_headers", {"expand": b"subUnits"}, "expand: should be a list of names, not b'subUnits'"),
        ("unit_changes", {"acknowledge": True}, "acknowledge: only a pipeline acknowledges"),
        ("report_header", {}, "there is no resource 'report_header' (did you mean 'report_headers'?)"),
        (["reports"], {}, "there is no resource ['reports']"),
        ("reports", {"table": "step"}, "reports has no table 'step' (did you mean 'steps'?)"),
        ("reports", {"table": ["steps"]}, "reports has no table ['steps']"),
    ],
)
def test_other_mistakes_in_python_are_refused(name: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Unreachable().stream(name, **given)


@pytest.mark.parametrize("fetch", [wx.Wats.fetch, wx.Wats.fetch_each, wx.Wats.afetch_each])
@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("reports", {"attachments": "nonsense"}, "attachments: should be 'none', 'metadata' or 'content'"),
        ("reports", {"chunk_size": 0}, "chunk_size: should be a whole number from 1 to 10,000, not 0"),
        ("reports", {"max_in_flight": True}, "max_in_flight: should be a whole number from 1, not True"),
        ("reports", {"since": "2026-01-01"}, "since: is not an option of reports"),
        ("measurements", {"since": "2026-01-01"}, "since: is not an option of measurements"),
        ("reports", {"filter": {"result": "Failed"}}, "filter: is not an option of reports"),
        ("reports", {"expand": ["subUnits"]}, "expand: is not an option of reports, but of report_headers"),
        ("alarms", {}, "internal: alarms reads a route that the vendor does not support"),
        ("unit_changes", {"acknowledge": True}, "acknowledge: only a pipeline acknowledges"),
    ],
)
def test_fetch_checks_its_options_in_the_same_way(
    fetch: Callable[..., Any], name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        fetch(Unreachable(), name, [], **given)


def test_all_problems_are_reported_at_once() -> None:
    found = problems("reports", since="soon", limit=0, chunk_size=0, chart=1, filter={"a": 1, "result": "x"})
    assert [path for path, _ in found] == [
        ("since",),
        ("chunk_size",),
        ("chart",),
        ("filter", "a"),
        ("filter", "result"),
        ("limit",),
    ]
    with pytest.raises(ConfigurationError) as refused:
        select(RESOURCES["reports"], options={"chunk_size": 0, "charts": 0})
    assert refused.value.message.splitlines() == [
        "chunk_size: should be a whole number from 1 to 10,000, not 0",
        "charts: should be true or false, not 0",
    ]
    assert refused.value.exit_code == 2


# ── valid selections ────────────────────────────────────────────────────────────────────────────


def test_a_selection_has_the_defaults_of_its_resource() -> None:
    assert select(RESOURCES["reports"]) == Selection(
        options={"chunk_size": 200, "attachments": "none", "charts": True, "keep_raw": False}
    )
    assert select(RESOURCES["tickets"]) == Selection()
    assert (
        select(RESOURCES["dynamic_yield"], options={"dimensions": None, "date_grouping": None}) == Selection()
    )


def test_instants_are_utc() -> None:
    found = select(RESOURCES["reports"], since=date(2026, 1, 1), until=datetime(2026, 1, 1, 1))  # noqa: DTZ001
    assert found.since == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.until == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert select(RESOURCES["reports"], since="1 day ago", now=NOW).since == NOW.replace(day=30)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, ()),
        ([], ()),
        ("subUnits", ("subUnits",)),
        (("miscInfo", "subUnits", "miscInfo"), ("miscInfo", "subUnits")),
    ],
)
def test_a_single_name_is_a_list_of_one(given: Any, names: tuple[str, ...]) -> None:
    assert select(RESOURCES["report_headers"], options={"expand": given}).options == {"expand": names}


@pytest.mark.parametrize("nothing", [None, {}, "", "  ", And(())])
def test_an_empty_filter_selects_everything(nothing: Any) -> None:
    assert select(RESOURCES["reports"], filter=nothing).filter == ""
    assert select(RESOURCES["dynamic_yield"], filter=nothing or None).asked == {}


def test_mappings_odata_and_conditions_take_one_road() -> None:
    text = "partNumber in ('A','B') and result eq 'Failed'"
    condition = And((OneOf("part_number", ("A", "B")), Comparison("result", "=", "F")))
    for written in ({"part_number": ["A", "B"], "result": "Failed"}, text, condition):
        assert select(RESOURCES["reports"], filter=written).filter == text
    both = Or((TextMatch("part_number", "starts_with", "A"), Comparison("process_code", ">", 5)))
    assert select(RESOURCES["reports"], filter=both).filter == (
        "startswith(partNumber,'A') or processCode gt 5"
    )


def test_fields_of_a_wats_filter() -> None:
    asked = {"partNumber": ("A",), "testOperation": ("ICT",), "measurementPaths": ("x",)}
    condition = And(tuple(Comparison(name, "=", value) for name, value in MEASURED.items()))
    for written in (MEASURED, condition):
        assert select(RESOURCES["measurements"], filter=written).asked == asked
    assert select(RESOURCES["measurements"], by_key=True).asked == {}


def test_by_key_every_resource_takes_a_chunk_size() -> None:
    for resource in RESOURCES.values():
        options = {"chunk_size": 5} | ({"internal": True} if resource.internal else {})
        assert select(resource, options=options, by_key=True).options["chunk_size"] == 5


def test_file_and_python_make_the_same_selection(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "version: 1\nname: p\ndestination: {type: duckdb, path: x}\nresources:\n"
        "  - {name: reports, since: 30 days ago, filter: {result: Failed}, "
        "charts: '${C}', chunk_size: '${N}'}\n",
        encoding="utf-8",
    )
    (config,) = load(file, catalogue=RESOURCES, environ={"C": "no", "N": "7"}, demo=True).resources
    assert selection(config, RESOURCES["reports"], now=NOW) == select(
        RESOURCES["reports"],
        since="30 days ago",
        filter={"result": "Failed"},
        options={"charts": False, "chunk_size": 7},
        now=NOW,
    )


def test_every_option_of_every_resource_is_declared() -> None:
    taken = {name for resource in RESOURCES.values() for name in resource.options}
    assert taken - {"since"} == set(OPTIONS)
    for resource in RESOURCES.values():
        assert bool(resource.expand) == ("expand" in resource.options)
        assert bool(resource.dimensions) == ("dimensions" in resource.options)


def test_the_defaults_pass_their_own_check() -> None:
    for option in OPTIONS.values():
        assert option.read(option.default) == option.default


def test_a_problem_names_its_option() -> None:
    found = examine(RESOURCES["products"], since="2026-01-01")
    assert found == [Problem(("since",), "products cannot be selected by time; remove it")]


def test_a_stream_has_the_rows_that_match_its_condition() -> None:
    condition = And(
        (
            Or((Comparison("result", "=", "Failed"), TextMatch("part_number", "starts_with", "MODULE"))),
            Comparison("start", ">", datetime(2026, 1, 5, 6, tzinfo=UTC)),
            Not(OneOf("process_code", (10, 50))),
        )
    )
    with wx.demo(reports=60) as wats:
        everything = [row for batch in wats.stream("report_headers") for row in batch.to_pylist()]
        found = [
            row for batch in wats.stream("report_headers", filter=condition) for row in batch.to_pylist()
        ]
    assert found == [row for row in everything if matches(condition, row, ignore_case=True)]
    assert 0 < len(found) < len(everything)
