"""The pipeline file: YAML in, frozen models out, and every problem told at once, with its line.

::

    text ─compose→ nodes ─expand ${NAME}→ plain values + where each stands
         ─validate→ Pipeline        (keys and types: pydantic)
         ─compare→  catalogue       (resources, columns and options that exist)

Nothing is asked of a server before all three agree. This is the one file that knows the YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import (
    ValidationError,
)

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.filters.nearest import did_you_mean
from wats_extract.pipeline.messages import findings
from wats_extract.pipeline.model import Pipeline, one_line
from wats_extract.pipeline.source import DEMO, environment, told, variable
from wats_extract.pipeline.yaml_source import Document, KeyPath, Problem, compose, distinct, refused
from wats_extract.resources.selecting import OPTIONS, Catalogue, filtered, lacking, takes_time

if TYPE_CHECKING:
    from wats_extract.resources.resource import Resource


# ── loading ─────────────────────────────────────────────────────────────────────────────────────


def load(
    path: str | Path,
    *,
    catalogue: Catalogue,
    environ: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Pipeline:
    """Read a pipeline file and check it against everything that is known without a server.

    Args:
        path: The file.
        catalogue: The resources that there are, by name.
        environ: The environment for ``${NAME}``; by default the process's, over the ``.env`` file
            beside the pipeline file, over the one in the current folder.
        now: The moment that ``30 days ago`` refers to while ``since`` and ``until`` are compared.

    Raises:
        PipelineFileError: with every problem on a line of its own: ``FILE:LINE: key.path: what``.
        ConfigurationError: if a ``.env`` file cannot be read.
    """
    path = Path(path)
    if environ is None:
        environ = environment(path.parent, Path.cwd())
    document = Document(compose(path), environ)
    if not isinstance(document.value, Mapping):
        raise refused(path, [Problem("should hold keys such as version, name and resources", line=1)])
    pipeline, findings = _validate(document, environ)
    compared = _compare(document.value.get("resources"), catalogue, now=now or datetime.now(UTC))
    problems = distinct([*document.problems, *_literal_token(document), *findings, *compared])
    if problems or pipeline is None:
        raise refused(path, [document.placed(each) for each in problems], secrets=_secrets(document, environ))
    return pipeline


def _secrets(document: Document, environ: Mapping[str, str]) -> list[str]:
    """What no message may hold, wherever else in the file it stands; short words are no tokens."""
    written = document.written.get(("source", "token"), "")
    secrets = ["" if "${" in written else written, variable("WATS_TOKEN", environ) or ""]
    return [secret for secret in secrets if len(secret) > 7]


def _literal_token(document: Document) -> Iterator[Problem]:
    """A token in the file is refused: whoever reads the file, or its history, would have it."""
    path = ("source", "token")
    written = document.written.get(path, "")
    if written in ("", "null", "~") or re.fullmatch(r"\$\{[A-Za-z_]\w*(:-)?\}", written):
        return
    yield Problem(
        "is written in the file, where everyone who can read it has it; write ${WATS_TOKEN} instead, "
        "and set WATS_TOKEN in the environment or in a .env file",
        path,
    )


# ── checking: values to models ──────────────────────────────────────────────────────────────────


def _validate(document: Document, environ: Mapping[str, str]) -> tuple[Pipeline | None, list[Problem]]:
    try:
        return Pipeline.model_validate(_connected(document.value, environ)), []
    except ValidationError as error:
        return None, findings(told(error), document)


def _connected(values: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The values with the environment's server and token where the file names none."""
    source = values.get("source")
    if not isinstance(source, Mapping | None):
        return values
    given = {name: value for name, value in (source or {}).items() if value is not None or name != "token"}
    found = {"url": variable("WATS_URL", environ) or DEMO, "token": variable("WATS_TOKEN", environ) or ""}
    return {**values, "source": found | given}


# ── comparing: what there is ────────────────────────────────────────────────────────────────────


