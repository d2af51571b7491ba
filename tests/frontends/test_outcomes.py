"""Functions that run a pipeline return a report for exit codes 0 and 3, and otherwise raise with a report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.command_line import CommandLine
from tests.conftest import DESTINATIONS, TOKEN, Server
from tests.frontends.interrupted import destination_of, runs

import wats_extract as wx
from wats_extract.errors import (
    ConfigurationError,
    DestinationError,
    Incomplete,
    ItemsFailed,
    PipelineLocked,
    RequestError,
    TokenRefused,
    WatsExtractError,
)
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant

Write: TypeAlias = Callable[..., Path]


@pytest.fixture(params=DESTINATIONS)
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a pipeline file for a server."""

    def write(url: str, more: str = "", *, source: str = "", token: str = TOKEN, path: str = "data") -> Path:
        monkeypatch.setenv("TOKEN", token)
        file = tmp_path / "p.yaml"
        file.write_text(
            f'version: 1\nname: p\nsource: {{url: "{url}", token: "${{TOKEN}}"{source}}}\n'
            f"destination: {{type: {request.param}, path: {path}}}\n"
            "resources: [{name: report_headers}, {name: reports, chunk_size: 5}]\n" + more,
            encoding="utf-8",
        )
        return file

    return write


# ── one class per exit code ──


def test_a_complete_run_returns_its_report(write: Write, server: Server) -> None:
    _, url = server(Plant(12))
    report = wx.run(write(url))
    assert (report.exit_code, report.status, report.error) == (0, "succeeded", None)
    report.raise_for_failures()


def test_a_run_with_failures_returns_and_raises_only_if_asked(write: Write, server: Server) -> None:
    plant = Plant(12)
    _, url = server(plant, faults=Faults(broken={plant.uuids()[3]: "404"}))
    file = write(url)
    report = wx.run(file)
    assert (report.exit_code, report.open_failures) == (3, 1)
    with pytest.raises(ItemsFailed, match="1 items of pipeline 'p'") as raised:
        report.raise_for_failures()
    assert raised.value.report is report
    assert wx.retry(file).exit_code == wx.verify(file).exit_code == 3
    wx.run(write(url, "max_failures: 1\n")).raise_for_failures()


def missing_file(write: Write, server: Server) -> Path:
    return write("https://acme.wats.com").with_name("missing.yaml")


def wrong_file(write: Write, server: Server) -> Path:
    return write("https://acme.wats.com", "colour: red\n")


def wrong_token(write: Write, server: Server) -> Path:
    return write(server(Plant(12))[1], token="d3Jvbmc6d3Jvbmc=")


def few_requests(write: Write, server: Server) -> Path:
    return write(server(Plant(12))[1], source=", max_requests: 9, max_in_flight: 1")


def many_failures(write: Write, server: Server) -> Path:
    plant = Plant(12)
    faults = Faults(broken=dict.fromkeys(plant.uuids(), "404"))
    return write(server(plant, faults=faults)[1], "stop_at_failures: 5\n")


def nobody_listens(write: Write, server: Server) -> Path:
    return write("http://127.0.0.1:9")


def wrong_destination(write: Write, server: Server) -> Path:
    return write(server(Plant(12))[1], path="p.yaml/data")


ENDS: dict[str, tuple[Callable[[Write, Server], Path], type[WatsExtractError], int, str]] = {
    "missing file": (missing_file, ConfigurationError, 2, "refused"),
    "wrong file": (wrong_file, ConfigurationError, 2, "refused"),
    "wrong token": (wrong_token, TokenRefused, 2, "refused"),
    "max_requests": (few_requests, Incomplete, 4, "incomplete"),
    "stop_at_failures": (many_failures, Incomplete, 4, "incomplete"),
    "unreachable": (nobody_listens, RequestError, 5, "unreachable"),
    "wrong destination": (wrong_destination, DestinationError, 1, "failed"),
}


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("end", ENDS)
def test_everything_else_raises_with_the_report(write: Write, server: Server, end: str) -> None:
    make, kind, exit_code, status = ENDS[end]
    file = make(write, server)
    with pytest.raises(kind) as raised:
        wx.run(file)
    report = raised.value.report
    assert (raised.value.exit_code, report.exit_code, report.status) == (exit_code, exit_code, status)
    assert report.message
    assert report.error is raised.value
    if end == "max_requests":
        assert report.resources["report_headers"].items == 12
        assert runs(file) == ["incomplete"]


def test_another_process_that_runs_the_pipeline_raises(write: Write, server: Server) -> None:
    _, url = server(Plant(12))
    file = write(url)
    with destination_of(file).exclusive("p"), pytest.raises(PipelineLocked) as raised:
        wx.run(file)
    assert (raised.value.report.exit_code, raised.value.report.status) == (6, "locked")
    assert raised.value.report.server == url


def test_the_other_functions_raise_in_the_same_way(write: Write, server: Server) -> None:
    file = wrong_token(write, server)
    wx_functions: dict[str, Callable[[], object]] = {
        "plan": lambda: wx.plan(file),
        "verify": lambda: wx.verify(file),
        "backfill": lambda: wx.backfill(file, since="2020-01-01", until="2021-01-01"),
    }
    for call in wx_functions.values():
        with pytest.raises(TokenRefused) as raised:
            call()
        assert raised.value.report.exit_code == 2


# ── Ctrl-C ──


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process on Windows")
@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize("check", ["any_event", "any_time", "other_handler", "other_thread", "hanging"])
def test_an_interrupt_ends_a_run_cleanly(command_line: CommandLine, kind: str, check: str) -> None:
    """In a process of its own, because Ctrl-C would also reach the program that runs the tests."""
    if check == "hanging" and kind == "parquet":
        pytest.skip("there is no destination")
    ended = command_line.python(f"from tests.frontends import interrupted; interrupted.{check}({kind!r})")
    assert (ended.code, ended.err) == (0, "")
