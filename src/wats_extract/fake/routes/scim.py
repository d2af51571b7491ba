"""Routes below `/api/SCIM/v2`: the users, in the only list of WATS with an envelope."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from wats_extract.fake.exchange import Call, RefusedError, Response, Route
from wats_extract.fake.odata import collated
from wats_extract.fake.plant import clock
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.documents import OPERATORS, REPAIRERS
from wats_extract.fake.plant.stores import Store, Table

SCIM_TYPE = "application/scim+json; charset=utf-8"
DEFAULT_COUNT = 100

_USER: Json = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": None, "externalId": None,
    "userName": None, "displayName": None, "active": True, "name": {}, "emails": [], "meta": {},
}  # fmt: skip
_FILTER = re.compile(r"\s*(userName|externalId|id)\s+eq\s+\"([^\"]*)\"\s*", re.IGNORECASE)


class Users(Store):
    """The users of the reports, then further users.

    Args:
        plant: The reports.
        count: The number of users.

    Attributes:
        users: The users by `id`.
    """

    def __init__(self, plant: Plant, *, count: int = 25) -> None:
        super().__init__(plant)
        self.users = Table("id", _USER, lambda: (self._user(number) for number in range(count)))

    def named(self, name: str) -> Json | None:
        """The user with this `userName`; None if there is none."""
        wanted = collated(name)
        return next((row for row in self.users.rows() if collated(row["userName"]) == wanted), None)

    def _user(self, number: int) -> Json:
        known = (*OPERATORS, *REPAIRERS)
        name = known[number] if number < len(known) else f"user-{number:04d}"
        rng = self.rng("user", name)
        created = clock.OPENING - rng.randrange(900) * clock.DAY
        given, family = name.capitalize(), rng.choice(("Åsheim", "Nowak", "O'Hara", "Hansen"))
        address = {"value": f"{name}@fjordtest.example", "type": "work", "primary": True}
        return {
            "id": self.guid("user", name),
            "externalId": f"ext-{number}" if number % 3 else None,
            "userName": name,
            "displayName": f"{given} {family}",
            "active": number < len(known) or rng.random() < 0.8,
            "name": {"formatted": f"{given} {family}", "givenName": given, "familyName": family},
            "emails": [address] if number % 4 else [],
            "meta": {
                "resourceType": "User",
                "created": clock.utc(created),
                "lastModified": clock.utc(created + rng.randrange(400) * clock.DAY + rng.randrange(10**7)),
            },
        }


# ------------------------------------------------------------ routes


def users(call: Call) -> Response:
    """`GET /api/SCIM/v2/Users`: `count` users (100 by default, up to a cap) from `startIndex` (1-based).

    As RFC 7644 requires, an index below 1 means 1, and a count below 0 means 0. The only supported filter is
    `name eq "value"`. A server with the quirk `ignore_paging` returns all users.
    """
    found = list(_passing(call.query.get("filter"), call.store(Users).users.rows()))
    first = max(1, call.number("startIndex", default=1) or 1)
    count = call.number("count", default=DEFAULT_COUNT)
    count = min(max(0, DEFAULT_COUNT if count is None else count), call.quirks.scim_page_cap)
    page = found[first - 1 : first - 1 + count]
    if call.quirks.ignore_paging:
        first, page = 1, found
    return _scim(call.json(_envelope(page, first, len(found))))


def user(call: Call) -> Response:
    """`GET /api/SCIM/v2/Users/{id}`."""
    (key,) = call.names()
    return _scim(call.item(call.store(Users).users.get(key), f"User '{key}'"))


def user_by_name(call: Call) -> Response:
    """`GET /api/SCIM/v2/Users/userName={userName}`, with `userName=` in the path."""
    (name,) = call.names()
    return _scim(call.item(call.store(Users).named(name), f"User '{name}'"))


def _passing(text: str | None, rows: Iterable[Json]) -> Iterator[Json]:
    match = _FILTER.fullmatch(text) if text else None
    if text and match is None:
        raise RefusedError(400, f"The filter '{text}' is not supported.")
    if match is None:
        return iter(rows)
    name = next(each for each in _USER if each.lower() == match[1].lower())
    return (row for row in rows if collated(row[name]) == collated(match[2]))


def _envelope(page: list[Json], first: int, total: int) -> Json:
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "itemsPerPage": len(page),
        "startIndex": first,
        "Resources": page,
    }


def _scim(response: Response) -> Response:
    return replace(response, content_type=SCIM_TYPE)


ROUTES = (
    Route("GET", "/api/SCIM/v2/Users", users),
    Route("GET", "/api/SCIM/v2/Users/userName={}", user_by_name),
    Route("GET", "/api/SCIM/v2/Users/{}", user),
)
