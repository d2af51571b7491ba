"""Write ``docs/tables.md`` and ``docs/resources.md`` from the declarations: ``make docs``."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from wats_extract.pipeline.model import ResourceConfig
from wats_extract.resources.catalogue import DOMAINS, RESOURCES
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import OPTIONS, takes_time
from wats_extract.state.tables import BOOKKEEPING
from wats_extract.tables import EXTRA, ROW_COUNTS, STAMPS, Column, Table

WRITTEN = (
    "Written by `make docs` from the declarations in `src/wats_extract`; a test says whether it is fresh."
)

TABLES_HEAD = f"""\
# Tables

Names and types are the same in every destination. Every column but those of the key may be null; uuids are
lower-case text; times are UTC. In `result` and `status` codes are WATS's words (`P` is `Passed`), in
`report_type` `T` is `UUT` and `R` is `UUR`; a code that is not known stays as it is.

{WRITTEN}
"""

STAMPED = """
Every table of a resource ends with these columns:

"""

BOOKS = """
## Bookkeeping

Every destination has these tables too. They are written in the same commit as the rows that they speak of.
"""

RESOURCES_HEAD = f"""\
# Resources

What can be extracted, by domain: the capability matrix. `wats-extract resources` shows it too, and
`wats-extract resources NAME` one of them; [tables.md](tables.md) has the columns of every table.

{WRITTEN}

## How to read it

**route**: below `/api`. `POST` routes are asked a question as JSON; none of them changes anything.

**paging**: how all of it is read, though no answer holds all.

| paging | means |
|---|---|
"""

PAGING = {
    "single request": "one answer holds everything",
    "keyset": "in the order of a number that only grows, each page from where the last one ended; where a "
    "server refuses that for reports, by windows on `start`",
    "text keyset": "the same in the order of a text",
    "offset": "page after page, by how many rows came before",
    "time windows": "by ranges of time, narrower where an answer may have been cut",
    "mentioned": "nothing lists the items: those that reports mention are read",
    "nested": "nothing lists the items: those that the documents of another list hold are read",
    "questions": "nothing is listed: what `filter` selects is asked, and the answer kept",
    "queue": "from the head of a queue, which moves only when what landed is acknowledged",
    "…, by key": "what is listed so are keys, and each is then asked for by itself, several at a time",
}

RESOURCES_LEGEND = """
**cap**: rows that are asked for in one request. Servers that give fewer are found out, and read to the end
all the same; where nothing says whether an answer was cut, a full one is a `WINDOW_SATURATED` failure.

**cursor**: the field of WATS by which later runs go on, so that they read only what is new. Without one a run
reads all of it again; what has changed replaces what landed before.

**not proven**: what is assumed, as neither the vendor's specification nor a capture of real traffic says it.

**takes**: what it takes in the pipeline file; in bold, what it cannot do without.

