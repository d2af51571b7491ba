"""The OData subset of WATS: parses `$filter`, checks it against the entity, and compiles it to a function.

Refuses everything else with the error message of a real server, so that a client cannot rely on OData that
WATS does not support.
"""

from __future__ import annotations

import heapq
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any, Literal, NamedTuple, TypeVar

from wats_extract.fake.plant import clock

T = TypeVar("T")
Kind = Literal["string", "number", "bool", "guid", "time", "null"]
Row = Mapping[str, Any]
Test = Callable[[Row], Any]

UNLIMITED = 1 << 40
"""A number of rows that no list reaches."""

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
RANGES = ("eq", "gt", "ge", "lt", "le")
"""The comparisons that select one contiguous range of a whole-number field."""
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_REFUSED_OPERATORS = ("add", "sub", "mul", "div", "divby", "mod", "has")
_REFUSED_FUNCTIONS = [
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "fractionalseconds",
    "date",
    "time",
    "totaloffsetminutes",
    "now",
    "mindatetime",
    "maxdatetime",
    "round",
    "floor",
    "ceiling",
    "cast",
    "isof",
]


class ODataError(ValueError):
    """A query option that the server refuses, with the server's error message."""


@dataclass(frozen=True)
class Entity:
    """The properties of a route's rows.

    Attributes:
        name: The .NET type, as error messages show it.
        fields: The kind of each property.
        collections: The kinds of the properties, for each collection that can be expanded.
        orders: The properties that `$orderby` accepts.
    """

    name: str
    fields: Mapping[str, Kind]
    collections: Mapping[str, Mapping[str, Kind]]
    orders: Collection[str]

    def find(self, name: str, among: Iterable[str]) -> str:
        """The property of this name, in the entity's own spelling.

        Raises:
            ODataError: There is no such property.
        """
        found = next((each for each in among if each.lower() == name.strip().lower()), None)
        if found is None:
            raise ODataError(f"Could not find a property named '{name.strip()}' on type '{self.name}'.")
        return found


# ------------------------------------------------------------ tokens


class Token(NamedTuple):
    """A token of a filter, and its position in the text."""

    kind: str
    text: str
    position: int


_TOKENS = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<string>'(?:[^']|'')*')"
    r"|(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?(?![\w.:-]))"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[LlDdFfMm]?(?![\w.:-]))"
    r"|(?P<word>[A-Za-z_$][\w.]*)"
    r"|(?P<sign>[(),:/])"
)


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            raise ODataError(f"Syntax error at position {position} in '{text}'.")
        position = match.end()
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), match.start())
    yield Token("end", "", position)


# ------------------------------------------------------------ expressions


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked part of a filter, its kind, and its value for a row.

    `literal` or `field` is set if the expression is only a literal or only a field.
    """

    kind: Kind | Literal["test"]
    value: Test
    literal: Any = None
    field: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison `field op literal`, with a collated literal; for `in` a tuple of literals."""

    field: str
    op: str
    literal: Any


Parts = list[Comparison | Expression]
"""The operands of a conjunction."""


@dataclass(frozen=True)
class Filter:
    """A parsed filter: a conjunction of bounds and other tests.

    Attributes:
        bounds: The operands that compare a field with a literal.
        rest: The other operands.
        compared: All fields and collections that occur anywhere in the filter.
    """

    bounds: tuple[Comparison, ...] = ()
    rest: tuple[Test, ...] = ()
    compared: frozenset[str] = frozenset()

    def without(self, fields: Collection[str]) -> Test | None:
        """The test that remains if the caller applies the ranges of `fields` itself; None if none remains."""
        remaining = (bound for bound in self.bounds if bound.field not in fields or bound.op not in RANGES)
        tests = [*(_bound_test(bound) for bound in remaining), *self.rest]
        return (lambda row: all(test(row) for test in tests)) if tests else None

    def matches(self, row: Row) -> bool:
        """Whether a row meets the filter."""
        return all(_bound_test(bound)(row) for bound in self.bounds) and all(test(row) for test in self.rest)


def parse_filter(text: str, entity: Entity) -> Filter:
    """Parse a `$filter`. Rows must hold times as ticks. Strings compare as in SQL Server's default collation.

    Raises:
        ODataError: The text is malformed, names an unknown property, or uses OData that WATS does not
            support.
    """
    return _Parser(text, entity).filter()


def collated(value: Any) -> Any:
    """A value as SQL Server compares it: strings without regard to case and trailing blanks."""
    return value.casefold().rstrip(" ") if isinstance(value, str) else value


