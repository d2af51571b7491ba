"""Check OData ``$filter`` text that a user wrote, before it is sent.

The grammar is the part of OData that WATS takes (api-facts §2.1): the comparisons ``eq ne gt ge lt le in``,
``and``, ``or``, ``not``, parentheses, text functions, and ``any`` over the lists of a row. Arithmetic and the
functions for numbers and dates are not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, NoReturn, TypeAlias

import pyarrow as pa

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import instant
from wats_extract.filters.nearest import did_you_mean
from wats_extract.tables import Column

RESULTS = {
    "P": "Passed",
    "F": "Failed",
    "E": "Error",
    "T": "Terminated",
    "D": "Done",
    "S": "Skipped",
    "U": "Unknown",
}
"""WATS's codes for results; in OData a result is the word."""

REPORT_TYPES = {"UUT": "T", "UUR": "R"}
"""Our words for report types; in OData a report type is the code."""

Kind: TypeAlias = Literal["text", "number", "truth", "uuid", "timestamp", "null", "unknown"]

_A: Mapping[Kind, str] = {
    "text": "text",
    "number": "a number",
    "truth": "true or false",
    "uuid": "a uuid",
    "timestamp": "a timestamp",
    "null": "null",
    "unknown": "anything",
}
"""How a message names a kind."""

_COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
_WORDS = (*_COMPARISONS, "in", "and", "or")
_FUNCTIONS: Mapping[str, tuple[Kind, tuple[Kind, ...], int]] = {
    "contains": ("truth", ("text", "text"), 0),
    "startswith": ("truth", ("text", "text"), 0),
    "endswith": ("truth", ("text", "text"), 0),
    "tolower": ("text", ("text",), 0),
    "toupper": ("text", ("text",), 0),
    "trim": ("text", ("text",), 0),
    "concat": ("text", ("text", "text"), 0),
    "substring": ("text", ("text", "number", "number"), 1),
    "indexof": ("number", ("text", "text"), 0),
    "length": ("number", ("text",), 0),
}
"""Result, arguments, and how many arguments at the end may be left out."""

_UNSUPPORTED = frozenset(
    {
        *("add", "sub", "mul", "div", "divby", "mod", "has", "year", "month", "day", "hour", "minute"),
        *("second", "fractionalseconds", "date", "time", "totaloffsetminutes", "now", "mindatetime"),
        *("maxdatetime", "round", "floor", "ceiling", "cast", "isof"),
    }
)
_ADVICE = {
    "=": "write eq",
    "==": "write eq",
    "!=": "write ne",
    "<>": "write ne",
    "<": "write lt",
    "<=": "write le",
    ">": "write gt",
    ">=": "write ge",
    "&&": "write and",
    "||": "write or",
    '"': "put text in single quotes",
    "like": "use contains, startswith or endswith",
}
_DEEPEST = 40

_TOKENS = re.compile(
    r"(?P<blank>\s+)"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<uuid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?P<timestamp>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?(?![\w.:-]))"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[LlDdFfMm]?(?![\w.:-]))"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign>[(),:/])",
    re.ASCII,
)


def check(text: str, columns: Mapping[str, Column], *, collections: Iterable[str] | None = None) -> None:
    """Refuse text that WATS would not take as a ``$filter``.

    Args:
        text: The filter.
        columns: The columns that may be named; ``Column.source`` is the name in OData, in any case.
        collections: The lists of a row that ``any`` may search; ``None`` accepts every name.

    Raises:
        ConfigurationError: it is not OData as WATS takes it, names an unknown column, or compares values of
            different types. The message has the position, counted from 1.
    """
    _Parser(text, columns, None if collections is None else tuple(collections)).check()


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    @property
    def shown(self) -> str:
        return repr(self.text) if self.kind != "end" else "the end of the filter"


@dataclass(frozen=True, slots=True)
class _Operand:
    kind: Kind
    token: _Token
    column: Column | None = None
    is_literal: bool = False


def _error(message: str, position: int) -> ConfigurationError:
    return ConfigurationError(f"{message} (character {position} of the OData text)")


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        found = _TOKENS.match(text, position)
        if found is None:
            raise _error(_unreadable(text[position:]), position + 1)
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found.group(), position + 1)
        position = found.end()
    yield _Token("end", "", position + 1)


def _unreadable(rest: str) -> str:
    if rest.startswith("'"):
        return "the quote does not close; a quote within text is written twice, as in 'O''Brien'"
    for length in (2, 1):
        if advice := _ADVICE.get(rest[:length]):
            return f"{rest[:length]!r} is not OData; {advice}"
    word = re.match(r"[\w.:-]+", rest)
    return f"{(word[0] if word else rest[0])[:40]!r} is neither a name nor a value"


