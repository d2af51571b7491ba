"""All tables of a server other than its reports. They are built at first use, and tests may change them."""

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
    """The rows of one entity, in the order of creation. Thread-safe.

    The rows are built at the first access. A row is replaced and never changed in place, so a row that a
    caller holds stays as it was.

    Args:
        key: The property that identifies a row. Strings identify it without regard to case.
        blank: The properties of a row, with their default values.
        build: Makes the initial rows, which may leave out default values.
    """

    def __init__(self, key: str, blank: Mapping[str, Any], build: Callable[[], Iterable[Json]]) -> None:
        self.key = key
        self._blank, self._build = blank, build
        self._lock = threading.RLock()
        self._built: dict[Any, Json] | None = None

    def __len__(self) -> int:
        """The number of rows."""
        with self._lock:
            return len(self._rows())

    def rows(self) -> list[Json]:
        """All rows."""
        with self._lock:
            return list(self._rows().values())

    def get(self, key: Any) -> Json | None:
        """The row with this key; None if there is none."""
        with self._lock:
            return self._rows().get(collated(key))

    def add(self, **fields: Any) -> Json:
        """Add a row, or replace the row with the same key, at its old place.

        Raises:
            KeyError: The key is missing.
        """
        with self._lock:
            row = {**self._blank, **fields}
            self._rows()[collated(fields[self.key])] = row
            return row

    def change(self, key: Any, **fields: Any) -> Json:
        """Change some properties of a row.

        Raises:
            KeyError: There is no such row.
        """
        with self._lock:
            rows, place = self._rows(), collated(key)
            rows[place] = rows[place] | fields
            return rows[place]

    def delete(self, key: Any) -> None:
        """Remove a row.

        Raises:
            KeyError: There is no such row.
        """
        with self._lock:
            del self._rows()[collated(key)]

    def _rows(self) -> dict[Any, Json]:
        if self._built is None:
            self._built = {collated(row[self.key]): {**self._blank, **row} for row in self._build()}
        return self._built


class Store:
    """The tables of one domain. Subclasses take their sizes by keyword.

    Attributes:
        plant: The reports, which the tables agree with.
    """

    def __init__(self, plant: Plant) -> None:
        self.plant = plant

    def guid(self, *names: object) -> str:
        """An id that depends only on the plant's seed and these names."""
        return str(uuid5(NAMESPACE_URL, "/".join(("wats", str(self.plant.seed), *map(str, names)))))

    def rng(self, *names: object) -> random.Random:
        """A random number generator that depends only on the plant's seed and these names."""
        return random.Random("/".join((str(self.plant.seed), *map(str, names))))


class Stores:
    """One store per class. Stores that are not given are created at first use.

    Args:
        plant: The reports.
        given: Stores of another size than the default.
    """

    def __init__(self, plant: Plant, given: Iterable[Store] = ()) -> None:
        self._plant = plant
        self._stores: dict[type[Store], Store] = {type(store): store for store in given}
        self._lock = threading.Lock()

    def of(self, kind: type[S]) -> S:
        """The store of this class."""
        with self._lock:
            if kind not in self._stores:
                self._stores[kind] = kind(self._plant)
            store = self._stores[kind]
        assert isinstance(store, kind)
        return store
