from collections.abc import Sequence
from typing import TypeAlias, type_check_only

@type_check_only
class Document: ...

Part: TypeAlias = tuple[int, str, bytes]
Buffers: TypeAlias = tuple[int, bytes | None, bytes | None, bytes | None]

def parse(raw: bytes, /) -> tuple[Document, int, int, int, list[Part]] | None: ...
def merge(owners: Sequence[str], documents: Sequence[Document], /) -> list[tuple[int, list[Buffers]]]: ...
