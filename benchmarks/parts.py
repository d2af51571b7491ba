"""The parts of the benchmark: the programs, the sizes and the number of rounds of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.contestants import (
    COMMITS,
    DOWNLOADS,
    HELP,
    NOTHING_NEW,
    ON_CORES,
    RUNS,
    SHREDDING,
    WITHIN_BUDGET,
    Contestant,
    dlt,
    pywats,
    wats_extract,
)


@dataclass(frozen=True)
class Part:
    """Programs that do the same job in turn: A B C, A B C, …

    Attributes:
        name: Its name for ``--only``.
        contestants: The programs.
        sizes: Rounds by number of reports. Sizes take turns, too.
        quick: The same for a quick run.
        served: Whether there is a server for each size.
        options: Further options of the server.
        optional: Whether it only runs on request.
    """

    name: str
    contestants: tuple[Contestant, ...]
    sizes: Mapping[int, int]
    quick: Mapping[int, int]
    served: bool = True
    options: tuple[str, ...] = ()
    optional: bool = False


PARTS = (
    Part(
        "reports",
        (*wats_extract("reports"), *DOWNLOADS, *dlt("reports"), pywats("reports")),
        sizes={2_000: 3},
        quick={400: 1},
    ),
    Part(
        "headers",
        (*wats_extract("report_headers"), *dlt("headers"), pywats("headers")),
        sizes={100_000: 3},
        quick={20_000: 1},
    ),
    Part(
        "header-scale",
        wats_extract("report_headers"),
        sizes={1_000: 3, 10_000: 3, 100_000: 3, 1_000_000: 3},
        quick={1_000: 1, 10_000: 1, 100_000: 1},
    ),
    Part(
        "report-scale",
        wats_extract("reports"),
        sizes={1_000: 3, 10_000: 3, 100_000: 1},
        quick={100: 1, 1_000: 1},
    ),
    Part("commits", COMMITS, sizes={100_000: 1}, quick={10_000: 1}, served=False),
    Part("runs", RUNS, sizes={500: 1}, quick={40: 1}, served=False),
    Part("shredding", (SHREDDING,), sizes={400: 3}, quick={400: 1}, served=False),
    Part("nothing-new", NOTHING_NEW, sizes={300: 10}, quick={300: 3}),
    Part("help", (HELP,), sizes={0: 10}, quick={0: 3}, served=False),
    Part("cores", ON_CORES, sizes={4_000: 3}, quick={1_000: 1}, served=False),
    Part(
        "real-budget",
        (WITHIN_BUDGET,),
        sizes={1_500: 1},
        quick={1_500: 1},
        options=("--requests-per-minute", "500"),
        optional=True,
    ),
)
