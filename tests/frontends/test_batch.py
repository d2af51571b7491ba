"""Items by key, for every resource of the catalogue: what a list says of them is what a batch gives."""

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
from tests.conftest import TOKEN

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

Server = Callable[..., tuple[App, str]]

ITEMS = 6
"""So many of each resource are asked for by key."""

ABSENT = "00000000-0000-4000-8000-000000000000"

PATH = "MainSequence Callback¶Functional test¶Power supplies¶3V3 rail"
MEASURED = {"part_number": "MODULE-310", "test_operation": "20"}

ASKED: dict[str, dict[str, Any]] = {
    "headers_by_misc_info": {"description": "Humidity", "data": "43"},
    "measurements": MEASURED | {"measurement_path": PATH},
    "aggregated_measurements": MEASURED | {"measurement_path": PATH},
    "step_analysis": MEASURED,
    "related_repairs": {"part_number": "MODULE-310", "revision": "02"},
}
"""What a resource has to be asked about; nothing lists that."""

QUESTIONS = {"measurements": f"MODULE-310|20|{PATH}"}
"""Keys that stand for several items: all that the list gives where it is asked the same.

The key of one item is found by a pipeline only, whose filter says where to look.
"""

MENTIONED = dict.fromkeys(("units", "unit_verifications", "serial_number_history"), "time_stamp")
"""The version of an item is that of the newest report that mentions it; by key, of the newest about it."""

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
"""What a key is that the server does not know, if not ``NOT_FOUND``; nothing where it answers for any."""

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
    """The rows of the first items, as the resource's own list gives them."""
    limit = None if name in (*MENTIONED, *QUESTIONS) else ITEMS
    asked = {"filter": ASKED.get(name), "limit": limit, **options(RESOURCES[name])}
    return [row for batch in wats.stream(name, table=table, **asked) for row in batch.to_pylist()]


def keys_of(wats: wx.Wats, resource: Resource) -> list[str]:
    """The keys of the first items, the last one first."""
    if resource.name in QUESTIONS:
        return [QUESTIONS[resource.name]]
    found = [str(row[resource.table.owner]) for row in listed(wats, resource.name, resource.table.name)]
    assert found, "the embedded server has none"
    return list(dict.fromkeys(found))[:ITEMS][::-1]


def of_keys(
    resource: Resource, rows: list[dict[str, Any]], owner: str, keys: list[str]
) -> list[dict[str, Any]]:
    """The rows of these keys, in the order of the keys."""
    if resource.name in QUESTIONS:
        return rows
    differs = MENTIONED.get(resource.name)
    alike = [{name: value for name, value in row.items() if name != differs} for row in rows]
    return [row for key in keys for row in alike if str(row[owner]) == key]


def absent(resource: Resource) -> str:
    """A key of the right shape that the server does not have."""
    [owner] = [column for column in resource.table.columns if column.name == resource.table.owner]
    if owner.kind == "uuid" or "uuid" in owner.name:
        return ABSENT
    if pa.types.is_integer(owner.type):
        return "2147483000"
    return "no such|key" if owner.name in ("unit_key", "revision_key") else "no such key"


# ── every resource ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_keys_give_the_rows_that_the_list_gives(wats: wx.Wats, name: str) -> None:
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
def test_a_key_that_is_unknown_disturbs_no_other(wats: wx.Wats, name: str) -> None:
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
def test_the_first_failure_can_be_raised(wats: wx.Wats, name: str) -> None:
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
def test_endless_keys_are_taken_as_needed(wats: wx.Wats, name: str) -> None:
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
def test_what_failed_is_fetched_again(wats: wx.Wats, tmp_path: Path, name: str) -> None:
    resource = RESOURCES[name]
    key = str(listed(wats, name, resource.table.name)[0][resource.table.owner])
    unknown, code = absent(resource), "NOT_FOUND" if name in QUESTIONS else UNKNOWN.get(name, "NOT_FOUND")
    file = pipeline(tmp_path, wats.url, resource)
    failed_before(file, [failure(name, key), failure(name, unknown)])

    report = wx.retry(file)
    assert (report.exit_code, report.open_failures) == ((3, 1) if code else (0, 0)), report.message

    destination = destination_of(load(file, catalogue=RESOURCES))
    destination.open(read_only=True)
    again = {row["key"]: (row["status"], row["error_code"]) for row in destination.read(FAILURES).to_pylist()}
    assert again == {key: ("resolved", "API_ERROR"), unknown: ("open", code) if code else again[key]}
    fetched = wats.fetch(name, [key, unknown], **options(resource))
    counts = {table: rows.num_rows for table, rows in fetched.tables.items()}
    assert destination.count(resource.tables) == counts if name not in QUESTIONS else {name: 1}
    destination.close()


