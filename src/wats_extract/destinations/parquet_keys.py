"""Which item lies in which file: an index in SQLite, so that a merge need not read all files.

It is a cache of the data files and can be deleted at any time; what is missing is read again. It is current
when it knows the id of the last journal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias, TypeVar

from wats_extract.destinations.parquet_journal import Journal, KeyChange

T = TypeVar("T")

Entry: TypeAlias = tuple[str, str, int | None]
"""Key, label and version."""

_PATIENCE = 60.0
"""Seconds to wait for another process that is writing the index."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS labels (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS keys (
    "table" INTEGER NOT NULL, key TEXT NOT NULL, label INTEGER NOT NULL, version INTEGER,
    PRIMARY KEY ("table", key, label)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired (path TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
"""


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
        return dict(self._select("key, max(version)", table, keys, "GROUP BY key"))

    def labels(self, table: str, keys: Sequence[str]) -> set[str]:
        """The labels of the files that have these keys."""
        return {name for (name,) in self._select("DISTINCT labels.name", table, keys)}

    def _select(self, what: str, table: str, keys: Sequence[str], then: str = "") -> sqlite3.Cursor:
        return self._connection.execute(
            f"SELECT {what} FROM keys JOIN labels ON labels.id = keys.label "  # noqa: S608
            f'WHERE "table" = ? AND key IN (SELECT value FROM json_each(?)) {then}',
            (self._id_of(table), json.dumps(keys)),
        )

    def _id_of(self, table: str) -> int | None:
        row = self._connection.execute("SELECT id FROM tables WHERE name = ?", (table,)).fetchone()
        return row[0] if row else None

    # ── what changes ────────────────────────────────────────────────────────────────────────────

    def cover(self, table: str, entries: Iterable[Entry]) -> None:
        """Take in all keys of a table."""
        self._connection.execute("INSERT INTO tables (name) VALUES (?)", (table,))
        self._add(table, entries)

    def forget(self, *, journal: str) -> None:
        """Forget everything, and be current as of this journal."""
        for name in ("tables", "labels", "keys", "retired"):
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
            self._add(change.table, entries(change))
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
        self._connection.execute(
            'DELETE FROM keys WHERE "table" = ? AND key IN (SELECT value FROM json_each(?))',
            (self._id_of(change.table), json.dumps(change.dropped)),
        )
        if change.swept:
            self._connection.execute(
                'DELETE FROM keys WHERE "table" = ? AND label IN '
                "(SELECT id FROM labels WHERE name IN (SELECT value FROM json_each(?)))",
                (self._id_of(change.table), json.dumps(change.labels)),
            )

    def _add(self, table: str, entries: Iterable[Entry]) -> None:
        number = self._id_of(table)
        ids: dict[str, int] = {}
        self._connection.executemany(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)",
            (
                (number, key, ids.get(label) or ids.setdefault(label, self._label(label)), version)
                for key, label, version in entries
            ),
        )

    def _label(self, name: str) -> int:
        self._connection.execute("INSERT OR IGNORE INTO labels (name) VALUES (?)", (name,))
        row = self._connection.execute("SELECT id FROM labels WHERE name = ?", (name,)).fetchone()
        return int(row[0])


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
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        answer = use(KeyIndex(connection))
        connection.execute("COMMIT")
        return answer
