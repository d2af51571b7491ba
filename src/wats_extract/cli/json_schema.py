"""``wats-extract json-schema``."""

from __future__ import annotations

import json

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command
from wats_extract.pipeline.schema import json_schema
from wats_extract.resources.catalogue import RESOURCES


@click.command("json-schema", cls=Command, examples=("json-schema > pipelines/schema.json",))
def command() -> None:
    """Print the JSON Schema of pipeline files.

    Editors use it to complete names and to mark mistakes as you type. Save it next to the pipeline file, and
    make this the first line of the pipeline file:

    # yaml-language-server: $schema=schema.json
    """
    output.write(json.dumps(json_schema(RESOURCES), indent=2, ensure_ascii=False) + "\n")
