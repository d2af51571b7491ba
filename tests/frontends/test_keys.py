"""Keys of every type: converted to text, or a failure that does not affect the other keys."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from tests.conftest import TOKEN
from tests.frontends.test_batch import ABSENT, keys_of, options

import wats_extract as wx
from wats_extract.engine.fetching import NoKey, each_key
from wats_extract.errors import ConfigurationError
from wats_extract.fake.app import App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.resources.catalogue import RESOURCES


class Index:
    """A whole number of another library, such as NumPy's."""

    def __index__(self) -> int:
        return 7


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


CONVERTED = [
    ("abc", "abc"),
    ("", ""),
    (b"abc", "abc"),
    (7, "7"),
    (-(10**30), str(-(10**30))),
    (Index(), "7"),
    (7.0, "7"),
    (UUID(ABSENT), ABSENT),
    (pa.scalar("abc"), "abc"),
    (pa.scalar(7), "7"),
    ("\U0001f527", "\U0001f527"),
]
NO_KEYS: list[Any] = [
    *(None, True, 1.5, math.nan, math.inf, Decimal(1), object(), Unprintable(), pa.scalar(None)),
    *("\ud800", "\udfff", "a\ud83d\ude00", b"\xff"),
]
NESTED: list[Any] = [["a"], ("a", "b"), {"a": 1}]
"""No keys, but iterable: given alone, they are several keys."""

STRANGE = ["", " ", "\0", "a\nb", ".", "..", "a/b", "%2e%2e", "'", '"', "?x=1", "#", "\U0001f527", "x" * 3000]


@pytest.mark.parametrize(("key", "text"), CONVERTED, ids=lambda value: type(value).__name__)
def test_a_key_is_converted_and_a_single_value_is_one_key(key: object, text: str) -> None:
    assert list(each_key(key)) == [text]
    assert list(each_key([key, "b"])) == [text, "b"]


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: type(key).__name__)
def test_other_values_are_no_keys_and_can_be_shown(key: object) -> None:
    for given in (key, [key], iter([key])):
        (found,) = each_key(given)
        assert isinstance(found, NoKey)
        assert found.text.encode()
        assert found.reason


def test_keys_come_from_any_iterable() -> None:
    texts = ["a", "b"]
    given: list[Any] = [texts, tuple(texts), iter(texts), dict.fromkeys(texts), pa.array(texts)]
    for keys in (*given, pa.chunked_array([texts]), pl.Series(texts)):
        assert list(each_key(keys)) == texts


def test_an_error_of_the_callers_iterable_is_raised() -> None:
    def keys() -> Iterator[str]:
        yield "a"
        raise TypeError("mine")

    found = each_key(keys())
    assert next(found) == "a"
    with pytest.raises(TypeError, match="mine"):
        next(found)


@pytest.fixture(scope="module")
def wats() -> Iterator[wx.Wats]:
    with serve(App(Plant(120), token=TOKEN)) as server, wx.connect(server.url, token=TOKEN) as wats:
        yield wats


@pytest.mark.parametrize("name", RESOURCES)
def test_no_key_of_any_resource_raises_or_affects_the_others(wats: wx.Wats, name: str) -> None:
    how = options(RESOURCES[name])
    good = keys_of(wats, RESOURCES[name])[:1]
    bad = [*NO_KEYS, *NESTED]
    keys: Any = [bad[0], *good, *bad[1:], *STRANGE]
    fetched = wats.fetch(name, keys, **how)
    alone = wats.fetch(name, good[0], **how)
    assert alone.failures == []
    for table, rows in alone.tables.items():
        owner = next(each.owner for each in RESOURCES[name].tables if each.name == table)
        kept = [row for row in fetched.tables[table].to_pylist() if row[owner] not in STRANGE]
        assert kept[: rows.num_rows] == rows.to_pylist()
    reasons = [failure.message for failure in fetched.failures if failure.message.startswith("the key is ")]
    assert len(reasons) >= len(bad) - 3, "None and a null scalar, and NaN, may be repeated keys"
    assert fetched.failures_table().num_rows == len(fetched.failures)

    outcomes = list(wats.fetch_each(name, keys, **how))
    assert len(outcomes) == len(keys)
    assert [outcome.ok for outcome in outcomes[: len(bad) + 1]] == [False, True] + [False] * (len(bad) - 1)


@pytest.mark.parametrize("name", ["reports", "report_headers", "products"])
def test_only_values_that_are_no_keys_fail_each(wats: wx.Wats, name: str) -> None:
    assert [outcome.ok for outcome in wats.fetch_each(name, [None, 1.5])] == [False, False]  # type: ignore[list-item]
    assert len(wats.fetch(name, None).failures) == 1  # type: ignore[arg-type]
    assert list(wats.fetch_each(name, [])) == []
    with pytest.raises(wx.KeyFailed, match="NoneType"):
        wats.fetch(name, [None], fail_fast=True)  # type: ignore[list-item]
    with pytest.raises(wx.KeyFailed, match="NoneType"):
        list(wats.fetch_each(name, [None], fail_fast=True))  # type: ignore[list-item]


def test_uuids_are_fetched_alone_together_and_from_asyncio(wats: wx.Wats) -> None:
    (uuid, *_) = keys_of(wats, RESOURCES["reports"])
    for keys in (uuid, UUID(uuid), [UUID(uuid)], pa.array([uuid])):
        fetched = wats.fetch("reports", keys)
        assert (fetched.tables["reports"]["uuid"].to_pylist(), fetched.failures) == ([uuid], [])
        assert [outcome.key for outcome in wats.fetch_each("reports", keys)] == [uuid]
    assert asyncio.run(wats.afetch("reports", UUID(uuid))).tables["reports"].num_rows == 1


def test_a_whole_number_is_a_key(wats: wx.Wats) -> None:
    number = int(keys_of(wats, RESOURCES["processes"])[0])
    assert wats.fetch("processes", number).tables["processes"]["code"].to_pylist() == [number]


# ── pipelines ───────────────────────────────────────────────────────────────────────────────────

FILE = """\
version: 1
name: keys
source: {{url: "{url}", token: "${{WATS_TOKEN}}"}}
destination: {{type: {kind}, path: {path}}}
resources: [{{name: report_headers}}, {{name: reports}}]
"""


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_one_resource_and_one_key_may_be_given_as_text(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATS_TOKEN", TOKEN)
    plant = Plant(40)
    first, second, *_ = plant.uuids()
    app = App(plant, token=TOKEN, faults=Faults(broken={first: "garbage", second: "garbage"}))
    with serve(app) as server:
        file = tmp_path / "pipeline.yaml"
        path = (tmp_path / "wats").as_posix()
        file.write_text(FILE.format(url=server.url, kind=kind, path=path), encoding="utf-8")
        assert set(wx.run(file, only="reports").resources) == {"reports"}
        assert wx.verify(file, only="report_headers").resources.keys() == {"report_headers"}
        with pytest.raises(ConfigurationError):
            wx.run(file, only="r")
        for keys in (first, UUID(first), [UUID(first)]):
            report = wx.retry(file, keys=keys)
            assert (report.resources["reports"].failures, report.open_failures) == (1, 2)
