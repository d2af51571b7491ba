"""Routes below `/api/RootCause`: tickets about repeated failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import msgspec

from wats_extract.fake.exchange import Call, RefusedError, Response, Route, invalid
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant, Row
from wats_extract.fake.plant.stores import Store, Table

STATUSES: Mapping[int, str] = {
    1: "open", 2: "in progress", 4: "on hold", 8: "solved", 16: "closed", 32: "archived",
}  # fmt: skip
_ASSIGNED, _FOLLOWING, _ALL = 0, 1, 2

_TICKET: Json = {
    "ticketId": None, "ticketNumber": None, "progress": None, "owner": None, "subject": None, "status": 1,
    "priority": 0, "reportUuid": None, "createdUtc": None, "updatedUtc": None, "team": None, "origin": None,
    "tags": [], "history": [],
}  # fmt: skip
_FIRST_MANUAL = 20_000
"""The number of the first ticket that no report mentions."""


class Tickets(Store):
    """The tickets.

    Each ticket number in a repair report has a ticket about the failed test. The other tickets were written
    by hand and have no report.

    Args:
        plant: The reports.
        count: The number of tickets.
        user: The token's user. The user's tickets are assigned to the user, and the user follows urgent ones.

    Attributes:
        tickets: The tickets by `ticketId`, with their history.
    """

    def __init__(self, plant: Plant, *, count: int = 30, user: str = "tor") -> None:
        super().__init__(plant)
        self._count, self.user = count, user
        self.tickets = Table("ticketId", _TICKET, self._rows)

    def update(self, ticket_id: str, content: str, **fields: object) -> None:
        """Add an entry to a ticket's history, set a later `updatedUtc`, and change other `fields`.

        Raises:
            KeyError: There is no such ticket.
        """
        row = self.tickets.get(ticket_id)
        if row is None:
            raise KeyError(ticket_id)
        tick = max(self.plant.now, clock.parse(row["updatedUtc"])) + clock.SECOND
        place = len(row["history"])
        history = [*row["history"], self._entry(row["ticketNumber"], place, tick, content)]
        self.tickets.change(ticket_id, history=history, updatedUtc=clock.utc(tick), **fields)

    def attached(self, attachment_id: str) -> tuple[str, bytes] | None:
        """The name and content of a file; None if there is no such file."""
        files = (
            each
            for row in self.tickets.rows()
            for entry in row["history"]
            for each in entry["attachments"]
            if each["attachmentId"] == attachment_id.lower()
        )
        found = next(files, None)
        return found and (found["filename"], f"{found['attachmentId']}: måledata ✓".encode())

    # -------------------------------------------------------- rows

    def _rows(self) -> Iterator[Json]:
        mentioned = dict(islice(self._mentioned(), self._count))
        yield from (self._ticket(number, row) for number, row in mentioned.items())
        yield from (self._ticket(_FIRST_MANUAL + n, None) for n in range(self._count - len(mentioned)))

    def _mentioned(self) -> Iterator[tuple[int, Row]]:
        """The number of each ticket in a repair report, and the first such report."""
        seen = set()
        for row in self.plant.arrived():
            if row.fields["reportType"] != "R":
                continue
            for info in msgspec.json.decode(row.text(("uurMiscInfo",)))["uurMiscInfo"]:
                digits = str(info["value"]).removeprefix("T-")
                if info["description"] == "Ticket" and digits.isdecimal() and int(digits) not in seen:
                    seen.add(int(digits))
                    yield int(digits), row

    def _ticket(self, number: int, repair: Row | None) -> Json:
        rng = self.rng("ticket", number)
        created = (
            (repair.start if repair else clock.OPENING + number * clock.HOUR) // clock.SECOND * clock.SECOND
        )
        history = [
            self._entry(number, place, created + place * 7 * clock.HOUR, text)
            for place, text in enumerate(
                ("Same step as last week", "In progress", "Byttet <kabel>")[: number % 4]
            )
        ]
        updated = clock.parse(history[-1]["updateUtc"]) if history else created
        return {
            "ticketId": self.guid("ticket", number),
            "ticketNumber": number,
            "progress": ("Waiting for parts", None, "50 %")[number % 3],
            "owner": ("tor", "ewa")[number % 2],
            "subject": f"{repair.fields['partNumber']} fails again" if repair else f"Rutine {number}",
            "status": rng.choice(list(STATUSES)),
            "priority": number % 3,
            "reportUuid": repair.fields.get("referencedUut") if repair else None,
            "createdUtc": clock.utc(created),
            "updatedUtc": clock.utc(updated),
            "team": ("Quality", None)[number % 2],
            "origin": "Report" if repair else "Manual",
            "tags": [{"key": "Line", "value": str(number % 3 + 1), "change": 0}] if number % 5 else [],
            "history": history,
        }

    def _entry(self, number: int, place: int, tick: int, content: str) -> Json:
        attached = {"attachmentId": self.guid("file", number, place), "filename": f"måling-{number}.txt"}
        return {
            "updateId": self.guid("update", number, place),
            "updateUtc": clock.utc(tick),
            "updateUser": ("tor", "ewa")[place % 2],
            "content": content,
            "updateType": place % 4,
            "attachments": [attached] if place == 1 else [],
        }


# ------------------------------------------------------------ routes


def tickets(call: Call) -> Response:
    """`GET /api/RootCause/Tickets?status=…&view=…`: tickets without history. `status` is a sum of flags.

    The specification names single flags only, so a server may refuse sums. `view=2` returns all tickets, or
    silently only the user's own, unless the user may manage all tickets.
    """
    store, statuses, view = call.store(Tickets), _statuses(call), _view(call)
    text = call.query.get("searchstring", "").casefold()
    rows = (
        row for row in store.tickets.rows() if row["status"] & statuses and _visible(row, view, store.user)
    )
    return call.json([_listed(row) for row in rows if _mentions(row, text)])


def ticket(call: Call) -> Response:
    """`GET /api/RootCause/Ticket?ticketId=…`: one ticket with its history, without `assignee`."""
    key = call.required("ticketId")
    return call.item(call.store(Tickets).tickets.get(key), f"Ticket '{key}'")


def attachment(call: Call) -> Response:
    """`GET /api/RootCause/Attachment?attachmentId=…`: one file, under the requested `fileName`."""
    found = call.store(Tickets).attached(call.required("attachmentId"))
    if found is None:
        raise RefusedError(404, "Attachment was not found.")
    name, content = call.query.get("filename", found[0]), found[1]
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(200, content, "text/plain; charset=utf-8", disposition)


def _statuses(call: Call) -> int:
    text, number = call.required("status"), call.number("status")
    if not number or not 0 < number <= sum(STATUSES):
        raise invalid("status", text)
    if call.quirks.refuse_flag_sum and number not in STATUSES:
        raise invalid("status", text)
    return number


def _view(call: Call) -> int:
    text, number = call.required("view"), call.number("view")
    if number not in (_ASSIGNED, _FOLLOWING, _ALL):
        raise invalid("view", text)
    return _ASSIGNED if number == _ALL and not call.quirks.manage_all_tickets else number


def _visible(row: Json, view: int, user: str) -> bool:
    if view == _ALL:
        return True
    return bool(row["owner"] == user if view == _ASSIGNED else row["priority"] == 2)


def _mentions(row: Json, text: str) -> bool:
    words = (row["subject"], *(word for tag in row["tags"] for word in (tag["key"], tag["value"])))
    return any(text in str(word).casefold() for word in words)


def _listed(row: Json) -> Json:
    return {name: value for name, value in row.items() if name != "history"}


ROUTES = (
    Route("GET", "/api/RootCause/Tickets", tickets),
    Route("GET", "/api/RootCause/Ticket", ticket),
    Route("GET", "/api/RootCause/Attachment", attachment),
)