def _compare(resources: object, catalogue: Catalogue, *, now: datetime) -> Iterator[Problem]:
    """What only the catalogue knows; values of a wrong type are left to the models."""
    seen: dict[str, int] = {}
    for index, given in enumerate(resources if isinstance(resources, list) else []):
        name = given.get("name") if isinstance(given, Mapping) else None
        if not isinstance(name, str) or not name:
            continue
        path: KeyPath = ("resources", index)
        if name in seen:
            yield Problem(
                f"{name} is listed already, as resources[{seen[name]}]; join the two", (*path, "name")
            )
        elif name in catalogue:
            yield from _misfits(given, catalogue[name], path, catalogue=catalogue, now=now)
        else:
            yield Problem(_unknown_resource(name, catalogue), (*path, "name"))
        seen.setdefault(name, index)


def _unknown_resource(name: str, catalogue: Catalogue) -> str:
    return f"there is no resource {name!r}{did_you_mean(name, catalogue)}; there are {', '.join(catalogue)}"


def _misfits(
    given: Mapping[str, Any], resource: Resource, path: KeyPath, *, catalogue: Catalogue, now: datetime
) -> Iterator[Problem]:
    for option in OPTIONS:
        if option in given and option not in resource.options:
            yield Problem(_not_taken(option, resource, catalogue), (*path, option))
    yield from (Problem(text, (*path, key)) for key, text in lacking(resource, given))
    yield from _time_misfits(given, resource, path, now=now)
    yield from _expand_misfits(given.get("expand"), resource, (*path, "expand"))
    yield from _filter_misfits(given.get("filter"), resource, (*path, "filter"))
    if given.get("write_disposition") == "merge" and not resource.key:
        text = f"{resource.name} has no key to merge by; write append or replace"
        yield Problem(text, (*path, "write_disposition"))


def _not_taken(option: str, resource: Resource, catalogue: Catalogue) -> str:
    takers = [each.name for each in catalogue.values() if option in each.options]
    whose = f"; it is an option of {', '.join(takers)}" if takers else ""
    takes = ", ".join(name for name in OPTIONS if name in resource.options)
    return f"{resource.name} does not take it{whose}" + (f". {resource.name} takes {takes}" if takes else "")


def _time_misfits(
    given: Mapping[str, Any], resource: Resource, path: KeyPath, *, now: datetime
) -> Iterator[Problem]:
    texts = {name: given.get(name) for name in ("since", "until")}
    written = {name: text for name, text in texts.items() if text and isinstance(text, str)}
    if written and not takes_time(resource):
        for name in written:
            yield Problem(f"{resource.name} has no start to select by; remove it", (*path, name))
    elif len(written) == 2:
        try:
            since, until = (instant(each, now=now) for each in written.values())
        except ConfigurationError:
            return  # the model says which
        if since >= until:
            yield Problem(f"should be later than since ({written['since']})", (*path, "until"))


def _expand_misfits(names: object, resource: Resource, path: KeyPath) -> Iterator[Problem]:
    if names is not None and not resource.expand:
        yield Problem(f"{resource.name} has nothing to expand; remove it", path)
        return
    for index, name in enumerate(names if isinstance(names, list) else []):
        if isinstance(name, str) and name not in resource.expand:
            meant, listed = did_you_mean(name.replace("_", ""), resource.expand), ", ".join(resource.expand)
            yield Problem(f"{name!r} cannot be expanded{meant}; there are {listed}", (*path, index))


def _filter_misfits(written: object, resource: Resource, path: KeyPath) -> Iterator[Problem]:
    if not written or not isinstance(written, Mapping | str):
        return
    columns = written.items() if isinstance(written, Mapping) else ()
    wrong = {name: text for name, value in columns if (text := _complaint({name: value}, resource))}
    yield from (Problem(text, (*path, name)) for name, text in wrong.items())
    # Columns that are right one by one may still be too long together.
    if not wrong and (text := _complaint(written, resource)):
        yield Problem(text, path)


def _complaint(written: Mapping[str, Any] | str, resource: Resource) -> str:
    try:
        filtered(written, resource)
    except ConfigurationError as error:
        return one_line(error)
    return ""
