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

KEYS = {"run_id", "status", "server", "destination", "seconds", "requests", "bytes", "failures", "resources"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no POSIX signals")


def report(out: str) -> dict[str, Any]:
    """Parse the JSON object in the last, and here only, line of stdout."""
    assert out.count("\n") == 1
    result: dict[str, Any] = json.loads(out)
    assert result.keys() >= KEYS
    return result


def test_a_run_loads_everything_and_a_second_run_nothing(desk: Desk, serving: Serving) -> None:
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
    assert (second.code, second.out.splitlines()[0]) == (0, "Done: nothing new.")
    assert "serial_number" in python_shown(desk, second.out)


def python_shown(desk: Desk, out: str) -> str:
    """Run the line of Python at the end of a summary and return what it prints."""
    [line] = [line.strip() for line in out.splitlines() if line.strip().startswith("duckdb.")]
    program = [sys.executable, "-c", f"import duckdb\n{line}"]
    return subprocess.check_output(program, cwd=desk.folder, env=desk.env, encoding="utf-8")


def test_the_summary_is_on_stdout_and_progress_on_stderr(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(kind="parquet", path="data/wats"))
    assert said.code == 0
    assert said.out.startswith("Done: everything new is loaded.\n")
    place = desk.folder / "data" / "wats"
    assert f'pl.scan_parquet("{place.as_posix()}/report_headers/*.parquet")' in said.out
    assert f"from {desk.env['WATS_URL']} into {place}\n" in said.out
    assert "reports: 20/20 fetched, 20 committed" in said.err
    assert "Done" not in said.err
    assert pl.scan_parquet(desk.folder / "data/wats/reports/*.parquet").collect().height == 20


def test_only_limit_and_full_refresh(desk: Desk, serving: Serving) -> None:
    serving(30)
    file = desk.pipeline()
    result = report(desk.wats("run", file, "--only", "report_headers", "--limit", "7", "--json").out)
    assert list(result["resources"]) == ["report_headers"]
    assert result["resources"]["report_headers"]["items"] == 7
    again = report(desk.wats("run", file, "--only", "report_headers", "--full-refresh", "--json", "-q").out)
    assert again["resources"]["report_headers"]["items"] == 30


def test_quiet_prints_nothing_on_success(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(), "-q")
    assert (said.code, said.out, said.err) == (0, "", "")


# ── exit codes ──────────────────────────────────────────────────────────────────────────────────


def test_exit_3_if_items_failed_until_retry_succeeds(desk: Desk, serving: Serving) -> None:
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
    assert "Done: 1 item loaded, 0 open failures left." in healed.out


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


def test_exit_0_with_failures_within_max_failures(desk: Desk, serving: Serving) -> None:
    serving(20, faults=Faults(broken=1, broken_kinds=["404"]))
    said = desk.wats("run", desk.pipeline(more="max_failures: 1"))
    assert said.code == 0
    assert "within max_failures" in said.out


def test_exit_4_at_max_requests(desk: Desk, serving: Serving) -> None:
    serving(20)
    said = desk.wats("run", desk.pipeline(source=", max_requests: 12"))
    assert said.code == 4
    assert said.out.startswith("Stopped early.")
    assert "Stopped: max_requests (12)" in said.err


def test_exit_4_at_stop_at_failures(desk: Desk, serving: Serving) -> None:
    serving(20, faults=Faults(broken=10, broken_kinds=["404"]))
    said = desk.wats("run", desk.pipeline(more="stop_at_failures: 3"), "--json")
    assert said.code == 4
    result = report(said.out)
    assert result["status"] == "incomplete"
    assert "3 items" in result["message"]


def test_exit_5_if_the_server_is_unreachable(desk: Desk) -> None:
    desk.read("http://127.0.0.1:9")
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 5
    assert report(said.out)["status"] == "unreachable"
    assert "Error: 127.0.0.1:9 " in said.err
    assert "Traceback" not in said.err


def test_exit_2_if_the_token_is_wrong(desk: Desk, serving: Serving) -> None:
    serving(20)
    desk.env["WATS_TOKEN"] = "b3RoZXItdG9rZW4"
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 2
    assert report(said.out)["status"] == "refused"
    assert "WATS_TOKEN" in said.err
    assert "b3RoZXItdG9rZW4" not in said.out + said.err


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["run", "p.yaml", "--limit", "0"], "--limit"),
        (["run", "p.yaml", "--since", "next week"], "'next week' is not a date"),
        (["run", "absent.yaml"], "absent.yaml"),
        (["retry", "wrong.yaml"], "wrong.yaml:6: resource: "),
    ],
)
def test_exit_2_with_json_if_the_command_line_or_file_is_wrong(
    desk: Desk, typed: list[str], expected: str
) -> None:
    desk.pipeline()
    desk.pipeline("wrong.yaml", more="resource: x")
    said = desk.wats(*typed, "--json")
    assert said.code == 2
    refused = report(said.out)
    assert (refused["run_id"], refused["status"], refused["resources"]) == (None, "refused", {})
    assert expected in refused["message"]
    assert "Error: " in said.err


