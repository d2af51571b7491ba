from collections.abc import Mapping, Sequence
from typing import TypeAlias, final, type_check_only

@type_check_only
class Document: ...

Declaration: TypeAlias = tuple[str, str, str, str]
RawValue: TypeAlias = tuple[int, str, bytes]
Buffers: TypeAlias = tuple[int, bytes | None, bytes | None, bytes | None]

@final
class Shredder:
    def __new__(cls, tables: Mapping[str, Sequence[Declaration]]) -> Shredder: ...
    def parse(
        self, raw: bytes, largest_paths: int = ..., /
    ) -> tuple[Document, int, int, int, list[RawValue]] | None: ...
    def merge(
        self, owners: Sequence[str], documents: Sequence[Document], /
    ) -> dict[str, tuple[int, list[Buffers]]]: ...
