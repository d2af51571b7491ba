"""``wats-extract json-schema``."""

from __future__ import annotations

import json

import click

from wats_extract.cli import output
from wats_extract.cli.command import Command


@click.command("json-schema", cls=Command, examples=("json-schema > pipelines/schema.json",))
def command() -> None:
    """Print the JSON Schema of pipeline files, for editors.

    With it an editor completes names and marks mistakes while you type. Save it beside the pipeline file,
    and write as the file's first line:

    # yaml-language-server: $schema=schema.json
    """
    from wats_extract.pipeline.schema import json_schema
    from wats_extract.resources.catalogue import RESOURCES

    output.write(json.dumps(json_schema(RESOURCES), indent=2, ensure_ascii=False) + "\n")
