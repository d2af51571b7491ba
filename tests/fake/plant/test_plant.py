"""Changes to a plant, its cost, and the arithmetic of numbers, ids and times."""

from __future__ import annotations

import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant

AUTHORIZED = {"authorization": "Basic demo"}


def time_stamps(plant: Plant) -> list[int]:
    return [row["timeStamp"] for row in plant.headers()]


def test_reports_depend_only_on_the_seed() -> None:
    one, same, other = Plant(60, seed=7), Plant(90, seed=7), Plant(60, seed=8)
    assert list(one.headers()) == list(same.headers())[:60]
    assert [one.document(uuid) for uuid in one.uuids()] == [same.document(uuid) for uuid in one.uuids()]
    assert not set(one.uuids()) & set(other.uuids())
    assert one.find(other.uuids()[0]) is None


def test_known_values_are_the_same_on_every_machine() -> None:
    row = next(Plant(1).headers())
    assert (row["uuid"], row["start"], row["timeStamp"]) == (
        Plant(1).uuid(0), clock.local(clock.parse(row["start"])), 1_000_000,
    )  # fmt: skip
    assert row["uuid"] == "5d7ce468-b036-4875-808f-376bb11029b0"


def test_grow_appends_reports() -> None:
    plant = Plant(50)
    before = list(plant.headers())
    plant.grow(25)
    assert len(plant) == 75
    assert list(plant.headers())[:50] == before
    assert plant.uuids() == Plant(75).uuids()


def test_received_report_is_appended_before_later_growth() -> None:
    plant = Plant(10)
    document = {
        "type": "T",
        "pn": "X-1",
        "sn": "S1",
        "result": "F",
        "start": "2026-03-01T10:00:00+01:00",
        "uut": {"user": "me", "execTime": 3.5},
        "subUnits": [{"pn": "Y", "sn": "7"}],
    }
    uuid = plant.receive(document, comment="by hand")
    plant.grow(5)
    row = list(plant.headers())[10]
    assert row["uuid"] == uuid
    assert (row["partNumber"], row["result"], row["userName"]) == ("X-1", "Failed", "me")
    assert (row["comment"], row["receiveCount"]) == ("by hand", 1)
    assert plant.document(uuid) == document
    assert [row["uuid"] for row in plant.headers() if row["uuid"] != uuid] == Plant(15).uuids()
    assert time_stamps(plant) == sorted(set(time_stamps(plant)))


def test_report_can_have_invalid_json() -> None:
    plant = Plant(2)
    uuid = plant.receive(b'{"type":"T",', serialNumber="S9", partNumber="P", start="2026-01-05T10:00:00Z")
    app = App(plant)
    assert app(Request("GET", f"/api/Report/Wsjf/{uuid}", headers=AUTHORIZED)).body == b'{"type":"T",'
    response = app(Request("GET", "/api/Report/Query/Header", "$filter=serialNumber eq 'S9'", AUTHORIZED))
    assert uuid.encode() in response.body


def test_report_can_be_received_again() -> None:
    plant = Plant(20)
    uuid = plant.uuids()[4]
    old, before = plant.document(uuid), next(row for row in plant.headers() if row["uuid"] == uuid)
    plant.receive_again(uuid)
    after = list(plant.headers())[-1]
    assert len(plant) == 20
    assert after["uuid"] == uuid
    assert (after["receiveCount"], after["comment"]) == (2, "received 2 times")
    assert after["timeStamp"] > before["timeStamp"]
    assert plant.document(uuid) != old
    plant.receive_again(uuid, result="Passed", userName="second shift")
    assert plant.document(uuid)["result"] == "P"
    assert plant.document(uuid)["uut"]["user"] == "second shift"
    assert list(plant.headers())[-1]["receiveCount"] == 3
    plant.receive_again(uuid, {"id": uuid, "type": "T"})
    assert plant.document(uuid) == {"id": uuid, "type": "T"}
    assert len(plant) == len(set(plant.uuids())) == 20


