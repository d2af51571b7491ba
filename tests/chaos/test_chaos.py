"""A few of the scenarios of ``python -m tests.chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import scenarios
from tests.chaos.figures import BEGIN, END, Figures
from wats_extract.fake.faults import TRANSIENT_KINDS as FAULTS

STEPS = {
    "duckdb": ("wrote steps", "booked _wats_state", "committed"),
    "parquet": ("staged", "journaled", "renamed 3", "indexed"),
}


@pytest.fixture
def figures() -> Figures:
    return Figures()


def test_kills_at_steps_of_commits(kind: str, tmp_path: Path, figures: Figures) -> None:
    scenarios.step_kills(1, tmp_path, figures, kind=kind, steps=STEPS[kind])
    assert figures.of("kills survived") == len(STEPS[kind])


def test_kills_at_random_times_while_reports_change(tmp_path: Path, figures: Figures) -> None:
    scenarios.random_kills(2, tmp_path, figures, kind="duckdb", kills=3, changing=True, rate=0.02)
    assert figures.of("kills survived") == 3


def test_kills_at_random_times_beside_a_concurrent_reader(tmp_path: Path, figures: Figures) -> None:
    scenarios.random_kills(3, tmp_path, figures, kind="parquet", kills=3)
    assert figures.of("scans by a concurrent reader") > 10


@pytest.mark.long
def test_odd_documents(tmp_path: Path, figures: Figures) -> None:
    scenarios.odd_documents(4, tmp_path, figures, kind="parquet", kills=1)
    assert figures.of("bad documents tried") > 100


@pytest.mark.long
def test_one_request_in_five_fails(kind: str, tmp_path: Path, figures: Figures) -> None:
    scenarios.faults(3, tmp_path, figures, kind=kind, faults=FAULTS)
    assert figures.of("faults injected") > 20


@pytest.mark.skipif(not scenarios.POSIX, reason="Windows has no limit on the size of files")
def test_full_disks(kind: str, tmp_path: Path, figures: Figures) -> None:
    scenarios.full_disk(5, tmp_path, figures, kind=kind)
    assert figures.of("full disks survived") >= 2


def test_a_page_gets_the_figures_of_the_last_run(tmp_path: Path, figures: Figures) -> None:
    real = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
    text = real.read_text(encoding="utf-8")
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    for rows in (1_000, 2_345):
        figures.add("rows compared", "duckdb", rows)
        figures.write(page, seed=7, scenarios=3, seconds=90)
    written = page.read_text(encoding="utf-8")
    assert "| rows compared | 3,345 | duckdb 3,345 |" in written
    assert "1,000" not in written.removeprefix(before)
    assert written.startswith(before)
    assert written.endswith(after)
