"""Items fetched by key, for every resource: they are the same as in the resource's own list."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conftest import TOKEN, Server
from tests.waiting import wait_until

import wats_extract as wx
from wats_extract.errors import ConfigurationError, Interrupted
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.flow import Commit, Failure
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.readers.reader import KEYS_AHEAD
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.state.failures import OpenFailures
from wats_extract.state.tables import BOOKKEEPING, FAILURES

ITEMS = 6
"""Number of items that are fetched per resource."""

ABSENT = "00000000-0000-4000-8000-000000000000"

PATH = "MainSequence Callback¶Functional test¶Power supplies¶3V3 rail"
MEASURED = {"part_number": "MODULE-310", "test_operation": "20"}

FILTERS: dict[str, dict[str, Any]] = {
    "headers_by_misc_info": {"description": "Humidity", "data": "43"},
    "measurements": MEASURED | {"measurement_path": PATH},
    "aggregated_measurements": MEASURED | {"measurement_path": PATH},
    "step_analysis": MEASURED,
    "related_repairs": {"part_number": "MODULE-310", "revision": "02"},
}
"""Required filters by resource."""

GROUP_KEYS = {"measurements": f"MODULE-310|20|{PATH}"}
"""Keys that select several items: all items of the list with this filter.

Single items have keys as well, but only a pipeline finds them, because its filter says where to look.
"""

VERSION_DIFFERS = dict.fromkeys(("units", "unit_verifications", "serial_number_history"), "time_stamp")
"""Columns by resource that differ between list and fetch.

In a list, the version of an item is that of the newest report that mentions it. By key, it is that of the
newest report about it.
"""

UNKNOWN = {
    "serial_numbers": "API_ERROR",
    "measurements": "API_ERROR",
    "product_group_memberships": "",
    "unit_verifications": "",
    "serial_number_history": "",
    "asset_statuses": "",
    "sub_assets": "",
    "package_files": "",
}
"""Error code of an unknown key where it is not ``NOT_FOUND``; empty where the server accepts any key."""

NAMES = list(RESOURCES)


@pytest.fixture(scope="module")
def app() -> App:
    return App(Plant(120), token=TOKEN)


@pytest.fixture(scope="module")
def wats(app: App) -> Iterator[wx.Wats]:
    with serve(app) as server, wx.connect(server.url, token=TOKEN) as wats:
        yield wats


def options(resource: Resource) -> dict[str, Any]:
    return {"internal": True} if resource.internal else {}


@cache
def listed(wats: wx.Wats, name: str, table: str) -> list[dict[str, Any]]:
    """The rows of the first items in the resource's own list."""
    limit = None if name in (*VERSION_DIFFERS, *GROUP_KEYS) else ITEMS
    selection = {"filter": FILTERS.get(name), "limit": limit, **options(RESOURCES[name])}
    return [row for batch in wats.stream(name, table=table, **selection) for row in batch.to_pylist()]


def keys_of(wats: wx.Wats, resource: Resource) -> list[str]:
    """The keys of the first items, in reverse order."""
    if resource.name in GROUP_KEYS:
        return [GROUP_KEYS[resource.name]]
    found = [str(row[resource.table.owner]) for row in listed(wats, resource.name, resource.table.name)]
    assert found, "the embedded server has no items"
    return list(dict.fromkeys(found))[:ITEMS][::-1]


def of_keys(
    resource: Resource, rows: list[dict[str, Any]], owner: str, keys: list[str]
) -> list[dict[str, Any]]:
    """The rows with these keys, in the order of the keys."""
    if resource.name in GROUP_KEYS:
        return rows
    differs = VERSION_DIFFERS.get(resource.name)
    alike = [{name: value for name, value in row.items() if name != differs} for row in rows]
    return [row for key in keys for row in alike if str(row[owner]) == key]


