"""The build hook compiles the native module for every kind of Python, and never breaks an installation."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import build_steps
from wats_extract.shred.wsjf import steps

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT.joinpath("src", *build_steps.PACKAGE.split("."))
BUILT = f"{build_steps.PACKAGE.replace('.', '/')}/_steps"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the compiler is set up for Unix")


class App:
    """Collects the warnings of the hook."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


def build(root: Path, version: str = "standard") -> tuple[dict[str, Any], list[str]]:
    """Run the hook and return what it tells hatchling, and its warnings."""
    app = App()
    hook = build_steps.StepsBuildHook(str(root), {}, None, None, "", "wheel", app)
    data: dict[str, Any] = {"force_include": {}, "pure_python": True}
    hook.initialize(version, data)
    hook.finalize(version, data, "")
    return data, app.warnings


def clone(folder: Path) -> Path:
    """Return the package's folder in a copy of the repository that holds its sources only."""
    package = folder.joinpath("src", *build_steps.PACKAGE.split("."))
    package.mkdir(parents=True)
    for name in (*build_steps.SOURCES, *build_steps.HEADERS):
        package.joinpath(name).write_bytes(PACKAGE.joinpath(name).read_bytes())
    return package


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_steps", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_threaded(patch: pytest.MonkeyPatch) -> None:
    """Let sysconfig describe a free-threaded Python."""
    config = sysconfig.get_config_var
    patch.setattr(sysconfig, "get_config_var", lambda name: 1 if name == "Py_GIL_DISABLED" else config(name))


def test_a_wheel_holds_a_module_for_the_stable_abi() -> None:
    data, warnings = build(ROOT)
    assert warnings == []
    assert [name.partition(".")[0] for name in data["force_include"].values()] == [BUILT]
    if build_steps.has_stable_abi():
        assert data["tag"].startswith("cp311-abi3-")
    else:
        assert data["infer_tag"]
    assert not data["pure_python"]


def test_an_editable_installation_replaces_the_module(tmp_path: Path) -> None:
    package = clone(tmp_path)
    old = package / "_steps.old.so"
    old.touch()
    data, warnings = build(tmp_path, "editable")
    assert warnings == []
    assert data == {"force_include": {}, "pure_python": True}
    assert not old.exists()
    (built,) = package.glob("_steps*.so")
    assert load(built).Shredder


def test_a_free_threaded_python_gets_a_module_for_its_version_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_threaded(monkeypatch)
    data, warnings = build(ROOT)
    assert warnings == []
    assert data["infer_tag"]
    assert "tag" not in data
    built = build_steps.compile_steps(PACKAGE, tmp_path)
    assert built.name == f"_steps{sysconfig.get_config_var('EXT_SUFFIX')}"
    declared = {t.name: [steps._declaration(c) for c in t.columns] for t in steps.TABLES}
    shredder = load(built).Shredder(declared)
    assert shredder.parse(b'{"root":{"name":"a","steps":[{}]}}')[1] == 2


@pytest.mark.parametrize("version", ["standard", "editable"])
@pytest.mark.parametrize("broken", ["no compiler", "no setuptools", "PyPy", "broken source", "free-threaded"])
def test_a_module_that_cannot_be_compiled_is_left_out_with_a_warning(
    broken: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = clone(tmp_path)
    if broken == "no compiler":
        monkeypatch.setenv("CC", "/nonexistent/compiler")
    elif broken == "no setuptools":
        monkeypatch.setitem(sys.modules, "setuptools", None)
    elif broken == "PyPy":
        monkeypatch.setattr(sys.implementation, "name", "pypy")
    else:
        package.joinpath("_steps.c").write_text("#error made up\n")
        if broken == "free-threaded":
            free_threaded(monkeypatch)
    data, warnings = build(tmp_path, version)
    assert data == {"force_include": {}, "pure_python": True}
    (warning,) = warnings
    assert "wats_extract.shred.wsjf._steps was not compiled" in warning
    assert not list(package.glob("_steps*.so"))


def test_the_environment_can_leave_the_module_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = clone(tmp_path)
    monkeypatch.setenv(build_steps.PURE, "1")
    for version in ("standard", "editable"):
        assert build(tmp_path, version) == ({"force_include": {}, "pure_python": True}, [])
    assert not list(package.glob("_steps*.so"))


def test_no_path_of_the_build_machine_is_in_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDFLAGS", "-Wl,-rpath,/made/up/run/path -Wl,-rpath=/made/up/too")
    content = build_steps.compile_steps(PACKAGE, tmp_path).read_bytes()
    for path in ("/made/up", str(PACKAGE), str(tmp_path)):
        assert path.encode() not in content


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("gcc -shared -L/lib -O2", "gcc -shared -L/lib -O2"),
        ("gcc -Wl,-rpath,/a -Wl,-rpath=/a -Wl,-R/a -Wl,-R,/a -R/a -R /a -rpath /a -shared", "gcc -shared"),
        ("gcc -Wl,-rpath -Wl,/a -shared", "gcc -shared"),
        ("gcc -Wl,-O1,-rpath,/a,-z,now", "gcc -Wl,-O1,-z,now"),
    ],
)
def test_run_paths_are_removed_from_the_linker_command(command: str, kept: str) -> None:
    assert build_steps.without_run_paths(command.split()) == kept.split()


@pytest.mark.skipif(sys.platform != "linux", reason="the name of the function is that of Linux")
def test_the_stack_is_protected(tmp_path: Path) -> None:
    assert b"__stack_chk_fail" in build_steps.compile_steps(PACKAGE, tmp_path).read_bytes()
