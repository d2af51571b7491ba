"""Routes below `/api/RootCause`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.rootcause import STATUSES, Tickets

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
EVERY = sum(STATUSES)


def fetch(client: httpx2.Client, **query: object) -> list[dict[str, Any]]:
    response = client.get(
        "/api/RootCause/Tickets", params={name: str(value) for name, value in query.items()}
    )
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def detail(client: httpx2.Client, ticket_id: str) -> dict[str, Any]:
    found = client.get("/api/RootCause/Ticket", params={"ticketId": ticket_id}).json()
    assert isinstance(found, dict)
    return found


def test_tickets_have_the_specified_fields(client: httpx2.Client, spec: Spec) -> None:
    rows = [detail(client, row["ticketId"]) for row in fetch(client, status=EVERY, view=2)]
    assert {frozenset(row) for row in rows} == {frozenset(spec("RootCause.Ticket") - {"assignee", "update"})}
    entries = [entry for row in rows for entry in row["history"]]
    assert set(entries[0]) == spec("RootCause.Update")
    files = [file for entry in entries for file in entry["attachments"]]
    assert set(files[0]) == spec("RootCause.Attachment")


def test_list_has_no_history(client: httpx2.Client) -> None:
    rows = fetch(client, status=EVERY, view=2)
    assert len(rows) == 30
    assert not any("history" in row for row in rows)
    details = [detail(client, row["ticketId"].upper()) for row in rows]
    assert [{k: v for k, v in row.items() if k != "history"} for row in details] == rows
    assert {len(row["history"]) for row in details} == {0, 1, 2, 3}


def test_status_is_a_sum_of_flags(client: httpx2.Client) -> None:
    by_status = {status: fetch(client, status=status, view=2) for status in STATUSES}
    assert all(row["status"] == status for status, rows in by_status.items() for row in rows)
    assert sum(map(len, by_status.values())) == 30
    assert len(fetch(client, status=1 + 32, view=2)) == len(by_status[1]) + len(by_status[32])


def test_server_can_refuse_sums(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, refuse_flag_sum=True))
    response = client.get("/api/RootCause/Tickets", params={"status": "63", "view": "2"})
    assert response.status_code == 400
    assert "63" in response.json()["Message"]
    assert sum(len(fetch(client, status=status, view=2)) for status in STATUSES) == 30


@pytest.mark.parametrize("query", [{"status": "63"}, {"view": "2"}, {"status": "64", "view": "2"},
                                   {"status": "0", "view": "2"}, {"status": "63", "view": "3"}])  # fmt: skip
def test_status_and_view_are_required(client: httpx2.Client, query: dict[str, str]) -> None:
    assert client.get("/api/RootCause/Tickets", params=query).status_code == 400


def test_list_is_silently_partial_without_permission(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, manage_all_tickets=False))
    rows = fetch(client, status=EVERY, view=2)
    assert rows == fetch(client, status=EVERY, view=0)
    assert {row["owner"] for row in rows} == {"tor"}
    assert {row["priority"] for row in fetch(client, status=EVERY, view=1)} == {2}


def test_tickets_are_about_failed_tests(client: httpx2.Client, plant: Plant) -> None:
    rows = fetch(client, status=EVERY, view=2)
    about = [row for row in rows if row["reportUuid"]]
    assert about
    assert all(row["origin"] == "Report" for row in about)
    assert {plant.document(row["reportUuid"])["result"] for row in about} == {"F"}
    assert len({row["ticketNumber"] for row in rows}) == 30


def test_search(client: httpx2.Client) -> None:
    rows = fetch(client, status=EVERY, view=2, searchString="RUTINE")
    assert rows
    assert all(row["subject"].startswith("Rutine") for row in rows)
    assert fetch(client, status=EVERY, view=2, searchString="nothing like it") == []


def test_files(client: httpx2.Client) -> None:
    rows = [detail(client, row["ticketId"]) for row in fetch(client, status=EVERY, view=2)]
    files = [file for row in rows for entry in row["history"] for file in entry["attachments"]]
    query = {"attachmentId": files[0]["attachmentId"]}
    response = client.get("/api/RootCause/Attachment", params=query)
    assert response.content.decode() == f"{query['attachmentId']}: måledata ✓"
    assert files[0]["filename"] in response.headers["Content-Disposition"]
    named = client.get("/api/RootCause/Attachment", params=query | {"fileName": "x.txt"})
    assert 'filename="x.txt"' in named.headers["Content-Disposition"]
    assert client.get("/api/RootCause/Attachment", params={"attachmentId": "x"}).status_code == 404
    assert client.get("/api/RootCause/Attachment").status_code == 400


def test_update_changes_the_ticket(plant: Plant, connect: Connect) -> None:
    app = App(plant, stores=[Tickets(plant, count=1500)])
    client, tickets = connect(app), app.store(Tickets)
    rows = fetch(client, status=EVERY, view=2)
    assert len(rows) == 1500
    tickets.update(rows[0]["ticketId"], "Fixed", status=8)
    after = detail(client, rows[0]["ticketId"])
    assert (after["status"], after["history"][-1]["content"]) == (8, "Fixed")
    assert clock.parse(after["updatedUtc"]) > max(clock.parse(row["updatedUtc"]) for row in rows[:1])
    with pytest.raises(KeyError):
        tickets.update("nothing", "x")


def test_plant_without_repairs_has_manual_tickets() -> None:
    assert {row["reportUuid"] for row in Tickets(Plant(0), count=3).tickets.rows()} == {None}