def test_reports_can_be_deleted_hidden_and_shown() -> None:
    plant = Plant(20)
    uuids = plant.uuids()
    plant.delete(uuids[3])
    plant.hide(uuids[7])
    assert plant.uuids() == [uuid for uuid in uuids if uuid not in (uuids[3], uuids[7])]
    assert plant.find(uuids[7]) is None
    with pytest.raises(KeyError):
        plant.delete(uuids[3])
    plant.show(uuids[7])
    assert len(plant) == 19
    assert plant.uuids().index(uuids[7]) == 6
    with pytest.raises(KeyError):
        plant.document(uuids[3])
    with pytest.raises(KeyError):
        plant.receive_again("00000000-0000-4000-8000-000000000000")


def test_received_reports_are_sorted_by_start() -> None:
    plant = Plant(100)
    uuid = plant.receive({"start": "2026-01-05T11:00:00.5Z"})
    plant.receive_again(plant.uuids()[50])
    rows = list(plant.started((0, 1000), (0, 1 << 60)))
    assert [row.start for row in rows] == sorted(row.start for row in rows)
    assert {row.uuid for row in rows} == set(plant.uuids())
    near = list(
        plant.arrived(None, (clock.parse("2026-01-05T11:00:00Z"), clock.parse("2026-01-05T11:00:01Z")))
    )
    assert uuid in [row.uuid for row in near]


def test_plant_is_thread_safe() -> None:
    plant = Plant(200)

    def busy(number: int) -> int:
        if number % 2:
            plant.receive({"sn": str(number)})
            plant.grow(1)
        return len(list(plant.headers()))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(busy, range(40)))
    assert max(counts) <= len(plant) == 240
    assert len(set(plant.uuids())) == 240
    assert time_stamps(plant) == sorted(set(time_stamps(plant)))


def test_a_million_reports_need_little_time_and_memory() -> None:
    tracemalloc.start()
    try:
        begun = time.perf_counter()
        app = App(Plant(1_000_000))
        ready = time.perf_counter()
        query = "$filter=timeStamp gt 6000000&$orderby=timeStamp asc&$top=1000&$select=uuid"
        page = app(Request("GET", "/api/Report/Query/Header", query, AUTHORIZED))
        newest = app(Request("GET", "/api/Report/Query/Header", "", AUTHORIZED))
        window = "$filter=start ge 2035-01-01 and start lt 2035-01-02T12:00:00Z&$top=10000"
        day = app(Request("GET", "/api/Report/Query/Header", window, AUTHORIZED))
        done = time.perf_counter()
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert page.body.count(b"uuid") == 1000
    assert newest.body.count(b"uuid") == 10
    assert 100 < day.body.count(b'"uuid"') < 500
    assert ready - begun < 0.5
    assert done - ready < 5
    assert memory < 30e6


@given(st.integers(0, 2_000_000))
def test_arrival_and_number_are_inverse(number: int) -> None:
    arrival = clock.arrival(number)
    assert clock.first_arrival_from(arrival) == number
    assert clock.first_arrival_from(arrival + 1) == number + 1
    assert clock.arrival(number + 1) > arrival
    assert clock.parse(clock.local(arrival)) == clock.parse(clock.utc(arrival)) == arrival


@given(st.integers(0, 1 << 40), st.integers(1, 9))
def test_id_encodes_the_number(number: int, seed: int) -> None:
    plant = Plant(0, seed=seed)
    uuid = plant.uuid(number)
    assert plant._scenario.number(uuid) == number
    assert uuid[14] == "4"
    assert uuid[19] in "89ab"
    assert plant.find(uuid) is None


@given(st.integers(0, 300), st.integers(1, 5))
def test_positions_by_time_stamp(position: int, ties: int) -> None:
    plant = Plant(301, ties=ties)
    truth = [row.time_stamp for row in islice(plant.arrived(), 301)]
    stamp = truth[position]
    for bound in (stamp - 1, stamp, stamp + 1):
        assert plant.positions((bound, 1 << 60))[0] == sum(each < bound for each in truth)
    assert all(one <= other for one, other in pairwise(truth))


def test_local_time_has_summer_time() -> None:
    assert clock.local(clock.parse("2026-03-29T12:00:00Z")) == "2026-03-29T14:00:00+02:00"
    assert clock.local(clock.parse("2026-03-28T12:00:00Z")) == "2026-03-28T13:00:00+01:00"
    assert clock.local(clock.parse("2026-10-25T12:00:00.1200000Z")) == "2026-10-25T13:00:00.12+01:00"
