"""Production: serial number types and barcode identifiers.

Sources: ``GET /api/Production/…``, ``GET /api/BarcodeIdentifiers/…`` (api-facts §2.7, §2.10).
"""

from __future__ import annotations

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import table, text, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import FlatShredder

_TYPES = table(
    "serial_number_types",
    "name",
    text("name description format regEx"),
    whole("identifier"),
    text("identifierName"),
    doc="one row a type of serial number",
    docs={"identifier": "0 serial number, 1 MAC address, 2 IMEI"},
)
_BARCODES = table(
    "barcode_identifiers",
    "id",
    whole("id"),
    text("pattern serialNumber partNumber revision batchNumber process"),
    whole("order"),
    text("description"),
    doc="one row a pattern that recognises barcodes",
)

SERIAL_NUMBER_TYPES = Resource(
    name="serial_number_types",
    summary="types of serial numbers",
    route="Production/SerialNumbers/Types",
    reader=PagedReader(Snapshot("Production/SerialNumbers/Types"), FlatShredder(_TYPES)),
    tables=(_TYPES,),
    key="name",
)

BARCODE_IDENTIFIERS = Resource(
    name="barcode_identifiers",
    summary="patterns that recognise barcodes",
    route="BarcodeIdentifiers/BarcodeIdentifiers",
    reader=PagedReader(Snapshot("BarcodeIdentifiers/BarcodeIdentifiers"), FlatShredder(_BARCODES)),
    tables=(_BARCODES,),
    key="id",
)
