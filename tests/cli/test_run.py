from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import duckdb
import polars as pl
import pytest

from wats_extract.fake.faults import Faults

from .conftest import SECRET, Desk, Serving

KEYS = {"run_id", "status", "seconds", "requests", "bytes", "failures", "resources"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


def report(out: str) -> dict[str, Any]:
    """The one JSON object in the last line of stdout, which here is the only one."""
    assert out.count("\n") == 1
    told: dict[str, Any] = json.loads(out)
    assert told.keys() >= KEYS
    return told


def test_a_run_lands_everything_and_a_second_one_nothing(desk: Desk, serving: Serving) -> None:
    serving(20)
    file = desk.pipeline()
    first = report(desk.wats("run", file, "--json").out)
    assert (first["status"], first["failures"]) == ("succeeded", 0)
    assert first["resources"]["reports"]["tables"]["reports"] == 20
    assert first["resources"]["reports"]["rows"] > 20
    assert first["resources"]["reports"]["cursor"]["time_stamp"]
    with duckdb.connect(desk.folder / "data/wats.duckdb") as tables:
        assert tables.execute("SELECT count(*) FROM reports").fetchall() == [(20,)]
    second = desk.wats("run", file)
    assert (second.code, second.out.splitlines()[0]) == (0, "Done: there was nothing new.")
    assert "serial_number" in python_shown(desk, second.out)


def python_shown(desk: Desk, out: str) -> str:
    """What the line of Python that a summary ends with prints."""
    [line] = [line.strip() for line in out.splitlines() if line.strip().startswith("duckdb.")]
    program = [sys.executable, "-c", f"import duckdb\n{line}"]
    return subprocess.check_output(program, cwd=desk.folder, env=desk.env, encoding="utf-8")


def test_the_summary_is_for_people_and_stdout_only(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(kind="parquet", path="data/wats"))
    assert said.code == 0
    assert said.out.startswith("Done: everything new has landed.\n")
    assert 'pl.scan_parquet("data/wats/report_headers/*.parquet")' in said.out
    assert "reports: 20/20 fetched, 20 committed" in said.err
    assert "Done" not in said.err
    assert pl.scan_parquet(desk.folder / "data/wats/reports/*.parquet").collect().height == 20


def test_options_select(desk: Desk, serving: Serving) -> None:
    serving(30)
    file = desk.pipeline()
    told = report(desk.wats("run", file, "--only", "report_headers", "--limit", "7", "--json").out)
    assert list(told["resources"]) == ["report_headers"]
    assert told["resources"]["report_headers"]["items"] == 7
    again = report(desk.wats("run", file, "--only", "report_headers", "--full-refresh", "--json", "-q").out)
    assert again["resources"]["report_headers"]["items"] == 30


def test_quiet_says_nothing_when_all_is_well(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(), "-q")
    assert (said.code, said.out, said.err) == (0, "", "")


# ── exit codes ──────────────────────────────────────────────────────────────────────────────────


def test_3_some_items_failed_and_retry_heals_them(desk: Desk, serving: Serving) -> None:
    app = serving(20, faults=Faults(broken=2, broken_kinds=["404", "garbage"]))
    file = desk.pipeline()
    said = desk.wats("run", file)
    assert said.code == 3
    assert "2 items could not be extracted" in said.out
    assert f"wats-extract failures {file}" in said.out

    app.faults.mend()
    one = report(desk.wats("retry", file, "--code", "NOT_FOUND", "--json").out)
    assert (one["status"], one["open_failures"]) == ("failures", 1)
    healed = desk.wats("retry", file)
    assert healed.code == 0
    assert "Done: 1 item landed now, none is open now." in healed.out


def test_retry_by_key(desk: Desk, serving: Serving) -> None:
    app = serving(20, faults=Faults(broken=2, broken_kinds=["404"]))
    file = desk.pipeline()
    said = desk.wats("run", file, "-q")
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("Failures: 2 items could not be extracted\n")
    first, second = app.faults.broken
    app.faults.mend()
    assert report(desk.wats("retry", file, "--key", first, "--json").out)["open_failures"] == 1
    listed = json.loads(desk.wats("failures", file, "--all", "--format", "json").out)
    assert {row["key"]: row["status"] for row in listed} == {first: "resolved", second: "open"}


def test_0_failures_within_max_failures(desk: Desk, serving: Serving) -> None:
    serving(20, faults=Faults(broken=1, broken_kinds=["404"]))
    said = desk.wats("run", desk.pipeline(more="max_failures: 1"))
    assert said.code == 0
    assert "within max_failures" in said.out


def test_4_max_requests(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(source=", max_requests: 12"))
    assert said.code == 4
    assert said.out.startswith("Stopped before the end.")
    assert "Stopped: max_requests (12) is reached\n  Run again" in said.err


def test_4_stop_at_failures(desk: Desk, serving: Serving) -> None:
    serving(20, faults=Faults(broken=10, broken_kinds=["404"]))
    said = desk.wats("run", desk.pipeline(more="stop_at_failures: 3"), "--json")
    assert said.code == 4
    told = report(said.out)
    assert told["status"] == "incomplete"
    assert "3 items failed" in told["message"]


def test_5_the_server_is_out_of_reach(desk: Desk) -> None:
    desk.env["WATS_URL"] = "http://127.0.0.1:9"
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 5
    assert report(said.out)["status"] == "unreachable"
    assert "Error: 127.0.0.1:9 is out of reach" in said.err
    assert "Traceback" not in said.err


def test_2_the_token_is_wrong(desk: Desk, serving: Serving) -> None:
    serving(20)
    desk.env["WATS_TOKEN"] = "b3RoZXItdG9rZW4"
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 2
    assert report(said.out)["status"] == "refused"
    assert "WATS_TOKEN" in said.err
    assert "b3RoZXItdG9rZW4" not in said.out + said.err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["run", "p.yaml", "--limit", "0"], "--limit"),
        (["run", "p.yaml", "--since", "next week"], "'next week' is not a date"),
        (["run", "absent.yaml"], "absent.yaml"),
        (["retry", "wrong.yaml"], "wrong.yaml:6: resource: is"),
    ],
)
def test_2_refused_with_json_for_the_scheduler(desk: Desk, typed: list[str], told: str) -> None:
    desk.pipeline()
    desk.pipeline("wrong.yaml", more="resource: x")
    said = desk.wats(*typed, "--json")
    assert said.code == 2
    refused = report(said.out)
    assert (refused["run_id"], refused["status"], refused["resources"]) == (None, "refused", {})
    assert told in refused["message"]
    assert "Error: " in said.err


