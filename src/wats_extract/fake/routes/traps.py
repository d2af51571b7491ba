"""GET routes that change what a server holds. They answer, and show up in `App.state_changes`.

Requests other than GET that are no queries have no route here; they are found in `App.state_changes` all the
same.
"""

from __future__ import annotations

from wats_extract.fake.exchange import Call, Response, Route, json_response

PATHS = (
    "/api/Auth/GetToken",
    "/api/Auth/GetToken/{}",
    "/api/SCIM/v2/Token",
    "/api/Workflow/StartTest",
    "/api/Workflow/EndTest",
    "/api/internal/Production/SetUnitPhase",
    "/api/internal/Production/SetUnitProcess",
    "/api/internal/Production/UnitPhaseBit",
    "/api/internal/Production/GetAndReserveNewSerialNumbers",
    "/api/internal/Software/Log",
)


def trap(_: Call) -> Response:
    """An answer that looks like any other."""
    return json_response("done")


ROUTES = tuple(Route("GET", path, trap, changes=True) for path in PATHS)
