"""The order of runs: each run has a number, so that no clock decides which of two runs was the later one."""

from __future__ import annotations

from collections.abc import Iterator

from wats_extract.flow import Destination
from wats_extract.state.tables import RUNS


def next_number(destination: Destination) -> int:
    """The number of a run that begins now: one more than any run in the destination has."""
    return 1 + max((number for _, number in _numbered(destination)), default=0)


def runs_since(destination: Destination, number: int) -> frozenset[str]:
    """The ids of the runs with this number or a later one."""
    return frozenset(run_id for run_id, other in _numbered(destination) if other >= number)


def _numbered(destination: Destination) -> Iterator[tuple[str, int]]:
    for batch in destination.scan(RUNS, ["run_id", "number"]):
        ids, numbers = (column.to_pylist() for column in batch.columns)
        yield from ((run_id, number or 0) for run_id, number in zip(ids, numbers, strict=True))
