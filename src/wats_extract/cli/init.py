"""``wats-extract init``."""

from __future__ import annotations

from pathlib import Path

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.errors import ConfigurationError

PIPELINE = Path("pipelines", "reports.yaml")


@click.command("init", cls=Command, examples=("init", "init extraction"))
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
def command(folder: Path) -> None:
    """Write a pipeline file to start from.

    As it is, it reads the embedded demo server. In DIR (by default the current folder) are then
    pipelines/reports.yaml, .env.example and .gitignore. What exists is left as it is.
    """
    from wats_extract.pipeline.template import ENV_EXAMPLE, GITIGNORE, template

    _write(folder / PIPELINE, template())
    _write(folder / ".env.example", ENV_EXAMPLE)
    ignored = _write(folder / ".gitignore", GITIGNORE)
    if not ignored:
        _complete_by_hand(folder / ".gitignore", GITIGNORE)
    _next_steps(folder)


def _write(path: Path, text: str) -> bool:
    """Write a file, unless it exists; false if it does.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        if not path.is_file():
            raise ConfigurationError(f"{error.filename} is in the way: it is not a folder") from error
        output.say(f"exists   {path}, left as it is", "yellow")
        return False
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
    output.say(f"written  {path}", "green")
    return True


def _complete_by_hand(path: Path, text: str) -> None:
    present = path.read_text(encoding="utf-8", errors="replace").split()
    if missing := [line for line in text.split() if line not in present]:
        output.say(f"         add to it, so that no token is ever committed: {' '.join(missing)}", "yellow")


def _next_steps(folder: Path) -> None:
    cd = [] if folder == Path() else [(f"cd {output.shell(str(folder))}", "")]
    steps = [
        *cd,
        (f"wats-extract run {PIPELINE.as_posix()}", "extracts from the embedded demo server"),
        (f"wats-extract status {PIPELINE.as_posix()}", "what has been extracted"),
    ]
    output.say()
    output.say("Next:", "bold")
    for command_line, does in steps:
        output.say_exactly(f"  {command_line:<48}{'# ' if does else ''}{does}".rstrip(), "cyan")
    output.say()
    output.say("For your own server copy .env.example to .env, fill in WATS_URL and WATS_TOKEN, and then:")
    output.say_exactly(f"  wats-extract check {PIPELINE.as_posix()}", "cyan")
