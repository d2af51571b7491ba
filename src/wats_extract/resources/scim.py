"""Users, from the SCIM interface.

Source: ``GET /api/SCIM/v2/Users`` (api-facts §2.10; RFC 7643, RFC 7644).
"""

from __future__ import annotations

from wats_extract.readers.offset import Offset
from wats_extract.readers.paged import PagedReader
from wats_extract.resources.fields import moment, place, table, text, tree, truth
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.shape import wrapped_list

_USERS = table(
    "users",
    "id",
    text("id userName displayName"),
    truth("active"),
    text("externalId name.formatted=formatted_name name.givenName=given_name name.familyName=family_name"),
    text("meta.resourceType=resource_type"),
    moment("meta.created=created meta.lastModified=last_modified"),
    tree("schemas"),
    doc="one row per user",
    counted=True,
)
_EMAILS = table(
    "user_emails",
    "user_id email_index",
    text("=user_id"),
    place("email_index", "the user's addresses"),
    text("value type"),
    truth("primary=is_primary"),
    doc="one row per e-mail address of a user",
    owner="user_id",
)

USERS = Resource(
    name="users",
    summary="users of WATS",
    route="SCIM/v2/Users",
    reader=PagedReader(
        Offset("SCIM/v2/Users"),
        FlatShredder(
            _USERS,
            [Child(_EMAILS, ("emails",))],
            shape=wrapped_list("Resources", counted="totalResults"),
        ),
    ),
    tables=(_USERS, _EMAILS),
    key="id",
    unproven="the columns: they are those of SCIM (RFC 7643), since the specification does not list them",
)