def absent(resource: Resource) -> str:
    """A well-formed key that the server does not have."""
    [owner] = [column for column in resource.table.columns if column.name == resource.table.owner]
    if owner.kind == "uuid" or "uuid" in owner.name:
        return ABSENT
    if pa.types.is_integer(owner.type):
        return "2147483000"
    return "no such|key" if owner.name in ("unit_key", "revision_key") else "no such key"


# ── every resource ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_fetch_returns_the_rows_of_the_list(wats: wx.Wats, name: str) -> None:
    resource = RESOURCES[name]
    keys = keys_of(wats, resource)
    fetched = wats.fetch(name, (key for key in keys), **options(resource))
    assert fetched.failures == []
    assert set(fetched.tables) == {table.name for table in resource.tables}
    for table in resource.tables:
        rows = fetched.tables[table.name].to_pylist()
        wanted = of_keys(resource, listed(wats, resource.name, table.name), table.owner, keys)
        assert of_keys(resource, rows, table.owner, keys) == wanted, table.name
        assert len(rows) == len(wanted)
        assert fetched.tables[table.name].schema == table.shredded_schema


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_does_not_affect_other_keys(wats: wx.Wats, name: str) -> None:
    resource = RESOURCES[name]
    first, *rest = keys_of(wats, resource)[:3]
    unknown, code = absent(resource), UNKNOWN.get(name, "NOT_FOUND")
    keys = [first, unknown, *rest]
    progress: list[int] = []
    whole = wats.fetch(name, [first, *rest], **options(resource))
    fetched = wats.fetch(name, keys, on_progress=progress.append, **options(resource))
    assert [(each.key, each.error_code) for each in fetched.failures] == [(unknown, code)] * bool(code)
    for table in resource.tables:
        rows = fetched.tables[table.name].to_pylist()
        assert [row for row in rows if str(row[table.owner]) != unknown] == whole.tables[
            table.name
        ].to_pylist()
    assert progress == sorted(progress) != []
    outcomes = list(wats.fetch_each(name, keys, **options(resource)))
    assert [outcome.key for outcome in outcomes] == keys
    assert [outcome.ok for outcome in outcomes] == [key != unknown or not code for key in keys]


