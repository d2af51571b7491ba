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


def fetch(client: httpx2.Client, **query: object) -> dict[str, Any]:
    response = client.get(USERS, params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("application/scim+json")
    found = response.json()
    assert isinstance(found, dict)
    return found


def many(plant: Plant, count: int, **quirks: object) -> App:
    return App(plant, stores=[Users(plant, count=count)], **quirks)


def test_list_has_an_envelope(client: httpx2.Client) -> None:
    found = fetch(client)
    assert found.keys() == {"schemas", "totalResults", "itemsPerPage", "startIndex", "Resources"}
    assert (found["totalResults"], found["itemsPerPage"], found["startIndex"]) == (25, 25, 1)
    assert len(found["Resources"]) == 25
    assert found["Resources"][0]["meta"].keys() == {"resourceType", "created", "lastModified"}


@pytest.mark.parametrize(("count", "first"), [(99, 99), (100, 100), (101, 100)])
def test_default_is_a_hundred_users(plant: Plant, connect: Connect, count: int, first: int) -> None:
    found = fetch(connect(many(plant, count)))
    assert (found["totalResults"], found["itemsPerPage"]) == (count, first)


@pytest.mark.parametrize("cap", [1, 40, 200])
def test_page_never_exceeds_the_cap(plant: Plant, connect: Connect, cap: int) -> None:
    client, found = connect(many(plant, 201, scim_page_cap=cap)), list[str]()
    while len(found) < 201:
        page = fetch(client, startIndex=len(found) + 1, count=1000)
        assert page["itemsPerPage"] == len(page["Resources"]) <= cap
        assert page["startIndex"] == len(found) + 1
        found += [row["id"] for row in page["Resources"]]
    assert len(set(found)) == 201
    assert fetch(client, startIndex=202)["Resources"] == []


def test_out_of_range_numbers_follow_the_standard(client: httpx2.Client) -> None:
    assert (
        fetch(client, startIndex=0, count=1)
        == fetch(client, startIndex=-5, count=1)
        == fetch(client, count=1)
    )
    assert fetch(client, count=0)["itemsPerPage"] == fetch(client, count=-1)["itemsPerPage"] == 0
    assert fetch(client, count=0)["totalResults"] == 25
    assert client.get(USERS, params={"count": "many"}).status_code == 400


def test_server_can_ignore_paging(plant: Plant, connect: Connect) -> None:
    client = connect(many(plant, 230, ignore_paging=True))
    assert fetch(client, startIndex=101, count=10) == fetch(client)
    assert len(fetch(client)["Resources"]) == 230


def test_single_users(client: httpx2.Client, plant: Plant) -> None:
    row = next(row for row in fetch(client)["Resources"] if row["userName"] == "bjørn")
    for path in (row["id"], row["id"].upper(), "userName=bjørn"):
        response = client.get(f"{USERS}/{path}")
        assert response.json() == row
        assert response.headers["Content-Type"].startswith("application/scim+json")
    assert client.get(f"{USERS}/userName=nobody").status_code == 404
    assert fetch(client, filter='userName eq "BJØRN"')["Resources"] == [row]
    assert client.get(USERS, params={"filter": "userName co x"}).status_code == 400
    assert {row["userName"] for row in plant.headers()} <= {
        row["userName"] for row in fetch(client)["Resources"]
    }


def test_users_can_be_added_and_deleted(plant: Plant, connect: Connect) -> None:
    app = many(plant, 2)
    users, client = app.store(Users).users, connect(app)
    users.add(id="new", userName="new")
    users.delete(users.rows()[0]["id"])
    assert [row["userName"] for row in fetch(client)["Resources"]] == ["ola", "new"]
