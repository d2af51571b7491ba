"""Virtual environments of the tools that wats-extract is compared with."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.measure import ROOT

REQUIREMENTS = {
    "dlt": ("dlt[duckdb,parquet]==1.31.0", "orjson==3.11.9"),
    "pywats": ("pywats-api==0.6.0rc1", "httpx==0.28.1"),
    "downloads": ("httpx==0.28.1", "urllib3==2.8.0", "orjson==3.11.9"),
}
"""Packages by environment. What wats-extract uses as well has the version of ``constraints.txt``."""


class NotInstalled(Exception):
    """An environment cannot be created here."""


@cache
def python(name: str) -> Path:
    """The interpreter of an environment, which is created if necessary.

    Raises:
        NotInstalled: pip failed; the message is its last error.
    """
    folder = ROOT / ".venv" / f"bench-{name}"
    interpreter = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = "\n".join(REQUIREMENTS[name])
    made = folder / ".made"
    if made.is_file() and made.read_text(encoding="utf-8") == wanted:
        return interpreter
    _call(name, [sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _call(name, [*pip, "--constraint", str(ROOT / "constraints.txt"), *REQUIREMENTS[name]])
    made.write_text(wanted, encoding="utf-8")
    return interpreter


def _call(name: str, command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        reason = next((line for line in reversed(output) if line.startswith("ERROR")), output[-1])
        raise NotInstalled(f"{' '.join(REQUIREMENTS[name])} cannot be installed: {reason[:120]}") from None