@pytest.mark.parametrize("name", [name for name in NAMES if UNKNOWN.get(name) != ""])
def test_fail_fast_raises_the_first_failure(wats: wx.Wats, name: str) -> None:
    resource = RESOURCES[name]
    keys = [*keys_of(wats, resource)[:1], absent(resource)]
    with pytest.raises(wx.KeyFailed) as raised:
        wats.fetch(name, keys, fail_fast=True, **options(resource))
    assert raised.value.failure == wats.fetch(name, keys, **options(resource)).failures[0]
    outcomes = wats.fetch_each(name, keys, fail_fast=True, **options(resource))
    assert next(outcomes).ok
    with pytest.raises(wx.KeyFailed, match=RESOURCES[name].name):
        next(outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_keys_of_an_endless_iterator_are_read_as_needed(wats: wx.Wats, name: str) -> None:
    resource = RESOURCES[name]
    taken, keys = 0, keys_of(wats, resource)[:2]

    def endless() -> Iterator[str]:
        nonlocal taken
        for key in itertools.cycle(keys):
            taken += 1
            yield key

    outcomes = wats.fetch_each(name, endless(), chunk_size=8, max_in_flight=4, **options(resource))
    assert [next(outcomes).ok for _ in range(3)] == [True, True, True]
    outcomes.close()
    at_once = getattr(getattr(resource.reader, "listing", None), "keys_at_once", 1)
    assert taken <= (100_000 if at_once > KEYS_AHEAD else KEYS_AHEAD)


@pytest.mark.parametrize("name", NAMES)
def test_retry_fetches_failed_keys_again(wats: wx.Wats, tmp_path: Path, name: str) -> None:
    resource = RESOURCES[name]
    key = str(listed(wats, name, resource.table.name)[0][resource.table.owner])
    unknown, code = absent(resource), "NOT_FOUND" if name in GROUP_KEYS else UNKNOWN.get(name, "NOT_FOUND")
    file = pipeline(tmp_path, wats.url, resource)
    record_failures(file, [failure(name, key), failure(name, unknown)])

    report = wx.retry(file)
    assert (report.exit_code, report.open_failures) == ((3, 1) if code else (0, 0)), report.message

    destination = destination_of(load(file, catalogue=RESOURCES))
    destination.open(read_only=True)
    again = {row["key"]: (row["status"], row["error_code"]) for row in destination.read(FAILURES).to_pylist()}
    assert again == {key: ("resolved", "API_ERROR"), unknown: ("open", code) if code else again[key]}
    fetched = wats.fetch(name, [key, unknown], **options(resource))
    counts = {table: rows.num_rows for table, rows in fetched.tables.items()}
    assert destination.count(resource.tables) == counts if name not in GROUP_KEYS else {name: 1}
    destination.close()


def pipeline(folder: Path, url: str, resource: Resource) -> Path:
    """Write a pipeline file with only this resource."""
    settings = {"filter": FILTERS[resource.name]} if resource.name in FILTERS else {}
    lines = "".join(
        f"\n    {name}: {json.dumps(value)}" for name, value in (settings | options(resource)).items()
    )
    file = folder / "pipeline.yaml"
    file.write_text(
        f"version: 1\nname: again\n"
        f"source: {{url: '{url}', token: '${{BATCH_TOKEN}}'}}\n"
        f"destination: {{type: parquet, path: '{(folder / 'wats').as_posix()}'}}\n"
        f"resources:\n  - name: {resource.name}{lines}\n",
        encoding="utf-8",
    )
    return file


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_TOKEN", TOKEN)


def failure(resource: str, key: str) -> Failure:
    return Failure(resource, key, "fetch", "API_ERROR", "HTTP 500")


def record_failures(file: Path, failures: list[Failure]) -> None:
    """Record failures in the destination, as an earlier run would."""
    pipeline = load(file, catalogue=RESOURCES)
    destination = destination_of(pipeline)
    destination.open()
    destination.prepare(BOOKKEEPING)
    book = OpenFailures.of(destination, pipeline.name)
    rows = book.rows_for(failures, (), run_id="earlier", now=datetime(2026, 3, 1, tzinfo=UTC))
    destination.commit(Commit("earlier", {}, {}, frozenset(), {FAILURES: rows}))
    destination.close()


# ── concurrency and early ends ──────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def uuids(app: App) -> list[str]:
    return [header["uuid"] for header in app.plant.headers()]


def wait_until_no_thread_reads() -> None:
    wait_until(lambda: all(thread.name != "wats-extract" for thread in threading.enumerate()))


@pytest.mark.parametrize(("most", "seen"), [(None, 10), (3, 3), (1, 1), (50, 10)])
def test_max_in_flight_limits_concurrent_requests(
    server: Server, uuids: list[str], most: int | None, seen: int
) -> None:
    app, url = server(Plant(120), latency=0.05)
    with wx.connect(url, token=TOKEN) as wats:
        keys = uuids[: 4 * seen]
        fetched = wats.fetch("reports", keys, max_in_flight=most)
        outcomes = list(wats.fetch_each("reports", keys, max_in_flight=most))
    assert fetched.tables["reports"]["uuid"].to_pylist() == keys
    assert [outcome.key for outcome in outcomes if outcome.ok] == keys
    assert app.high_water in (seen, seen + 1), "the server may count a request that has just ended"


def test_two_batches_share_the_limit_of_their_connection(server: Server, uuids: list[str]) -> None:
    app, url = server(Plant(120), latency=0.05)
    with wx.connect(url, token=TOKEN, max_in_flight=4) as wats:

        async def both() -> list[wx.Fetched]:
            return await asyncio.gather(*(wats.afetch("reports", uuids[at : at + 20]) for at in (0, 20)))

        first, second = asyncio.run(both())
    assert first.tables["reports"]["uuid"].to_pylist() == uuids[:20]
    assert second.tables["reports"]["uuid"].to_pylist() == uuids[20:40]
    assert app.high_water in (4, 5)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight: should be a whole number from 1, not 0"),
        ({"chunk_size": 0}, "chunk_size: should be a whole number from 1 to 10,000, not 0"),
        ({"chunk": 3}, "chunk: is not an option of reports"),
    ],
)
def test_invalid_options_are_refused_before_any_request(
    wats: wx.Wats, limits: dict[str, Any], message: str
) -> None:
    for fetch in (wats.fetch, wats.fetch_each, wats.afetch_each):
        with pytest.raises(ConfigurationError, match=message):
            fetch("reports", [ABSENT], **limits)


