"""One target under atheris: ``python -m tests.fuzz.guided TARGET [option of libFuzzer]… [folder]…``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["wats_extract", "ruamel"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
