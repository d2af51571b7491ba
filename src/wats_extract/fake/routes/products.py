"""Routes below `/api/Product`: products, revisions, product groups and vendors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from xml.sax.saxutils import quoteattr

from wats_extract.fake.exchange import Call, Response, Route
from wats_extract.fake.listing import Listing
from wats_extract.fake.odata import Entity, collated
from wats_extract.fake.plant import programs
from wats_extract.fake.plant.data import Json, Plant
from wats_extract.fake.plant.stores import Store, Table

VIEW = Entity(
    "Virinco.WATS.Web.Dashboard.Models.Mes.Product.ProductView",
    {"partNumber": "string", "name": "string", "category": "string", "nonSerial": "bool", "state": "number"},
    {},
    ("partNumber", "name", "category", "nonSerial", "state"),
)
"""The rows of `GET /api/Product/Query`."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "All products": ("*",),
    "Boards": ("PCBA*",),
    "Modules": ("MODULE*",),
    "Units": ("UNIT*",),
}
"""The part numbers of each product group, with wildcards."""

_LISTING = Listing(VIEW, default_top=1000, filter_lifts=True)
_PRODUCT: Json = {
    "productId": None, "nonSerial": False, "partNumber": None, "name": None, "description": None, "state": 1,
    "xmlData": None, "productCategoryId": None, "productCategoryName": None, "revisions": [], "tags": [],
}  # fmt: skip
_REVISION: Json = {
    "productRevisionId": None, "productId": None, "revision": None, "name": None, "description": None,
    "state": 1, "xmlData": None, "PartNumber": None, "tags": [],
}  # fmt: skip
_UNUSUAL_PART_NUMBERS = {
    "PCBA-100/X": "Sensor board, variant X",
    "MODULE'310": None,
    "PCBA_2%;0": "Power board, trial",
}
_CATEGORIES = {"PCBA": "PCB", "MODULE": "Module", "UNIT": "Unit"}
_STEMS = ("RES-{:05d}", "cap-{:05d}", "Ind_{:05d}", "CONN-{:05d}/T", "kabel æ {:05d}", "{:05d}-ic")
_VENDORS = ("Nordic Parts", "Fjord Components AS", "Østlandet Elektro", "Gdańsk PCB Sp. z o.o.")


class Products(Store):
    """The product records.

    They are the plant's products, then the unusual part numbers of the reports, then components. One part
    number of the reports, `UNIT¶400`, has no record.

    Args:
        plant: The reports.
        count: The number of records. With fewer than nine, some part numbers of the reports have no record.

    Attributes:
        products: The full records by `partNumber`, in the order of creation.
        vendors: The vendors by `VendorName`.
    """

    def __init__(self, plant: Plant, *, count: int = 60) -> None:
        super().__init__(plant)
        self.products = Table("partNumber", _PRODUCT, lambda: (self._product(n) for n in range(count)))
        self.vendors = Table("VendorName", {}, lambda: ({"VendorName": name} for name in _VENDORS))

    def _product(self, number: int) -> Json:
        known = [(each.part_number, each.name, each.revisions) for line in programs.PRODUCTS for each in line]
        known += [(part, name, ("A",)) for part, name in _UNUSUAL_PART_NUMBERS.items()]
        if number < len(known):
            part, name, revisions = known[number]
            return self._record(part, name, revisions, serial=True)
        part = _STEMS[number % len(_STEMS)].format(number)
        revisions = tuple("ABC"[: self.rng("revisions", part).randrange(3)])
        return self._record(part, f"Component {number}", revisions, serial=False)

    def _record(self, part: str, name: str | None, revisions: tuple[str, ...], *, serial: bool) -> Json:
        category = next((word for stem, word in _CATEGORIES.items() if part.startswith(stem)), None)
        rng = self.rng("product", part)
        tags = {"ERP no": f"{rng.randrange(10**6):06d}"} if serial or rng.random() < 0.3 else {}
        return {
            "productId": self.guid("product", part),
            "nonSerial": not serial,
            "partNumber": part,
            "name": name,
            "description": f"«{name}» & more" if name and serial else None,
            "state": int(serial or rng.random() < 0.9),
            **tagged(tags),
            "productCategoryId": self.guid("category", category) if category else None,
            "productCategoryName": category,
            "revisions": [self._revision(part, revision) for revision in revisions],
        }

    def _revision(self, part: str, revision: str) -> Json:
        return _REVISION | {
            "productRevisionId": self.guid("revision", part, revision),
            "productId": self.guid("product", part),
            "revision": revision,
            "name": f"{part} rev. {revision}",
            **tagged({"Released": "yes"} if revision in ("A", "1.0") else {}),
            "PartNumber": part,
        }


def tagged(tags: Mapping[str, str]) -> Json:
    """The tags of an item in both forms of the API: `xmlData`, and `tags`, which is the same XML, parsed."""
    elements = "".join(f"<{name.replace(' ', '_x0020_')} Value={quoteattr(v)}/>" for name, v in tags.items())
    return {
        "xmlData": f"<Root>{elements}</Root>" if tags else None,
        "tags": [{"key": name, "value": value, "change": 0} for name, value in tags.items()],
    }


def groups_of(part_number: str) -> list[str]:
    """The product groups of a part number."""
    part = part_number.casefold()
    return [
        group for group, globs in GROUPS.items() if any(fnmatchcase(part, each.casefold()) for each in globs)
    ]


def group_rows() -> Iterator[Json]:
    """The product groups, with the keys that clients of WATS read. The specification names none."""
    for number, name in enumerate(GROUPS, 1):
        yield {"productGroupId": number, "productGroupName": name}


# ------------------------------------------------------------ routes


def query(call: Call) -> Response:
    """`GET /api/Product/Query`: five columns. Without a `$filter`, `$top` cannot exceed 1,000 rows.

    The specification documents no order. Without `$orderby` the rows come in the order of creation, so that a
    client cannot rely on any other order.
    """
    rows = call.store(Products).products.rows()
    return _LISTING.response(call, (_view(row) for row in rows))


def product(call: Call) -> Response:
    """`GET /api/Product/{partNumber}`: the record with its revisions. A part number with a slash is a 404."""
    part = call.names()[0]
    return call.item(call.store(Products).products.get(part), f"Product '{part}'")


def revision(call: Call) -> Response:
    """`GET /api/Product/{partNumber}/{revision}`."""
    part, name = call.names()
    record = call.store(Products).products.get(part) or {"revisions": []}
    rows = (row for row in record["revisions"] if collated(row["revision"]) == collated(name))
    return call.item(next(rows, None), f"Revision '{name}' of product '{part}'")


def groups_by_product(call: Call) -> Response:
    """`GET /api/Product/ProductGroupsByProduct`: rows as in `App/ProductGroups`, which is an assumption."""
    names = groups_of(call.required("partNumber"))
    return call.json([row for row in group_rows() if row["productGroupName"] in names])


def vendors(call: Call) -> Response:
    """`GET /api/Product/Vendors`."""
    return call.json(call.store(Products).vendors.rows())


def _view(row: Json) -> Json:
    return {
        "partNumber": row["partNumber"],
        "name": row["name"],
        "category": row["productCategoryName"],
        "nonSerial": row["nonSerial"],
        "state": row["state"],
    }


ROUTES = (
    Route("GET", "/api/Product/Query", query),
    Route("GET", "/api/Product/ProductGroupsByProduct", groups_by_product),
    Route("GET", "/api/Product/Vendors", vendors),
    Route("GET", "/api/Product/{}", product),
    Route("GET", "/api/Product/{}/{}", revision),
)
