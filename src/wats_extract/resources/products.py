"""Products: the list, and each product with its revisions and tags.

Sources: ``GET /api/Product/…`` (api-facts §2.6).
"""

from __future__ import annotations

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.readers.text_keyset import TextKeyset
from wats_extract.resources.documents import FlatDocuments
from wats_extract.resources.fields import place, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.flat import Child, FlatShredder

_STATE = {"state": "1 active, 0 inactive"}

PRODUCT_LIST = TextKeyset(route="Product/Query", field="partNumber", page_size=1000)

_PRODUCTS = table(
    "products",
    "part_number",
    text("partNumber name category"),
    truth("nonSerial"),
    whole("state"),
    doc="one row a product",
    docs=_STATE | {"non_serial": "the product has no units of its own"},
)

_DETAILS = table(
    "product_details",
    "part_number",
    text("partNumber"),
    uuid("productId"),
    text("name description"),
    truth("nonSerial"),
    whole("state"),
    uuid("productCategoryId"),
    text("productCategoryName xmlData"),
    doc="one row a product, with what the list leaves out",
    docs=_STATE,
)
_REVISIONS = table(
    "product_revisions",
    "part_number revision_index",
    text("=part_number"),
    place("revision_index", "the product's revisions"),
    uuid("productRevisionId productId"),
    text("revision name description"),
    whole("state"),
    text("xmlData PartNumber=revision_part_number"),
    doc="one row a revision of a product",
    docs=_STATE,
    owner="part_number",
)
_TAGS = table(
    "product_tags",
    "part_number tag_index",
    text("=part_number"),
    place("tag_index", "the product's tags"),
    text("key value"),
    whole("change"),
    doc="one row a tag of a product",
    owner="part_number",
)
_REVISION_TAGS = table(
    "product_revision_tags",
    "part_number revision_index tag_index",
    text("=part_number"),
    place("revision_index", "the product's revisions"),
    place("tag_index", "the revision's tags"),
    text("key value"),
    whole("change"),
    doc="one row a tag of a revision",
    owner="part_number",
)
_VENDORS = table("vendors", "vendor_name", text("VendorName"), doc="one row a vendor of products")

PRODUCTS = Resource(
    name="products",
    summary="the list of products",
    route="Product/Query",
    reader=PagedReader(PRODUCT_LIST, FlatShredder(_PRODUCTS)),
    tables=(_PRODUCTS,),
    key="part_number",
    filters={column.name: column for column in _PRODUCTS.columns},
)

PRODUCT_DETAILS = Resource(
    name="product_details",
    summary="products with their revisions and tags",
    route="Product/{key}",
    reader=ByKeyReader(
        listing=PRODUCT_LIST,
        asked={},
        route="Product/{key}",
        query=lambda key, options: {},
        shredder=FlatDocuments(
            FlatShredder(_PRODUCTS),
            FlatShredder(
                _DETAILS,
                [
                    Child(_REVISIONS, ("revisions",), (Child(_REVISION_TAGS, ("tags",)),)),
                    Child(_TAGS, ("tags",)),
                ],
            ),
        ),
    ),
    tables=(_DETAILS, _REVISIONS, _TAGS, _REVISION_TAGS),
    key="part_number",
)

VENDORS = Resource(
    name="vendors",
    summary="vendors of products",
    route="Product/Vendors",
    reader=PagedReader(Snapshot("Product/Vendors"), FlatShredder(_VENDORS)),
    tables=(_VENDORS,),
    key="vendor_name",
)
