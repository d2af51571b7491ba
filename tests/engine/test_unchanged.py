"""Master data that is read again and has not changed is not written again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Server
from tests.extraction import Extraction

from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.assets import Assets
from wats_extract.fake.routes.products import Products
from wats_extract.resources.catalogue import RESOURCES

NAMES = ("products", "processes", "assets", "users", "packages")


def data_files(folder: Path) -> dict[Path, int]:
    found = folder.glob("wats/[!_]*/*.parquet")
    return {path: path.stat().st_mtime_ns for path in found}


def run_ids(extraction: Extraction, name: str) -> set[str]:
    return set(extraction.frame(name)["_wats_run_id"].to_list())


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
@pytest.mark.parametrize("disposition", ["merge", "replace"])
def test_only_changed_records_are_written_again(
    kind: str, disposition: str, server: Server, tmp_path: Path
) -> None:
    app, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, kind, names=NAMES, options={}, disposition=disposition)
    first = extraction.run()
    assert first.exit_code == 0, first.message
    tables = [table.name for name in NAMES for table in RESOURCES[name].tables]
    before = {name: extraction.frame(name) for name in tables}
    files = data_files(tmp_path)
    for again in (extraction.run(), extraction.run(full_refresh=True)):
        assert again.exit_code == 0, again.message
        for name in tables:
            assert extraction.frame(name).equals(before[name]), name
        assert data_files(tmp_path) == files

    asset = app.store(Assets).assets.rows()[0]
    app.store(Assets).assets.change(asset["assetId"], assetName="renamed")
    app.store(Products).products.delete(app.store(Products).products.rows()[-1]["partNumber"])
    changed = extraction.run(full_refresh=True)
    assert changed.exit_code == 0, changed.message
    written = extraction.frame("assets")
    [row] = written.filter(written["_wats_run_id"] == changed.run_id).to_dicts()
    assert (row["asset_id"], row["asset_name"]) == (asset["assetId"], "renamed")
    assert run_ids(extraction, "processes") == {first.run_id}
    assert len(written) == len(before["assets"])
    assert len(extraction.frame("products")) == len(before["products"]) - (disposition == "replace")


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_a_full_pass_keeps_unchanged_records_and_deletes_those_that_are_gone(
    kind: str, server: Server, tmp_path: Path
) -> None:
    app, url = server(Plant(20))
    extraction = Extraction(url, tmp_path, kind, names=["assets"], options={}, disposition="replace")
    extraction.run()
    before = set(extraction.frame("assets")["asset_id"].to_list())
    gone = app.store(Assets).assets.rows()[3]["assetId"]
    app.store(Assets).assets.delete(gone)
    for _ in range(2):
        assert extraction.run().exit_code == 0
        assert set(extraction.frame("assets")["asset_id"].to_list()) == before - {gone}
