"""The FILE argument of most commands, and the option ``--demo`` of commands that read a server."""

from __future__ import annotations

from pathlib import Path

import click

from wats_extract.cli import output
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.model import Pipeline
from wats_extract.resources.catalogue import RESOURCES

file_argument = click.argument("file", type=click.Path(path_type=Path))

demo_option = click.option(
    "--demo", is_flag=True, help="Read the embedded demo server instead of the server of FILE."
)


def loaded(file: Path, *, demo: bool = False, offline: bool = False) -> Pipeline:
    """Load and validate a pipeline file, and mask its secrets in all output from now on.

    Args:
        file: The pipeline file.
        demo: Read the embedded demo server instead of the file's server.
        offline: For commands that send no request: the server and the token need not be known.

    Raises:
        ConfigurationError: The file is wrong, or there is no server.
    """
    pipeline = load(file, catalogue=RESOURCES, demo=demo, offline=offline)
    for secret in pipeline.source.secrets:
        output.hide(secret)
    return pipeline