| key | means |
|---|---|
"""

TYPES = {
    pa.float64(): "double",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.list_(pa.float64()): "list of double",
}


# ── tables.md ───────────────────────────────────────────────────────────────────────────────────


def tables() -> str:
    """The page of tables."""
    return "".join(
        [
            TABLES_HEAD,
            STAMPED,
            *_columns((EXTRA, *STAMPS), key=()),
            *(line for resource in RESOURCES.values() for line in _tables_of(resource)),
            BOOKS,
            *(line for table in BOOKKEEPING for line in _table(table)),
        ]
    )


def _tables_of(resource: Resource) -> Iterator[str]:
    yield f"\n## Resource `{resource.name}`\n\n"
    yield f"{_sentence(resource.summary)} Route: `{resource.method} /api/{resource.route}`.\n"
    for table in resource.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"\n### `{table.name}`\n\n"
    yield f"{_sentence(table.doc)} Key: {_code(table.key)}.\n\n"
    yield from _columns((*table.columns, ROW_COUNTS) if table.counted else table.columns, key=table.key)


def _columns(columns: tuple[Column, ...], *, key: tuple[str, ...]) -> Iterator[str]:
    yield "| column | type | in WATS | |\n|---|---|---|---|\n"
    for column in columns:
        name = f"**`{column.name}`**" if column.name in key else f"`{column.name}`"
        source = f"`{column.source}`" if column.source else ""
        yield f"| {name} | {TYPES.get(column.type, column.type)} | {source} | {column.doc} |\n"


# ── resources.md ────────────────────────────────────────────────────────────────────────────────


def resources() -> str:
    """The capability matrix."""
    options = {name: ResourceConfig.model_fields[name].description or "" for name in OPTIONS}
    return "".join(
        [
            RESOURCES_HEAD,
            *(f"| {name} | {meaning} |\n" for name, meaning in PAGING.items()),
            RESOURCES_LEGEND,
            "| `since`, `until` | The range of time that is wanted, on `start` of reports. |\n",
            "| `filter` | Which columns, or which fields of the WATS filter, have to have which values. |\n",
            *(f"| `{name}` | {meaning} |\n" for name, meaning in options.items()),
            *(line for domain in DOMAINS for line in _domain(domain)),
        ]
    )


def _domain(domain: str) -> Iterator[str]:
    yield f"\n## Domain {domain}\n\n"
    yield "| resource | route | paging | cap | key | cursor | tables | takes | not proven |\n"
    yield "|---|---|---|---|---|---|---|---|---|\n"
    for resource in DOMAINS[domain]:
        cells = (
            f"[`{resource.name}`](#{resource.name})",
            f"`{resource.method} {resource.route}`",
            resource.paging,
            "" if resource.cap is None else f"{resource.cap:,}",
            f"`{resource.key}`",
            f"`{resource.cursor}`" if resource.cursor else "",
            _code(table.name for table in resource.tables),
            ", ".join(_takes(resource)),
            resource.unproven,
        )
        yield f"| {' | '.join(cells)} |\n"
    for resource in DOMAINS[domain]:
        yield from _resource(resource)


def _takes(resource: Resource) -> Iterator[str]:
    if resource.internal:
        yield "**`internal`**"
    if takes_time(resource):
        yield "`since`, `until`"
    if resource.filters:
        yield "**`filter`**" if resource.required else "`filter`"
    if resource.expand:
        yield "`expand`"
    named = ("expand", "internal")
    yield from (f"`{name}`" for name in OPTIONS if name in resource.options and name not in named)


def _resource(resource: Resource) -> Iterator[str]:
    yield f"\n### `{resource.name}`\n\n{_sentence(resource.summary)}\n"
    if resource.internal:
        yield "\n**Not supported by the vendor**, and asked only where the pipeline says `internal: true`.\n"
    if resource.unproven:
        yield f"\n**Not proven**: {resource.unproven}.\n"
    yield "\n"
    yield from (f"- {fact}\n" for fact in _facts(resource))


def _facts(resource: Resource) -> Iterator[str]:
    said = {column.name: column.doc for column in resource.table.columns}.get(resource.key, "")
    yield f"key: `{resource.key}`{f', {said}' if said else ''}"
    yield f"read again: {f'what is new, by `{resource.cursor}`' if resource.cursor else 'all of it'}"
    if takes := ", ".join(_takes(resource)):
        yield f"takes: {takes}"
    if resource.required:
        yield f"`filter` has to have {_code(resource.required)}"
    if free := [name for name in resource.filters if name not in resource.required]:
        how = "fields of the WATS filter" if resource.filtered_by == "fields" else "OData"
        yield f"`filter` takes {_code(free)} ({how})"
    if resource.expand:
        yield f"`expand` takes {_code(resource.expand)}"
    if resource.dimensions:
        yield f"`dimensions` takes {_code(resource.dimensions)}"
    tables = (f"[`{table.name}`](tables.md#{table.name}): {table.doc}" for table in resource.tables)
    yield f"tables: {'; '.join(tables)}"


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


PAGES = {"tables.md": tables, "resources.md": resources}
"""What is written, by file."""

if __name__ == "__main__":
    for name, page in PAGES.items():
        Path(__file__).with_name(name).write_text(page(), encoding="utf-8", newline="\n")
        print(f"wrote {name}")
