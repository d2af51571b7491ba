"""Root cause tickets: the list of tickets, and the history of each.

Source: ``GET /api/RootCause/…`` (api-facts §2.9).
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import moment, place, table, text, tree, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import FlatDocuments
from wats_extract.shred.flat import Child, FlatShredder

_STATUSES = (1, 2, 4, 8, 16, 32)
"""Open, in progress, on hold, solved, closed, archived; the parameter takes one of them or a sum."""
_ALL_TICKETS = 2
"""The view of all tickets; a token without "Manage All Tickets" gets fewer tickets without an error."""

TICKET_LIST = Snapshot(
    "RootCause/Tickets",
    query={"status": sum(_STATUSES), "view": _ALL_TICKETS},
    instead=tuple({"status": status, "view": _ALL_TICKETS} for status in _STATUSES),
)

_FIELDS = (
    uuid("ticketId"),
    whole("ticketNumber"),
    text("progress owner assignee subject"),
    whole("status priority"),
    uuid("reportUuid"),
    moment("createdUtc updatedUtc"),
    text("team origin"),
)
_DOCS = {
    "status": "1 = open, 2 = in progress, 4 = on hold, 8 = solved, 16 = closed, 32 = archived",
    "report_uuid": "joins reports.uuid",
}

_TICKETS = table("tickets", "ticket_id", *_FIELDS, doc="one row per ticket", docs=_DOCS, counted=True)
_TAGS = table(
    "ticket_tags",
    "ticket_id tag_index",
    uuid("=ticket_id"),
    place("tag_index", "the ticket's tags"),
    text("key value"),
    whole("change"),
    doc="one row per tag of a ticket",
    owner="ticket_id",
)

_HISTORIES = table(
    "ticket_histories",
    "ticket_id",
    *_FIELDS,
    tree("tags"),
    doc="one row per ticket whose history was read",
    docs=_DOCS,
    counted=True,
)
_UPDATES = table(
    "ticket_updates",
    "ticket_id update_index",
    uuid("=ticket_id"),
    place("update_index", "the ticket's updates"),
    uuid("updateId"),
    moment("updateUtc"),
    text("updateUser content"),
    whole("updateType"),
    doc="one row per update of a ticket",
    docs={
        "update_type": "0 = text, 1 = progress, 2 = properties such as assignee and status, 3 = notification"
    },
    owner="ticket_id",
)
_UPDATE_ATTACHMENTS = table(
    "ticket_update_attachments",
    "ticket_id update_index attachment_index",
    uuid("=ticket_id"),
    place("update_index", "the ticket's updates"),
    place("attachment_index", "the update's files"),
    uuid("attachmentId"),
    text("filename"),
    doc="one row per file attached to an update",
    owner="ticket_id",
)

TICKETS = Resource(
    name="tickets",
    summary="root cause tickets that the token may read",
    route="RootCause/Tickets",
    reader=PagedReader(
        TICKET_LIST,
        FlatShredder(_TICKETS, [Child(_TAGS, ("tags",))]),
    ),
    tables=(_TICKETS, _TAGS),
    key="ticket_id",
    unproven="that one request can ask for all statuses; if a server refuses it, each status is requested",
)

TICKET_HISTORIES = Resource(
    name="ticket_histories",
    summary="tickets with their updates, and the names of attached files",
    route="RootCause/Ticket",
    reader=ByKeyReader(
        listing=TICKET_LIST,
        asked={},
        route="RootCause/Ticket",
        query=lambda key, options: {"ticketId": key},
        shredder=FlatDocuments(
            FlatShredder(_TICKETS, [Child(_TAGS, ("tags",))]),
            FlatShredder(
                _HISTORIES,
                [Child(_UPDATES, ("history",), (Child(_UPDATE_ATTACHMENTS, ("attachments",)),))],
            ),
        ),
    ),
    tables=(_HISTORIES, _UPDATES, _UPDATE_ATTACHMENTS),
    key="ticket_id",
)
