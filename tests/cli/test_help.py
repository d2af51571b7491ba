from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest

from wats_extract import __version__
from wats_extract.cli.app import COMMANDS, commands
from wats_extract.cli.command import Command

from .conftest import Desk

HEAVY = ("pyarrow", "duckdb", "pydantic", "rich", "polars", "pyreqwest", "msgspec", "ruamel", "numpy")


def each() -> list[Any]:
    context = click.Context(commands)
    return [pytest.param(commands.get_command(context, name), id=name) for name in COMMANDS]


@pytest.mark.parametrize("command", each())
def test_every_command_is_documented_with_an_example(command: Command) -> None:
    assert command.help
    assert len(command.help.splitlines()[0]) < 60, "cut off in the list of commands"
    assert command.examples
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


@pytest.mark.parametrize("command", each())
def test_examples_are_what_the_command_takes(command: Command) -> None:
    import shlex

    for example in command.examples:
        words = shlex.split(example.partition(" > ")[0])
        assert words[:2] == ["wats-extract", command.name]
        command.make_context(command.name, words[2:])


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_all_and_of_each(desk: Desk, flag: str) -> None:
    assert all(name in desk.wats(flag).out for name in COMMANDS)
    said = desk.wats("run", flag)
    assert (said.code, said.err) == (0, "")
    assert "Examples:\n  wats-extract run " in said.out


def test_help_imports_nothing_heavy(desk: Desk) -> None:
    script = (
        "import sys\n"
        "from wats_extract.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)\n"
    )
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=desk.env, capture_output=True, text=True
        )
        assert not {name.partition(".")[0] for name in done.stderr.split()} & set(HEAVY)


def test_version(desk: Desk) -> None:
    assert desk.wats("--version").out == f"wats-extract {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["runn"], "'run'"),
        (["demo-sever"], "'demo-server'"),
        (["run", "p.yaml", "--limt", "3"], "'--limit'"),
        (["resources", "report"], "'reports'"),
        (["xyz"], "there are init, check, run"),
    ],
)
def test_the_nearest_name_is_named(desk: Desk, typed: list[str], meant: str) -> None:
    said = desk.wats(*typed)
    assert said.code == 2
    assert "Error: " in said.err
    assert meant in said.err
    assert said.out == ""
