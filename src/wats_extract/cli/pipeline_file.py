"""The FILE that most commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wats_extract.cli import output

if TYPE_CHECKING:
    from wats_extract.pipeline.model import Pipeline

file_argument = click.argument("file", type=click.Path(path_type=Path))


def loaded(file: Path) -> Pipeline:
    """The pipeline in a file, checked; its token is hidden from all that is shown from now on.

    Raises:
        ConfigurationError: the file is wrong.
    """
    from wats_extract.pipeline.loading import load
    from wats_extract.resources.catalogue import RESOURCES

    pipeline = load(file, catalogue=RESOURCES)
    for secret in pipeline.source.secrets:
        output.hide(secret)
    return pipeline
