"""GET routes that change the server's data. They respond as usual and appear in `App.state_changes`.

Other changing requests, such as a POST that is not a query, need no route here: `App.state_changes` lists
them by their method.
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
    """An ordinary successful response."""
    return json_response("done")


ROUTES = tuple(Route("GET", path, trap, changes_state=True) for path in PATHS)
