"""All data out of WATS, completely: into Arrow, Parquet, DuckDB, and kept up to date.

Names are loaded when they are first used, so that ``import wats_extract`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wats_extract.version import __version__ as __version__

if TYPE_CHECKING:
    from wats_extract.engine.fetching import Fetched
    from wats_extract.engine.job import RunReport
    from wats_extract.engine.planning import Plan
    from wats_extract.engine.verifying import VerifyReport
    from wats_extract.errors import KeyFailed, WatsExtractError
    from wats_extract.flow import Failure, Result, Success, collect_failures, collect_successes, partition
    from wats_extract.frontends.pipelines import backfill, plan, retry, run, verify
    from wats_extract.frontends.session import Wats, connect, demo
    from wats_extract.frontends.streaming import Stream

_HOMES = {
    "Failure": "flow",
    "Fetched": "engine.fetching",
    "KeyFailed": "errors",
    "Plan": "engine.planning",
    "Result": "flow",
    "RunReport": "engine.job",
    "Stream": "frontends.streaming",
    "Success": "flow",
    "VerifyReport": "engine.verifying",
    "Wats": "frontends.session",
    "WatsExtractError": "errors",
    "backfill": "frontends.pipelines",
    "collect_failures": "flow",
    "collect_successes": "flow",
    "connect": "frontends.session",
    "demo": "frontends.session",
    "partition": "flow",
    "plan": "frontends.pipelines",
    "retry": "frontends.pipelines",
    "run": "frontends.pipelines",
    "verify": "frontends.pipelines",
}

__all__ = [
    "Failure",
    "Fetched",
    "KeyFailed",
    "Plan",
    "Result",
    "RunReport",
    "Stream",
    "Success",
    "VerifyReport",
    "Wats",
    "WatsExtractError",
    "backfill",
    "collect_failures",
    "collect_successes",
    "connect",
    "demo",
    "partition",
    "plan",
    "retry",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
