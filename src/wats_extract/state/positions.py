"""The positions of a pipeline, as ``_wats_state`` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wats_extract.cursor import Position, position_from_text
from wats_extract.errors import DestinationError


def position_in(row: Mapping[str, Any]) -> Position:
    """The position in a row of ``_wats_state``.

    Raises:
        DestinationError: somebody changed the table, and the row does not hold a position.
    """
    try:
        return position_from_text(row["cursor"])
    except ValueError as error:
        raise DestinationError(
            f"_wats_state: the cursor of {row['resource']} was changed and cannot be read: {error}",
            hint="See wats-extract state FILE; then clear it, set it, or import an export.",
        ) from None
