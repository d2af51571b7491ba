"""All data out of WATS, completely: into Arrow, Parquet, DuckDB, and kept up to date.

Names are loaded when they are first used, so that ``import wats_extract`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wats_extract.errors import WatsExtractError
    from wats_extract.flow import Failure, Result, Success
    from wats_extract.runner import RunReport
    from wats_extract.session import Fetched, Stream, Wats, connect, demo, run

_HOMES = {
    "Failure": "flow",
    "Fetched": "session",
    "Result": "flow",
    "RunReport": "runner",
    "Stream": "session",
    "Success": "flow",
    "Wats": "session",
    "WatsExtractError": "errors",
    "connect": "session",
    "demo": "session",
    "run": "session",
}

__all__ = [
    "Failure",
    "Fetched",
    "Result",
    "RunReport",
    "Stream",
    "Success",
    "Wats",
    "WatsExtractError",
    "connect",
    "demo",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