def test_a_token_in_the_file_is_refused_and_not_shown(desk: Desk) -> None:
    desk.pipeline(url="https://example.wats.com")
    path = desk.folder / "p.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("${WATS_TOKEN:-}", SECRET), encoding="utf-8")
    assert desk.wats("run", "p.yaml", "--json").code == 2


def test_1_the_destination_fails(desk: Desk) -> None:
    (desk.folder / "data").write_text("a file where a folder should be", encoding="utf-8")
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 1
    assert report(said.out)["status"] == "failed"
    assert said.err.startswith("Error: ")


def test_1_a_bug_is_told_in_a_sentence_without_secrets(desk: Desk) -> None:
    script = (
        "import sys\n"
        "import wats_extract.frontends.pipelines as session\n"
        "def broken(*args, **kwargs): raise RuntimeError('no way, ' + " + repr(SECRET) + ")\n"
        "session.run_pipeline = broken\n"
        "from wats_extract.cli import main\n"
        "main(['run', 'p.yaml', '--json'])\n"
    )
    desk.pipeline()
    for traceback in ("", "1"):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=desk.folder,
            env=desk.env | {"WATS_EXTRACT_TRACEBACK": traceback},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        said = desk.finished(process)
        assert said.code == 1
        assert "this is a bug in wats-extract: RuntimeError: no way, ***" in said.err
        assert ("Traceback" in said.err) is bool(traceback)
        assert report(said.out)["status"] == "failed"


def test_6_another_process_runs_it(desk: Desk, serving: Serving) -> None:
    serving(20, latency=0.3)
    file = desk.pipeline(source=", max_in_flight: 1")
    first = desk.start("run", file, "-q")
    wait_for(lambda: (desk.folder / "data/.wats.duckdb.p.lock.holder").exists())
    said = desk.wats("run", file, "--json")
    first.kill()
    first.communicate()
    assert said.code == 6
    assert report(said.out)["status"] == "locked"
    assert f"another process runs pipeline 'p': process {first.pid}" in said.err


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_stop_soon_and_the_next_run_goes_on(
    desk: Desk, serving: Serving, number: signal.Signals, code: int
) -> None:
    app = serving(60, latency=0.05)
    file = desk.pipeline(source=", max_in_flight: 1", resources="[{name: reports, chunk_size: 10}]")
    process = desk.start("run", file, "--json")
    wait_for(lambda: app.total > 15)
    asked = time.monotonic()
    process.send_signal(number)
    said = desk.finished(process)
    assert time.monotonic() - asked < 2
    assert said.code == code
    assert "interrupted: finishing the current commit; the next run goes on from there" in said.err
    told = report(said.out)
    assert told["status"] == "interrupted"
    assert 10 <= told["resources"]["reports"]["items"] < 60
    if number == signal.SIGTERM:
        return
    rest = report(desk.wats("run", file, "--json").out)
    assert told["resources"]["reports"]["items"] + rest["resources"]["reports"]["items"] == 60


@POSIX
def test_a_second_signal_ends_it_at_once(desk: Desk, serving: Serving) -> None:
    app = serving(20, latency=0.05)
    process = desk.start("run", desk.pipeline(source=", max_in_flight: 1"))
    wait_for(lambda: app.total > 5)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=2)
    assert process.returncode in (130, 143)


def wait_for(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
