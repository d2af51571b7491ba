"""The order of runs: each run has a number, so that no clock decides which of two runs was the later one."""

from __future__ import annotations

from wats_extract.flow import Destination
from wats_extract.state.tables import RUNS


def next_number(destination: Destination) -> int:
    """The number of a run that begins now: one more than any run in the destination has."""
    return 1 + (destination.largest(RUNS, "number") or 0)


def runs_since(destination: Destination, number: int) -> frozenset[str]:
    """The ids of the runs with this number or a later one."""
    batches = destination.scan(RUNS, ["run_id"], least=("number", number))
    return frozenset(run_id for batch in batches for run_id in batch["run_id"].to_pylist())
