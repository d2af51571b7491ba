"""The two sides of a comparison, in a scratch database on disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp

from wats_extract.engine.fingerprints import Fingerprint, differing, plus
from wats_extract.errors import DestinationError

KINDS = ("missing", "outdated", "extra", "duplicated", "incomplete", "changed")
"""The kinds of difference."""


SHOWN_KEYS = 10
"""The number of keys of each kind, and of differing values, that a comparison names."""


@dataclass
class Comparison:
    """The differences between server and destination in one resource.

    Attributes:
        server: The number of reports on the server, in the pipeline's selection; ``None`` if the resource
            does not hold reports, so that only its own tables were compared.
        landed: The number of items in the resource's table, in the same range of ``start``.
        missing: On the server, not loaded, and not an open failure.
        outdated: Loaded in an older version than the server has.
        extra: Loaded, and no longer on the server.
        duplicated: In a table more than once.
        incomplete: With fewer rows in the other tables than their commit recorded.
        changed: With another value than the server's document, if documents were compared.
        failed: Open failures.
        new: The missing and outdated reports that are newer than the last run.
        documents: The number of documents whose values were compared.
        unread: The number of documents that could not be fetched for that.
        requests: The number of requests sent.
        rows_missing: The number of rows that incomplete items lack, by table.
        keys: The first few keys of each kind.
        values: The first few places of differing values: table, item and column.
    """

    server: int | None = None
    landed: int = 0
    missing: int = 0
    outdated: int = 0
    extra: int = 0
    duplicated: int = 0
    incomplete: int = 0
    changed: int = 0
    failed: int = 0
    new: int = 0
    documents: int = 0
    unread: int = 0
    requests: int = 0
    rows_missing: dict[str, int] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    values: list[dict[str, str]] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """The number of differences of all kinds. An item counts once."""
        return sum(getattr(self, kind) for kind in KINDS)


_STEPS_PER_CHECK = 100_000
"""Steps of SQLite's virtual machine, a few milliseconds."""

