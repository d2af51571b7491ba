"""Builds ``wats_extract/shred/wsjf/_steps.c`` when the package is installed, where that is possible.

A hook of hatchling (``pyproject.toml`` names it). Where there is no compiler, or anything else is missing,
it says so in a line, and the package reads documents in Python: slower, with the same tables.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PURE = "WATS_EXTRACT_PURE"
MODULE = "wats_extract.shred.wsjf._steps"


class StepsBuildHook(BuildHookInterface):
    """Puts the compiled module into wheels, and beside its source for editable installations."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel is made; ``version`` says of which kind."""
        source = Path(self.root, "src", *MODULE.split(".")).with_suffix(".c")
        if version == "editable":
            for built in [*source.parent.glob("_steps*.so"), *source.parent.glob("_steps*.pyd")]:
                built.unlink()  # it may be older than its source
        if os.environ.get(PURE):
            return
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="wats-extract-")
            built = _compile(source, Path(self._folder.name))
        except Exception as error:
            self.app.display_warning(
                f"{source.name} is left out, and documents are read in Python: {error!r}"
            )
            return
        if version == "editable":
            source.with_name(built.name).write_bytes(built.read_bytes())
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["force_include"][str(built)] = f"wats_extract/shred/wsjf/{built.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """When the wheel is made."""
        if self._folder is not None:
            self._folder.cleanup()


def _compile(source: Path, folder: Path) -> Path:
    """The module, in a folder; for every CPython from 3.11 on (stable ABI).

    Raises:
        Exception: it cannot be built here; of which kind depends on the compiler.
    """
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    if sys.implementation.name != "cpython":
        raise RuntimeError(f"{sys.implementation.name} has no stable ABI")
    # No debug information: it would name the folder that it was built in.
    options = ["/std:c11"] if sys.platform == "win32" else ["-std=c11", "-g0"]
    extension = Extension(MODULE, [str(source)], py_limited_api=True, extra_compile_args=options)
    command = build_ext(Distribution({"name": "wats-extract", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    return Path(command.get_outputs()[0])