def pipeline(folder: Path, url: str, resource: Resource) -> Path:
    """A pipeline file with this resource alone."""
    asked = {"filter": ASKED[resource.name]} if resource.name in ASKED else {}
    said = "".join(
        f"\n    {name}: {json.dumps(value)}" for name, value in (asked | options(resource)).items()
    )
    file = folder / "pipeline.yaml"
    file.write_text(
        f"version: 1\nname: again\n"
        f"source: {{url: '{url}', token: '${{BATCH_TOKEN}}'}}\n"
        f"destination: {{type: parquet, path: '{(folder / 'wats').as_posix()}'}}\n"
        f"resources:\n  - name: {resource.name}{said}\n",
        encoding="utf-8",
    )
    return file


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_TOKEN", TOKEN)


def failure(resource: str, key: str) -> Failure:
    return Failure(resource, key, "fetch", "API_ERROR", "HTTP 500")


def failed_before(file: Path, failures: list[Failure]) -> None:
    """What an earlier run has left."""
    pipeline = load(file, catalogue=RESOURCES)
    destination = destination_of(pipeline)
    destination.open()
    destination.prepare(BOOKKEEPING)
    book = OpenFailures.of(destination, pipeline.name)
    rows = book.rows_for(failures, (), run_id="earlier", now=datetime(2026, 3, 1, tzinfo=UTC))
    destination.commit(Commit("earlier", {}, {}, frozenset(), {FAILURES: rows}))
    destination.close()


# ── many at the same time, and stopped ──────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def uuids(app: App) -> list[str]:
    return [header["uuid"] for header in app.plant.headers()]


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wats-extract"]