class _Parser:
    """A recursive descent parser: or, and, not, comparison, operand."""

    def __init__(self, text: str, columns: Mapping[str, Column], collections: Sequence[str] | None) -> None:
        self._ours = columns
        self._columns = {column.source.lower(): column for column in columns.values()}
        self._collections = collections
        self._variables: list[str] = []
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def check(self) -> None:
        operand = self._or()
        end = self._peek()
        if end.text == ")":
            raise _error("the parenthesis has no partner", end.position)
        if end.kind != "end":
            raise self._unexpected("a comparison (eq, ne, gt, ge, lt, le, in), and, or")
        self._condition(operand)

    # ── logic ──

    def _or(self) -> _Operand:
        return self._chain("or", self._and)

    def _and(self) -> _Operand:
        return self._chain("and", self._not)

    def _chain(self, word: str, part: Callable[[], _Operand]) -> _Operand:
        operand = part()
        while self._peek_word() == word:
            self._condition(operand)
            self._at += 1
            operand = self._condition(part())
        return operand

    def _not(self) -> _Operand:
        if self._peek_word() != "not":
            return self._comparison()
        self._enter()
        self._at += 1
        operand = self._condition(self._not())
        self._depth -= 1
        return operand

    def _condition(self, operand: _Operand) -> _Operand:
        if operand.kind not in ("truth", "unknown"):
            raise _error(
                f"{operand.token.text!r} is not a condition; compare it with something",
                operand.token.position,
            )
        return operand

    # ── comparisons ──

    def _comparison(self) -> _Operand:
        left = self._operand()
        word = self._peek_word()
        if word in _UNSUPPORTED:
            raise _error(f"WATS does not take {word!r} in a filter", self._peek().position)
        if word in _COMPARISONS:
            self._at += 1
            self._compatible(left, self._operand())
        elif word == "in":
            self._at += 1
            self._list(left)
        else:
            return left
        return _Operand("truth", left.token)

    def _list(self, left: _Operand) -> None:
        opening = self._sign("(", "a list in parentheses")
        while True:
            item = self._operand()
            if not item.is_literal or item.kind == "null":
                raise _error("a list holds values other than null", item.token.position)
            self._compatible(left, item)
            if self._took(")"):
                return
            if not self._took(","):
                self._close(opening)

    def _compatible(self, left: _Operand, right: _Operand) -> None:
        kinds = {left.kind, right.kind}
        if len(kinds) > 1 and not kinds & {"null", "unknown"} and not _text_column_of_uuids(left, right):
            _refuse_types(left, right)
        for one, other in ((left, right), (right, left)):
            if one.column is not None and other.is_literal:
                _refuse_code(one.column, other)

    # ── operands ──

    def _operand(self) -> _Operand:
        token = self._next()
        if token.text == "(":
            self._enter()
            inner = self._or()
            self._close(token)
            self._depth -= 1
            return _Operand(inner.kind, inner.token, inner.column, inner.is_literal)
        if token.kind == "word":
            return self._word(token)
        if token.kind in ("text", "uuid", "number", "timestamp"):
            return _literal(token)
        self._at -= 1
        raise self._unexpected("a column, a value or a function")

    def _word(self, token: _Token) -> _Operand:
        word = token.text.lower()
        if self._peek().text == "(":
            return self._function(token)
        if word in ("true", "false"):
            return _Operand("truth", token, is_literal=True)
        if word == "null":
            return _Operand("null", token, is_literal=True)
        if self._peek().text == "/":
            return self._path(token)
        return self._column(token)

    def _column(self, token: _Token) -> _Operand:
        column = self._columns.get(token.text.lower())
        if column is None:
            ours = self._ours.get(token.text)
            meant = (
                f" (did you mean {ours.source!r}?)"
                if ours
                else did_you_mean(token.text, [each.source for each in self._columns.values()])
            )
            raise _error(f"there is no column {token.text!r}{meant}", token.position)
        return _Operand(_kind_of(column), token, column)

    def _function(self, token: _Token) -> _Operand:
        name = token.text.lower()
        if name in _UNSUPPORTED:
            raise _error(f"WATS does not take the function {name!r}", token.position)
        if name not in _FUNCTIONS:
            raise _error(
                f"there is no function {token.text!r}{did_you_mean(name, _FUNCTIONS)}", token.position
            )
        kind, parameters, optional = _FUNCTIONS[name]
        opening = self._sign("(", "an argument in parentheses")
        self._enter()
        arguments = [self._operand()]
        while self._took(","):
            arguments.append(self._operand())
        self._close(opening)
        self._depth -= 1
        if not len(parameters) - optional <= len(arguments) <= len(parameters):
            raise _error(f"{name} takes {len(parameters)} arguments, not {len(arguments)}", token.position)
        for argument, expected in zip(arguments, parameters, strict=False):
            if argument.kind not in (expected, "unknown"):
                raise _error(
                    f"{name} takes {expected} here, not {argument.token.text}", argument.token.position
                )
        return _Operand(kind, token)

    def _path(self, owner: _Token) -> _Operand:
        """``s/serialNumber`` inside ``any``, or ``subUnits/any(s: …)``."""
        self._at += 1
        name = self._next()
        if name.kind != "word":
            self._at -= 1
            raise self._unexpected("a name after '/'")
        if owner.text in self._variables:
            while self._took("/"):
                self._next()
            return _Operand("unknown", owner)
        if name.text.lower() not in ("any", "all"):
            raise _error(f"{owner.text!r} has no {name.text!r}; a list is searched by any", name.position)
        known = self._collections
        if known is not None and owner.text.lower() not in {each.lower() for each in known}:
            listed = f"; there are {', '.join(known)}" if known else ""
            raise _error(
                f"there is no list {owner.text!r}{did_you_mean(owner.text, known)}{listed}", owner.position
            )
        self._lambda()
        return _Operand("truth", owner)

    def _lambda(self) -> None:
        opening = self._sign("(", "a condition in parentheses")
        if self._took(")"):
            return
        variable = self._next()
        if variable.kind != "word":
            self._at -= 1
            raise self._unexpected("a variable, as in any(s: s/name eq 'x')")
        self._sign(":", "':' after the variable")
        if variable.text in self._variables:
            raise _error(f"the variable {variable.text!r} is in use already", variable.position)
        self._enter()
        self._variables.append(variable.text)
        self._condition(self._or())
        self._variables.pop()
        self._depth -= 1
        self._close(opening)

    # ── tokens ──

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _peek_word(self) -> str:
        token = self._peek()
        return token.text.lower() if token.kind == "word" else ""

    def _next(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise self._unexpected("a column, a value or a function")
        self._at += 1
        return token

    def _took(self, sign: str) -> bool:
        taken = self._peek().text == sign
        self._at += taken
        return taken

    def _sign(self, sign: str, what: str) -> _Token:
        token = self._peek()
        if token.text != sign:
            raise self._unexpected(what)
        self._at += 1
        return token

    def _close(self, opening: _Token) -> None:
        if self._took(")"):
            return
        if self._peek().kind == "end":
            raise _error("the parenthesis does not close", opening.position)
        raise self._unexpected("a comparison, and, or, ',' or ')'")

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _error(f"the filter is nested more than {_DEEPEST} deep", self._peek().position)

    def _unexpected(self, expected: str) -> ConfigurationError:
        token = self._peek()
        advice = _ADVICE.get(token.text.lower(), "") if token.kind == "word" else ""
        meant = f"; {advice}" if advice else did_you_mean(token.text, _WORDS) if token.kind == "word" else ""
        return _error(f"expected {expected}, found {token.shown}{meant}", token.position)


# ── values ──────────────────────────────────────────────────────────────────────────────────────


def _kind_of(column: Column) -> Kind:
    if column.kind in ("uuid", "json"):
        return "uuid" if column.kind == "uuid" else "unknown"
    type_ = column.type
    if pa.types.is_string(type_):
        return "text"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return "number"
    if pa.types.is_boolean(type_):
        return "truth"
    return "timestamp" if pa.types.is_timestamp(type_) else "unknown"


def _literal(token: _Token) -> _Operand:
    if token.kind == "timestamp":
        try:
            instant(token.text, now=datetime.now(UTC))
        except ConfigurationError:
            raise _error(f"{token.text} is not a date or timestamp", token.position) from None
    kind: Kind = token.kind  # type: ignore[assignment]
    return _Operand(kind, token, is_literal=True)


def _text_column_of_uuids(left: _Operand, right: _Operand) -> bool:
    """A column that is text here may be a uuid on the server."""
    return any(
        one.column is not None and one.kind == "text" and other.kind == "uuid" and other.is_literal
        for one, other in ((left, right), (right, left))
    )


def _refuse_types(left: _Operand, right: _Operand) -> NoReturn:
    column, value = (left, right) if left.column is not None else (right, left)
    name = column.token.text
    if column.column is None or not value.is_literal:
        raise _error(f"{_A[left.kind]} cannot be compared with {_A[right.kind]}", right.token.position)
    if column.kind == "text":
        advice = f"write '{value.token.text}' in quotes"
    elif value.kind == "text":
        advice = f"write {value.token.text[1:-1]} without quotes"
    else:
        advice = f"{value.token.text} is {_A[value.kind]}"
    raise _error(f"{name} is {_A[column.kind]}: {advice}", value.token.position)


def _refuse_code(column: Column, value: _Operand) -> None:
    """Refuse a result or report type that the server never has, which would select nothing."""
    codes = {"result": RESULTS, "report_type": REPORT_TYPES}.get(column.kind, {})
    text = value.token.text[1:-1]
    for alias, right in codes.items():
        if text.lower() == alias.lower():
            raise _error(f"the server has {right!r} for {text!r}; write '{right}'", value.token.position)