def test_progress_is_reported_per_chunk_and_the_order_is_kept(wats: wx.Wats, uuids: list[str]) -> None:
    progress: list[int] = []
    fetched = wats.fetch("reports", uuids[:25], chunk_size=10, on_progress=progress.append)
    assert progress == [10, 20, 25]
    assert fetched.tables["reports"]["uuid"].to_pylist() == uuids[:25]
    each: list[int] = []
    assert len(list(wats.fetch_each("reports", uuids[:5], on_progress=each.append))) == 5
    assert each == [1, 2, 3, 4, 5]


def test_the_repr_of_a_result_is_one_line(wats: wx.Wats, uuids: list[str]) -> None:
    fetched = wats.fetch("report_headers", [*uuids[:3], ABSENT])
    assert repr(fetched) == "<Fetched rows report_headers: 3; failures: 1>"
    assert repr(wats.fetch("reports", [])) == "<Fetched rows none; failures: 0>"


def test_a_repeated_key_is_fetched_once(wats: wx.Wats, uuids: list[str]) -> None:
    keys = [uuids[0], uuids[1], uuids[0], ABSENT, ABSENT]
    for name in ("reports", "report_headers"):
        fetched = wats.fetch(name, keys)
        assert fetched.tables[name]["uuid"].to_pylist() == uuids[:2]
        assert len(fetched.failures) == 1
        assert [outcome.key for outcome in wats.fetch_each(name, keys)] == keys


def test_fail_fast_sends_no_more_requests_after_a_failure(server: Server, uuids: list[str]) -> None:
    app, url = server(Plant(120), latency=0.02)
    with wx.connect(url, token=TOKEN, max_in_flight=2) as wats:
        with pytest.raises(wx.KeyFailed) as raised:
            wats.fetch("reports", [*uuids[:3], ABSENT, *uuids[3:]], fail_fast=True)
        assert raised.value.failure.error_code == "NOT_FOUND"
        wait_until_no_thread_reads()
        assert app.total < 60, "only requests that were in flight already"
        assert len(list(wats.fetch_each("reports", uuids[:5]))) == 5, "the connection still works"


def test_closing_an_iterator_early_ends_its_threads(wats: wx.Wats, uuids: list[str]) -> None:
    outcomes = wats.fetch_each("reports", itertools.cycle(uuids))
    assert next(outcomes).ok
    outcomes.close()
    stream = wats.stream("reports", chunk_size=5)
    assert next(stream).num_rows == 5
    stream.close()
    wait_until_no_thread_reads()


def test_closing_the_connection_interrupts_a_fetch(server: Server, uuids: list[str]) -> None:
    """The fetch is waiting for a minute, as the server's ``Retry-After`` demands."""
    app, url = server(Plant(120), requests_per_minute=8)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            wats.fetch("reports", uuids)
        except Interrupted as error:
            ended.append(error)

    with wx.connect(url, token=TOKEN) as wats:
        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        wait_until(lambda: app.total > 8)
    reading.join(timeout=10)
    assert len(ended) == 1
    wait_until_no_thread_reads()


