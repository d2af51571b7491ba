from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from wats_extract import __version__, cli
from wats_extract.cli.app import COMMANDS, commands
from wats_extract.cli.command import Command

from .conftest import Desk

HEAVY = {"pyarrow", "duckdb", "pydantic", "polars", "pyreqwest", "msgspec", "ruamel", "numpy"}
"""Libraries that take long to import."""


def all_commands() -> list[Any]:
    context = click.Context(commands)
    return [pytest.param(commands.get_command(context, name), id=name) for name in COMMANDS]


@pytest.mark.parametrize("command", all_commands())
def test_every_command_and_option_has_help_and_the_command_an_example(command: Command) -> None:
    assert command.help
    assert command.help.splitlines()[0] == COMMANDS[command.name or ""], "differs in the list of commands"
    assert command.examples
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


@pytest.mark.parametrize("command", all_commands())
def test_every_example_is_a_valid_command_line(command: Command) -> None:
    for example in command.examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[:2] == ["wats-extract", command.name]
        command.make_context(command.name, words[2:])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_flags(desk: Desk, flag: str) -> None:
    listed = desk.wats(flag).out
    assert all(f"\n  {name} " in listed and f" {text}\n" in listed for name, text in COMMANDS.items())
    said = desk.wats("run", flag)
    assert (said.code, said.err) == (0, "")
    assert "Examples:\n  wats-extract run " in said.out


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_listing_the_commands_imports_neither_commands_nor_heavy_libraries(desk: Desk, flag: str) -> None:
    script = (
        "import sys\n"
        "from wats_extract.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, flag], env=desk.env, capture_output=True, text=True)
    imported = set(done.stderr.split())
    assert "wats_extract.cli.app" in imported
    assert not {name.partition(".")[0] for name in imported} & HEAVY
    assert not {f"wats_extract.cli.{name.replace('-', '_')}" for name in COMMANDS} & imported


def test_version(desk: Desk) -> None:
    assert desk.wats("--version").out == f"wats-extract {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["runn"], "'run'"),
        (["demo-sever"], "'demo-server'"),
        (["run", "p.yaml", "--limt", "3"], "'--limit'"),
        (["resources", "report"], "'reports'"),
        (["xyz"], "the commands are init, check, run"),
    ],
)
def test_a_wrong_name_gets_a_suggestion(desk: Desk, typed: list[str], meant: str) -> None:
    said = desk.wats(*typed)
    assert said.code == 2
    assert "Error: " in said.err
    assert meant in said.err
    assert said.out == ""


def test_only_the_command_group_imports_modules_late() -> None:
    late = {
        f"{path.name}: {ast.unparse(node)}"
        for path in Path(cli.__file__).parent.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module")
    }
    assert {line.partition(":")[0] for line in late} == {"app.py"}
    assert len(late) == 1
