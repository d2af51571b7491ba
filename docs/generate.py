"""Write ``docs/tables.md`` from the declared tables: ``make docs``, or ``python docs/generate.py``."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from wats_extract.flow import EXTRA, STAMPS, Column, Table
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.state import BOOKKEEPING

PAGE = Path(__file__).with_name("tables.md")

HEAD = """\
# Tables

Names and types are the same in every destination. Every column but those of the key may be null; uuids are
lower-case text; times are UTC. In `result` and `status` codes are WATS's words (`P` is `Passed`), in
`report_type` `T` is `UUT` and `R` is `UUR`; a code that is not known stays as it is.

Written by `make docs` from the declarations in `src/wats_extract`; a test says whether it is fresh.
"""

STAMPED = """
Every table of a resource ends with these columns:

"""

BOOKS = """
## Bookkeeping

Every destination has these tables too. They are written in the same commit as the rows that they speak of.
"""

TYPES = {
    pa.float64(): "double",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.list_(pa.float64()): "list of double",
}


def page() -> str:
    """The whole page."""
    return "".join(
        [
            HEAD,
            STAMPED,
            *_columns((EXTRA, *STAMPS), key=()),
            *(line for resource in RESOURCES.values() for line in _resource(resource)),
            BOOKS,
            *(line for table in BOOKKEEPING for line in _table(table)),
        ]
    )


def _resource(resource: Resource) -> Iterator[str]:
    yield f"\n## Resource `{resource.name}`\n\n"
    yield f"{_sentence(resource.summary)} Route: `GET /api/{resource.route}`.\n"
    for table in resource.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"\n### `{table.name}`\n\n"
    yield f"{_sentence(table.doc)} Key: {', '.join(f'`{name}`' for name in table.key)}.\n\n"
    yield from _columns(table.columns, key=table.key)


def _columns(columns: tuple[Column, ...], *, key: tuple[str, ...]) -> Iterator[str]:
    yield "| column | type | in WATS | |\n|---|---|---|---|\n"
    for column in columns:
        name = f"**`{column.name}`**" if column.name in key else f"`{column.name}`"
        source = f"`{column.source}`" if column.source else ""
        yield f"| {name} | {TYPES.get(column.type, column.type)} | {source} | {column.doc} |\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"wrote {PAGE.name}")
