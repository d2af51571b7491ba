"""What a server holds beside its reports: tables, built when first looked at, which tests may change."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from wats_extract.fake.odata import collated
from wats_extract.fake.plant.data import Json, Plant

S = TypeVar("S", bound="Store")


class Table:
    """The rows of one entity, in the order of their creation. Safe to use from several threads.

    Nothing is built before the first look. Rows are replaced, never changed in place, so that one that was
    given out stays as it was.

    Args:
        key: the property that tells rows apart; strings do so without regard to case.
        blank: a row's properties, with what they are unless said otherwise.
        build: the rows to begin with; each may leave out what is as in `blank`.
    """

    def __init__(self, key: str, blank: Mapping[str, Any], build: Callable[[], Iterable[Json]]) -> None:
        self.key = key
        self._blank, self._build = blank, build
        self._lock = threading.RLock()
        self._built: dict[Any, Json] | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        with self._lock:
            return len(self._rows())

    def rows(self) -> list[Json]:
        """All rows."""
        with self._lock:
            return list(self._rows().values())

    def get(self, key: Any) -> Json | None:
        """The row of this key."""
        with self._lock:
            return self._rows().get(collated(key))

    def add(self, **fields: Any) -> Json:
        """Add a row, or replace the one of the same key, which keeps its place.

        Raises:
            KeyError: the key is missing.
        """
        with self._lock:
            row = {**self._blank, **fields}
            self._rows()[collated(fields[self.key])] = row
            return row

    def change(self, key: Any, **fields: Any) -> Json:
        """Change some properties of a row.

        Raises:
            KeyError: there is no such row.
        """
        with self._lock:
            rows, place = self._rows(), collated(key)
            rows[place] = rows[place] | fields
            return rows[place]

    def delete(self, key: Any) -> None:
        """Remove a row.

        Raises:
            KeyError: there is no such row.
        """
        with self._lock:
            del self._rows()[collated(key)]

    def _rows(self) -> dict[Any, Json]:
        if self._built is None:
            self._built = {collated(row[self.key]): {**self._blank, **row} for row in self._build()}
        return self._built


class Store:
    """The tables of one domain; a subclass says how large they are by keyword.

    Attributes:
        plant: the reports that the tables agree with.
    """

    def __init__(self, plant: Plant) -> None:
        self.plant = plant

    def guid(self, *names: object) -> str:
        """An id that follows from the plant's seed and these names."""
        return str(uuid5(NAMESPACE_URL, "/".join(("wats", str(self.plant.seed), *map(str, names)))))

    def dice(self, *names: object) -> random.Random:
        """Chance that follows from the plant's seed and these names."""
        return random.Random("/".join((str(self.plant.seed), *map(str, names))))


class Stores:
    """One store of each kind: those given, the others made when first asked for.

    Args:
        plant: the reports.
        given: stores with other sizes than usual.
    """

    def __init__(self, plant: Plant, given: Iterable[Store] = ()) -> None:
        self._plant = plant
        self._stores: dict[type[Store], Store] = {type(store): store for store in given}
        self._lock = threading.Lock()

    def of(self, kind: type[S]) -> S:
        """The store of this kind."""
        with self._lock:
            if kind not in self._stores:
                self._stores[kind] = kind(self._plant)
            store = self._stores[kind]
        assert isinstance(store, kind)
        return store
