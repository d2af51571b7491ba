"""Every resource there is. A new one is an entry here and a declaration in its domain's file."""

from __future__ import annotations

from wats_extract.resources import (
    assets,
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

RESOURCES: dict[str, Resource] = {
    resource.name: resource
    for resource in (
        processes.PROCESSES,
        system.LEVELS,
        system.PRODUCT_GROUPS,
        system.CLIENTS,
        products.PRODUCTS,
        products.PRODUCT_DETAILS,
        products.VENDORS,
        reports.REPORT_HEADERS,
        reports.REPORTS,
        report_lists.UUT_REPORTS,
        report_lists.UUR_REPORTS,
        report_files.WSXF_REPORTS,
        report_files.REPORT_ATTACHMENTS,
        units.UNITS,
        units.UNIT_VERIFICATIONS,
        production.SERIAL_NUMBER_TYPES,
        production.SERIAL_NUMBERS,
        production.BARCODE_IDENTIFIERS,
        assets.ASSETS,
        assets.ASSET_LOGS,
        assets.ASSET_TYPES,
        software.PACKAGES,
        software.PACKAGE_FILES,
        software.VIRTUAL_FOLDERS,
        rootcause.TICKETS,
        rootcause.TICKET_HISTORIES,
        scim.USERS,
    )
}
"""By name, in the order in which they are best extracted."""
