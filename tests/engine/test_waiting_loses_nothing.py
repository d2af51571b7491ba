"""An age in ``since`` bounds the first run only. Later runs load whatever the server processed since."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conftest import TOKEN, Server

from wats_extract.engine.job import RunReport
from wats_extract.engine.position import stored_position
from wats_extract.engine.run import execute
from wats_extract.engine.verifying import verify
from wats_extract.fake.plant.data import Plant
from wats_extract.http.client import Client, Connection
from wats_extract.pipeline import job as jobs
from wats_extract.pipeline.loading import load
from wats_extract.resources.catalogue import RESOURCES

FIRST_RUN = datetime(2026, 1, 11, 22, tzinfo=UTC)


def pipeline(folder: Path, url: str, kind: str, name: str, since: str) -> Path:
    place = "wats.duckdb" if kind == "duckdb" else "wats"
    file = folder / "p.yaml"
    file.write_text(
        f"version: 1\nname: p\nsource: {{url: '{url}', token: '${{WATS_TOKEN}}'}}\n"
        f"destination: {{type: {kind}, path: '{(folder / place).as_posix()}'}}\n"
        f"resources: [{{name: {name}, since: {since}}}]\n",
        encoding="utf-8",
    )
    return file


def run_at(monkeypatch: pytest.MonkeyPatch, file: Path, url: str, now: datetime) -> RunReport:
    """Run the pipeline as if it were another day."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now

    monkeypatch.setenv("WATS_TOKEN", TOKEN)
    monkeypatch.setattr(jobs, "datetime", Clock)
    job = jobs.job_of(load(file, catalogue=RESOURCES), jobs.Overrides())
    with Client(Connection(url, TOKEN, requests_per_minute=None)) as client:
        return execute(job, client)


def resend(plant: Plant, start: datetime) -> str:
    """Let the server process a report that started at a given time; returns its uuid."""
    uuid, text = str(uuid4()), start.isoformat().replace("+00:00", "Z")
    plant.receive(plant.document(plant.uuids()[0]) | {"id": uuid, "start": text, "startUTC": text})
    return uuid


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_a_long_pause_and_late_uploads_lose_nothing(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(60)
    _, url = server(plant)
    file = pipeline(tmp_path, url, kind, "report_headers", "7 days ago")
    first = run_at(monkeypatch, file, url, FIRST_RUN)
    bounded = first.resources["report_headers"].items
    begin = FIRST_RUN - timedelta(days=7)
    inside = [header for header in plant.headers() if datetime.fromisoformat(header["start"]) >= begin]
    assert (first.exit_code, bounded) == (0, len(inside))
    assert 0 < bounded < 60
    late = [resend(plant, FIRST_RUN - timedelta(days=9)), resend(plant, FIRST_RUN + timedelta(days=2))]
    after_a_pause = run_at(monkeypatch, file, url, FIRST_RUN + timedelta(days=100))
    assert (after_a_pause.exit_code, after_a_pause.resources["report_headers"].items) == (0, len(late))
    again = run_at(monkeypatch, file, url, FIRST_RUN + timedelta(days=101))
    assert again.resources["report_headers"].items == 0
    job = jobs.job_of(load(file, catalogue=RESOURCES), jobs.Overrides())
    with Client(Connection(url, TOKEN, requests_per_minute=None)) as client:
        compared = verify(job, client).resources["report_headers"]
    assert (compared.missing, compared.extra) == (0, 0)
    assert compared.server == len(inside) + 1, "the range of the first run is compared, not today's"


@pytest.mark.parametrize("name", ["uut_reports", "report_headers"])
def test_an_age_means_the_instant_of_the_first_run(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = server(Plant(0))
    file = pipeline(tmp_path, url, "duckdb", name, "60 days ago")
    now = datetime.now(UTC)
    for days in (0, 30, 90):
        assert run_at(monkeypatch, file, url, now + timedelta(days=days)).exit_code == 0
        job = jobs.job_of(load(file, catalogue=RESOURCES), jobs.Overrides())
        job.destination.open(read_only=True)
        stored = stored_position(job.destination, "p", job.tasks[0])
        job.destination.close()
        assert stored.since is not None
        assert abs(stored.since - (now - timedelta(days=60))) < timedelta(seconds=1)


def test_a_fixed_date_still_bounds_every_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(60)
    _, url = server(plant)
    file = pipeline(tmp_path, url, "duckdb", "report_headers", "2026-01-05")
    run_at(monkeypatch, file, url, FIRST_RUN)
    resend(plant, datetime(2025, 12, 1, tzinfo=UTC))
    assert run_at(monkeypatch, file, url, FIRST_RUN).resources["report_headers"].items == 0
