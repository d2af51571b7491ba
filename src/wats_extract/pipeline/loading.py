"""Load a pipeline file: check all that can be checked without a server, and report every problem at once.

::

    text ─compose→ YAML nodes ─expand ${NAME}→ plain values, with the line of each key
         ─validate→ Pipeline    (keys and types, by pydantic)
         ─compare→  catalogue   (resources, columns and options, by resources.selecting)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wats_extract.filters.nearest import did_you_mean
from wats_extract.flow import Selection
from wats_extract.pipeline.messages import problems_of
from wats_extract.pipeline.model import Pipeline, from_text
from wats_extract.pipeline.settings import findings_of
from wats_extract.pipeline.source import DEMO, environment, variable
from wats_extract.pipeline.yaml_source import Document, Problem, compose, distinct, refused
from wats_extract.resources import selecting
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import OPTIONS, Catalogue, KeyPath


def load(
    path: str | Path,
    *,
    catalogue: Catalogue,
    environ: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        path: The file.
        catalogue: All resources, by name.
        environ: The environment for ``${NAME}``. By default the variables of the process, then those of the
            ``.env`` file beside the pipeline file, then those of the ``.env`` file in the current folder.
        now: The current time, from which ages such as ``30 days ago`` are counted.

    Raises:
        PipelineFileError: with every problem on a line of its own: ``FILE:LINE: key.path: what is wrong``.
        ConfigurationError: a ``.env`` file cannot be read.
    """
    path = Path(path)
    if environ is None:
        environ = environment(path.parent, Path.cwd())
    document = Document(compose(path), environ)
    if not isinstance(document.value, Mapping):
        raise refused(path, [Problem("should hold keys such as version, name and resources", line=1)])
    pipeline, findings = _validate(document, environ)
    compared = _compare(document.value.get("resources"), catalogue, now=now or datetime.now(UTC))
    problems = distinct([*document.problems, *_literal_token(document), *compared, *findings])
    if problems or pipeline is None:
        raise refused(path, [document.placed(each) for each in problems], secrets=_secrets(document, environ))
    return pipeline


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


def _secrets(document: Document, environ: Mapping[str, str]) -> list[str]:
    """The tokens that no message may show. Short words are not tokens."""
    written = document.written.get(("source", "token"), "")
    secrets = ["" if "${" in written else written, variable("WATS_TOKEN", environ) or ""]
    return [secret for secret in secrets if len(secret) > 7]


def _literal_token(document: Document) -> Iterator[Problem]:
    """Refuse a token that is written in the file: everyone who can read the file or its history has it."""
    path = ("source", "token")
    written = document.written.get(path, "")
    if written in ("", "null", "~") or re.fullmatch(r"\$\{[A-Za-z_]\w*(:-)?\}", written):
        return
    yield Problem(
        "is written in the file, where everyone who can read the file can see it; write ${WATS_TOKEN} "
        "instead, and set WATS_TOKEN in the environment or in a .env file",
        path,
    )


# ── keys and types ──────────────────────────────────────────────────────────────────────────────


def _validate(document: Document, environ: Mapping[str, str]) -> tuple[Pipeline | None, list[Problem]]:
    try:
        return Pipeline.model_validate(_with_source(document.value, environ)), []
    except ValidationError as error:
        return None, problems_of(findings_of(error), document)


def _with_source(values: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The values, with the server and the token of the environment if the file gives none."""
    source = values.get("source")
    if not isinstance(source, Mapping | None):
        return values
    given = {name: value for name, value in (source or {}).items() if value is not None or name != "token"}
    found = {"url": variable("WATS_URL", environ) or DEMO, "token": variable("WATS_TOKEN", environ) or ""}
    return {**values, "source": found | given}


# ── the catalogue ───────────────────────────────────────────────────────────────────────────────


def _compare(resources: object, catalogue: Catalogue, *, now: datetime) -> Iterator[Problem]:
    """Problems that only the catalogue shows."""
    seen: dict[str, int] = {}
    for index, given in enumerate(resources if isinstance(resources, list) else []):
        name = given.get("name") if isinstance(given, Mapping) else None
        if not isinstance(name, str) or not name:
            continue
        path: KeyPath = ("resources", index)
        if name in seen:
            text = f"{name} is listed already, as resources[{seen[name]}]; join the two"
            yield Problem(text, (*path, "name"))
        elif name in catalogue:
            for problem in _examine(given, catalogue[name], catalogue, now=now):
                yield Problem(problem.text, (*path, *problem.path))
        else:
            listed = f"{did_you_mean(name, catalogue)}; there are {', '.join(catalogue)}"
            yield Problem(f"there is no resource {name!r}{listed}", (*path, "name"))
        seen.setdefault(name, index)


def _examine(
    written: Mapping[str, Any], resource: Resource, catalogue: Catalogue, *, now: datetime
) -> Iterator[selecting.Problem]:
    given = {name: value for name, value in written.items() if value != ""}
    found = selecting.examine(
        resource,
        since=given.get("since"),
        until=given.get("until"),
        filter=given.get("filter"),
        options={name: from_text(name, given[name]) for name in OPTIONS if name in given},
        now=now,
        catalogue=catalogue,
    )
    if not isinstance(found, Selection):
        yield from found
    if given.get("write_disposition") == "merge" and not resource.key:
        text = f"{resource.name} has no key to merge by; write append or replace"
        yield selecting.Problem(("write_disposition",), text)
