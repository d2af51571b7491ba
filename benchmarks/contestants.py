"""The programs that are measured: wats-extract itself, and the tools that it is compared with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from benchmarks.environments import python
from benchmarks.measure import BIN

PEERS = Path(__file__).parent / "peers"

Kind: TypeAlias = Literal["wats-extract", "another extractor", "downloads and parses only"]

Command: TypeAlias = list[str | Path]


@dataclass(frozen=True, slots=True)
class Job:
    """What a program has to extract.

    Attributes:
        url: Address of the server.
        reports: Number of reports that the server has.
        folder: An empty folder.
    """

    url: str
    reports: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that does a job.

    Attributes:
        name: Its name in tables and plots.
        command: Returns its command line for a job.
        kind: How much of the job it does.
        needs: Name of its virtual environment, if it does not run in ours.
        twice: Whether only a second run is measured, which finds nothing new.
        cores: Number of cores that it may use; all by default.
    """

    name: str
    command: Callable[[Job], Command]
    kind: Kind = "wats-extract"
    needs: str = ""
    twice: bool = False
    cores: int | None = None


# ── wats-extract ──

DESTINATIONS = {"DuckDB": "duckdb", "Parquet": "parquet"}

PIPELINE = """\
version: 1
name: benchmark
source: {{url: "{url}", token: "${{WATS_TOKEN}}", max_in_flight: 10, requests_per_minute: {rate}}}
destination: {{type: {destination}, path: "{path}"}}
resources: [{resources}]
"""


def _run(resource: str, destination: str, *, rate: int | None = None) -> Callable[[Job], Command]:
    """``wats-extract run`` of one resource, at ``rate`` requests per minute or without a limit."""

    def command(job: Job) -> Command:
        pipeline = job.folder / "pipeline.yaml"
        text = PIPELINE.format(
            url=job.url,
            rate=rate or "null",
            destination=destination,
            path=(job.folder / f"wats.{destination}").as_posix(),
            resources=f"{{name: {resource}}}",
        )
        pipeline.write_text(text, encoding="utf-8")
        return [BIN / "wats-extract", "run", pipeline, "--json", "--quiet"]

    return command


def _ours(module: str, *arguments: str) -> Callable[[Job], Command]:
    """A program in ``benchmarks/ours``."""

    def command(job: Job) -> Command:
        return [sys.executable, "-m", f"benchmarks.ours.{module}", str(job.reports), job.folder, *arguments]

    return command


def wats_extract(resource: str) -> tuple[Contestant, ...]:
    """wats-extract with each destination."""
    return tuple(
        Contestant(f"wats-extract, {name}", _run(resource, destination))
        for name, destination in DESTINATIONS.items()
    )


NOTHING_NEW = tuple(replace(each, twice=True) for each in wats_extract("reports"))
HELP = Contestant("wats-extract --help", lambda job: [BIN / "wats-extract", "--help"])
WITHIN_BUDGET = Contestant("wats-extract", _run("reports", "duckdb", rate=500))
SHREDDING = Contestant("decode and shred", _ours("shredding"))
COMMITS = tuple(
    Contestant(f"commit, {name}", _ours("commits", destination)) for name, destination in DESTINATIONS.items()
)
RUNS = tuple(
    Contestant(f"many runs, {name}", _ours("runs", destination)) for name, destination in DESTINATIONS.items()
)
ON_CORES = tuple(
    Contestant(f"{cores} core{'s'[: cores - 1]}", _ours("simulated"), cores=cores) for cores in (1, 2)
)


# ── other tools ──


def _peer(script: str, environment: str, *arguments: str) -> Callable[[Job], Command]:
    """A program in ``benchmarks/peers``."""
    return lambda job: [python(environment), PEERS / script, job.url, job.folder, *arguments]


def dlt(resource: str) -> tuple[Contestant, ...]:
    """dlt with each destination."""
    return tuple(
        Contestant(
            f"dlt, {name}",
            _peer("dlt_rest_api.py", "dlt", resource, destination),
            "another extractor",
            needs="dlt",
        )
        for name, destination in DESTINATIONS.items()
    )


def pywats(resource: str) -> Contestant:
    """pyWATS, which parses reports into its own models."""
    command = _peer("pywats_async.py", "pywats", resource)
    return Contestant("pyWATS, in memory", command, "another extractor", needs="pywats")


DOWNLOADS = tuple(
    Contestant(name, _peer(script, "downloads", *how), "downloads and parses only", needs="downloads")
    for name, script, *how in (
        ("httpx, asyncio", "httpx_async.py"),
        ("httpx, threads", "threads.py", "httpx"),
        ("urllib3, threads", "threads.py", "urllib3"),
    )
)
