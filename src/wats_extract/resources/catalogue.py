"""Every resource there is. A new one is an entry here and a declaration in its domain's file."""

from __future__ import annotations

from wats_extract.resources import assets, processes, production, products, reports, rootcause, scim, software
from wats_extract.resources.resource import Resource

RESOURCES: dict[str, Resource] = {
    resource.name: resource
    for resource in (
        processes.PROCESSES,
        products.PRODUCTS,
        products.PRODUCT_DETAILS,
        products.VENDORS,
        reports.REPORT_HEADERS,
        reports.REPORTS,
        production.SERIAL_NUMBER_TYPES,
        production.BARCODE_IDENTIFIERS,
        assets.ASSETS,
        assets.ASSET_LOGS,
        assets.ASSET_TYPES,
        software.PACKAGES,
        software.VIRTUAL_FOLDERS,
        rootcause.TICKETS,
        scim.USERS,
    )
}
"""By name, in the order in which they are best extracted."""
