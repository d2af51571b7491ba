"""Compiles the native module ``wats_extract.shred.wsjf._steps`` when the package is built or installed.

This is a build hook of hatchling, named in ``pyproject.toml``. If the module cannot be compiled, for example
without a C compiler, the hook prints a warning and the package is installed without it. Reports are then
shredded in Python: the same tables, but slower.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PURE = "WATS_EXTRACT_PURE"
"""The environment variable that leaves the native module out."""

PACKAGE = "wats_extract.shred.wsjf"
MODULE = f"{PACKAGE}._steps"
SOURCES = ("_json.c", "_steps.c")
HEADERS = ("_json.h",)
OLDEST_PYTHON = ("0x030B0000", "cp311")
"""The version of the stable ABI, as ``Py_LIMITED_API`` and as a wheel tag."""


class StepsBuildHook(BuildHookInterface):
    """Adds the compiled module to wheels; editable installations get it beside its source."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the module before the wheel is made.

        Args:
            version: The kind of wheel: ``standard`` or ``editable``.
            build_data: hatchling's description of the wheel, which is changed in place.
        """
        package = Path(self.root, "src", *PACKAGE.split("."))
        if version == "editable":
            for old in [*package.glob("_steps*.so"), *package.glob("_steps*.pyd")]:
                old.unlink()  # it may be older than its source
        if os.environ.get(PURE):
            return
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="wats-extract-")
            built = compile_steps(package, Path(self._folder.name))
            if version == "editable":
                shutil.copyfile(built, package / built.name)
                return
        except Exception as error:
            self.app.display_warning(
                f"{MODULE} was not compiled; reports are shredded in Python, which is slower: {error!r}"
            )
            return
        build_data["force_include"][str(built)] = f"{PACKAGE.replace('.', '/')}/{built.name}"
        build_data["pure_python"] = False
        if has_stable_abi():
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"{OLDEST_PYTHON[1]}-abi3-{platform}"
        else:
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the temporary folder after the wheel was made."""
        if self._folder is not None:
            self._folder.cleanup()


def has_stable_abi() -> bool:
    """Return whether this Python has the stable ABI; free-threaded builds do not."""
    return not sysconfig.get_config_var("Py_GIL_DISABLED")


def compile_steps(package: Path, target: Path, *, options: Sequence[str] = ()) -> Path:
    """Compile the module into a folder and return its path.

    The module is built for the stable ABI, or for exactly this version of Python if that is free-threaded.

    Args:
        package: The folder with the sources.
        target: The folder to build in.
        options: More options for the compiler and the linker, such as ``-fsanitize=address``.

    Raises:
        Exception: Compilation failed. The type depends on the compiler.
    """
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext
    from setuptools.errors import CompileError

    class BuildSteps(build_ext):
        def build_extensions(self) -> None:
            if self.compiler.compiler_type == "unix":
                self.compiler.linker_so = without_run_paths(self.compiler.linker_so)
                for extension in self.extensions:
                    extension.extra_compile_args += filter(self.accepts, ["-fstack-protector-strong"])
            super().build_extensions()

        def accepts(self, option: str) -> bool:
            probe = target / "probe.c"
            probe.write_text("int main(void) { return 0; }\n", encoding="utf-8")
            try:
                self.compiler.compile(
                    [str(probe)], output_dir=self.build_temp, extra_postargs=["-Werror", option]
                )
            except CompileError:
                return False
            return True

    if sys.implementation.name != "cpython":
        raise RuntimeError(f"it is written for CPython, not for {sys.implementation.name}")
    # -g0: debug information would contain the path of the build folder.
    standard = ["/std:c11"] if sys.platform == "win32" else ["-std=c11", "-g0"]
    extension = Extension(
        MODULE,
        [str(package / source) for source in SOURCES],
        depends=[str(package / header) for header in HEADERS],
        define_macros=[("Py_LIMITED_API", OLDEST_PYTHON[0])] if has_stable_abi() else [],
        py_limited_api=has_stable_abi(),
        extra_compile_args=[*standard, *options],
        extra_link_args=list(options),
    )
    command = BuildSteps(Distribution({"name": "wats-extract", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(target / "lib"), str(target / "objects")
    command.ensure_finalized()
    command.run()
    return Path(command.get_outputs()[0])


def without_run_paths(command: Sequence[str]) -> list[str]:
    """Return a linker command without run paths.

    Pythons that were built with ``-Wl,-rpath,…`` pass it on to extension modules, which then look for
    libraries in a folder of the build machine. The module needs no library but libc.
    """
    kept: list[str] = []
    parts = iter(command)
    for part in parts:
        if part in _RUN_PATH or part in [f"-Wl,{option}" for option in _RUN_PATH]:
            next(parts, None)  # the path is the next argument
        elif part.startswith("-Wl,"):
            options = without_run_paths(part.split(",")[1:])
            kept += [",".join(["-Wl", *options])] if options else []
        elif not part.startswith(("-rpath=", "--rpath=", "-R")):
            kept.append(part)
    return kept


_RUN_PATH = ("-rpath", "--rpath", "-R")