def soon(true: Callable[[], bool], *, seconds: float = 10.0) -> bool:
    """Whether it becomes true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(("most", "seen"), [(None, 10), (3, 3), (1, 1), (50, 10)])
def test_so_many_at_the_same_time(server: Server, uuids: list[str], most: int | None, seen: int) -> None:
    app, url = server(Plant(120), latency=0.05)
    with wx.connect(url, token=TOKEN) as wats:
        keys = uuids[: 4 * seen]
        fetched = wats.fetch("reports", keys, max_in_flight=most)
        outcomes = list(wats.fetch_each("reports", keys, max_in_flight=most))
    assert fetched.tables["reports"]["uuid"].to_pylist() == keys
    assert [outcome.key for outcome in outcomes if outcome.ok] == keys
    assert app.high_water in (seen, seen + 1), "a request counts until the server has noticed that it is over"


def test_two_batches_share_what_the_connection_allows(server: Server, uuids: list[str]) -> None:
    app, url = server(Plant(120), latency=0.05)
    with wx.connect(url, token=TOKEN, max_in_flight=4) as wats:

        async def both() -> list[wx.Fetched]:
            return await asyncio.gather(*(wats.afetch("reports", uuids[at : at + 20]) for at in (0, 20)))

        first, second = asyncio.run(both())
    assert first.tables["reports"]["uuid"].to_pylist() == uuids[:20]
    assert second.tables["reports"]["uuid"].to_pylist() == uuids[20:40]
    assert app.high_water in (4, 5)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"max_in_flight": 0}, "max_in_flight: should be a whole number from 1, not 0"),
        ({"chunk_size": 0}, "chunk_size: should be a whole number from 1 to 10,000, not 0"),
        ({"chunk": 3}, "chunk: is not an option of reports"),
    ],
)
def test_what_is_wrong_is_told_before_any_request(wats: wx.Wats, how: dict[str, Any], says: str) -> None:
    for fetch in (wats.fetch, wats.fetch_each, wats.afetch_each):
        with pytest.raises(ConfigurationError, match=says):
            fetch("reports", [ABSENT], **how)


def test_chunks_tell_how_far_it_is_and_keep_the_order(wats: wx.Wats, uuids: list[str]) -> None:
    progress: list[int] = []
    fetched = wats.fetch("reports", uuids[:25], chunk_size=10, on_progress=progress.append)
    assert progress == [10, 20, 25]
    assert fetched.tables["reports"]["uuid"].to_pylist() == uuids[:25]
    each: list[int] = []
    assert len(list(wats.fetch_each("reports", uuids[:5], on_progress=each.append))) == 5
    assert each == [1, 2, 3, 4, 5]


def test_what_was_fetched_is_shown_in_a_line(wats: wx.Wats, uuids: list[str]) -> None:
    fetched = wats.fetch("report_headers", [*uuids[:3], ABSENT])
    assert repr(fetched) == "<Fetched rows report_headers: 3; failures: 1>"
    assert repr(wats.fetch("reports", [])) == "<Fetched rows none; failures: 0>"


def test_a_key_that_is_given_twice_is_fetched_once(wats: wx.Wats, uuids: list[str]) -> None:
    keys = [uuids[0], uuids[1], uuids[0], ABSENT, ABSENT]
    for name in ("reports", "report_headers"):
        fetched = wats.fetch(name, keys)
        assert fetched.tables[name]["uuid"].to_pylist() == uuids[:2]
        assert len(fetched.failures) == 1
        assert [outcome.key for outcome in wats.fetch_each(name, keys)] == keys


def test_after_the_first_failure_nothing_is_asked_for(server: Server, uuids: list[str]) -> None:
    app, url = server(Plant(120), latency=0.02)
    with wx.connect(url, token=TOKEN, max_in_flight=2) as wats:
        with pytest.raises(wx.KeyFailed) as raised:
            wats.fetch("reports", [*uuids[:3], ABSENT, *uuids[3:]], fail_fast=True)
        assert raised.value.failure.error_code == "NOT_FOUND"
        assert soon(lambda: not reading_threads())
        assert app.total < 60, "what was under way before its turn came, and no more"
        assert len(list(wats.fetch_each("reports", uuids[:5]))) == 5, "the connection still serves"


def test_leaving_early_leaves_no_thread(wats: wx.Wats, uuids: list[str]) -> None:
    outcomes = wats.fetch_each("reports", itertools.cycle(uuids))
    assert next(outcomes).ok
    outcomes.close()
    stream = wats.stream("reports", chunk_size=5)
    assert next(stream).num_rows == 5
    stream.close()
    assert soon(lambda: not reading_threads())


def test_closing_the_connection_ends_what_waits(server: Server, uuids: list[str]) -> None:
    """The server asks for a minute of patience, in which nobody is interested any more."""
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
        assert soon(lambda: app.total > 8)
    reading.join(timeout=10)
    assert len(ended) == 1
    assert soon(lambda: not reading_threads())


# ── from asyncio ────────────────────────────────────────────────────────────────────────────────


def test_asyncio_gets_the_same(wats: wx.Wats, uuids: list[str]) -> None:
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
def test_cancelling_ends_the_work(
    server: Server, uuids: list[str], call: str, quirks: dict[str, Any]
) -> None:
    """Whether it waits for a minute that the server asks for, or for answers."""
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
        assert soon(lambda: not reading_threads())


def test_leaving_early_leaves_no_thread_from_asyncio(wats: wx.Wats, uuids: list[str]) -> None:
    async def first() -> Any:
        async with aclosing(wats.afetch_each("reports", itertools.cycle(uuids))) as outcomes:
            return await anext(outcomes)

    assert asyncio.run(first()).key == uuids[0]
    assert soon(lambda: not reading_threads())


# ── what became of them ─────────────────────────────────────────────────────────────────────────


def test_outcomes_are_told_apart(wats: wx.Wats, uuids: list[str]) -> None:
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


# ── what is written about it ────────────────────────────────────────────────────────────────────


def test_the_page_names_every_resource_with_route_and_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | `{each.route}` | `{each.key}` |" for name, each in RESOURCES.items()]
    assert [row for row in rows if row not in page] == []
    named = re.findall(r"^\| `(\w+)` \| `", page, re.MULTILINE)
    assert sorted(named) == sorted(RESOURCES)


@pytest.mark.parametrize("method", ["fetch", "fetch_each", "afetch", "afetch_each"])
def test_each_docstring_says_route_key_memory_and_rate(method: str) -> None:
    said = (getattr(wx.Wats, method).__doc__ or "").lower()
    assert [word for word in ("route", "key", "memory", "request", "budget") if word not in said] == []
