"""The Python API: public names, streams, items by key, asyncio, and commands as functions."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tests.conftest import TOKEN

import wats_extract as wx
from wats_extract.errors import ConfigurationError
from wats_extract.resources.catalogue import RESOURCES

ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def wats() -> Iterator[wx.Wats]:
    with wx.demo(reports=120, seed=3) as wats:
        yield wats


@pytest.fixture(scope="module")
def uuids(wats: wx.Wats) -> list[str]:
    return [uuid for batch in wats.stream("report_headers") for uuid in batch["uuid"].to_pylist()]


def test_all_lists_the_public_names() -> None:
    assert wx.__all__ == sorted(wx.__all__)
    assert all(getattr(wx, name) is not None for name in wx.__all__)
    assert set(wx.__all__) <= set(dir(wx))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = wx.nonsense


def test_importing_the_package_does_not_import_its_dependencies() -> None:
    code = "import sys, wats_extract; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"duckdb", "polars", "pyarrow", "pydantic", "pyreqwest", "rich", "altair"}
    assert not heavy & set(loaded)


def test_no_submodule_replaces_a_function_of_the_same_name() -> None:
    modules = [module.name for module in pkgutil.iter_modules(wx.__path__) if module.name != "__main__"]
    for name in modules:
        importlib.import_module(f"wats_extract.{name}")
    functions = [name for name in wx.__all__ if name.islower() and not name.startswith("_")]
    assert functions
    assert [name for name in functions if not inspect.isfunction(getattr(wx, name))] == []


def test_a_stream_has_the_declared_schema_and_each_report_once(wats: wx.Wats, uuids: list[str]) -> None:
    assert len(uuids) == len(set(uuids)) == 120
    stream = wats.stream("report_headers")
    assert {batch.schema for batch in stream} == {RESOURCES["report_headers"].table.shredded_schema}
    assert stream.failures == []


def test_stream_options_select_tables_rows_times_and_limits(wats: wx.Wats) -> None:
    steps = pa.Table.from_batches(wats.stream("reports", table="steps", limit=7))
    assert len(set(steps["report_uuid"].to_pylist())) <= 7
    assert steps.num_rows > 7
    repairs = pa.Table.from_batches(wats.stream("report_headers", filter={"report_type": "UUR"}))
    assert set(repairs["report_type"].to_pylist()) == {"UUR"}
    whole = pa.Table.from_batches(wats.stream("report_headers"))["start"].to_pylist()
    middle = sorted(whole)[60]
    starts = pa.Table.from_batches(wats.stream("report_headers", since=middle))["start"].to_pylist()
    assert sorted(starts) == sorted(start for start in whole if start >= middle)
    before = pa.Table.from_batches(wats.stream("report_headers", until=middle.isoformat()))[
        "start"
    ].to_pylist()
    assert len(before) + len(starts) == 120
    named = wats.stream("report_headers", filter="partNumber eq 'PCBA-100'", expand=["subUnits"], limit=3)
    assert sum(batch.num_rows for batch in named) == 3


def test_fetch_returns_tables_and_failures(wats: wx.Wats, uuids: list[str]) -> None:
    progress: list[int] = []
    keys = [*uuids[:30], ABSENT, "nonsense", uuids[40].upper()]
    fetched = wats.fetch("reports", iter(keys), chunk_size=10, on_progress=progress.append)
    assert fetched.tables["reports"]["uuid"].to_pylist() == [*uuids[:30], uuids[40]]
    assert set(fetched.tables) == {table.name for table in RESOURCES["reports"].tables}
    assert None not in fetched.tables["reports"]["time_stamp"].to_pylist()
    assert [(failure.key, failure.error_code) for failure in fetched.failures] == [
        (ABSENT, "NOT_FOUND"),
        ("nonsense", "NOT_FOUND"),
    ]
    assert progress[-1] == len(keys)
    table = fetched.failures_table()
    assert table["error_code"].to_pylist() == ["NOT_FOUND", "NOT_FOUND"]
    assert table["http_status"].to_pylist() == [404, None]


@pytest.mark.parametrize("resource", ["reports", "report_headers"])
def test_fetch_each_keeps_the_order_of_the_keys(wats: wx.Wats, uuids: list[str], resource: str) -> None:
    keys = [uuids[5], ABSENT, uuids[3], "nonsense"]
    outcomes = list(wats.fetch_each(resource, keys))
    assert [outcome.key for outcome in outcomes] == keys
    assert [isinstance(outcome, wx.Success) for outcome in outcomes] == [True, False, True, False]
    first = outcomes[0]
    assert isinstance(first, wx.Success)
    assert uuids[5] in (first.value.get("id"), first.value.get("uuid"))


def test_fetch_each_reads_an_endless_generator_as_needed(wats: wx.Wats, uuids: list[str]) -> None:
    taken: list[str] = []

    def endless() -> Iterator[str]:
        for uuid in itertools.cycle(uuids):
            taken.append(uuid)
            yield uuid

    outcomes = wats.fetch_each("reports", endless())
    assert [outcome.key for outcome in itertools.islice(outcomes, 5)] == uuids[:5]
    assert len(taken) < 120


def test_astream_returns_the_same(wats: wx.Wats, uuids: list[str]) -> None:
    async def read() -> list[str]:
        return [
            uuid
            async for batch in wats.astream("report_headers", limit=50)
            for uuid in batch["uuid"].to_pylist()
        ]

    assert asyncio.run(read()) == uuids[:50]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda wats: wats.stream("report_header"), "did you mean 'report_headers'"),
        (lambda wats: wats.stream("reports", table="step"), "did you mean 'steps'"),
        (lambda wats: wats.stream("reports", chart=False), "did you mean 'charts'"),
        (lambda wats: wats.stream("report_headers", filter={"part": "A"}), "part"),
        (lambda wats: wats.stream("report_headers", since="soon"), "is not a date"),
        (lambda wats: wats.fetch("nothing", []), "there is no resource 'nothing'"),
    ],
)
def test_invalid_arguments_are_refused_at_once(wats: wx.Wats, call: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(wats)  # type: ignore[operator]


def test_master_data_by_key(wats: wx.Wats) -> None:
    parts = [part for batch in wats.stream("products") for part in batch["part_number"].to_pylist()]
    fetched = wats.fetch("product_details", [*parts[:3], "no such part"])
    assert fetched.tables["product_details"]["part_number"].to_pylist() == parts[:3]
    assert [failure.error_code for failure in fetched.failures] == ["NOT_FOUND"]


def test_commands_as_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Call them one after the other; other tests cover each of them."""
    monkeypatch.setenv("WATS_URL", "demo?reports=90")
    monkeypatch.delenv("WATS_TOKEN", raising=False)
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "version: 1\nname: headers\nsource: {url: '${WATS_URL}'}\n"
        f"destination: {{type: duckdb, path: '{(tmp_path / 'wats.duckdb').as_posix()}'}}\n"
        "resources: [{name: report_headers}]\n",
        encoding="utf-8",
    )
    with wx.demo(reports=90) as wats:
        starts = [start for batch in wats.stream("report_headers") for start in batch["start"].to_pylist()]
    middle = sorted(starts)[45]

    assert wx.plan(file).resources["report_headers"].new == 90
    assert wx.backfill(file, since=min(starts), until=middle).resources["report_headers"].items == 45
    assert wx.plan(str(file)).resources["report_headers"].new == 45
    assert wx.verify(file).resources["report_headers"].missing == 45
    assert wx.run(file).resources["report_headers"].items == 45
    assert wx.verify(file, only=["report_headers"]).status == "equal"
    assert (wx.retry(file, code="TIMEOUT").exit_code, wx.retry(file, keys=[ABSENT]).exit_code) == (0, 0)


@pytest.mark.parametrize("call", [wx.run, wx.plan, wx.verify, wx.retry])
def test_a_missing_file_is_named(call: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing\\.yaml"):
        call(tmp_path / "nothing.yaml")


def test_no_repr_shows_the_token() -> None:
    with wx.connect("http://127.0.0.1:9", token=TOKEN) as wats:
        assert TOKEN not in repr(wats) + repr(wats._client.connection) + str(vars(wats))


def test_the_variables_of_pywats_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WATS_URL", "WATS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYWATS_SERVER_URL", "https://example.wats.com/api/")
    monkeypatch.setenv("PYWATS_API_TOKEN", TOKEN)
    with wx.connect() as wats:
        assert wats.url == "https://example.wats.com"
