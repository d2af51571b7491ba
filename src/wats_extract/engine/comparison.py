"""The two sides of a comparison, in a scratch database on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

KINDS = ("missing", "outdated", "extra", "duplicated")
"""The kinds of difference."""


SHOWN_KEYS = 10


@dataclass
class Comparison:
    """The differences between server and destination in one resource.

    Attributes:
        server: The number of reports on the server, in the pipeline's selection.
        landed: The number of items in the resource's table, in the same range of ``start``.
        missing: On the server, not loaded, and not an open failure.
        outdated: Loaded in an older version than the server has.
        extra: Loaded, and no longer on the server.
        duplicated: In the table more than once.
        failed: On the server, not loaded in this version, and an open failure.
        new: The missing and outdated reports that are newer than the last run.
        requests: The number of requests sent.
        keys: The first few keys of each kind.
    """

    server: int = 0
    landed: int = 0
    missing: int = 0
    outdated: int = 0
    extra: int = 0
    duplicated: int = 0
    failed: int = 0
    new: int = 0
    requests: int = 0
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        """The number of differences of all kinds."""
        return self.missing + self.outdated + self.extra + self.duplicated


_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
PRAGMA temp_store = FILE;
CREATE TABLE server (key TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID;
CREATE TABLE landed (key TEXT PRIMARY KEY, version INTEGER, inside INTEGER, copies INTEGER) WITHOUT ROWID;
CREATE TABLE failed (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE different (kind TEXT, version INTEGER, key TEXT, PRIMARY KEY (kind, version, key)) WITHOUT ROWID;
"""


class Ledger:
    """Both sides of one resource, in a database on disk, so that memory does not grow with the reports."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")  # never committed: nothing outlives the comparison

    def on_server(self, rows: Iterable[tuple[str, int | None]]) -> None:
        """Add reports that the server lists. If one comes again, its later version counts."""
        self._connection.executemany("INSERT OR REPLACE INTO server VALUES (?, ?)", rows)

    def has_landed(self, rows: Iterable[tuple[str, int | None, bool]]) -> None:
        """Add rows of the table: key, version, and whether they are in the selection's range of ``start``."""
        self._connection.executemany(
            "INSERT INTO landed VALUES (?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET copies = copies + 1, "
            "version = max(coalesce(version, excluded.version), coalesce(excluded.version, version))",
            rows,
        )

    def has_failed(self, keys: Iterable[str]) -> None:
        """Add keys with an open failure."""
        self._connection.executemany("INSERT OR IGNORE INTO failed VALUES (?)", ((key,) for key in keys))

    def find_differences(self, *, append: bool) -> None:
        """Find all differences but extra reports. With ``append``, an item may have several rows."""
        self._connection.execute(
            "INSERT INTO different SELECT CASE WHEN key IN (SELECT key FROM failed) THEN 'failed' "
            "WHEN landed.key IS NULL THEN 'missing' ELSE 'outdated' END, coalesce(server.version, 0), key "
            "FROM server LEFT JOIN landed USING (key) "
            "WHERE landed.version IS NULL OR landed.version < server.version"
        )
        if not append:
            self._connection.execute(
                "INSERT INTO different SELECT 'duplicated', coalesce(version, 0), key FROM landed "
                "WHERE copies > 1 AND (inside OR key IN (SELECT key FROM server))"
            )

    def unlisted(self) -> Iterator[str]:
        """The keys that are loaded and not on the server's list, although their ``start`` is in the range."""
        return self._texts("SELECT key FROM landed WHERE inside AND key NOT IN (SELECT key FROM server)")

    def are_extra(self, keys: Iterable[str]) -> None:
        """Record keys that are no longer on the server."""
        for key in keys:
            self._connection.execute(
                "INSERT INTO different SELECT 'extra', coalesce(version, 0), key FROM landed WHERE key = ?",
                (key,),
            )

    def comparison(self, seen: int) -> Comparison:
        """The differences; ``seen`` is the largest version that the last run has read."""
        count = self._count
        return Comparison(
            server=count("server"),
            landed=count("landed WHERE inside OR key IN (SELECT key FROM server)"),
            **{kind: count("different WHERE kind = ?", kind) for kind in (*KINDS, "failed")},
            new=0
            if seen < 0
            else count("different WHERE kind IN ('missing', 'outdated') AND version > ?", seen),
            keys={kind: list(self._texts(f"{_OF_KIND} LIMIT {SHOWN_KEYS}", kind)) for kind in KINDS},
        )

    def to_repair(self) -> Iterator[str]:
        """The keys that fetching repairs, the oldest first."""
        return self._texts(f"SELECT DISTINCT key {_REPAIRABLE} ORDER BY version, key")

    def count_to_repair(self) -> int:
        """The number of keys that fetching repairs."""
        return int(self._connection.execute(f"SELECT count(DISTINCT key) {_REPAIRABLE}").fetchone()[0])

    def _count(self, what: str, *given: object) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {what}", given).fetchone()[0])  # noqa: S608

    def _texts(self, query: str, *given: object) -> Iterator[str]:
        return (str(text) for (text,) in self._connection.execute(query, given))


_OF_KIND = "SELECT key FROM different WHERE kind = ? ORDER BY version, key"


_REPAIRABLE = (
    "FROM different WHERE kind IN ('missing', 'outdated') "
    "OR (kind = 'duplicated' AND key IN (SELECT key FROM server))"
)


@dataclass(frozen=True)
class ToRepair:
    """The keys of one resource that have to be fetched again, read from disk."""

    ledger: Ledger

    def __len__(self) -> int:
        return self.ledger.count_to_repair()

    def __iter__(self) -> Iterator[str]:
        return self.ledger.to_repair()


@contextmanager
def ledger() -> Iterator[Ledger]:
    """An empty ledger, in a temporary folder that is removed at the end."""
    with TemporaryDirectory(prefix="wats-extract-") as folder:
        path = Path(folder, "verify.sqlite")
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
            yield Ledger(connection)
