"""A pipeline file for any resources, with the filters that they require."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wats_extract.resources.catalogue import RESOURCES

_TEST = {"part_number": "PCBA-100", "test_operation": "ICT"}
_RAIL = "MainSequence Callback¶ICT¶Power supplies¶3V3 rail"

SETTINGS: dict[str, dict[str, Any]] = {
    "report_headers": {"expand": list(RESOURCES["report_headers"].expand)},
    "reports": {"attachments": "content", "keep_raw": True},
    "report_attachments": {"attachments": "content"},
    "headers_by_misc_info": {"filter": {"description": "Firmware", "data": "FW-2.0.2"}},
    "measurements": {"filter": {**_TEST, "measurement_path": _RAIL}},
    "aggregated_measurements": {"filter": {**_TEST, "measurement_path": _RAIL}},
    "dynamic_yield": {"filter": {"part_number": ["PCBA-100", "MODULE-320"], "yield": 1, "run": 1}},
    "step_analysis": {"filter": {**_TEST, "run": -2}},
    "oee_analysis": {"filter": {"part_number": "PCBA-100"}, "available_time": [8, 8, 8, 8, 8, 0, 0]},
    "related_repairs": {"filter": {"part_number": "PCBA-100", "revision": "B"}},
}
"""Settings by resource: required filters, and options that extract more than usual."""


def pipeline(folder: Path, url: str, names: Iterable[str]) -> Path:
    """Write a pipeline file that loads resources into ``wats.duckdb`` in the same folder.

    Args:
        folder: Holds the file and the database.
        url: Address of the server. The token is taken from ``WATS_TOKEN``.
        names: The resources.
    """
    file = folder / "every_resource.yaml"
    written = {
        "version": 1,
        "name": "every_resource",
        "source": {"url": url, "token": "${WATS_TOKEN}", "requests_per_minute": 1_000_000},
        "destination": {"type": "duckdb", "path": str(folder / "wats.duckdb")},
        "resources": [_config(name) for name in names],
        "stop_at_failures": "100%",
    }
    file.write_text(json.dumps(written), encoding="utf-8")
    return file


def _config(name: str) -> dict[str, Any]:
    internal = {"internal": True} if RESOURCES[name].internal else {}
    return {"name": name, **internal, **SETTINGS.get(name, {})}
