"""Root cause tickets.

Source: ``GET /api/RootCause/…`` (api-facts §2.9).
"""

from __future__ import annotations

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import moment, place, table, text, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder

_STATUSES = (1, 2, 4, 8, 16, 32)
"""Open, in progress, on hold, solved, closed, archived; the parameter takes a sum of them, or one."""
_ALL_TICKETS = 2
"""The view of all tickets; a token without "Manage All Tickets" gets fewer, and no error."""

_TICKETS = table(
    "tickets",
    "ticket_id",
    uuid("ticketId"),
    whole("ticketNumber"),
    text("progress owner assignee subject"),
    whole("status priority"),
    uuid("reportUuid"),
    moment("createdUtc updatedUtc"),
    text("team origin"),
    doc="one row a ticket",
    docs={
        "status": "1 open, 2 in progress, 4 on hold, 8 solved, 16 closed, 32 archived",
        "report_uuid": "joins reports.uuid",
    },
)
_TAGS = table(
    "ticket_tags",
    "ticket_id tag_index",
    uuid("=ticket_id"),
    place("tag_index", "the ticket's tags"),
    text("key value"),
    whole("change"),
    doc="one row a tag of a ticket",
    owner="ticket_id",
)

TICKETS = Resource(
    name="tickets",
    summary="root cause tickets that the token may see",
    route="RootCause/Tickets",
    reader=PagedReader(
        Snapshot(
            "RootCause/Tickets",
            query={"status": sum(_STATUSES), "view": _ALL_TICKETS},
            instead=tuple({"status": status, "view": _ALL_TICKETS} for status in _STATUSES),
        ),
        FlatShredder(_TICKETS, [Child(_TAGS, ("tags",))]),
    ),
    tables=(_TICKETS, _TAGS),
    key="ticket_id",
)
