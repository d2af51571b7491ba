"""The server that a destination belongs to: a reserved row of ``_wats_state``.

The rows and cursors of two servers do not mix. The first commit of data records the server's identity
(:attr:`wats_extract.pipeline.source.Source.identity`), and a run against another server is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wats_extract.errors import ConfigurationError
from wats_extract.flow import Destination
from wats_extract.state.tables import STATE

_RESERVED = {"pipeline": "", "resource": ""}
"""No pipeline and no resource has an empty name. The column ``selection`` of the row holds the identity."""


def recorded_server(destination: Destination) -> str:
    """The identity of the server that an open destination belongs to; empty before the first commit.

    Two processes that load from different servers into a new destination at the same moment can record both;
    then the identities are joined by ``and``, so no further run is accepted.
    """
    rows = destination.read(STATE, **_RESERVED).to_pylist()
    return " and ".join(sorted({row["selection"] for row in rows}))


def server_row(server: str, *, run_id: str, now: datetime) -> Mapping[str, Any]:
    """The row of ``_wats_state`` that records the server."""
    return {**_RESERVED, "selection": server, "cursor": "{}", "updated_at": now, "run_id": run_id}


def refuse_other_server(destination: Destination, server: str) -> str:
    """Check that an open destination does not belong to another server, and return the recorded server.

    Args:
        destination: It may be open read-only.
        server: The identity of the server to read from; an empty text checks nothing.

    Raises:
        ConfigurationError: the destination belongs to another server; the message names both.
    """
    recorded = recorded_server(destination)
    if server and recorded and recorded != server:
        raise ConfigurationError(
            f"{destination.place} belongs to the server {recorded}, but this command reads {server}",
            hint=_advice(recorded, server),
        )
    return recorded


def _advice(recorded: str, server: str) -> str:
    if "demo" in (recorded, server):
        return "Set another destination path, or delete that destination if you no longer need its data."
    return (
        "Set another destination path for this server. If it is the same server under a new address, add "
        f"`id: {recorded}` under source."
    )
