"""The key index: an SQLite database that knows which file holds which item, so that a merge reads few files.

It is a cache of the data files and can be deleted at any time; it is then rebuilt from them. It is up to date
if it has the id of the last journal, and if the files are those that it knows, by name, size and time.

Keys are stored as 64-bit hashes, which takes a third of the space. The probability that any two of ten
million keys collide is three in a million.

New keys are appended to a second table, and merged into the sorted one some ten thousand at a time. Keys are
random, so each commit by itself would change nearly every page of a large index.
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

Listing: TypeAlias = dict[str, tuple[int, int]]
"""Files as paths within the destination, each with its size and its time of change in nanoseconds."""

_LOCK_SECONDS = 60.0
"""Maximum wait for another process that writes the index."""

_LAYOUT = 3
"""Version of the tables below. An index with another version is rebuilt."""

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
CREATE TABLE listed (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_LAYOUT};
"""

_MOST_APPENDED = 50_000
"""Maximum size of the table that is searched row by row."""


class KeyIndex:
    """An open key index. It *covers* a table if it has every key in the table's files."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # ── queries ─────────────────────────────────────────────────────────────────────────────────

    @property
    def journal(self) -> str:
        """The id of the last journal that this index includes, or empty."""
        row = self._connection.execute("SELECT id FROM journal").fetchone()
        return str(row[0]) if row else ""

    def covers(self, table: str) -> bool:
        """Whether the index has every key of this table."""
        return self._id_of(table) is not None

    def versions(self, table: str, keys: Sequence[str]) -> dict[str, int | None]:
        """The latest versions of the keys that exist."""
        texts = {_number(key): key for key in keys}
        found = self._select("key, max(version)", table, texts, "GROUP BY key")
        return {texts[number]: version for number, version in found}

    def labels(self, table: str, keys: Sequence[str]) -> set[str]:
        """The labels of the files that hold these keys."""
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

    def listing(self, table: str) -> Listing | None:
        """The files of a table after the last commit; ``None`` if they have not been looked through."""
        if not self._connection.execute("SELECT 1 FROM listed WHERE name = ?", (table,)).fetchone():
            return None
        rows = self._connection.execute(
            "SELECT path, size, changed FROM files WHERE path > ? AND path < ?", _paths_of(table)
        )
        return {path: (size, changed) for path, size, changed in rows}

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def cover(self, table: str, entries: Iterable[Entry]) -> None:
        """Add all keys of a table."""
        self._connection.execute("INSERT INTO tables (name) VALUES (?)", (table,))
        self._append(table, entries)

    def uncover(self, table: str) -> None:
        """Delete the keys of a table, so that they are read again."""
        for place in ("sorted", "appended"):
            self._connection.execute(f'DELETE FROM {place} WHERE "table" = ?', (self._id_of(table),))  # noqa: S608
        self._connection.execute("DELETE FROM tables WHERE name = ?", (table,))

    def forget(self, *, journal: str) -> None:
        """Delete all entries, and be up to date as of this journal."""
        for name in ("tables", "labels", "sorted", "appended", "retired", "listed", "files"):
            self._connection.execute(f"DELETE FROM {name}")  # noqa: S608
        self._set_journal(journal)

    def forget_tables(self, tables: Iterable[str]) -> None:
        """Delete all entries of some tables, so that they are neither covered nor listed."""
        for table in tables:
            self._forget_table(table)

    def _forget_table(self, table: str) -> None:
        self.uncover(table)
        self._connection.execute("DELETE FROM listed WHERE name = ?", (table,))
        self._connection.execute("DELETE FROM files WHERE path > ? AND path < ?", _paths_of(table))

    def has_looked_through(self, table: str, listing: Listing) -> None:
        """Record the files of a table, each row of which is there once."""
        self._connection.execute("INSERT INTO listed VALUES (?)", (table,))
        self._list(listing)

    def _list(self, listing: Listing) -> None:
        rows = ((path, *state) for path, state in listing.items())
        self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)

    def add(self, table: str, entries: Iterable[Entry]) -> None:
        """Add keys to a table that is covered."""
        self._append(table, entries)

    def follow(
        self,
        journal: Journal,
        *,
        entries: Callable[[KeyChange], Iterable[Entry]],
        states: Listing,
        now: float,
    ) -> None:
        """Apply the changes of a journal, after its files were published.

        Args:
            journal: The journal after the last one that the index includes. After any other journal all
                entries are deleted.
            entries: Reads the keys of the changed files.
            states: Size and time of the files that were published, if they still exist.
            now: Seconds since 1970, at which the grace period of retired files begins.
        """
        change = journal.change
        if self.journal != journal.previous:
            self.forget(journal=journal.id)
        elif change and self.covers(change.table):
            self._drop(change)
            if any(self._label(name) for name in change.labels):  # a repeated commit
                self._sort()  # merge, so that no key is duplicated within a label
                self._append(change.table, entries(change), into="sorted")
            else:
                self._append(change.table, entries(change))
        self.deleted(journal.files)
        self._list(states)
        self._connection.executemany("INSERT INTO retired VALUES (?, ?)", ((p, now) for p in journal.retired))
        self._set_journal(journal.id)

    def retired_before(self, instant: float) -> list[str]:
        """The paths of files that were retired before this instant."""
        rows = self._connection.execute("SELECT path FROM retired WHERE since < ?", (instant,))
        return [path for (path,) in rows]

    def deleted(self, paths: Sequence[str]) -> None:
        """Remove these files from the lists of files and of retired files."""
        for place in ("retired", "files"):
            self._connection.executemany(f"DELETE FROM {place} WHERE path = ?", ((path,) for path in paths))  # noqa: S608

    def _set_journal(self, journal: str) -> None:
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
        """Merge the appended keys into the sorted table."""
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


def _paths_of(table: str) -> tuple[str, str]:
    """The texts between which all paths ``TABLE/…`` are; ``0`` follows the slash."""
    return f"{table}/", f"{table}0"


def _number(key: str) -> int:
    text = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def with_index(path: Path, use: Callable[[KeyIndex], T]) -> T:
    """Use the index in one transaction. A damaged index is deleted and rebuilt.

    Args:
        path: The index. It is created if it is missing.
        use: May be called a second time, with an empty index.
    """
    try:
        return _use(path, use)
    except sqlite3.OperationalError:
        raise  # locked or disk full, not damaged
    except sqlite3.DatabaseError:
        for name in (path.name, f"{path.name}-journal"):
            path.with_name(name).unlink(missing_ok=True)
        return _use(path, use)


def _use(path: Path, use: Callable[[KeyIndex], T]) -> T:
    # closing without COMMIT rolls back
    with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
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
