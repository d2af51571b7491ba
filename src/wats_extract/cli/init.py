"""``wats-extract init``."""

from __future__ import annotations

from pathlib import Path

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.errors import ConfigurationError
from wats_extract.pipeline.template import ENV_EXAMPLE, GITIGNORE, template

PIPELINE = Path("pipelines", "reports.yaml")


@click.command("init", cls=Command, examples=("init", "init extraction"))
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
def command(folder: Path) -> None:
    """Create a pipeline file to start from.

    Writes pipelines/reports.yaml, .env.example and .gitignore into DIR, by default the current folder.
    Existing files are not changed. Run the pipeline with --demo to try it without a WATS server.
    """
    _write(folder / PIPELINE, template())
    _write(folder / ".env.example", ENV_EXAMPLE)
    written = _write(folder / ".gitignore", GITIGNORE)
    if not written:
        _show_missing_lines(folder / ".gitignore", GITIGNORE)
    _show_next_steps(folder)


def _write(path: Path, text: str) -> bool:
    """Write a file unless it exists; return whether it was written.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        if not path.is_file():
            raise ConfigurationError(f"{error.filename} exists and is not a folder") from error
        output.say(f"kept     {path} (it exists already)", "yellow")
        return False
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror or error}") from error
    output.say(f"written  {path}", "green")
    return True


def _show_missing_lines(path: Path, text: str) -> None:
    present = path.read_text(encoding="utf-8", errors="replace").split()
    if missing := [line for line in text.split() if line not in present]:
        output.say(f"         add {' '.join(missing)} to it, so that no token is ever committed", "yellow")


def _show_next_steps(folder: Path) -> None:
    cd = [] if folder == Path() else [(f"cd {output.quoted(str(folder))}", "")]
    steps = [
        *cd,
        (f"wats-extract run {PIPELINE.as_posix()} --demo", "  # extract from the embedded demo server"),
        (f"wats-extract status {PIPELINE.as_posix()}", "  # show what is loaded"),
    ]
    output.say()
    output.say("Next:", "bold")
    for command_line, comment in steps:
        output.say_unwrapped(f"  {command_line:<46}{comment}".rstrip(), "cyan")
    output.say()
    output.say(
        "To read your own server, delete data/ if it holds the demo, copy .env.example to .env, fill in"
    )
    output.say("WATS_URL and WATS_TOKEN, then:")
    output.say_unwrapped(f"  wats-extract check {PIPELINE.as_posix()}", "cyan")
