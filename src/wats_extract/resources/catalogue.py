"""Every resource there is. A new one is an entry here and a declaration in its domain's file."""

from __future__ import annotations

from wats_extract.resources import reports
from wats_extract.resources.resource import Resource

RESOURCES: dict[str, Resource] = {
    resource.name: resource for resource in (reports.REPORT_HEADERS, reports.REPORTS)
}
"""By name, in the order in which they are best extracted."""
