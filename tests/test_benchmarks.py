"""Benchmarks run, and say what they measured; how fast anything is, no test asks."""

import json
import sys

import pytest
from benchmarks import report, scale
from benchmarks.measure import ChildFailed, Took, run
from benchmarks.parts import PARTS, Part
from benchmarks.race import Race
from benchmarks.rows import ROWS
from benchmarks.samples import Sample, Samples

from wats_extract.fake.plant.data import Plant
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred

PLANT = Plant(400, seed=7)
BY_NAME = {part.name: part for part in PARTS}


WAITS = pytest.mark.skipif(sys.platform == "win32", reason="what a process took is asked of POSIX")


def made_up() -> Samples:
    """Samples as if every contestant had done everything in one second."""
    said = {
        "seconds": 1.0,
        "megabytes_a_second": 100.0,
        "growth": {"new": 1.0, "replaced": 1.0},
    }
    return Samples(
        Sample(part.name, contestant.name, size, Took(2.0, 1.0, 10**8, said), requests=size + 1)
        for part in PARTS
        for contestant in part.contestants
        for size in part.sizes
    )


@WAITS
def test_a_small_race() -> None:
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
        assert sample.took.cpu > 0
        assert sample.took.memory > 10**7
    assert "| full reports into DuckDB, against dlt | ≥ 10 × | not measured |  |  |" in report.page(race)


def test_every_row_has_its_figure() -> None:
    samples = made_up()

    assert [row.what for row in ROWS if not row.figures(samples)] == []


def test_what_misses_its_target_says_so() -> None:
    cells = {row.what: report.target_cells(row, made_up()) for row in ROWS}

    assert cells["decoding and shredding alone, one core"][1:] == ("≥ 150 MB/s", "100 MB/s", "", "**missed**")
    assert cells["`wats-extract --help`"][-1] == "**missed**"
    assert cells["of them refused"][-1] == "reached"
    assert cells["the same, against urllib3 in threads"][-1] == ""


def test_who_cannot_take_part_is_named() -> None:
    race = Race(samples=made_up(), absent={("headers", "dlt, DuckDB"): "no network"})

    assert "- dlt, DuckDB did not take part in headers: no network\n" in report.page(race)


@WAITS
def test_a_child_that_fails_is_no_figure() -> None:
    with pytest.raises(ChildFailed, match="ended with 3: no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_a_quick_run_is_smaller() -> None:
    assert [part.name for part in PARTS if max(part.quick) > max(part.sizes)] == []


# ── docs/scale.md ──


def test_the_page_on_scale_is_fresh() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")

    assert page == scale.embedded(page, scale.DEFAULT), "python -m benchmarks.scale"
    assert scale.PLOT.is_file()


def test_ten_million_reports() -> None:
    plan = scale.DEFAULT

    assert plan.list_requests == 1_000 + 2
    assert plan.hours(plan.requests) == pytest.approx(10_002_004 / 500 / 60)
    assert plan.hours(plan.requests, tokens=4) == pytest.approx(plan.hours(plan.requests) / 4)


def test_what_a_report_of_the_demo_takes_is_still_so() -> None:
    bodies = {uuid: json.dumps(PLANT.document(uuid)).encode() for uuid in PLANT.uuids()}
    shredded = shred([decode(uuid, None, body) for uuid, body in bodies.items()], WsjfOptions())
    rows = {table.name: batch.num_rows / len(bodies) for table, batch in shredded.items()}
    measured = dict(scale.DEFAULT.measured.rows)

    assert set(rows) == set(measured) - {"report_headers"}
    for table in ("steps", "numeric_measurements", "boolean_measurements"):
        assert rows[table] == pytest.approx(measured[table], rel=0.15)
