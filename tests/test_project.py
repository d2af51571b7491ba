"""Rules for the project as a whole: directions of imports, documentation, pinned versions."""

import re
import runpy
import tomllib
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import wats_extract as wx
from wats_extract.resources.catalogue import RESOURCES

ROOT = Path(__file__).parents[1]
SOURCE = Path(wx.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    line.partition("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def text(*names: str) -> str:
    return ROOT.joinpath(*names).read_text(encoding="utf-8")


# ── imports ─────────────────────────────────────────────────────────────────────────────────────


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(SOURCE.parent)

    assert cli.lint_imports(no_cache=True, no_logo=True) == 0


def test_no_public_name_is_also_a_module() -> None:
    modules = {module.name for module in iter_modules([str(SOURCE)])}
    for name in modules - {"__main__", "cli"}:
        import_module(f"wats_extract.{name}")

    assert modules.isdisjoint(wx.__all__)
    assert callable(wx.run)
    assert callable(wx.demo)


# ── documents ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def commands() -> dict[str, click.Command]:
    from wats_extract.cli import app

    context = click.Context(app.commands)
    found = {name: app.commands.get_command(context, name) for name in app.commands.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_every_command_is_documented(commands: dict[str, click.Command]) -> None:
    page = text("docs", "cli.md")
    table = page.partition("\n## ")[0]

    assert re.findall(r"^\| `wats-extract ([a-z-]+)", table, re.MULTILINE) == list(commands)
    for name in commands:
        assert f"`{name}`" in text("CHANGELOG.md") or f"wats-extract {name}" in text("CHANGELOG.md")


def test_every_option_is_documented(commands: dict[str, click.Command]) -> None:
    page = text("docs", "cli.md")
    missing = [
        f"{name} {option}"
        for name, command in commands.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if not re.search(rf"`{re.escape(option)}[` ]", page)
    ]

    assert missing == []


@pytest.mark.parametrize("name", ["resources.md", "tables.md"])
def test_generated_page_is_up_to_date(name: str) -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]

    assert text("docs", name) == pages[name](), "make docs"


def test_every_way_of_paging_is_explained() -> None:
    explained = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGING"]
    ways = {word for resource in RESOURCES.values() for word in resource.paging.split(", ")}

    assert ways == {word.removeprefix("…, ") for word in explained}


def test_architecture_has_every_module() -> None:
    table = text("docs", "architecture.md").partition("\n## Floors")[2].partition("\n## ")[0]
    shown = {name.strip("`/") for name in re.findall(r"`[a-z_]+/?`", table)}

    assert {module.name for module in iter_modules([str(SOURCE)])} - {"__main__"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_exist(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if "//" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_four_sections(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    assert lines[0].startswith(f"# {int(page.name[:4])}. ")
    assert [line for line in lines if line.startswith("## ")] == [
        "## Context",
        "## Choice",
        "## Rejected",
        "## Consequence",
    ]
    assert f"[{page.name[:4]}]({page.name})" in text("docs", "decisions", "README.md")


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]

    assert numbers == list(range(1, len(numbers) + 1))


# ── files of a clone ────────────────────────────────────────────────────────────────────────────


def written_files() -> Iterator[Path]:
    folders = ("src", "tests", "docs", "pipelines", "notebooks", "benchmarks", "examples", ".ci")
    inside = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    own = (path for path in ROOT.iterdir() if path.name != ".git")  # a file in a second working tree
    for path in (*own, *inside):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".pyd", ".so"):
            yield path


def test_no_file_names_a_machine_or_a_registry() -> None:
    foreign = "|".join(
        [
            *(rf"(?<![\w.}}])/{folder}/" for folder in ("root", "home", "work", "opt", "Users")),
            r"[A-Z]:\\+" + "Users",
            *(rf"\b{host}\b" for host in ("pypi" + r"\.org", "python" + "hosted", "index" + "-url")),
        ]
    )
    found = [
        f"{path.relative_to(ROOT).as_posix()}: {match[0]}"
        for path in written_files()
        if path != Path(__file__)
        for match in re.finditer(foreign, path.read_bytes().decode("utf-8", errors="replace"))
    ]

    assert found == []


def test_ci_runs_the_readmes_test_command_and_then_the_long_tests() -> None:
    commands = [line for line in text(".ci", "run").splitlines() if line.startswith("make ")]

    assert commands == ["make test", "make test-long"]
    assert "\nmake test " in text("README.md")
    for target in ("test", "test-long"):
        assert f"\n{target}:" in text("Makefile")


def test_make_help_names_every_target() -> None:
    makefile = text("Makefile")
    [phony] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    named = re.findall(r'^\t@echo "make ([a-z-]+) ', makefile, re.MULTILINE)

    assert sorted(named) == sorted(set(phony.split()) - {"help"})


# ── pinned versions ─────────────────────────────────────────────────────────────────────────────


def test_constraints_are_names_and_versions() -> None:
    assert [
        name for name, equals, version in PINS if not (equals and re.fullmatch(r"[\w.+!-]+", version))
    ] == []
    names = [canonicalize_name(name) for name, _, _ in PINS]
    assert len(names) == len(set(names))


def test_every_requirement_is_pinned_to_a_version_that_fits() -> None:
    pins = {canonicalize_name(name): version for name, _, version in PINS}
    groups = [
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    wanted = [Requirement(line) for group in groups for line in group]

    assert [
        str(each) for each in wanted if pins.get(canonicalize_name(each.name)) not in each.specifier
    ] == []


def test_decision_2_covers_every_core_dependency() -> None:
    page = text("docs", "decisions", "0002-dependencies.md")
    names = [Requirement(line).name for line in PROJECT["project"]["dependencies"]]

    assert [name for name in names if f"| {name} |" not in page] == []
    assert all(earlier < later for earlier, later in pairwise(names))
