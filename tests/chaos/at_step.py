"""Run a pipeline in this process, and kill the process in the middle of a commit.

``python at_step.py FILE`` runs to the end and prints the name of every step of every commit.
``python at_step.py FILE STEP NUMBER`` kills the process when the step is reached for the NUMBERth time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wats_extract.destinations.duckdb import DuckDB
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.run import execute
from wats_extract.flow import Destination
from wats_extract.pipeline.job import Overrides, job_of
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.model import Pipeline
from wats_extract.pipeline.opening import open_client
from wats_extract.resources.catalogue import RESOURCES

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows, os.kill terminates with any signal


def kill_at(step: str, number: int) -> Callable[[str], None]:
    """A listener that kills this process when a step is reached for the ``number``th time."""
    left = [number]

    def on_step(name: str) -> None:
        left[0] -= name == step
        if not left[0]:
            os.kill(os.getpid(), KILL)

    return on_step


def destination(pipeline: Pipeline, on_step: Callable[[str], None]) -> Destination:
    """The pipeline's destination, which reports each step of a commit."""
    config = pipeline.destination
    if config.type == "duckdb":  # few rows, so that the file is closed and opened again during a run
        return DuckDB(config.path, reopen_rows=5_000, on_step=on_step)
    return Parquet(config.path, on_step=on_step)


def main(file: str, step: str = "", number: str = "0") -> int:
    pipeline = load(Path(file), catalogue=RESOURCES)
    on_step = kill_at(step, int(number)) if step else lambda name: print(name)
    job = replace(job_of(pipeline, Overrides()), destination=destination(pipeline, on_step))
    with open_client(pipeline.source) as client:
        return execute(job, client).exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
