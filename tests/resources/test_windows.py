"""The windows of a plan together have exactly the rows of one stream, however a resource is divided.

Windows are read in any order, in spawned processes, through the public API.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import TOKEN, fewer_examples
from tests.every_resource import SETTINGS

import wats_extract as wx
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.flow import Everything, Keys, Numbers, Selection, Times, Window
from wats_extract.resources.catalogue import RESOURCES

REPORTS = 70


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(App(Plant(REPORTS), token=TOKEN, page_cap=20)) as server:
        yield server.url


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def asked(name: str) -> dict[str, Any]:
    internal = {"internal": True} if RESOURCES[name].internal else {}
    return {**internal, **SETTINGS.get(name, {})}


def connected(url: str) -> wx.Wats:
    return wx.connect(url, token=TOKEN, requests_per_minute=1_000_000)


def canonical(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)


def read(url: str, pickled: bytes, table: str) -> list[str]:
    """Unpickle a window and read it with a connection of its own, as a worker does."""
    with connected(url) as wats:
        return canonical(wats.read(pickle.loads(pickled), table=table).read_all().to_pylist())


@cache
def streamed(url: str, name: str, table: str) -> list[str]:
    with connected(url) as wats:
        return canonical(wats.stream(name, table=table, **asked(name)).read_all().to_pylist())


@pytest.mark.parametrize("name", RESOURCES)
@settings(fewer_examples(100))
@given(parts=st.integers(1, 9), data=st.data())
def test_all_windows_together_equal_the_stream(
    name: str, url: str, workers: ProcessPoolExecutor, parts: int, data: st.DataObject
) -> None:
    check_windows(name, url, workers, parts, data)


@pytest.mark.long
@pytest.mark.parametrize("name", RESOURCES)
@settings(fewer_examples(250))
@given(parts=st.integers(10, 200), data=st.data())
def test_many_windows_together_equal_the_stream(
    name: str, url: str, workers: ProcessPoolExecutor, parts: int, data: st.DataObject
) -> None:
    check_windows(name, url, workers, parts, data)


def check_windows(name: str, url: str, workers: ProcessPoolExecutor, parts: int, data: st.DataObject) -> None:
    """Read the windows of a plan in worker processes, and compare their rows with those of one stream."""
    table = data.draw(st.sampled_from(RESOURCES[name].tables), "table").name
    with connected(url) as wats:
        windows = wats.plan(name, parts=parts, **asked(name))
    assert 1 <= len(windows) <= parts
    pickled = [pickle.dumps(window) for window in windows]
    assert [pickle.loads(each) for each in pickled] == windows
    order = data.draw(st.permutations(pickled), "order")
    found = [
        row for rows in workers.map(read, [url] * len(order), order, [table] * len(order)) for row in rows
    ]
    assert sorted(found) == streamed(url, name, table)


@pytest.mark.parametrize("name", ["report_headers", "reports", "uut_reports", "measurements", "asset_logs"])
def test_large_lists_are_divided_into_several_windows_with_rows(name: str, url: str) -> None:
    with connected(url) as wats:
        january = {} if name == "asset_logs" else {"since": "2026-01-04", "until": "2026-01-07"}
        windows = wats.plan(name, parts=5, **january, **asked(name))
        sizes = [wats.read(window).read_all().num_rows for window in windows]
    assert len(windows) == 5
    assert sum(size > 0 for size in sizes) >= 2, sizes
    assert all(isinstance(window.bounds, Numbers | Times) for window in windows)


@pytest.mark.parametrize(
    "bounds",
    [
        Everything(),
        Numbers(None, 7),
        Numbers(7, None),
        Times(datetime(2026, 1, 1, tzinfo=UTC), None),
        Keys(("a", "b")),
    ],
    ids=repr,
)
def test_a_window_equals_itself_after_pickling(bounds: Any) -> None:
    selection = Selection(since=datetime(2026, 1, 1, tzinfo=UTC), options={"expand": ["subUnits"]})
    window = Window("reports", selection, bounds)
    assert pickle.loads(pickle.dumps(window)) == window


def test_if_the_server_refuses_the_keyset_windows_are_divided_by_start(
    server: Callable[..., tuple[App, str]],
) -> None:
    _, url = server(Plant(60), page_cap=20, refuse_keyset=True)
    with connected(url) as wats:
        windows = wats.plan("report_headers", parts=4)
        rows = [row for window in windows for row in wats.read(window).read_all().to_pylist()]
        expected = wats.stream("report_headers").read_all().to_pylist()
    assert len(windows) == 4
    assert all(isinstance(window.bounds, Times) for window in windows)
    assert canonical(rows) == canonical(expected)


def test_a_new_interpreter_can_read_a_window(url: str) -> None:
    with connected(url) as wats:
        window = wats.plan("report_headers", parts=3)[1]
        expected = wats.read(window).read_all().num_rows
    code = (
        "import pickle, sys, wats_extract as wx\n"
        "window = pickle.loads(sys.stdin.buffer.read())\n"
        f"with wx.connect({url!r}, token={TOKEN!r}) as wats:\n"
        "    print(wats.read(window, table='report_headers').read_all().num_rows)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(window), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(expected).encode()), done.stderr.decode()


def test_planning_a_single_window_sends_no_request(server: Callable[..., tuple[App, str]]) -> None:
    app, url = server()
    with connected(url) as wats:
        for name in RESOURCES:
            (window,) = wats.plan(name, **asked(name))
            assert window.resource == name
    assert app.total == 0


def test_a_limit_makes_a_single_window(url: str) -> None:
    with connected(url) as wats:
        (window,) = wats.plan("reports", parts=8, limit=5)
        assert wats.read(window).read_all().num_rows == 5
