"""Every fault, alone and mixed, on every fifth request: the same tables come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.cli.conftest import SECRET, Desk, desk_in
from tests.engine.test_extraction import assert_same
from tests.extraction import IMPATIENT, Extraction, expected_tables
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.faults import KINDS, Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.http.client import Client, Connection

Server = Callable[..., tuple[App, str]]
REPORTS = 30
LIMITS = {"timeout": 1.0, "largest_response": 50_000_000}


class Patient(Extraction):
    """With twice the tries: six in a row go wrong by chance once in 15,000 items, too often for a test."""

    def client(self, **limits: Any) -> Client:
        connection = Connection(self.url, self.token, requests_per_minute=None, **limits)
        return Client(connection, policy=replace(IMPATIENT, attempts=12))


@pytest.mark.parametrize("fault", KINDS)
def test_every_fault_alone(fault: str, server: Server, tmp_path: Path) -> None:
    plant = Plant(REPORTS)
    app, url = server(plant, faults=Faults(rate=0.2, kinds=[fault], seed=7))
    extraction = Patient(url, tmp_path)
    report = extraction.run(limits=LIMITS)
    assert (report.status, report.failures) == ("succeeded", 0)
    assert fault == "slow" or app.total > REPORTS + 4, "some were asked for again"
    assert_same(extraction, expected_tables(plant))


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("seed", [1, 2])
def test_all_faults_mixed(kind: str, seed: int, server: Server, tmp_path: Path) -> None:
    plant = Plant(REPORTS)
    _, url = server(plant, faults=Faults(rate=0.2, kinds=KINDS, seed=seed))
    extraction = Patient(url, tmp_path, kind)
    report = extraction.run(limits=LIMITS)
    assert (report.status, report.failures) == ("succeeded", 0)
    assert_same(extraction, expected_tables(plant))


# ── for good ────────────────────────────────────────────────────────────────────────────────────


class Turning(App):
    """A server that after some requests answers all others in one bad way."""

    def __init__(self, answers: int, kind: str) -> None:
        super().__init__(Plant(60), token=SECRET)
        self.answers, self.kind = answers, kind

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        if self.kind and self.total >= self.answers:
            if self.kind == "401":
                request = Request(request.method, request.path, request.query, {})
            else:
                self.faults = Faults(rate=1.0, kinds=[self.kind])
        with super().answering(request) as answer:
            yield answer


@pytest.mark.parametrize(
    ("kind", "code", "status", "says"),
    [
        ("503", 5, "unreachable", "out of reach: HTTP 503"),
        ("html", 5, "unreachable", "out of reach"),
        ("drop", 5, "unreachable", "out of reach: the connection failed"),
        ("stall", 5, "unreachable", "out of reach: no response within 1 s"),
        ("401", 2, "refused", "HTTP 401"),
    ],
)
def test_a_server_that_goes_down_or_takes_the_token_back_ends_the_run_and_keeps_what_was_committed(
    tmp_path: Path, kind: str, code: int, status: str, says: str
) -> None:
    desk = desk_in(tmp_path)
    app = Turning(45, kind)
    file = desk.pipeline(
        resources="[{name: reports, chunk_size: 10}]", source=", max_in_flight: 4, timeout: 1s"
    )
    with serve(app) as server:
        desk.env["WATS_URL"] = server.url
        said = desk.wats("run", file, "--json")
        told: dict[str, Any] = json.loads(said.out)
        assert (said.code, told["status"]) == (code, status)
        assert says in said.err
        assert 20 <= told["resources"]["reports"]["items"] < 60
        assert counted(desk) == (told["resources"]["reports"]["items"], 0)
        if code == 2:
            assert app.total < 45 + 2 * 4 + 2, "nothing is asked with a token that is refused"
        app.kind = ""
        app.faults = Faults()
        assert desk.wats("run", file, "-q").code == 0
        assert counted(desk) == (60, 0)


def counted(desk: Desk) -> tuple[int, int]:
    """Reports and failures in the destination."""
    with duckdb.connect(desk.folder / "data/wats.duckdb", read_only=True) as tables:
        [reports] = tables.execute("SELECT count(*) FROM reports").fetchall()
        [failures] = tables.execute("SELECT count(*) FROM _wats_failures").fetchall()
    return reports[0], failures[0]
