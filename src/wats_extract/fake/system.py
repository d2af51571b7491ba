"""Routes below `/api/App` that tell how the server is set up."""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from wats_extract.fake.exchange import Call, Response, Route, json_response
from wats_extract.fake.programs import BURN_IN, FUNCTION, ICT, REPAIR, REPAIR_CODES, Process

_TEST, _REPAIR, _WIP = "includeTestOperations", "includeRepairOperations", "includeWipOperations"


def version(call: Call) -> Response:
    """`GET /api/App/Version`: a JSON string."""
    return json_response(call.quirks.version)


def processes(call: Call) -> Response:
    """`GET /api/App/Processes`: all active ones, or the kinds asked for. Keys without value are left out."""
    wanted = {flag for flag in (_TEST, _REPAIR, _WIP) if call.flag(flag, default=False)}
    inactive = call.flag("includeInactiveProcesses", default=False)
    found = [
        each
        for kind, each in _processes()
        if (not wanted or kind in wanted) and (inactive or each["state"] == 1)
    ]
    return json_response({"processes": found})


@cache
def _processes() -> tuple[tuple[str, dict[str, Any]], ...]:
    return (
        (_TEST, _process(ICT, _TEST, 1, description="In-circuit test")),
        (_TEST, _process(FUNCTION, _TEST, 2)),
        (_TEST, _process(BURN_IN, _TEST, 3)),
        (_TEST, _process(Process(40, "Final test (old)"), _TEST, 4, active=False)),
        (_WIP, _process(Process(200, "Packing"), _WIP, 5)),
        (_REPAIR, _process(REPAIR, _REPAIR, 6) | {"repairOperation": _repair_operation()}),
    )


def _process(
    process: Process, kind: str, index: int, *, description: str = "", active: bool = True
) -> dict[str, Any]:
    return {
        "name": process.name,
        "code": process.code,
        **({"description": description} if description else {}),
        "isTestOperation": kind == _TEST,
        "isRepairOperation": kind == _REPAIR,
        "isWipOperation": kind == _WIP,
        "processIndex": index,
        "state": int(active),
    }


def _repair_operation() -> dict[str, Any]:
    types = {"Component": 4, "Solder process": 6, "Assembly process": 6, "No failure found": 3}
    return {
        "uutBinding": 1,
        "bomBinding": 2,
        "vendorBinding": 1,
        "compRefMask": "^[A-Z]+[0-9]+$",
        "compRefValidationText": "Letters, then a number",
        "repairCategories": [
            {
                "id": _id(category),
                "description": category,
                "status": 1,
                "repairCodes": [
                    {"id": _id(category, code), "description": code, "failureType": types[category],
                     "imageConstraint": "1", "status": 1}
                    for code in codes
                ],
            }
            for category, codes in REPAIR_CODES.items()
        ],
        "miscInfos": [{"id": _id("Ticket"), "description": "Ticket", "status": 1, "sortOrder": 0}],
    }  # fmt: skip


def _id(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(("wats", *names))))


ROUTES = (Route("GET", "/api/App/Version", version), Route("GET", "/api/App/Processes", processes))
