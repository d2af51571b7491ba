"""Routes below `/api/Product`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.plant.stores import Table
from wats_extract.fake.routes.products import Products

Connect = Callable[..., httpx2.Client]
Spec = Callable[[str], set[str]]
QUERY = "/api/Product/Query"


def fetch(client: httpx2.Client, **options: object) -> list[dict[str, Any]]:
    response = client.get(QUERY, params={f"${name}": str(value) for name, value in options.items()})
    assert response.status_code == 200, response.text
    rows = response.json()
    assert isinstance(rows, list)
    return rows


def many(plant: Plant, count: int, **quirks: object) -> App:
    return App(plant, stores=[Products(plant, count=count)], **quirks)


def test_rows_have_the_specified_fields(client: httpx2.Client, spec: Spec) -> None:
    assert set(fetch(client)[0]) == spec("Mes.Product.ProductView")
    product = client.get("/api/Product/PCBA-100").json()
    assert set(product) == spec("Mes.Product.Public.Product")
    assert set(product["revisions"][0]) == spec("Mes.Product.Public.ProductRevision")
    assert set(product["tags"][0]) == spec("Mes.Product.Setting")
    assert set(client.get("/api/Product/Vendors").json()[0]) == spec("Mes.ERP.Vendor")


@pytest.mark.parametrize(("count", "plain"), [(999, 999), (1000, 1000), (1001, 1000)])
def test_only_a_filter_lifts_the_limit(plant: Plant, connect: Connect, count: int, plain: int) -> None:
    client = connect(many(plant, count))
    assert len(fetch(client)) == plain
    assert len(fetch(client, top=5000)) == plain
    assert len(fetch(client, filter="partNumber ne ''")) == count
    assert len(fetch(client, filter="partNumber ne ''", top=7)) == 7


def test_keyset_paging_returns_every_product_once(plant: Plant, connect: Connect) -> None:
    app = many(plant, 1500)
    client = connect(app)
    found: list[str] = []
    while page := fetch(client, filter=f"partNumber gt '{_last(found)}'", orderby="partNumber", top=400):
        found += [row["partNumber"] for row in page]
    assert len(found) == 1500
    assert found == sorted(found, key=str.casefold)
    assert found != sorted(found)
    assert set(found) == {row["partNumber"] for row in app.store(Products).products.rows()}


def _last(found: list[str]) -> str:
    return found[-1].replace("'", "''") if found else ""


def test_server_can_ignore_the_order(plant: Plant, connect: Connect) -> None:
    names = [row["partNumber"] for row in fetch(connect(many(plant, 50)), orderby="partNumber desc")]
    assert names == sorted(names, key=str.casefold, reverse=True)
    ignored = fetch(connect(many(plant, 50, ignore_orderby=True)), orderby="partNumber desc")
    assert [row["partNumber"] for row in ignored] != names
    assert ignored[0]["partNumber"] == "PCBA-100"


def test_filter_is_case_insensitive(client: httpx2.Client) -> None:
    (row,) = fetch(client, filter="PARTNUMBER eq 'module''310'")
    assert row == {
        "partNumber": "MODULE'310",
        "name": None,
        "category": "Module",
        "nonSerial": False,
        "state": 1,
    }
    assert {row["category"] for row in fetch(client, filter="Category eq 'PCB'")} == {"PCB"}


def test_a_part_number_of_the_reports_has_no_record(connect: Connect) -> None:
    plant = Plant(9000)
    known = {row["partNumber"] for row in fetch(connect(App(plant)))}
    assert {row["partNumber"] for row in plant.headers()} - known == {"UNIT¶400"}


@pytest.mark.parametrize(
    "option", ["$count=true", "$select=name", "$expand=revisions", "$filter=colour eq 'x'"]
)
def test_other_options_are_refused(client: httpx2.Client, option: str) -> None:
    assert client.get(f"{QUERY}?{option}").status_code == 400


def test_every_product_without_a_slash_has_a_path(client: httpx2.Client) -> None:
    for row in fetch(client):
        response = client.get(f"/api/Product/{quote(row['partNumber'], safe='')}")
        slash = "/" in row["partNumber"]
        assert response.status_code == (404 if slash else 200), row
        if slash:
            assert response.headers["Content-Type"] == "text/html"
        else:
            assert response.json()["partNumber"] == row["partNumber"]


def test_revisions(client: httpx2.Client) -> None:
    product = client.get("/api/Product/module-310").json()
    assert [row["revision"] for row in product["revisions"]] == ["01", "02"]
    assert client.get("/api/Product/MODULE-310/02").json() == product["revisions"][1]
    assert client.get("/api/Product/MODULE-310/99").status_code == 404
    assert client.get("/api/Product/nothing/01").status_code == 404


def test_missing_item_can_be_null(plant: Plant, connect: Connect) -> None:
    response = connect(App(plant, missing_item="null")).get("/api/Product/nothing")
    assert (response.status_code, response.json()) == (200, None)


def test_tags_are_the_parsed_xml(client: httpx2.Client) -> None:
    product = client.get("/api/Product/UNIT-400").json()
    (tag,) = product["tags"]
    assert product["xmlData"] == f'<Root><ERP_x0020_no Value="{tag["value"]}"/></Root>'


def test_groups_of_a_product(client: httpx2.Client) -> None:
    path = "/api/Product/ProductGroupsByProduct"
    rows = client.get(path, params={"partNumber": "PCBA-100", "revision": "A"}).json()
    assert [row["productGroupName"] for row in rows] == ["All products", "Boards"]
    assert client.get(path).status_code == 400


def test_nulls_can_be_omitted_and_keys_pascal_case(plant: Plant, connect: Connect) -> None:
    assert "name" not in fetch(connect(App(plant, omit_nulls=True)), filter="partNumber eq 'UNIT-400'")[0]
    assert "PartNumber" in fetch(connect(App(plant, pascal_case=True)))[0]


def test_ids_depend_on_the_seed(plant: Plant) -> None:
    one, same, other = (Products(Plant(0, seed=seed)).products.rows() for seed in (1, 1, 2))
    assert one == same
    assert [row["partNumber"] for row in one] == [row["partNumber"] for row in other]
    assert {row["productId"] for row in one}.isdisjoint(row["productId"] for row in other)


# ------------------------------------------------------------ tables


def test_tables_can_be_changed(plant: Plant, connect: Connect) -> None:
    app = many(plant, 3)
    client, products = connect(app), app.store(Products).products
    before = products.rows()
    products.add(partNumber="NEW", name="New")
    products.change("pcba-100", state=0)
    products.delete("MODULE-310")
    assert [(row["partNumber"], row["state"]) for row in fetch(client)] == [
        ("PCBA-100", 0),
        ("PCBA-200", 1),
        ("NEW", 1),
    ]
    assert len(products) == 3
    assert before[0]["state"] == 1
    for act in (products.delete, products.change):
        with pytest.raises(KeyError):
            act("MODULE-310")


def test_table_is_built_at_first_access() -> None:
    built: list[int] = []
    table = Table("id", {"name": None}, lambda: built.append(1) or [{"id": 1}])  # type: ignore[func-returns-value]
    assert not built
    assert table.rows() == [{"name": None, "id": 1}]
    assert (len(table), table.get(1), table.get(2), built) == (1, {"name": None, "id": 1}, None, [1])


def test_table_is_thread_safe() -> None:
    table = Table("id", {}, lambda: ({"id": n} for n in range(100)))

    def change(number: int) -> None:
        table.add(id=1000 + number)
        table.delete(number)
        assert len(table.rows()) == len({row["id"] for row in table.rows()})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(100)))
    assert sorted(row["id"] for row in table.rows()) == list(range(1000, 1100))
