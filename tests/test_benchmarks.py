"""The benchmarks run and report their results. No test depends on how fast anything is."""

import json
import re
import sys

import pytest
from benchmarks import report, scale
from benchmarks.internals import Plant, WsjfOptions, decode, shred
from benchmarks.measure import ROOT, ChildFailed, Usage, run
from benchmarks.parts import PARTS, Part
from benchmarks.race import Race
from benchmarks.rows import ROWS
from benchmarks.samples import Sample, Samples

PLANT = Plant(400, seed=7)
BY_NAME = {part.name: part for part in PARTS}

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no wait4 to measure a process")


def made_up() -> Samples:
    """Samples as if every contestant had taken one second for every size."""
    output = {
        "seconds": 1.0,
        "megabytes_per_second": 100.0,
        "growth": {"new": 1.0, "replaced": 1.0, "run": 1.0},
    }
    return Samples(
        Sample(part.name, contestant.name, size, Usage(2.0, 1.0, 10**8, output), requests=size + 1)
        for part in PARTS
        for contestant in part.contestants
        for size in part.sizes
    )


@POSIX
def test_a_small_run_measures_every_contestant() -> None:
    reports = BY_NAME["reports"]
    race = Race(with_peers=False)

    race.run(Part("reports", reports.contestants, sizes={12: 1}, quick={}))

    assert race.absent == {}
    names = race.samples.contestants("reports")
    assert names == ["wats-extract, DuckDB", "wats-extract, Parquet"]
    for name in names:
        (sample,) = race.samples.of("reports", name)
        assert sample.items == 12
        assert 12 < sample.requests <= 12 + 3
        assert sample.usage.cpu > 0
        assert sample.usage.memory > 10**7
    assert "| full reports into DuckDB, compared with dlt | ≥ 10 × | not measured |  |  |" in report.page(
        race
    )


def test_every_row_has_a_figure() -> None:
    samples = made_up()

    assert [row.name for row in ROWS if not row.figures(samples)] == []


def test_missed_targets_are_marked() -> None:
    cells = {row.name: report.target_cells(row, made_up()) for row in ROWS}

    assert cells["decoding and shredding only, on one core"][1:] == (
        "≥ 150 MB/s",
        "100 MB/s",
        "",
        "**missed**",
    )
    assert cells["`wats-extract --help`"][-1] == "**missed**"
    assert cells["share of requests that were refused"][-1] == "reached"
    assert cells["the same, compared with urllib3 in threads"][-1] == ""


def test_contestants_that_cannot_take_part_are_named() -> None:
    race = Race(samples=made_up(), absent={("headers", "dlt, DuckDB"): "no network"})

    assert "- dlt, DuckDB did not take part in headers: no network\n" in report.page(race)


@POSIX
def test_a_program_that_fails_is_not_measured() -> None:
    with pytest.raises(ChildFailed, match="ended with 3: no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_a_quick_run_has_smaller_sizes() -> None:
    assert [part.name for part in PARTS if max(part.quick) > max(part.sizes)] == []


def test_only_one_file_imports_from_the_package() -> None:
    files = sorted((ROOT / "benchmarks").rglob("*.py"))
    importing = [
        file.name
        for file in files
        if re.search(r"^\s*(from|import) wats_extract", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    from_tests = [
        file.name
        for file in files
        if re.search(r"^\s*(from|import) tests\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert len(files) > 20
    assert (importing, from_tests) == (["internals.py"], [])


# ── docs/scale.md ──


def test_the_tables_of_docs_scale_are_up_to_date() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")

    assert page == scale.embedded(page, scale.DEFAULT), "python -m benchmarks.scale"
    assert scale.PLOT.is_file()


def test_ten_million_reports() -> None:
    plan = scale.DEFAULT

    assert plan.list_requests == 1_000 + 2
    assert plan.hours(plan.requests) == pytest.approx(10_002_004 / 500 / 60)
    assert plan.hours(plan.requests, tokens=4) == pytest.approx(plan.hours(plan.requests) / 4)


def test_the_measured_rows_per_report_still_hold() -> None:
    bodies = {uuid: json.dumps(PLANT.document(uuid)).encode() for uuid in PLANT.uuids()}
    shredded = shred([decode(uuid, None, body) for uuid, body in bodies.items()], WsjfOptions())
    rows = {table.name: batch.num_rows / len(bodies) for table, batch in shredded.items()}
    measured = dict(scale.DEFAULT.measured.rows)

    assert set(rows) == set(measured) - {"report_headers"}
    for table in ("steps", "numeric_measurements", "boolean_measurements"):
        assert rows[table] == pytest.approx(measured[table], rel=0.15)
