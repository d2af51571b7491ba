"""Describes the machine and the versions installed on it, without anything that identifies it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.environments import REQUIREMENTS
from benchmarks.measure import ROOT

OURS = ("duckdb", "pyarrow", "msgspec", "pyreqwest", "polars")


def described() -> Mapping[str, str]:
    """Facts that the figures depend on, by name."""
    return {
        "wats-extract": f"{version('wats-extract')}, {_commit()}",
        "steps of reports": "read by C" if find_spec("wats_extract.shred.wsjf._steps") else "read by Python",
        "its libraries": ", ".join(f"{name} {version(name)}" for name in OURS),
        "other tools": ", ".join(dict.fromkeys(line for lines in REQUIREMENTS.values() for line in lines)),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{_system()}, {platform.machine()}",
        "processor": f"{_processor()}, {len(_cores())} cores available",
        "memory": f"{_memory() / 2**30:.0f} GB",
    }


def _commit() -> str:
    """The commit of this clone, followed by "changed" if files differ from it."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=, changed", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return f"commit {described.stdout.strip()}"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0
