"""The write-ahead journal of the Parquet destination: its appearance decides a commit.

::

    stage    write and fsync every file of the commit, under hidden names
    journal  write _wats/journal.json, by rename     ← from here on the commit is decided
    apply    rename the staged files to their names
    index    update _wats/keys.sqlite                ← records the journal's id: the commit is complete

A crash before the journal is renamed leaves hidden files that nobody reads. After a later crash, the next
process that opens the folder or commits applies the journal. The journal is then kept, and applying it again
changes nothing: its staged files are gone, and no other commit stages files under the same names.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pyarrow as pa

from wats_extract.destinations.parquet import files as files
from wats_extract.destinations.places import own_folder
from wats_extract.errors import DestinationError

HOME = "_wats"
"""The folder of the journal, the key index and the locks, within the destination."""

_NAME = "journal.json"

_STRANGE = "another program changed the folder; restore it from a backup"


class KeyChange(msgspec.Struct, frozen=True):
    """The changes of a commit in the key index.

    Attributes:
        table: The main table of the resource.
        owner: Its key column.
        version: Its version column, or empty.
        dropped: Keys to remove from the index, unless a file of ``labels`` has them.
        labels: Labels whose files are read to get their keys.
        swept: Whether the earlier entries of ``labels`` are removed first.
    """

    table: str
    owner: str
    version: str
    dropped: Sequence[str]
    labels: Sequence[str]
    swept: bool = False


class Journal(msgspec.Struct, frozen=True):
    """The journal entry of one commit.

    Attributes:
        id: Identifies the commit; part of the names of its staged files.
        previous: The id of the journal before it.
        files: The files to publish, in order, as paths within the destination.
        retired: Those of ``files`` that have no rows and can be deleted after the grace period.
        change: The changes in the key index.
    """

    id: str
    previous: str
    files: Sequence[str]
    retired: Sequence[str] = ()
    change: KeyChange | None = None

    def publish(self, root: Path) -> None:
        """Write the journal. When this returns, the commit is decided."""
        target = root / HOME / _NAME
        staged = files.staged_path(target, self.id)
        staged.write_bytes(msgspec.json.encode(self))
        files.sync_file(staged)
        files.replace(staged, target)

    def apply(self, root: Path, on_step: Callable[[str], None]) -> None:
        """Rename the staged files to their names. May be repeated.

        The new names are synced to disk before the next journal replaces this one. If a power cut undoes
        them earlier, they are given again.
        """
        files.sync_folder(root / HOME)  # the journal must be durable before the first file is renamed
        for number, name in enumerate(self.files, 1):
            target = root / name
            staged = files.staged_path(target, self.id)
            with suppress(FileNotFoundError):  # it was renamed before
                files.replace(staged, target)
            on_step(f"renamed {number}")

    def folders(self, root: Path) -> set[Path]:
        """The folders of its files, without those that were deleted since."""
        folders = {(root / name).parent for name in self.files}
        return {folder for folder in folders if folder.is_dir()}

    def is_unfinished(self, root: Path) -> bool:
        """Whether a staged file has not been renamed yet."""
        return any(files.staged_path(root / name, self.id).exists() for name in self.files)


class Staging:
    """Collects the staged files of one commit for its journal entry.

    Attributes:
        change: The changes in the key index.
    """

    def __init__(self, root: Path, encodings: files.Encodings, *, previous: Journal | None) -> None:
        self.change: KeyChange | None = None
        self._root, self._encodings, self._previous = root, encodings, previous
        self._id = uuid.uuid4().hex
        self._files: list[str] = []
        self._retired: list[str] = []

    def __bool__(self) -> bool:
        """Whether any file is staged."""
        return bool(self._files)

    def move(self, slots: files.Slots, rows: pa.Table) -> None:
        """Stage new rows for a label, in its free slot, and retire the file that has the old ones."""
        if rows.num_rows:
            self.write(slots.free, rows, behind=slots.free if slots.twin else files.room_behind(slots.free))
        elif slots.twin:
            self._retire(slots.free, rows)
        if slots.live is not None:
            self._retire(slots.live, rows)

    def _retire(self, path: Path, rows: pa.Table) -> None:
        self.write(path, rows.slice(0, 0), behind=path)
        self._retired.append(self._files[-1])

    def rewrite(self, folder: Path, label: str, rows: pa.Table) -> None:
        """Stage the rows of a label of which both files may have rows."""
        first, second = files.slot_paths(folder, label)
        if not (files.row_count(first) and files.row_count(second)):
            self.move(files.slots(folder, label), rows)
            return
        for path, its in ((first, rows), (second, rows.slice(0, 0))):
            self.write(path, its, behind=path)
            if not its.num_rows:
                self._retired.append(self._files[-1])

    def write(self, target: Path, rows: pa.Table, *, behind: Path | None = None) -> None:
        """Stage one file; see :func:`wats_extract.destinations.parquet.files.write`."""
        self._files.append(target.relative_to(self._root).as_posix())
        files.write(files.staged_path(target, self._id), rows, self._encodings, behind=behind)

    def sealed(self) -> Journal | None:
        """Sync the staged files to disk and return the journal entry; ``None`` if there are no files."""
        if not self._files:
            return None
        previous = self._previous
        journal = Journal(self._id, previous.id if previous else "", self._files, self._retired, self.change)
        renamed = previous.folders(self._root) if previous else set()
        files.sync_all(self._paths(), {self._root, *journal.folders(self._root), *renamed})
        return journal

    def discard(self) -> None:
        """Delete the staged files."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [files.staged_path(self._root / name, self._id) for name in self._files]


def last_journal(root: Path) -> Journal | None:
    """Read the journal of the last commit; ``None`` before the first commit.

    Raises:
        DestinationError: The journal is damaged, or names files outside the folder.
    """
    path = root / HOME / _NAME
    if not path.exists():
        return None
    try:
        journal = msgspec.json.decode(path.read_bytes(), type=Journal)
    except msgspec.MsgspecError as error:
        raise DestinationError(
            f"{path}: the journal of the last commit is damaged: {error}",
            hint="restore it from a backup, or delete it and extract the last chunk again",
        ) from error
    if not re.fullmatch("[0-9a-f]{32}", journal.id):  # part of the names of files
        raise DestinationError(f"{path}: {journal.id!r} is not the id of a journal", hint=_STRANGE)
    for name in (*journal.files, *journal.retired):
        own_file(root, name)
    if journal.change:
        for label in journal.change.labels:
            own_file(root, f"{journal.change.table}/{label}.parquet")
    return journal


def own_file(root: Path, name: str) -> Path:
    """The path of a data file that a journal or an index names ``TABLE/FILE.parquet``.

    Raises:
        DestinationError: The name leads out of the destination, or the table's folder is a link.
    """
    table, _, file = name.partition("/")
    if not re.fullmatch(r"[^/\\:\0]+\.parquet", file):
        raise DestinationError(f"{root / HOME}: {name!r} is not the name of a data file", hint=_STRANGE)
    return own_folder(root, table) / file
