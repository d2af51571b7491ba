"""The journal of the Parquet destination: the file whose appearance is the commit.

::

    stage   every file of the commit, hidden, fsync
    write   _wats/journal.json, by rename           ← from here on the commit has happened
    apply   rename the staged files to their names
    index   tell _wats/keys.sqlite                  ← with the journal's id: this one is done

A crash before the second line leaves hidden files that nobody reads; a crash after it leaves a journal that
the next one to open or commit applies. The journal stays after that, and applying it again does nothing,
since its staged files are gone and no other commit stages under the same names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from wats_extract.destinations.parquet import files as files
from wats_extract.errors import DestinationError

HOME = "_wats"
"""The folder of the journal, the key index and the locks, within the destination."""

_NAME = "journal.json"


class KeyChange(msgspec.Struct, frozen=True):
    """What a commit changes in the key index.

    Attributes:
        table: The parent table of the resource.
        owner: Its key column.
        version: Its version column, or empty.
        dropped: Keys that are in no file any more, unless in one of ``labels``.
        labels: The labels whose files are to be read for their keys.
        swept: Whether the earlier entries of ``labels`` go first.
    """

    table: str
    owner: str
    version: str
    dropped: Sequence[str]
    labels: Sequence[str]
    swept: bool = False


class Journal(msgspec.Struct, frozen=True):
    """One commit, decided.

    Attributes:
        id: Its name, also part of the names of its staged files.
        previous: The id of the journal before it.
        files: What is published, in this order; paths within the destination.
        retired: Those of ``files`` that are without rows and can be deleted after a while.
        change: What changes in the key index.
    """

    id: str
    previous: str
    files: Sequence[str]
    retired: Sequence[str] = ()
    change: KeyChange | None = None

    def publish(self, root: Path) -> None:
        """Write the journal; when this returns the commit is decided, whatever comes."""
        target = root / HOME / _NAME
        staged = files.staged_path(target, self.id)
        staged.write_bytes(msgspec.json.encode(self))
        files.sync_file(staged)
        files.replace(staged, target)

    def apply(self, root: Path, on_step: Callable[[str], None]) -> None:
        """Give the staged files their names; again does no harm."""
        files.sync_folder(root / HOME)  # the journal first: without it half of the names would be a lie
        for number, name in enumerate(self.files, 1):
            target = root / name
            staged = files.staged_path(target, self.id)
            if staged.exists():
                files.replace(staged, target)
            on_step(f"renamed {number}")
        _sync_folders(root, self.files)


class Staging:
    """The files of one commit, until a journal names them.

    Attributes:
        change: What the commit changes in the key index.
        previous: The id of the journal before it.
    """

    def __init__(self, root: Path, encodings: files.Encodings, *, previous: str) -> None:
        self.change: KeyChange | None = None
        self.previous = previous
        self._root, self._encodings = root, encodings
        self._id = uuid.uuid4().hex
        self._files: list[str] = []
        self._retired: list[str] = []

    def move(self, folder: Path, label: str, rows: pa.Table) -> None:
        """Let these be the label's rows, in the slot that is free."""
        first, second = files.slots(folder, label)
        current = files.live(folder, label)
        if rows.num_rows:
            free = second if current == first else first
            self.write(free, rows, behind=files.room_behind(free))
        if current is not None:
            self.write(current, rows.slice(0, 0), behind=current)
            self._retired.append(self._files[-1])

    def write(self, target: Path, rows: pa.Table, *, behind: Path | None = None) -> None:
        """Stage one file; see :func:`wats_extract.destinations.parquet.files.write`."""
        self._files.append(target.relative_to(self._root).as_posix())
        files.write(files.staged_path(target, self._id), rows, self._encodings, behind=behind)

    def put(self, target: Path, encoded: pa.Buffer) -> None:
        """Stage one file whose bytes are there."""
        self._files.append(target.relative_to(self._root).as_posix())
        with pa.OSFile(str(files.staged_path(target, self._id)), "wb") as sink:
            sink.write(encoded)

    def sealed(self) -> Journal | None:
        """Wait for the disk; the journal to be published then, or ``None`` if nothing was staged."""
        if not self._files:
            return None
        files.at_once(files.sync_file, self._paths())
        _sync_folders(self._root, self._files)
        return Journal(self._id, self.previous, self._files, self._retired, self.change)

    def discard(self) -> None:
        """Remove what was staged."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [files.staged_path(self._root / name, self._id) for name in self._files]


def _sync_folders(root: Path, names: Sequence[str]) -> None:
    files.at_once(files.sync_folder, [root, *sorted({(root / name).parent for name in names})])


def last_journal(root: Path) -> Journal | None:
    """The journal of the last commit, or ``None`` before the first.

    Raises:
        DestinationError: the journal is not readable, so nobody can tell what was committed.
    """
    path = root / HOME / _NAME
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except msgspec.MsgspecError as error:
        raise DestinationError(
            f"{path}: the journal of the last commit is damaged: {error}",
            hint="restore it from a backup, or delete it and extract the last chunk again",
        ) from error
