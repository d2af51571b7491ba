"""Processes: test, repair and WIP operations, with the failure categories and codes of repairs.

Source: ``GET /api/App/Processes`` (api-facts §2.5), a list. The cache of another client wraps it in an
object with the field ``processes``, which is read, too.
"""

from __future__ import annotations

from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.resources.fields import place, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder
from wats_extract.shred.shape import wrapped_list

_PROCESSES = table(
    "processes",
    "code",
    whole("code"),
    text("name description"),
    truth("isTestOperation isRepairOperation isWipOperation"),
    whole("processIndex state"),
    whole("repairOperation.uutBinding=uut_binding repairOperation.bomBinding=bom_binding"),
    whole("repairOperation.vendorBinding=vendor_binding"),
    text("repairOperation.compRefMask=component_reference_mask"),
    text("repairOperation.compRefValidationText=component_reference_validation_text"),
    doc="one row per operation",
    docs={
        "state": "1 = active",
        "uut_binding": "repairs: 0 = required, 1 = optional, 2 = never",
        "bom_binding": "repairs: 0 = required, 1 = optional, 2 = never",
        "vendor_binding": "repairs: 0 = required, 1 = optional, 2 = never",
    },
    counted=True,
)
_CATEGORIES = table(
    "repair_categories",
    "process_code category_index",
    whole("=process_code"),
    place("category_index", "the operation's categories"),
    uuid("id"),
    text("description"),
    whole("status imageConstraint"),
    doc="one row per failure category of a repair operation",
    owner="process_code",
)
_CODES = table(
    "repair_codes",
    "process_code category_index code_index",
    whole("=process_code"),
    place("category_index", "the operation's categories"),
    place("code_index", "the category's codes"),
    uuid("id"),
    text("description"),
    whole("failureType"),
    text("imageConstraint"),
    whole("status"),
    doc="one row per failure code of a category",
    docs={
        "failure_type": "0 = default, 1 = automatic process, 2 = scrapped, 3 = no failure found, "
        "4 = component, 5 = design, 6 = manual process, 7 = replaced"
    },
    owner="process_code",
)
_MISC_INFOS = table(
    "repair_misc_infos",
    "process_code misc_info_index",
    whole("=process_code"),
    place("misc_info_index", "the operation's misc infos"),
    uuid("id"),
    text("description inputMask"),
    whole("status sortOrder"),
    doc="one row per misc info that a repair operation asks for",
    owner="process_code",
)

PROCESSES = Resource(
    name="processes",
    summary="test, repair and WIP operations, with repair categories and codes",
    route="App/Processes",
    reader=PagedReader(
        Snapshot(
            "App/Processes",
            query={
                "includeTestOperations": True,
                "includeRepairOperations": True,
                "includeWipOperations": True,
                "includeInactiveProcesses": True,
            },
        ),
        FlatShredder(
            _PROCESSES,
            [
                Child(_CATEGORIES, ("repairOperation.repairCategories",), (Child(_CODES, ("repairCodes",)),)),
                Child(_MISC_INFOS, ("repairOperation.miscInfos",)),
            ],
            shape=wrapped_list("processes"),
        ),
    ),
    tables=(_PROCESSES, _CATEGORIES, _CODES, _MISC_INFOS),
    key="code",
)
