"""Every resource there is, by domain. A new one is an entry here and a declaration in its domain's file."""

from __future__ import annotations

from wats_extract.errors import ConfigurationError
from wats_extract.filters.nearest import did_you_mean
from wats_extract.resources import (
    analytics,
    assets,
    histories,
    internal,
    misc_infos,
    processes,
    production,
    products,
    report_files,
    report_lists,
    reports,
    rootcause,
    scim,
    software,
    system,
    units,
)
from wats_extract.resources.resource import Resource
from wats_extract.tables import Table

DOMAINS: dict[str, tuple[Resource, ...]] = {
    "system": (
        system.VERSION,
        processes.PROCESSES,
        system.LEVELS,
        system.PRODUCT_GROUPS,
        system.CLIENTS,
    ),
    "products": (
        products.PRODUCTS,
        products.PRODUCT_DETAILS,
        products.PRODUCT_REVISION_DETAILS,
        products.PRODUCT_GROUP_MEMBERSHIPS,
        products.VENDORS,
    ),
    "reports": (
        reports.REPORT_HEADERS,
        reports.REPORTS,
        report_lists.UUT_REPORTS,
        report_lists.UUR_REPORTS,
        report_files.WSXF_REPORTS,
        report_files.REPORT_ATTACHMENTS,
        misc_infos.HEADERS_BY_MISC_INFO,
    ),
    "production": (
        units.UNITS,
        units.UNIT_VERIFICATIONS,
        production.UNIT_CHANGES,
        production.SERIAL_NUMBER_TYPES,
        production.SERIAL_NUMBERS,
        production.BARCODE_IDENTIFIERS,
    ),
    "assets": (
        assets.ASSETS,
        assets.ASSET_LOGS,
        assets.ASSET_TYPES,
        assets.ASSET_STATUSES,
        assets.SUB_ASSETS,
    ),
    "software": (software.PACKAGES, software.PACKAGE_FILES, software.VIRTUAL_FOLDERS),
    "rootcause": (rootcause.TICKETS, rootcause.TICKET_HISTORIES),
    "scim": (scim.USERS,),
    "analytics": (
        histories.SERIAL_NUMBER_HISTORY,
        analytics.MEASUREMENTS,
        analytics.AGGREGATED_MEASUREMENTS,
        analytics.DYNAMIC_YIELD,
        analytics.DYNAMIC_REPAIR,
        analytics.VOLUME_YIELD,
        analytics.HIGH_VOLUME,
        analytics.WORST_YIELD,
        analytics.HIGH_VOLUME_BY_GROUP,
        analytics.WORST_YIELD_BY_GROUP,
        analytics.TOP_FAILED,
        analytics.STEP_ANALYSIS,
        analytics.OEE_ANALYSIS,
        analytics.RELATED_REPAIRS,
    ),
    "internal": (internal.INTERNAL_PROCESSES, internal.MANUAL_INSPECTIONS, internal.ALARMS),
}
"""By domain, in the order in which they are best extracted."""

RESOURCES: dict[str, Resource] = {
    resource.name: resource for resources in DOMAINS.values() for resource in resources
}
"""By name, in the same order."""


def resource_named(name: str) -> Resource:
    """The resource of this name.

    Raises:
        ConfigurationError: there is none; the message has the nearest name.
    """
    if isinstance(name, str) and name in RESOURCES:
        return RESOURCES[name]
    raise ConfigurationError(
        f"there is no resource {name!r}{did_you_mean(name, RESOURCES)}",
        hint=f"There are {', '.join(RESOURCES)}.",
    )


def table_named(resource: Resource, name: str | None) -> Table:
    """One of a resource's tables, its first by default.

    Raises:
        ConfigurationError: it has no such table.
    """
    tables = {table.name: table for table in resource.tables}
    if name is None:
        return resource.table
    if isinstance(name, str) and name in tables:
        return tables[name]
    raise ConfigurationError(
        f"{resource.name} has no table {name!r}{did_you_mean(name, tables)}",
        hint=f"It has {', '.join(tables)}.",
    )
