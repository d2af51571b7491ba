"""Routes below `/api/SCIM/v2`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.scim import Users

Connect = Callable[..., httpx2.Client]
USERS = "/api/SCIM/v2/Users"


def ask(client: httpx2.Client, **query: object) -> dict[str, Any]:
    answer = client.get(USERS, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/scim+json")
    found = answer.json()
    assert isinstance(found, dict)
    return found


def many(plant: Plant, count: int, **quirks: object) -> App:
    return App(plant, stores=[Users(plant, count=count)], **quirks)


def test_an_envelope(client: httpx2.Client) -> None:
    found = ask(client)
    assert found.keys() == {"schemas", "totalResults", "itemsPerPage", "startIndex", "Resources"}
    assert (found["totalResults"], found["itemsPerPage"], found["startIndex"]) == (25, 25, 1)
    assert len(found["Resources"]) == 25
    assert found["Resources"][0]["meta"].keys() == {"resourceType", "created", "lastModified"}


@pytest.mark.parametrize(("count", "first"), [(99, 99), (100, 100), (101, 100)])
def test_a_hundred_by_default(plant: Plant, connect: Connect, count: int, first: int) -> None:
    found = ask(connect(many(plant, count)))
    assert (found["totalResults"], found["itemsPerPage"]) == (count, first)


@pytest.mark.parametrize("cap", [1, 40, 200])
def test_a_page_is_never_above_the_cap(plant: Plant, connect: Connect, cap: int) -> None:
    client, found = connect(many(plant, 201, scim_page_cap=cap)), list[str]()
    while len(found) < 201:
        page = ask(client, startIndex=len(found) + 1, count=1000)
        assert page["itemsPerPage"] == len(page["Resources"]) <= cap
        assert page["startIndex"] == len(found) + 1
        found += [row["id"] for row in page["Resources"]]
    assert len(set(found)) == 201
    assert ask(client, startIndex=202)["Resources"] == []


def test_odd_numbers_are_read_as_the_standard_says(client: httpx2.Client) -> None:
    assert ask(client, startIndex=0, count=1) == ask(client, startIndex=-5, count=1) == ask(client, count=1)
    assert ask(client, count=0)["itemsPerPage"] == ask(client, count=-1)["itemsPerPage"] == 0
    assert ask(client, count=0)["totalResults"] == 25
    assert client.get(USERS, params={"count": "many"}).status_code == 400


def test_paging_may_be_ignored(plant: Plant, connect: Connect) -> None:
    client = connect(many(plant, 230, ignore_paging=True))
    assert ask(client, startIndex=101, count=10) == ask(client)
    assert len(ask(client)["Resources"]) == 230


def test_single_users(client: httpx2.Client, plant: Plant) -> None:
    row = next(row for row in ask(client)["Resources"] if row["userName"] == "bjørn")
    for path in (row["id"], row["id"].upper(), "userName=bjørn"):
        answer = client.get(f"{USERS}/{path}")
        assert answer.json() == row
        assert answer.headers["Content-Type"].startswith("application/scim+json")
    assert client.get(f"{USERS}/userName=nobody").status_code == 404
    assert ask(client, filter='userName eq "BJØRN"')["Resources"] == [row]
    assert client.get(USERS, params={"filter": "userName co x"}).status_code == 400
    assert {row["userName"] for row in plant.headers()} <= {
        row["userName"] for row in ask(client)["Resources"]
    }


def test_users_come_and_go(plant: Plant, connect: Connect) -> None:
    app = many(plant, 2)
    users, client = app.store(Users).users, connect(app)
    users.add(id="new", userName="new")
    users.delete(users.rows()[0]["id"])
    assert [row["userName"] for row in ask(client)["Resources"]] == ["ola", "new"]