def test_a_token_in_the_file_is_refused_and_not_shown(desk: Desk) -> None:
    desk.pipeline(url="https://example.wats.com")
    path = desk.folder / "p.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("${WATS_TOKEN:-}", SECRET), encoding="utf-8")
    assert desk.wats("run", "p.yaml", "--json").code == 2


def test_exit_1_if_the_destination_fails(desk: Desk) -> None:
    (desk.folder / "data").write_text("a file where a folder should be", encoding="utf-8")
    said = desk.wats("run", desk.pipeline(), "--json")
    assert said.code == 1
    assert report(said.out)["status"] == "failed"
    assert said.err.startswith("Error: ")


def test_exit_1_and_a_message_without_secrets_for_a_bug(desk: Desk) -> None:
    script = (
        "import sys\n"
        "import wats_extract.frontends.pipelines as session\n"
        "def broken(*args, **kwargs): raise RuntimeError('secret: ' + " + repr(SECRET) + ")\n"
        "session.run_pipeline = broken\n"
        "from wats_extract.cli import main\n"
        "main(['run', 'p.yaml', '--json'])\n"
    )
    desk.pipeline()
    desk.read("https://example.wats.com")
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
        assert "this is a bug in wats-extract: RuntimeError: secret: ***" in said.err
        assert ("Traceback" in said.err) is bool(traceback)
        assert report(said.out)["status"] == "failed"


def test_exit_6_if_another_process_runs_the_pipeline(desk: Desk, serving: Serving) -> None:
    serving(20, latency=0.3)
    file = desk.pipeline(source=", max_in_flight: 1")
    first = desk.start("run", file, "-q")
    wait_for(lambda: (desk.folder / "data/.wats.duckdb.p.lock.holder").exists())
    said = desk.wats("run", file, "--json")
    first.kill()
    first.communicate()
    assert said.code == 6
    assert report(said.out)["status"] == "locked"
    assert f"process {first.pid}" in said.err


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_130_or_143_within_two_seconds_and_the_next_run_resumes(
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
    assert "interrupted: finishing the current commit; the next run resumes from there" in said.err
    result = report(said.out)
    assert result["status"] == "interrupted"
    assert 10 <= result["resources"]["reports"]["items"] < 60
    if number == signal.SIGTERM:
        return
    rest = report(desk.wats("run", file, "--json").out)
    assert result["resources"]["reports"]["items"] + rest["resources"]["reports"]["items"] == 60


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_also_ends_a_command_that_commits_nothing(
    desk: Desk, serving: Serving, number: signal.Signals, code: int
) -> None:
    app = serving(20, latency=0.5)
    process = desk.start("plan", desk.pipeline(source=", max_in_flight: 1"), "--json")
    wait_for(lambda: app.total > 0)
    process.send_signal(number)
    said = desk.finished(process)
    assert said.code == code
    assert report(said.out)["status"] == "interrupted"
    assert "\nInterrupted: " in said.err
    assert "Error" not in said.err


@POSIX
def test_a_second_signal_ends_the_process_at_once(desk: Desk, serving: Serving) -> None:
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