# SQLite would place its own temporary files where only environment variables tell it to. So no query sorts or
# materializes what grows with the reports; an index or a primary key serves each of them.
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
PRAGMA temp_store = MEMORY;
CREATE TABLE server (key TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID;
CREATE TABLE landed (
    key TEXT PRIMARY KEY, version INTEGER, inside INTEGER, copies INTEGER, recorded TEXT
) WITHOUT ROWID;
CREATE TABLE failed (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE found (key TEXT PRIMARY KEY, rows INTEGER) WITHOUT ROWID;
CREATE TABLE documents (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unread (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fingerprints (place INTEGER, key TEXT, sums BLOB, PRIMARY KEY (key, place)) WITHOUT ROWID;
CREATE TABLE different (key TEXT PRIMARY KEY, kind TEXT, version INTEGER) WITHOUT ROWID;
CREATE INDEX oldest_first ON different (version, key);
"""

_COMPARED = "(inside OR key IN (SELECT key FROM server))"
"""The loaded items that are part of the comparison."""

_EXPECTED = """CASE
    WHEN copies = 1 THEN coalesce(json_extract(recorded, :path), 0)
    ELSE (SELECT coalesce(sum(json_extract(value, :path)), 0) FROM json_each('[' || recorded || ']'))
END"""
"""The number of rows that all copies of an item should have in the table ``:path``."""


class Ledger:
    """Both sides of one resource, in a database on disk, so that memory does not grow with the reports.

    Each item has one kind of difference: the first that is found.

    Args:
        connection: An empty database.
        append: Whether items may have several rows, one per version.
    """

    def __init__(self, connection: sqlite3.Connection, *, append: bool) -> None:
        self._connection, self._append = connection, append
        self._rows_missing: dict[str, int] = {}
        connection.executescript(_SCHEMA)
        connection.create_function("plus", 2, plus, deterministic=True)
        connection.execute("BEGIN")  # never committed: nothing outlives the comparison

    # ── both sides ──

    def on_server(self, rows: Iterable[tuple[str, int | None]]) -> None:
        """Add reports that the server lists. If one comes again, its later version counts."""
        self._connection.executemany("INSERT OR REPLACE INTO server VALUES (?, ?)", rows)

    def has_landed(self, rows: Iterable[tuple[str, int | None, bool, str | None]]) -> None:
        """Add rows of the main table.

        Args:
            rows: Key, version, whether the row is in the selection's range of ``start``, and the recorded
                numbers of rows in other tables.
        """
        self._connection.executemany(
            "INSERT INTO landed VALUES (?1, ?2, ?3, 1, iif(json_valid(?4), ?4, NULL)) "
            "ON CONFLICT (key) DO UPDATE SET copies = copies + 1, "
            "recorded = recorded || ',' || excluded.recorded, "
            "version = max(coalesce(version, excluded.version), coalesce(excluded.version, version))",
            rows,
        )

    def has_failed(self, keys: Iterable[str]) -> None:
        """Add keys with an open failure."""
        self._connection.executemany("INSERT OR IGNORE INTO failed VALUES (?)", ((key,) for key in keys))

    # ── differences ──

    def find_missing_and_duplicated(self) -> None:
        """Find the items that are not loaded, and those that the main table has more than once."""
        self._differ("SELECT key, 'failed', 0 FROM failed WHERE true")
        self._differ(
            "SELECT key, 'missing', coalesce(server.version, 0) FROM server LEFT JOIN landed USING (key) "
            "WHERE landed.key IS NULL"
        )
        if not self._append:
            self._differ(
                f"SELECT key, 'duplicated', coalesce(version, 0) FROM landed WHERE copies > 1 AND {_COMPARED}"  # noqa: S608
            )

    def find_incomplete(self, table: str, counts: Iterable[tuple[str, int]], *, listed: bool) -> None:
        """Find the items that have another number of rows in a table than their commits recorded.

        Args:
            table: The name of the table.
            counts: Key of an item and a number of its rows. A key may come several times.
            listed: Whether the server's list was read. If not, items of which only such rows are left are
                missing.
        """
        self._connection.execute("DELETE FROM found")
        self._connection.executemany(
            "INSERT INTO found VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET rows = rows + excluded.rows",
            counts,
        )
        if not listed:
            self._differ("SELECT key, 'missing', 0 FROM found WHERE key NOT IN (SELECT key FROM landed)")
        path = {"path": f'$."{table}"'}
        compared = (
            f"SELECT key, coalesce(version, 0) AS version, {_EXPECTED} AS expected, "  # noqa: S608
            f"coalesce(rows, 0) AS present FROM landed LEFT JOIN found USING (key) "
            f"WHERE recorded IS NOT NULL AND {_COMPARED}"
        )
        self._differ(
            "SELECT key, iif(present < expected, 'incomplete', 'duplicated'), version "  # noqa: S608
            f"FROM ({compared}) WHERE present <> expected",
            path,
        )
        lacking = f"SELECT sum(expected - present) FROM ({compared}) WHERE present < expected"  # noqa: S608
        if missing := self._connection.execute(lacking, path).fetchone()[0]:
            self._rows_missing[table] = missing

    def find_outdated(self) -> None:
        """Find the items that are loaded in an older version than the server has."""
        self._differ(
            "SELECT key, 'outdated', coalesce(server.version, 0) FROM server JOIN landed USING (key) "
            "WHERE landed.version IS NULL OR landed.version < server.version"
        )

    def _differ(self, query: str, given: dict[str, str] | None = None) -> None:
        self._connection.execute(f"INSERT OR IGNORE INTO different {query}", given or {})

    def unlisted(self) -> Iterator[str]:
        """The keys that are loaded and not on the server's list, although their ``start`` is in the range."""
        return self._texts("SELECT key FROM landed WHERE inside AND key NOT IN (SELECT key FROM server)")

    def are_extra(self, keys: Iterable[str]) -> None:
        """Record keys that are no longer on the server, which no repair can change."""
        for key in keys:
            self._connection.execute(
                "INSERT OR REPLACE INTO different "
                "SELECT key, 'extra', coalesce(version, 0) FROM landed WHERE key = ?",
                (key,),
            )

    # ── values ──

    def has_document(self, key: str, version: int | None) -> None:
        """Compare the values of a document, unless it differs already or changed since it was listed."""
        self._connection.execute(
            "INSERT OR IGNORE INTO documents SELECT key FROM landed WHERE key = ? AND version IS ? "
            "AND copies = 1 AND key NOT IN (SELECT key FROM different)",
            (key, version),
        )

    def could_not_read(self, keys: Iterable[str]) -> None:
        """Add keys of documents that could not be fetched."""
        self._connection.executemany("INSERT OR IGNORE INTO unread VALUES (?)", ((key,) for key in keys))

    def has_values(self, place: int, fingerprints: Iterable[Fingerprint]) -> None:
        """Add the fingerprints of rows, of the server's documents or (negative) of the tables.

        Args:
            place: The number of the table.
            fingerprints: Those of items that are not compared are ignored.
        """
        self._connection.executemany(
            "INSERT INTO fingerprints SELECT ?1, ?2, ?3 "
            "WHERE EXISTS (SELECT 1 FROM documents WHERE key = ?2) "
            "ON CONFLICT (key, place) DO UPDATE SET sums = plus(sums, excluded.sums)",
            ((place, key, sums) for key, sums in fingerprints),
        )

    def find_changed(self, columns: Sequence[tuple[str, Sequence[str]]]) -> list[dict[str, str]]:
        """Find the documents with differing values; returns the first few places.

        Args:
            columns: The name of each table, and the names of its columns.
        """
        unequal = "FROM fingerprints WHERE sums <> zeroblob(length(sums))"
        self._differ(
            "SELECT key, 'changed', coalesce(version, 0) FROM landed "  # noqa: S608
            f"WHERE EXISTS (SELECT 1 {unequal} AND fingerprints.key = landed.key)"
        )
        found = self._connection.execute(
            f"SELECT place, key, sums {unequal} ORDER BY key, place LIMIT {SHOWN_KEYS}"
        )
        places = [
            {"table": columns[place][0], "item": str(key), "column": column}
            for place, key, sums in found
            for column in differing(sums, columns[place][1])
        ]
        return places[:SHOWN_KEYS]

    # ── results ──

    def comparison(self, seen: int, *, listed: bool = True) -> Comparison:
        """The differences.

        Args:
            seen: The largest version that the last run has read; -1 if unknown.
            listed: Whether the server's list was read.
        """
        count = self._count
        comparison = Comparison(
            server=count("server") if listed else None,
            landed=count(f"landed WHERE {_COMPARED}"),
            failed=count("failed"),
            new=0
            if seen < 0
            else count("different WHERE kind IN ('missing', 'outdated') AND version > ?", seen),
            documents=count("documents"),
            unread=count("unread WHERE key NOT IN (SELECT key FROM failed)"),
            rows_missing=self._rows_missing,
            keys={kind: list(self._texts(f"{_OF_KIND} LIMIT {SHOWN_KEYS}", kind)) for kind in KINDS},
        )
        for kind in KINDS:
            setattr(comparison, kind, count("different WHERE kind = ?", kind))
        return comparison

    def to_repair(self) -> Keys:
        """The items that fetching repairs: their rows are replaced."""
        if not self._append:
            return Keys(self, ("missing", "outdated", "duplicated", "incomplete", "changed"))
        # old versions cannot be fetched
        several = "AND NOT EXISTS (SELECT 1 FROM landed WHERE landed.key = different.key AND copies > 1)"
        return Keys(self, ("missing", "duplicated", "incomplete", "changed"), several)

    def to_append(self) -> Keys:
        """The items whose new version is added to older ones."""
        return Keys(self, ("outdated",) if self._append else ())

    def select(self, what: str, where: str) -> sqlite3.Cursor:
        """Select from the differences."""
        return self._connection.execute(f"SELECT {what} FROM different WHERE {where}")  # noqa: S608

    def _count(self, what: str, *given: object) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {what}", given).fetchone()[0])  # noqa: S608

    def _texts(self, query: str, *given: object) -> Iterator[str]:
        return (str(text) for (text,) in self._connection.execute(query, given))


_OF_KIND = "SELECT key FROM different WHERE kind = ? ORDER BY version, key"


@dataclass(frozen=True)
class Keys:
    """The keys of some kinds of difference, the oldest first, read from disk.

    Attributes:
        ledger: The ledger.
        kinds: The kinds.
        further: A further condition, in SQL.
    """

    ledger: Ledger
    kinds: tuple[str, ...]
    further: str = ""

    def __len__(self) -> int:
        return int(self.ledger.select("count(*)", self._where).fetchone()[0])

    def __iter__(self) -> Iterator[str]:
        found = self.ledger.select("key", f"{self._where} ORDER BY version, key")
        return (str(key) for (key,) in found)

    @property
    def _where(self) -> str:
        kinds = ", ".join(f"'{kind}'" for kind in self.kinds)
        return f"kind IN ({kinds}) {self.further}"


@contextmanager
def ledger(place: str, *, append: bool = False, check: Callable[[], None] = lambda: None) -> Iterator[Ledger]:
    """An empty ledger, in a temporary file beside the destination, or in the system's temporary folder.

    Args:
        place: Where the destination is.
        append: As for :class:`Ledger`.
        check: Called during long queries; may raise to stop.

    Raises:
        DestinationError: no folder is writable, or the disk is full.
    """
    raised: list[BaseException] = []

    def must_stop() -> bool:
        try:
            check()
        except BaseException as error:
            raised.append(error)
        return bool(raised)

    path = _scratch_file(Path(place))
    try:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
            connection.set_progress_handler(must_stop, _STEPS_PER_CHECK)
            found = Ledger(connection, append=append)
            if os.name == "posix":
                path.unlink()  # nobody else opens it, and a process that is killed leaves nothing behind
            yield found
    except sqlite3.Error as error:
        if raised:
            raise raised[0] from None
        raise DestinationError(
            f"{path.parent}: the comparison cannot be stored: {error}",
            hint="free some disk space there and run the command again",
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _scratch_file(place: Path) -> Path:
    """Create an empty file in the destination's folder, in the one above it, or in the temporary folder."""
    for folder in (place, place.parent, None):
        try:
            handle, name = mkstemp(prefix=".wats-extract-", suffix=".sqlite", dir=folder)
        except OSError:
            continue
        os.close(handle)
        return Path(name)
    raise DestinationError(
        f"{place.parent}: there is no folder for the temporary file of the comparison",
        hint="make this folder writable, or name a writable folder in the environment variable TMPDIR",
    )
