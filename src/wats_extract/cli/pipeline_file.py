"""The FILE argument of most commands."""

from __future__ import annotations

from pathlib import Path

import click

from wats_extract.cli import output
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.model import Pipeline
from wats_extract.resources.catalogue import RESOURCES

file_argument = click.argument("file", type=click.Path(path_type=Path))


def loaded(file: Path) -> Pipeline:
    """Load and validate a pipeline file, and mask its secrets in all output from now on.

    Raises:
        ConfigurationError: The file is wrong.
    """
    pipeline = load(file, catalogue=RESOURCES)
    for secret in pipeline.source.secrets:
        output.hide(secret)
    return pipeline
