"""The error tree in the docstring of ``errors.py`` agrees with the classes."""

from __future__ import annotations

import inspect
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from wats_extract import errors
from wats_extract.cli.signals import Stop
from wats_extract.errors import Interrupted, RequestError, WatsExtractError

LINE = re.compile(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+) +exit (?P<codes>\d+(?: or \d+)*) +(?P<text>\S.*)")
INDENT = 4
"""Characters per level of the drawing."""


@dataclass(frozen=True)
class Node:
    """An error class: its name, the name of its parent, and the exit codes it can have."""

    name: str
    parent: str
    exit_codes: frozenset[int]


def drawn() -> Iterator[Node]:
    """The nodes of the drawing, from top to bottom."""
    drawing = inspect.cleandoc(errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    ancestors: list[str] = []
    for line in drawing.splitlines():
        match = LINE.fullmatch(line)
        assert match, f"not a line of the tree: {line!r}"
        level, rest = divmod(len(match["branch"]), INDENT)
        assert not rest, line
        assert level <= len(ancestors), f"a level is missing above {line!r}"
        ancestors[level:] = [match["name"]]
        yield Node(match["name"], ancestors[level - 1] if level else "", numbers(match["codes"]))


def numbers(text: str) -> frozenset[int]:
    return frozenset(map(int, text.split(" or ")))


def defined(error: type[WatsExtractError] = WatsExtractError, parent: str = "") -> Iterator[Node]:
    """The nodes of the class and of its subclasses in this package, recursively."""
    yield Node(error.__name__, parent, exit_codes(error))
    for subclass in error.__subclasses__():
        if subclass.__module__.partition(".")[0] == "wats_extract":
            yield from defined(subclass, error.__name__)


def exit_codes(error: type[WatsExtractError]) -> frozenset[int]:
    if error is RequestError:
        codes = ("NOT_FOUND", "UNAUTHORIZED", "FORBIDDEN", "TIMEOUT", "CONNECTION_ERROR", "API_ERROR")
        return frozenset(RequestError("", code=code, url="").exit_code for code in codes)
    if error is Interrupted:
        return frozenset({Interrupted.exit_code, *map(exit_code_after, (signal.SIGINT, signal.SIGTERM))})
    return frozenset({error.exit_code})


def exit_code_after(number: signal.Signals) -> int:
    stop = Stop()
    stop.request(number, None)
    return stop.exit_code


def test_every_class_is_drawn_under_its_parent_with_its_exit_codes() -> None:
    assert {node.name: node for node in drawn()} == {node.name: node for node in defined()}


def test_no_class_is_drawn_twice_or_has_two_parents() -> None:
    names = [node.name for node in drawn()]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(node.name for node in defined())


def test_every_error_class_of_the_module_is_in_the_tree() -> None:
    classes = inspect.getmembers(errors, inspect.isclass)
    own = {name for name, each in classes if each.__module__ == errors.__name__}
    assert own == {node.name for node in drawn()}


@pytest.mark.parametrize(("http_status", "exit_code"), [(400, 2), (500, 5), (None, 5)])
def test_a_bad_request_is_permanent_and_a_server_error_is_not(
    http_status: int | None, exit_code: int
) -> None:
    assert RequestError("", code="API_ERROR", url="", http_status=http_status).exit_code == exit_code
