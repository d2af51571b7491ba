"""Load a pipeline file: check all that can be checked without a server, and report every problem at once.

::

    text ─compose→ YAML nodes ─expand ${NAME}→ plain values, with the line of each key
         ─serve→    the server's address and its token; nothing falls back to the demo
         ─validate→ Pipeline    (keys and types, by pydantic)
         ─compare→  catalogue   (resources, columns and options, by resources.selecting)
"""

from __future__ import annotations

import os
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
from wats_extract.pipeline.settings import ESCAPED, findings_of
from wats_extract.pipeline.source import DEMO, UNSET, environment, is_demo, variable
from wats_extract.pipeline.yaml_source import Document, Problem, compose, distinct, not_set, refused
from wats_extract.resources import selecting
from wats_extract.resources.resource import Resource
from wats_extract.resources.selecting import OPTIONS, Catalogue, KeyPath


def load(
    path: str | Path,
    *,
    catalogue: Catalogue,
    environ: Mapping[str, str] | None = None,
    now: datetime | None = None,
    demo: bool = False,
    offline: bool = False,
) -> Pipeline:
    """Read and check a pipeline file. Its paths become absolute.

    Args:
        path: The file.
        catalogue: All resources, by name.
        environ: The environment for ``${NAME}``. By default the variables of the process, completed from the
            first ``.env`` file in the folder of the pipeline file or above it.
        now: The current time, from which ages such as ``30 days ago`` are counted.
        demo: Read the embedded demo server instead of the file's server.
        offline: For commands that send no request: the server and the token need not be known.

    Raises:
        PipelineFileError: with every problem on a line of its own: ``FILE:LINE: key.path: what is wrong``.
        ConfigurationError: a ``.env`` file cannot be read.
    """
    path = Path(path)
    # The real folder: `..` must mean the same, whether the command is started inside the folder or outside.
    folder = Path(os.path.realpath(path.parent))
    if environ is None:
        environ = environment(folder)
    document = Document(compose(path), environ, unset=(_URL, _TOKEN))
    if not isinstance(document.value, Mapping):
        raise refused(path, [Problem("should hold keys such as version, name and resources", line=1)])
    served = _Served(document, environ, demo=demo, offline=offline)
    pipeline, findings = _validate(served.values, document, folder)
    compared = _compare(document.value.get("resources"), catalogue, now=now or datetime.now(UTC))
    literal = [*_literal_token(document), *_escaped_paths(document)]
    problems = distinct([*document.problems, *literal, *served.problems, *compared, *findings])
    if problems or pipeline is None:
        raise refused(path, [document.placed(each) for each in problems], secrets=_secrets(document, environ))
    return pipeline


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


def _secrets(document: Document, environ: Mapping[str, str]) -> list[str]:
    """The tokens that no message may show. Short words are not tokens."""
    written = document.written.get(_TOKEN, "")
    secrets = ["" if "${" in written else written, variable("WATS_TOKEN", environ) or ""]
    return [secret for secret in secrets if len(secret) > 7]


def _literal_token(document: Document) -> Iterator[Problem]:
    """Refuse a token that is written in the file: everyone who can read the file or its history has it."""
    written = document.written.get(_TOKEN, "")
    if written in ("", "null", "~") or re.fullmatch(r"\$\{[A-Za-z_]\w*(:-)?\}", written):
        return
    yield Problem(
        "is written in the file, where everyone who can read the file can see it; write ${WATS_TOKEN} "
        "instead, and set WATS_TOKEN in the environment or in a .env file",
        _TOKEN,
    )


# ── paths ───────────────────────────────────────────────────────────────────────────────────────

_PATHS: tuple[KeyPath, ...] = (("destination", "path"), ("source", "ca_file"))


def _escaped_paths(document: Document) -> Iterator[Problem]:
    """Refuse escapes in paths, also those that stand for printable characters."""
    for path in _PATHS:
        if path in document.escaped:
            yield Problem(f"is another path than it seems: {ESCAPED}", path)


# ── the server ──────────────────────────────────────────────────────────────────────────────────

_URL: KeyPath = ("source", "url")
_TOKEN: KeyPath = ("source", "token")


class _Served:
    """The server of a run: the file's, else that of the environment, or the demo where it is asked for.

    Args:
        document: The file.
        environ: The variables.
        demo: Whether ``--demo`` asks for the demo.
        offline: Whether the server and the token need not be known.

    Attributes:
        values: The file's values, with the address and the token filled in.
        problems: Why no server can be read.
    """

    def __init__(self, document: Document, environ: Mapping[str, str], *, demo: bool, offline: bool) -> None:
        self._document, self._environ = document, environ
        self.values: Mapping[str, Any] = document.value
        self.problems: list[Problem] = []
        source = self.values.get("source")
        if not isinstance(source, Mapping | None):
            return
        given = {name: value for name, value in (source or {}).items() if value is not None}
        url = given.get("url", variable("WATS_URL", environ) or "")
        token = given.get("token", variable("WATS_TOKEN", environ) or "")
        if isinstance(url, str):
            url, problems = self._server(url.strip(), token, demo=demo)
            self.problems += [] if offline else problems
        self.values = {**self.values, "source": given | {"url": url, "token": token}}

    def _server(self, url: str, token: object, *, demo: bool) -> tuple[str, list[Problem]]:
        """The address, empty if there is none, and why no server can be read."""
        if demo and not is_demo(url):
            url = DEMO
        if is_demo(url):
            if not (demo or self._asks_for_demo()):
                return "", [Problem(_NOT_ASKED, _URL)]
            has_token = str(token).strip() or variable("WATS_TOKEN", self._environ)
            return url, [Problem(_UNWANTED, _URL)] if has_token else []
        problems = [] if url else [Problem(self._no_server(), _URL)]
        named = re.fullmatch(r"\$\{([A-Za-z_]\w*)\}", self._document.written.get(_TOKEN, ""))
        if named and not token:
            problems.append(Problem(not_set(named[1]), _TOKEN))
        return url, problems

    def _asks_for_demo(self) -> bool:
        """Whether the demo is written in the file, or is what ``WATS_URL`` says, and not just a default."""
        written = self._document.written.get(_URL, "")
        return any(is_demo(url.strip()) for url in (written, self._environ.get("WATS_URL", "")))

    def _no_server(self) -> str:
        names = re.findall(r"\$\{([A-Za-z_]\w*)", self._document.written.get(_URL, ""))
        name = names[0] if names else "WATS_URL"
        unset = UNSET if name == "WATS_URL" else f"the environment variable {name} is not set, or empty"
        where = "in the environment, or in a .env file beside the pipeline file or above it"
        return f"{unset}; set {name} {where}, or add --demo to try it without a WATS server"


_NOT_ASKED = (
    "WATS_URL is not set, and neither a default nor another variable starts the embedded demo server; set "
    "WATS_URL to the address of your server, or add --demo to try it without one"
)
_UNWANTED = (
    "a token is set, but the embedded demo server needs none; remove WATS_TOKEN and PYWATS_API_TOKEN from "
    "the environment and the .env file, or read the server that the token is for"
)


# ── keys and types ──────────────────────────────────────────────────────────────────────────────


def _validate(
    values: Mapping[str, Any], document: Document, folder: Path
) -> tuple[Pipeline | None, list[Problem]]:
    try:
        return Pipeline.model_validate(values, context={"folder": folder}), []
    except ValidationError as error:
        return None, problems_of(findings_of(error), document)


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
