"""Products: the list of products, and the revisions and tags of each.

Sources: ``GET /api/Product/…`` (api-facts §2.6).
"""

from __future__ import annotations

from collections.abc import Iterator

from wats_extract.readers.by_key import ByKeyReader
from wats_extract.readers.nested import Nested
from wats_extract.readers.paged import PagedReader
from wats_extract.readers.snapshot import Snapshot
from wats_extract.readers.text_keyset import TextKeyset
from wats_extract.resources.fields import place, table, text, truth, uuid, whole
from wats_extract.resources.resource import Resource
from wats_extract.shred.documents import FlatDocuments, PlacedDocuments
from wats_extract.shred.flat import KEY_SEPARATOR, Child, FlatShredder, key_text

_STATE = {"state": "0 = inactive, 1 = active"}

PRODUCT_LIST = TextKeyset(route="Product/Query", field="partNumber", page_size=1000)

_PRODUCTS = table(
    "products",
    "part_number",
    text("partNumber name category"),
    truth("nonSerial"),
    whole("state"),
    doc="one row per product",
    docs=_STATE | {"non_serial": "true if the product has no units of its own"},
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
    doc="one row per product, with fields that the list lacks",
    docs=_STATE,
    counted=True,
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
    doc="one row per revision of a product",
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
    doc="one row per tag of a product",
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
    doc="one row per tag of a revision",
    owner="part_number",
)
_REVISION = table(
    "product_revision_details",
    "part_number revision",
    text("=revision_key PartNumber=part_number revision"),
    uuid("productRevisionId productId"),
    text("name description"),
    whole("state"),
    text("xmlData"),
    doc="one row per revision of a product, from the route for single revisions",
    docs=_STATE | {"revision_key": "part number and revision, joined by a vertical bar"},
    owner="revision_key",
    counted=True,
)
_REVISION_DETAIL_TAGS = table(
    "product_revision_detail_tags",
    "revision_key tag_index",
    text("=revision_key"),
    place("tag_index", "the revision's tags"),
    text("key value"),
    whole("change"),
    doc="one row per tag of a revision",
    owner="revision_key",
)
_MEMBERSHIPS = table(
    "product_group_memberships",
    "part_number group_index",
    text("=part_number"),
    place("group_index", "the product's groups"),
    whole("productGroupId|id=product_group_id"),
    text("productGroupName|name=product_group_name"),
    doc="one row per product and product group that contains it",
    docs={"product_group_id": "joins product_groups.product_group_id"},
    owner="part_number",
)
_VENDORS = table("vendors", "vendor_name", text("VendorName"), doc="one row per vendor of products")

_PRODUCT = FlatDocuments(
    FlatShredder(_PRODUCTS),
    FlatShredder(
        _DETAILS,
        [Child(_REVISIONS, ("revisions",), (Child(_REVISION_TAGS, ("tags",)),)), Child(_TAGS, ("tags",))],
    ),
)

PRODUCTS = Resource(
    name="products",
    summary="the list of products",
    route="Product/Query",
    reader=PagedReader(PRODUCT_LIST, FlatShredder(_PRODUCTS)),
    tables=(_PRODUCTS,),
    key="part_number",
    filters={column.name: column for column in _PRODUCTS.columns},
    unproven="that the list can be sorted by partNumber; if a server ignores the order, the run notices",
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
        shredder=_PRODUCT,
    ),
    tables=(_DETAILS, _REVISIONS, _TAGS, _REVISION_TAGS),
    key="part_number",
)


def _revision_key(key: str) -> str:
    part, _, revision = key.rpartition(KEY_SEPARATOR)
    return key if part and revision else ""


def _revisions(part_number: str, body: bytes) -> Iterator[str]:
    """Return the keys of the revisions in a product's document."""
    for revision in _PRODUCT.document(part_number, None, body).record.revisions or ():
        if revision.revision:
            yield key_text([part_number, revision.revision])


PRODUCT_REVISION_DETAILS = Resource(
    name="product_revision_details",
    summary="all revisions of all products, one request per revision; product_details needs fewer requests",
    route="Product/{partNumber}/{revision}",
    reader=ByKeyReader(
        listing=Nested(
            PRODUCT_LIST,
            rows=FlatShredder(_PRODUCTS).rows,
            document="Product/{key}",
            keys=_revisions,
            proper_key=_revision_key,
        ),
        asked={},
        route="Product/{partNumber}/{revision}",
        query=lambda key, options: {},
        shredder=FlatDocuments(
            FlatShredder(_PRODUCTS), FlatShredder(_REVISION, [Child(_REVISION_DETAIL_TAGS, ("tags",))])
        ),
        parts=lambda key: dict(zip(("partNumber", "revision"), key.rsplit(KEY_SEPARATOR, 1), strict=True)),
    ),
    tables=(_REVISION, _REVISION_DETAIL_TAGS),
    key="revision_key",
)

PRODUCT_GROUP_MEMBERSHIPS = Resource(
    name="product_group_memberships",
    summary="the product groups that contain each product",
    route="Product/ProductGroupsByProduct",
    reader=ByKeyReader(
        listing=PRODUCT_LIST,
        asked={},
        route="Product/ProductGroupsByProduct",
        query=lambda key, options: {"partNumber": key},
        shredder=PlacedDocuments(
            FlatShredder(_PRODUCTS),
            FlatShredder(_MEMBERSHIPS),
            placed=lambda key, version, place: (key, place),
        ),
    ),
    tables=(_MEMBERSHIPS,),
    key="part_number",
    unproven="the columns: the specification does not list them",
)

VENDORS = Resource(
    name="vendors",
    summary="vendors of products",
    route="Product/Vendors",
    reader=PagedReader(Snapshot("Product/Vendors"), FlatShredder(_VENDORS)),
    tables=(_VENDORS,),
    key="vendor_name",
    unproven="the columns: the specification does not list them",
)
