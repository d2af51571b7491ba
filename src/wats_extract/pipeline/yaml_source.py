"""Read a YAML file into plain values, with ``${NAME}`` expanded and the line of each key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from wats_extract.errors import PipelineFileError
from wats_extract.filters.nearest import nearest
from wats_extract.pipeline.source import variable
from wats_extract.resources.selecting import KeyPath, dotted


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        text: What is wrong and what to write instead, to be read after the path.
        path: The key it belongs to.
        line: Its line, from 1; 0 if it follows from ``path``.
    """

    text: str
    path: KeyPath = ()
    line: int = 0

    def line_of(self, file: Path) -> str:
        """``FILE:LINE: key.path: what is wrong``."""
        parts = [f"{file}:{self.line}" if self.line else str(file), dotted(self.path), self.text]
        return ": ".join(part for part in parts if part)


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """The first problem of each key path; the others follow from it."""
    first: dict[KeyPath, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return list(first.values())


def refused(path: Path, problems: Sequence[Problem], *, secrets: Iterable[str] = ()) -> PipelineFileError:
    """The error that lists problems in the order of their lines, with secrets masked."""
    text = "\n".join(each.line_of(path) for each in sorted(problems, key=lambda each: each.line))
    for secret in secrets:
        text = text.replace(secret, "…")
    hint = "Editors show such problems as you type, with the schema of `wats-extract json-schema`."
    return PipelineFileError(text, hint=hint)


# ── text to nodes ───────────────────────────────────────────────────────────────────────────────


def compose(path: Path) -> Node:
    """The YAML nodes of a file.

    Raises:
        PipelineFileError: the file does not exist, cannot be read, or is not YAML.
    """
    text = _text(path)
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except RecursionError:
        raise refused(path, [Problem("is nested too deeply to be a pipeline file")]) from None
    except YAMLError as error:
        raise refused(path, [_broken(error, text)]) from None
    if root is None:
        raise refused(path, [Problem("is empty; `wats-extract init` writes a file to start with")])
    return root


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise refused(path, [Problem(f"there is no such file{_files_beside(path)}")]) from None
    except OSError as error:
        reason = "is a folder; name the file in it" if path.is_dir() else f"cannot be read: {error.strerror}"
        raise refused(path, [Problem(reason)]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise refused(path, [Problem("is not UTF-8 text; save the file as UTF-8", line=line)]) from None


def _files_beside(path: Path) -> str:
    names = sorted(each.name for each in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    if close := nearest(path.name, names):
        return f" (did you mean {str(path.with_name(close))!r}?)"
    return "; `wats-extract init` writes one to start with"


_YAML_WORDS = (
    (r"but (got|found) '\{'", 'within […] and {…} put ${NAME} in quotes, as in "${NAME}"'),
    (r"'\\t'", "the line begins with a tab; indent with spaces"),
    (
        r"escape character",
        "a backslash in double quotes begins an escape; use single quotes, or / in paths",
    ),
    (
        r"mapping values are not allowed",
        "a ': ' where no key is possible; check the indentation, or put the value in quotes",
    ),
    (
        r"undefined alias",
        "'*' begins the name of an anchor, which does not exist; put the value in quotes",
    ),
    (r"unexpected end of stream", "a quote or a bracket is not closed"),
    (r"another document", "a second document begins with '---'; a pipeline file holds one document"),
    (
        r"cannot start any token",
        "a value begins with a character that YAML reserves; put the value in quotes",
    ),
    (r"<block end>", "the indentation does not match the lines above"),
)


def _broken(error: YAMLError, text: str) -> Problem:
    """The YAML parser's error in plain words, without the content of the file."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        position = getattr(error, "position", 0)
        return Problem("holds a character that YAML does not allow", line=text.count("\n", 0, position) + 1)
    problem = error.problem or ""
    found = (words for pattern, words in _YAML_WORDS if re.search(pattern, problem))
    words = next(found, re.sub(r"'[^']{4,}'", "'…'", problem))
    mark = error.problem_mark
    return Problem(f"column {mark.column + 1}: invalid YAML: {words}", line=mark.line + 1)


# ── nodes to values ─────────────────────────────────────────────────────────────────────────────

_VARIABLE = re.compile(
    r"(?P<escaped>\$\$(?=\{))|\$\{(?P<name>[A-Za-z_]\w*)(?P<fallback>:-(?P<default>[^{}]*))?\}|\$\{"
)
_TAG = "tag:yaml.org,2002:"


_MOST_VALUES = 100_000
"""Aliases of aliases can expand a small file to billions of values."""


class _TooLarge(Exception):
    """The file has more values than any pipeline file."""


class Document:
    """A YAML document as plain values, with the line of each key and the text of each scalar.

    Dates stay text, because a part number may look like one.

    Args:
        root: The document.
        environ: The variables for ``${NAME}``.
        unset: Keys whose variables need not be set; their values are empty then.

    Attributes:
        value: The plain values.
        lines: The line of each key.
        written: The text of each scalar, with ``${NAME}``.
        escaped: The scalars in double quotes with escapes that stand for other characters than themselves.
        problems: What is wrong with the document.
    """

    def __init__(self, root: Node, environ: Mapping[str, str], *, unset: Collection[KeyPath] = ()) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.written: dict[KeyPath, str] = {}
        self.escaped: set[KeyPath] = set()
        self.problems: list[Problem] = []
        self._environ, self._unset = environ, unset
        self._count = 0
        self._constructor = YAML(typ="safe", pure=True).constructor
        try:
            self.value = self._read(root, ())
        except RecursionError:
            self.value = {}
            self.problems.append(Problem("an anchor (&) contains an alias (*) of itself", line=1))
        except _TooLarge:
            self.value = {}
            text = f"holds more than {_MOST_VALUES:,} values, with aliases (*) expanded"
            self.problems.append(Problem(text, line=1))

    def placed(self, problem: Problem) -> Problem:
        """The problem with its line: that of its key, or of the nearest key above it in the file."""
        path = problem.path
        while path not in self.lines and path:
            path = path[:-1]
        return Problem(problem.text, problem.path, problem.line or self.lines.get(path, 1))

    def _read(self, node: Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise _TooLarge
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]
        self.written[path] = node.value
        if getattr(node, "style", "") == '"' and _ESCAPE.search(_source(node)):
            self.escaped.add(path)
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        merged = [value for key, value in node.value if key.tag == f"{_TAG}merge"]
        values = {name: value for each in merged for name, value in self._merged(each, path).items()}
        own: dict[str, int] = {}
        for key, item in node.value:
            name, line = key.value, key.start_mark.line + 1
            if not isinstance(name, str):
                self.problems.append(
                    Problem("a key should be a word; a variable is written ${NAME}", path, line)
                )
            elif name in own:
                twice = f"occurs twice, first in line {own[name]}"
                self.problems.append(Problem(twice, (*path, name), line))
            elif key.tag != f"{_TAG}merge":
                own[name] = self.lines[*path, name] = line
                values[name] = self._read(item, (*path, name))
        return values

    def _merged(self, node: Node, path: KeyPath) -> dict[str, Any]:
        """The values of ``<<: *anchor``; keys beside it override them."""
        if isinstance(node, SequenceNode):
            return {k: v for each in reversed(node.value) for k, v in self._merged(each, path).items()}
        return self._mapping(node, path) if isinstance(node, MappingNode) else {}

    def _scalar(self, node: Node, path: KeyPath) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if kind in ("str", "timestamp"):
            return _VARIABLE.sub(lambda found: self._expanded(found, path), node.value)
        if kind not in ("null", "bool", "int", "float"):
            self.problems.append(Problem(f"YAML tags such as {node.tag} are not supported", path))
            return None
        try:
            return self._constructor.construct_object(node)
        except (ValueError, YAMLError):
            self.problems.append(Problem(f"is not a valid {kind}", path))
            return None

    def _expanded(self, found: re.Match[str], path: KeyPath) -> str:
        if found["escaped"]:
            return "$"
        if not found["name"]:
            self.problems.append(Problem("'${' begins a variable; write ${NAME} or ${NAME:-default}", path))
            return ""
        value = variable(found["name"], self._environ)
        if value is None and found["fallback"] is None and path not in self._unset:
            self.problems.append(Problem(not_set(found["name"]), path))
        return value or found["default"] or ""


_ESCAPE = re.compile(r'(?<!\\)(?:\\\\)*\\[^\\"/\r\n]')


def _source(node: Node) -> str:
    """A scalar as it is written in the file."""
    begin, end = node.start_mark, node.end_mark
    return str(begin.buffer[begin.index : end.index])


def not_set(name: str) -> str:
    """The message for a variable that is not set and has no default."""
    return (
        f"the environment variable {name} is not set; set it, add it to a .env file beside the pipeline file "
        f"or above it, or write ${{{name}:-default}}"
    )