def _bound_test(bound: Comparison) -> Test:
    field, literal = bound.field, bound.literal
    if bound.op == "in":
        return lambda row: collated(row.get(field)) in literal
    return _comparison(bound.op, lambda row: row.get(field), lambda _: literal)


def _comparison(op: str, left: Test, right: Test) -> Test:
    compare = COMPARISONS[op]

    def test(row: Row) -> bool:
        one, other = collated(left(row)), collated(right(row))
        if op not in ("eq", "ne") and (one is None or other is None):
            return False
        return compare(one, other)

    return test


# ------------------------------------------------------------ functions


class Function(NamedTuple):
    """A string function: the kinds of its result and arguments, the number of optional ones, its code."""

    kind: Kind
    arguments: tuple[Kind, ...]
    optional: int
    call: Callable[..., Any]


_fold = str.casefold

FUNCTIONS: Mapping[str, Function] = {
    "contains": Function("bool", ("string", "string"), 0, lambda a, b: _fold(b) in _fold(a)),
    "startswith": Function("bool", ("string", "string"), 0, lambda a, b: _fold(a).startswith(_fold(b))),
    "endswith": Function("bool", ("string", "string"), 0, lambda a, b: _fold(a).endswith(_fold(b))),
    "tolower": Function("string", ("string",), 0, str.lower),
    "toupper": Function("string", ("string",), 0, str.upper),
    "trim": Function("string", ("string",), 0, str.strip),
    "concat": Function("string", ("string", "string"), 0, lambda a, b: a + b),
    "substring": Function("string", ("string", "number", "number"), 1, lambda a, n, k=None: a[n:][:k]),
    "indexof": Function("number", ("string", "string"), 0, lambda a, b: _fold(a).find(_fold(b))),
    "length": Function("number", ("string",), 0, len),
}


def _call(function: Function, arguments: Sequence[Expression]) -> Test:
    def value(row: Row) -> Any:
        values = [argument.value(row) for argument in arguments]
        if any(each is None for each in values):
            return False if function.kind == "bool" else None
        return function.call(*values)

    return value


# ------------------------------------------------------------ the parser


