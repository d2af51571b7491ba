"""Shred documents that are read natively and some that are not, for ``make sanitize`` to look for leaks."""

from __future__ import annotations

import ctypes
import json
from contextlib import suppress

from wats_extract.errors import RecordError, Unreadable
from wats_extract.fake.plant.data import Plant
from wats_extract.shred.wsjf import steps
from wats_extract.shred.wsjf.shredding import WsjfOptions, decode, shred

DELIBERATE = 12_347
"""Bytes that are leaked on purpose: the check works only if they are found."""


def main() -> None:
    """Take every way out of the native module: parsed, refused anywhere, merged, not merged."""
    plant = Plant(12)
    uuids = list(plant.uuids())
    raws = [json.dumps(plant.document(uuid)).encode() for uuid in uuids]
    for _ in range(3):
        documents = [decode(uuid, 1, raw) for uuid, raw in zip(uuids, raws, strict=True)]
        shred(documents, WsjfOptions())
    raw = raws[0].replace(b'"name"', rb'"name":"\u00e5","name"', 1)
    for end in range(0, len(raw), 53):
        steps.read_natively(raw[:end])
    with suppress(RecordError, Unreadable):
        shred([decode("\ud800", 1, b'{"root":{"name":"a"}}')], WsjfOptions())
    with suppress(ImportError):
        steps.native_shredder(steps.TABLES[:1])
    ctypes.CDLL(None).malloc(DELIBERATE)


if __name__ == "__main__":
    main()