# ── asyncio ─────────────────────────────────────────────────────────────────────────────────────


def test_async_methods_return_the_same(wats: wx.Wats, uuids: list[str]) -> None:
    keys = [*uuids[:4], ABSENT]

    async def read() -> tuple[wx.Fetched, list[Any]]:
        each = wats.afetch_each("reports", iter(keys), max_in_flight=2)
        return await wats.afetch("reports", iter(keys)), [outcome async for outcome in each]

    fetched, outcomes = asyncio.run(read())
    assert fetched == wats.fetch("reports", keys)
    assert outcomes == list(wats.fetch_each("reports", keys))

    async def fail() -> None:
        await wats.afetch("reports", keys, fail_fast=True)

    with pytest.raises(wx.KeyFailed, match=ABSENT):
        asyncio.run(fail())


async def all_of(values: AsyncGenerator[Any]) -> list[Any]:
    return [value async for value in values]


CALLS: dict[str, Callable[[wx.Wats, list[str]], Any]] = {
    "afetch": lambda wats, uuids: wats.afetch("reports", uuids),
    "afetch_each": lambda wats, uuids: all_of(wats.afetch_each("reports", uuids)),
    "astream": lambda wats, uuids: all_of(wats.astream("reports")),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("quirks", [{"requests_per_minute": 1}, {"latency": 1.0}], ids=str)
def test_cancelling_a_task_ends_its_requests(
    server: Server, uuids: list[str], call: str, quirks: dict[str, Any]
) -> None:
    """Both while it waits for a minute, as the server demands, and while it waits for responses."""
    app, url = server(Plant(120), **quirks)
    at_least = 2 if "requests_per_minute" in quirks else 1

    async def cancelled() -> float:
        task = asyncio.ensure_future(CALLS[call](wats, uuids))
        while app.total < at_least and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        begin = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begin

    with wx.connect(url, token=TOKEN) as wats:
        assert asyncio.run(cancelled()) < 5
        wait_until_no_thread_reads()


def test_closing_an_async_iterator_early_ends_its_threads(wats: wx.Wats, uuids: list[str]) -> None:
    async def first() -> Any:
        async with aclosing(wats.afetch_each("reports", itertools.cycle(uuids))) as outcomes:
            return await anext(outcomes)

    assert asyncio.run(first()).key == uuids[0]
    wait_until_no_thread_reads()


# ── results ─────────────────────────────────────────────────────────────────────────────────────


def test_outcomes_are_divided_into_successes_and_failures(wats: wx.Wats, uuids: list[str]) -> None:
    keys = [uuids[0], ABSENT, uuids[1]]
    outcomes = list(wats.fetch_each("report_headers", keys))
    values, failures = wx.partition(iter(outcomes))
    assert [value["uuid"] for value in values] == uuids[:2]
    assert values == wx.collect_successes(outcomes)
    assert failures == wx.collect_failures(outcomes) == [outcomes[1]]
    [failed] = failures
    assert failed.details["key"] == ABSENT
    assert failed.details["http_status"] is None
    assert failed.suggestions == [failed.hint] != []


# ── documentation ───────────────────────────────────────────────────────────────────────────────


def test_the_page_lists_every_resource_with_route_and_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | `{each.route}` | `{each.key}` |" for name, each in RESOURCES.items()]
    assert [row for row in rows if row not in page] == []
    named = re.findall(r"^\| `(\w+)` \| `", page, re.MULTILINE)
    assert sorted(named) == sorted(RESOURCES)


@pytest.mark.parametrize("method", ["fetch", "fetch_each", "afetch", "afetch_each"])
def test_docstrings_mention_route_key_memory_and_budget(method: str) -> None:
    said = (getattr(wx.Wats, method).__doc__ or "").lower()
    assert [word for word in ("route", "key", "memory", "request", "budget") if word not in said] == []