class _Parser:
    """A recursive-descent parser: or, and, not, comparison, operand."""

    def __init__(self, text: str, entity: Entity) -> None:
        self._text, self._entity = text, entity
        self._tokens = list(_tokens(text))
        self._at = 0
        self._variables: dict[str, tuple[str, Mapping[str, Kind]]] = {}
        self._compared: set[str] = set()

    def filter(self) -> Filter:
        parts = self._or()
        self._expect_end()
        bounds = tuple(part for part in parts if isinstance(part, Comparison))
        rest = tuple(_boolean([part]).value for part in parts if isinstance(part, Expression))
        return Filter(bounds, rest, frozenset(self._compared))

    # -------------------------------------------------------- logic

    def _or(self) -> Parts:
        parts = self._and()
        if self._peek_word() != "or":
            return parts
        branches = [_boolean(parts)]
        while self._accept("or"):
            branches.append(_boolean(self._and()))
        return [_test(lambda row: any(branch.value(row) for branch in branches))]

    def _and(self) -> Parts:
        parts = self._not()
        while self._accept("and"):
            parts = parts + self._not()
        return parts

    def _not(self) -> Parts:
        if self._accept("not"):
            inner = _boolean(self._not())
            return [_test(lambda row: not inner.value(row))]
        return self._compare()

    # -------------------------------------------------------- comparisons

    def _compare(self) -> Parts:
        left: Parts = self._group() if self._accept("(") else [self._operand()]
        word = self._peek_word()
        if word in _REFUSED_OPERATORS:
            raise ODataError(f"The operator '{word}' is not allowed.")
        if word == "in":
            return [self._in(_single(left))]
        if word not in COMPARISONS:
            return left
        self._at += 1
        one, other = _single(left), self._operand()
        self._check(one, other)
        return [_bound_or_test(word, one, other)]

    def _group(self) -> Parts:
        parts = self._or()
        self._expect_sign(")")
        return parts

    def _in(self, left: Expression) -> Comparison | Expression:
        self._at += 1
        self._expect_sign("(")
        items = [self._operand()]
        while self._accept(","):
            items.append(self._operand())
        self._expect_sign(")")
        for item in items:
            self._check(left, item)
        literals = tuple(collated(item.literal) for item in items)
        if None in literals:
            raise ODataError("The in operator takes literals other than null only.")
        return (
            Comparison(left.field, "in", literals)
            if left.field
            else _test(lambda row: collated(left.value(row)) in literals)
        )

    def _check(self, left: Expression, right: Expression) -> None:
        """Refuse to compare incompatible types, as the server does."""
        if (
            left.kind == right.kind
            or "null" in (left.kind, right.kind)
            or {left.kind, right.kind} == {"bool", "test"}
        ):
            return
        raise ODataError(
            "A binary operator with incompatible types was detected. "
            f"Found operand types '{_EDM[left.kind]}' and '{_EDM[right.kind]}'."
        )

    # -------------------------------------------------------- operands

    def _operand(self) -> Expression:
        token = self._next()
        if token.text == "(":
            return _single(self._group())
        if token.kind == "word":
            return self._word(token)
        return self._literal(token)

    def _literal(self, token: Token) -> Expression:
        text = token.text
        if token.kind == "string":
            return _constant("string", text[1:-1].replace("''", "'"))
        if token.kind == "guid":
            return _constant("guid", text.lower())
        if token.kind == "number":
            digits = text.rstrip("LlDdFfMm")
            return _constant("number", float(digits) if re.search("[.eE]", digits) else int(digits))
        if token.kind == "time":
            return self._time(text)
        raise ODataError(f"Syntax error at position {token.position} in '{self._text}'.")

    def _time(self, text: str) -> Expression:
        try:
            return _constant("time", clock.parse(text))
        except (ValueError, OverflowError):
            message = f"Unrecognized 'Edm.DateTimeOffset' literal '{text}' in '{self._text}'."
            raise ODataError(message) from None

    def _word(self, token: Token) -> Expression:
        word = token.text.lower()
        if self._peek().text == "(":
            return self._function(word)
        if word in ("true", "false"):
            return _constant("bool", word == "true")
        if word == "null":
            return _constant("null", None)
        if self._peek().text == "/":
            return self._path(token.text)
        name = self._entity.find(token.text, (*self._entity.fields, *self._entity.collections))
        if name in self._entity.collections:
            raise ODataError(f"The collection '{name}' can only be used with any().")
        self._compared.add(name)
        return Expression(self._entity.fields[name], lambda row: row.get(name), field=name)

    def _function(self, name: str) -> Expression:
        if name in _REFUSED_FUNCTIONS:
            raise ODataError(f"The function '{name}' is not allowed.")
        function = FUNCTIONS.get(name)
        if function is None:
            raise ODataError(f"An unknown function with name '{name}' was found.")
        self._expect_sign("(")
        arguments = [self._operand()]
        while self._accept(","):
            arguments.append(self._operand())
        self._expect_sign(")")
        kinds = tuple(argument.kind for argument in arguments)
        least = len(function.arguments) - function.optional
        if len(kinds) < least or kinds != function.arguments[: len(kinds)]:
            raise ODataError(
                f"No function signature for the function with name '{name}' matches the specified arguments."
            )
        return Expression(function.kind, _call(function, arguments))

    def _path(self, owner: str) -> Expression:
        """Parse `s/partNumber` within a lambda, or `subUnits/any(…)`."""
        self._expect_sign("/")
        word = self._next().text
        if owner in self._variables:
            name, kinds = self._variables[owner]
            field = Entity(name, kinds, {}, ()).find(word, kinds)
            return Expression(kinds[field], lambda row: row["$" + owner].get(field))
        collection = self._entity.find(owner, self._entity.collections)
        if word.lower() != "any":
            raise ODataError(f"Only any() is supported on '{collection}'.")
        self._compared.add(collection)
        return self._any(collection)

    def _any(self, collection: str) -> Expression:
        self._expect_sign("(")
        if self._accept(")"):
            return _test(lambda row: bool(row.get(collection)))
        variable = self._next().text
        self._expect_sign(":")
        self._variables[variable] = (
            f"{self._entity.name}.{collection}",
            self._entity.collections[collection],
        )
        inner = _boolean(self._group())
        del self._variables[variable]
        return _test(
            lambda row: any(inner.value({**row, "$" + variable: item}) for item in row.get(collection) or ())
        )

    # -------------------------------------------------------- tokens

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _peek_word(self) -> str:
        return self._peek().text.lower() if self._peek().kind == "word" else ""

    def _next(self) -> Token:
        token = self._peek()
        if token.kind == "end":
            raise ODataError(f"Expression expected at position {token.position} in '{self._text}'.")
        self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        token = self._peek()
        accepted = token.kind in ("word", "sign") and token.text.lower() == text
        self._at += accepted
        return accepted

    def _expect_sign(self, sign: str) -> None:
        if not self._accept(sign):
            raise ODataError(f"'{sign}' expected at position {self._peek().position} in '{self._text}'.")

    def _expect_end(self) -> None:
        if self._peek().kind != "end":
            raise ODataError(f"Syntax error at position {self._peek().position} in '{self._text}'.")


