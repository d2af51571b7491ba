"""Fuzz one target with atheris: ``python -m tests.fuzz.guided TARGET [LIBFUZZER OPTION]… [FOLDER]…``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["wats_extract", "ruamel"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
