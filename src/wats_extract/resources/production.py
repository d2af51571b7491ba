"""Production: serial numbers, their types, and barcode identifiers.

Sources: ``GET /api/Production/…``, ``GET /api/BarcodeIdentifiers/…`` (api-facts §2.7, §2.10).
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.queue import QueueReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import place, table, text, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import SerialNumberFiles
from wats_extract.shred.flat import FlatShredder

_TYPES = table(
    "serial_number_types",
    "name",
    text("name description format regEx"),
    whole("identifier"),
    text("identifierName"),
    doc="one row per type of serial number",
    docs={
        "identifier": "0 = serial number, 1 = MAC address, 2 = IMEI",
        "reg_ex": "regular expression that the numbers match",
    },
)
_BARCODES = table(
    "barcode_identifiers",
    "id",
    whole("id"),
    text("pattern serialNumber partNumber revision batchNumber process"),
    whole("order"),
    text("description"),
    doc="one row per pattern that recognizes barcodes",
)

_NUMBERS = table(
    "serial_numbers",
    "serial_number_type number_index",
    text("=serial_number_type"),
    place("number_index", "the numbers of the type"),
    text("id=serial_number"),
    doc="one row per serial number that the server has issued or has in stock",
    docs={"serial_number_type": "joins serial_number_types.name"},
    owner="serial_number_type",
)


_CHANGES = table(
    "unit_changes",
    "id",
    whole("id"),
    text("unitSerialNumber newParentSerialNumber newPartNumber newRevision"),
    whole("newUnitPhaseId"),
    doc="one row per change of a unit in the queue",
)


TYPE_LIST = Snapshot("Production/SerialNumbers/Types")

SERIAL_NUMBER_TYPES = Resource(
    name="serial_number_types",
    summary="types of serial numbers",
    route="Production/SerialNumbers/Types",
    reader=PagedReader(TYPE_LIST, FlatShredder(_TYPES)),
    tables=(_TYPES,),
    key="name",
)

SERIAL_NUMBERS = Resource(
    name="serial_numbers",
    summary="all serial numbers of each type",
    route="Production/SerialNumbers",
    reader=ByKeyReader(
        listing=TYPE_LIST,
        asked={},
        route="Production/SerialNumbers",
        query=lambda key, options: {"serialNumberType": key, "format": "XML"},
        shredder=SerialNumberFiles(
            FlatShredder(_TYPES),
            FlatShredder(_NUMBERS),
            placed=lambda key, version, place: (key, place),
        ),
        accept="application/xml",
    ),
    tables=(_NUMBERS,),
    key="serial_number_type",
    unproven="the format of the file: the specification does not describe it",
)

UNIT_CHANGES = Resource(
    name="unit_changes",
    summary="a queue of unit changes; entries are deleted from it only with acknowledge: true",
    route="Production/Units/Changes",
    reader=QueueReader(
        Snapshot("Production/Units/Changes", query={"maxCount": 10_000}), FlatShredder(_CHANGES), most=10_000
    ),
    tables=(_CHANGES,),
    key="id",
    options=frozenset({"acknowledge"}),
)

BARCODE_IDENTIFIERS = Resource(
    name="barcode_identifiers",
    summary="patterns that recognize barcodes",
    route="BarcodeIdentifiers/BarcodeIdentifiers",
    reader=PagedReader(Snapshot("BarcodeIdentifiers/BarcodeIdentifiers"), FlatShredder(_BARCODES)),
    tables=(_BARCODES,),
    key="id",
)