def _boolean(parts: Parts) -> Expression:
    """A conjunction as one boolean expression."""
    for part in parts:
        if isinstance(part, Expression) and part.kind not in ("test", "bool"):
            raise ODataError("The $filter expression must evaluate to a single boolean value.")
    tests = [_bound_test(part) if isinstance(part, Comparison) else part.value for part in parts]
    return _test(tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests))


def _single(parts: Parts) -> Expression:
    """The content of a pair of brackets, as one operand."""
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Expression) else _boolean(parts)


_EDM = {
    "string": "Edm.String", "number": "Edm.Int32", "bool": "Edm.Boolean", "test": "Edm.Boolean",
    "guid": "Edm.Guid", "time": "Edm.DateTimeOffset", "null": "null",
}  # fmt: skip


def _test(value: Test) -> Expression:
    return Expression("test", value)


def _constant(kind: Kind, value: Any) -> Expression:
    return Expression(kind, lambda _: value, literal=value)


def _bound_or_test(op: str, left: Expression, right: Expression) -> Comparison | Expression:
    """A comparison; a bound if it compares a field with a literal, in either order."""
    if left.field and right.literal is not None:
        return Comparison(left.field, op, collated(right.literal))
    if right.field and left.literal is not None:
        return Comparison(right.field, _MIRRORED.get(op, op), collated(left.literal))
    return _test(_comparison(op, left.value, right.value))


# ------------------------------------------------------------ other options


class Order(NamedTuple):
    """One key of `$orderby`."""

    field: str
    descending: bool


def parse_order(text: str, entity: Entity) -> tuple[Order, ...]:
    """Parse an `$orderby`.

    Raises:
        ODataError: A property is unknown or cannot be ordered by, or a direction is neither asc nor desc.
    """
    return tuple(_order(part.split(), entity) for part in text.split(","))


def _order(words: Sequence[str], entity: Entity) -> Order:
    if not 1 <= len(words) <= 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise ODataError(f"Syntax error in the $orderby expression '{' '.join(words)}'.")
    field = entity.find(words[0], entity.fields)
    if field not in entity.orders:
        raise ODataError(
            f"Order by '{field}' is not allowed. To allow it, set the 'AllowedOrderByProperties' property."
        )
    return Order(field, len(words) == 2 and words[1].lower() == "desc")


def parse_names(text: str, entity: Entity, among: Iterable[str]) -> tuple[str, ...]:
    """Parse a `$select` or `$expand`: names separated by commas.

    Raises:
        ODataError: There is no property of this name.
    """
    known = tuple(among)
    return tuple(dict.fromkeys(entity.find(name, known) for name in text.split(",")))


def parse_count(option: str, text: str | None, *, default: int) -> int:
    """Parse a `$top` or `$skip`; the default if it is missing.

    Raises:
        ODataError: It is not a whole number, or negative.
    """
    if text is None:
        return default
    if not re.fullmatch(r"\s*\d{1,12}\s*", text):
        raise ODataError(
            f"Invalid value '{text}' for {option} query option found. "
            "It requires a non-negative integer value."
        )
    return int(text)


def check_options(query: Iterable[str], *, allowed: Collection[str]) -> None:
    """Refuse all other query options of OData.

    Raises:
        ODataError: The query has another option.
    """
    unknown = next((name for name in query if name.startswith("$") and name not in allowed), None)
    if unknown is not None:
        raise ODataError(f"Query option '{unknown}' is not allowed.")


def invalid_query(error: ODataError) -> str:
    """The message of the server's response to an invalid query."""
    return f"The query specified in the URI is not valid. {error}"


def smallest(count: int, rows: Iterable[T], order: Sequence[Order], key: Callable[[T, str], Any]) -> list[T]:
    """The first `count` rows in this order. Holds no more than `count` rows in memory."""

    def compare(one: Sequence[Any], other: Sequence[Any]) -> int:
        for left, right, (_, descending) in zip(one, other, order, strict=True):
            if left != right:
                return -1 if (left < right) != descending else 1
        return 0

    ranked = cmp_to_key(compare)
    return heapq.nsmallest(count, rows, key=lambda row: ranked([key(row, field) for field, _ in order]))
