"""Which item lies in which file: an index in SQLite, so that a merge need not read all files.

It is a cache of the data files and can be deleted at any time; what is missing is read again. It is current
when it knows the id of the last journal.

Keys are kept as numbers of 64 bits that follow from them, which takes a third of the room. That any two
of ten million keys share one has a probability of three in a million.

New keys are appended, and taken into the sorted rest some ten thousand at a time. They are in no order, so
each commit by itself would change nearly every page of a large index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias, TypeVar

from wats_extract.destinations.parquet.journal import Journal, KeyChange

T = TypeVar("T")

Entry: TypeAlias = tuple[str, str, int | None]
"""Key, label and version."""

_PATIENCE = 60.0
"""Seconds to wait for another process that is writing the index."""

_LAYOUT = 2
"""Of the tables below; an index with another one is begun anew."""

_SCHEMA = f"""
CREATE TABLE journal (id TEXT NOT NULL);
CREATE TABLE tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE labels (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sorted (
    "table" INTEGER NOT NULL, key INTEGER NOT NULL, label INTEGER NOT NULL, version INTEGER,
    PRIMARY KEY ("table", key, label)
) WITHOUT ROWID;
CREATE TABLE appended (
    "table" INTEGER NOT NULL, key INTEGER NOT NULL, label INTEGER NOT NULL, version INTEGER
);
CREATE TABLE retired (path TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_LAYOUT};
"""

_MOST_APPENDED = 50_000
"""Keys that are looked through one by one."""


class KeyIndex:
    """An open index; a table is *covered* when every key in its files is known."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # ── what it knows ───────────────────────────────────────────────────────────────────────────

    @property
    def journal(self) -> str:
        """The id of the last journal that this index has followed, or empty."""
        row = self._connection.execute("SELECT id FROM journal").fetchone()
        return str(row[0]) if row else ""

    def covers(self, table: str) -> bool:
        """Whether every key of this table is known."""
        return self._id_of(table) is not None

    def versions(self, table: str, keys: Sequence[str]) -> dict[str, int | None]:
        """The versions of those keys that are there."""
        texts = {_number(key): key for key in keys}
        found = self._select("key, max(version)", table, texts, "GROUP BY key")
        return {texts[number]: version for number, version in found}

    def labels(self, table: str, keys: Sequence[str]) -> set[str]:
        """The labels of the files that have these keys."""
        found = self._select("DISTINCT labels.name", table, map(_number, keys))
        return {name for (name,) in found}

    def _select(self, what: str, table: str, numbers: Iterable[int], then: str = "") -> sqlite3.Cursor:
        either = " UNION ALL ".join(
            f'SELECT key, label, version FROM {place} WHERE "table" = :table '  # noqa: S608
            "AND key IN (SELECT value FROM json_each(:keys))"
            for place in ("sorted", "appended")
        )
        return self._connection.execute(
            f"SELECT {what} FROM ({either}) AS found JOIN labels ON labels.id = found.label {then}",  # noqa: S608
            {"table": self._id_of(table), "keys": json.dumps(list(numbers))},
        )

    def _id_of(self, table: str) -> int | None:
        row = self._connection.execute("SELECT id FROM tables WHERE name = ?", (table,)).fetchone()
        return row[0] if row else None

    # ── what changes ────────────────────────────────────────────────────────────────────────────

    def cover(self, table: str, entries: Iterable[Entry]) -> None:
        """Take in all keys of a table."""
        self._connection.execute("INSERT INTO tables (name) VALUES (?)", (table,))
        self._append(table, entries)

    def forget(self, *, journal: str) -> None:
        """Forget everything, and be current as of this journal."""
        for name in ("tables", "labels", "sorted", "appended", "retired"):
            self._connection.execute(f"DELETE FROM {name}")  # noqa: S608
        self._become(journal)

    def follow(
        self, journal: Journal, *, entries: Callable[[KeyChange], Iterable[Entry]], now: float
    ) -> None:
        """Take in what a journal changed, once its files have their names.

        Args:
            journal: The journal after the one that the index has followed; else all is forgotten.
            entries: Reads the keys of the changed files.
            now: Seconds since 1970, from when on retired files wait to be deleted.
        """
        change = journal.change
        if self.journal != journal.previous:
            self.forget(journal=journal.id)
        elif change and self.covers(change.table):
            self._drop(change)
            if any(self._label(name) for name in change.labels):  # a commit that is made once more
                self._sort()  # so that no key is there twice under a label
                self._append(change.table, entries(change), into="sorted")
            else:
                self._append(change.table, entries(change))
        self.deleted(journal.files)
        self._connection.executemany("INSERT INTO retired VALUES (?, ?)", ((p, now) for p in journal.retired))
        self._become(journal.id)

    def retired_before(self, instant: float) -> list[str]:
        """The files that were retired before this instant."""
        rows = self._connection.execute("SELECT path FROM retired WHERE since < ?", (instant,))
        return [path for (path,) in rows]

    def deleted(self, paths: Iterable[str]) -> None:
        """Take note that these files are not retired any more."""
        self._connection.executemany("DELETE FROM retired WHERE path = ?", ((path,) for path in paths))

    def _become(self, journal: str) -> None:
        self._connection.execute("DELETE FROM journal")
        self._connection.execute("INSERT INTO journal VALUES (?)", (journal,))

    def _drop(self, change: KeyChange) -> None:
        dropped, labels = json.dumps(list(map(_number, change.dropped))), json.dumps(change.labels)
        for place in ("sorted", "appended"):
            self._connection.execute(
                f'DELETE FROM {place} WHERE "table" = ? AND key IN (SELECT value FROM json_each(?))',  # noqa: S608
                (self._id_of(change.table), dropped),
            )
            if change.swept:
                self._connection.execute(
                    f'DELETE FROM {place} WHERE "table" = ? AND label IN '  # noqa: S608
                    "(SELECT id FROM labels WHERE name IN (SELECT value FROM json_each(?)))",
                    (self._id_of(change.table), labels),
                )

    def _append(self, table: str, entries: Iterable[Entry], *, into: str = "appended") -> None:
        number = self._id_of(table)
        ids: dict[str, int] = {}
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {into} VALUES (?, ?, ?, ?)",  # noqa: S608
            (
                (
                    number,
                    _number(key),
                    ids.get(label) or ids.setdefault(label, self._new_label(label)),
                    version,
                )
                for key, label, version in entries
            ),
        )
        [(appended,)] = self._connection.execute("SELECT coalesce(max(rowid), 0) FROM appended")
        if appended > _MOST_APPENDED:
            self._sort()

    def _sort(self) -> None:
        """Take in what was appended."""
        self._connection.execute(
            'INSERT OR REPLACE INTO sorted SELECT * FROM appended ORDER BY "table", key, label'
        )
        self._connection.execute("DELETE FROM appended")

    def _label(self, name: str) -> int | None:
        row = self._connection.execute("SELECT id FROM labels WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def _new_label(self, name: str) -> int:
        self._connection.execute("INSERT OR IGNORE INTO labels (name) VALUES (?)", (name,))
        return self._label(name) or 0


def _number(key: str) -> int:
    text = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def with_index(path: Path, use: Callable[[KeyIndex], T]) -> T:
    """Use the index in one transaction; a damaged one is thrown away first.

    Args:
        path: The index; it is created when it is missing.
        use: May be called a second time, with an empty index.
    """
    try:
        return _use(path, use)
    except sqlite3.OperationalError:
        raise  # locked, disk full: not damaged
    except sqlite3.DatabaseError:
        for name in (path.name, f"{path.name}-journal"):
            path.with_name(name).unlink(missing_ok=True)
        return _use(path, use)


def _use(path: Path, use: Callable[[KeyIndex], T]) -> T:
    # closing without COMMIT rolls back
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        [(layout,)] = connection.execute("PRAGMA user_version")
        if layout != _LAYOUT:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise sqlite3.DatabaseError("another layout")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
        answer = use(KeyIndex(connection))
        connection.execute("COMMIT")
        return answer
