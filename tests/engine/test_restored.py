"""An older copy that is laid over a Parquet folder: the next run, and verify, put it right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.extraction import Extraction, assert_same, expected_tables

from wats_extract.engine.verifying import VerifyReport, verify
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant

Server = Callable[..., tuple[App, str]]

CHANGED = 8
NEW = 10


@pytest.fixture
def restored(server: Server, tmp_path: Path) -> tuple[Plant, Extraction]:
    """Two runs, and the state after the first one laid over that after the second one."""
    plant = Plant(40)
    _, url = server(plant)
    extraction = Extraction(url, tmp_path, "parquet", options={"chunk_size": 10, "attachments": "content"})
    assert extraction.run().exit_code == 0
    folder, older = tmp_path / "wats", tmp_path / "older"
    shutil.copytree(folder, older)
    for uuid in plant.uuids()[5 : 5 + CHANGED]:
        plant.receive_again(uuid)
    plant.grow(NEW)
    assert extraction.run().exit_code == 0
    shutil.copytree(older, folder, dirs_exist_ok=True)
    return plant, extraction


def verified(extraction: Extraction, *, repair: bool = False) -> VerifyReport:
    with extraction.client() as client:
        return verify(extraction.job(), client, repair=repair)


def assert_right(plant: Plant, extraction: Extraction) -> None:
    assert_same(extraction, expected_tables(plant))
    for name in ("_wats_state", "_wats_runs", "_wats_failures"):
        rows = extraction.frame(name)
        keys = {"_wats_runs": ["run_id"], "_wats_state": ["pipeline", "resource", "selection"]}
        assert rows.select(keys.get(name, ["pipeline", "resource", "key"])).is_unique().all()


def test_the_next_run_puts_the_tables_right(restored: tuple[Plant, Extraction]) -> None:
    plant, extraction = restored
    assert extraction.run().exit_code == 0
    assert_right(plant, extraction)
    assert verified(extraction).exit_code == 0
    requests = extraction.run().requests
    assert requests < 10, "nothing is fetched again"


def test_verify_reports_duplicated_rows_and_repairs_them(restored: tuple[Plant, Extraction]) -> None:
    plant, extraction = restored
    found = verified(extraction)
    assert found.exit_code == 3
    assert found.resources["reports"].duplicated > 0
    assert verified(extraction, repair=True).exit_code == 0
    assert_right(plant, extraction)
    again = verified(extraction)
    assert (again.status, again.exit_code) == ("equal", 0)


def test_a_report_that_is_duplicated_and_deleted_on_the_server_is_there_once_after_a_repair(
    restored: tuple[Plant, Extraction],
) -> None:
    plant, extraction = restored
    gone = plant.uuids()[5 : 5 + CHANGED]
    for uuid in plant.uuids():
        if uuid not in gone:
            continue
        plant.delete(uuid)
    duplicated = set(verified(extraction).resources["reports"].keys["duplicated"])
    assert duplicated
    assert verified(extraction, repair=True).exit_code == 3, "extra reports stay"
    rows = [row["uuid"] for row in extraction.table("reports")]
    assert len(rows) == len(set(rows)) == 40 + NEW
