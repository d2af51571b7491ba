"""Decodes JSON records into typed ones: with a fast strict decoder, or else with a lenient one.

The strict decoder is msgspec with declared structs that accept no unknown field. The lenient one decodes
what the strict one refuses: names in any case, numbers as strings and strings as numbers where nothing is
lost, ``NaN`` tokens and a byte order mark. It keeps unknown fields in ``extra``, and also strings, numbers
and booleans that do not fit their field, which is null then. Key fields and structure have to fit: if they
do not, the record is a :class:`~wats_extract.errors.RecordError`. If a name appears twice in an object, both
decoders take the last value, as JSON parsers do.
"""

from __future__ import annotations

import base64
import json
import re
import types
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from math import inf
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from wats_extract.errors import RecordError, Unreadable

R = TypeVar("R", bound="Record")

Leaf: TypeAlias = str | int | float | bool
"""A value of JSON without others in it."""

LEAF = (str, int, float)
"""The types of a leaf; booleans are integers."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of msgspec: not JSON, not of the type, not UTF-8, nested too deeply."""

_TOO_DEEP = "it is nested too deeply to be read"
_LONGEST_NUMBER = 4000
"""In digits; ``int()`` refuses integers of more than 4,300 digits."""


class Extra(dict[str, Any]):
    """Fields that are not declared; a separate type, so that no field of a document is mistaken for it."""


class Literal(float):
    """A number with a fraction or an exponent that keeps its spelling, such as ``1.10``."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Literal:
        """Parse a number."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class Kept:
    """A string, number or boolean that its column cannot hold, on its way to ``_extra``.

    It is no dataclass, because msgspec would encode a dataclass as an object.

    Attributes:
        value: The original value.
    """

    __slots__ = ("value",)

    def __init__(self, value: Leaf) -> None:
        self.value = value


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True, rename={"extra": " extra"}):
    """A JSON object with declared fields, each of which may be missing or null.

    Attributes:
        extra: Fields that are not declared, by their name in the document, and values that do not fit.
        required: The names of key fields in documents: their values have to fit.
    """

    required: ClassVar[frozenset[str]] = frozenset()

    extra: Extra | None = None


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[R]) -> R:
    """Decode one record.

    Raises:
        Unreadable: The bytes are not JSON.
        RecordError: The JSON does not fit the record.
    """
    try:
        return decoder.decode(raw)
    except REFUSED:
        record: R | None = fit(loads(bytes(raw), exact=True), decoder.type)
    if record is None:
        raise RecordError("$: expected an object, found null")
    return record


def loads(raw: bytes, *, exact: bool = False) -> Any:
    """Decode JSON that may have a byte order mark and ``NaN`` tokens, as .NET clients write them.

    Args:
        raw: The bytes.
        exact: Keep the spelling of numbers: those with a fraction become a :class:`Literal`; ``NaN``,
            ``Infinity`` and integers of thousands of digits become strings.

    Raises:
        Unreadable: The bytes are not JSON.
        RecordError: The value is nested too deeply.
    """
    parsers: dict[str, Any] = {"parse_float": Literal, "parse_constant": str, "parse_int": _int_or_text}
    try:
        return json.loads(raw.decode("utf-8-sig"), **(parsers if exact else {}))
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error
    except ValueError as error:
        raise Unreadable(str(error)) from error


def json_text(value: Any, *, on_kept: Callable[[], None] = lambda: None) -> str:
    """Encode a decoded value as compact JSON.

    Args:
        value: The value; numbers keep their spelling.
        on_kept: Called for each :class:`Kept` in it.

    Raises:
        RecordError: The value holds a lone surrogate, which UTF-8 cannot encode, or is nested too deeply.
    """

    def encoded(inner: Any) -> Any:
        if isinstance(inner, Kept):
            on_kept()
            return inner.value
        return _as_written(inner)

    try:
        return msgspec.json.encode(value, enc_hook=encoded).decode("utf-8")
    except UnicodeError as error:
        raise RecordError(f"a string is not valid Unicode: {error}") from error
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: it cannot encode a lone surrogate, which JSON may escape."""
    return text.isascii() or not _SURROGATE.search(text)


_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)


def pieces(text: bytes) -> list[bytes]:
    """Split a JSON list into its items, or an object into its fields, without decoding them.

    This works for items that are invalid or nested too deeply.

    Raises:
        Unreadable: The text is neither a list nor an object, or it is cut off.
    """
    text = text.removeprefix(BYTE_ORDER_MARK).strip()
    found: list[bytes] = []
    depth, begin = 0, 1
    for token in _TOKENS.finditer(text if text[:1] in (b"[", b"{") else b""):
        kind = token[0]
        depth += (kind in b"[{") - (kind in b"]}")
        if kind == b'"':  # a string without an end
            break
        if (depth, kind) == (1, b",") or depth == 0:
            found.append(text[begin : token.start()].strip())
            begin = token.end()
        if depth == 0:
            break
    if depth or begin != len(text) or not found:
        raise Unreadable("it is cut off, or not JSON")
    return found if found != [b""] else []


def fit(value: Any, kind: Any, path: str = "$") -> Any:
    """Convert a decoded JSON value leniently to ``kind``: a record, a list of records, or a scalar.

    Raises:
        RecordError: The value does not fit; the message says where.
    """
    try:
        return _fitter(kind)(value, path)
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error


@cache
def _fitter(kind: Any) -> Callable[[Any, str], Any]:
    """Return the function that converts a value to ``kind``."""
    options = [option for option in _options(kind) if option is not type(None)]
    if get_origin(options[0]) is list:
        return lambda value, path: _fit_list(value, get_args(options[0])[0], path)
    if isinstance(options[0], type) and issubclass(options[0], Record):
        return lambda value, path: _fit_record(value, options[0], path)
    return _SCALARS[options[0]]


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fit_record(value: Any, kind: type[Record], path: str) -> Record | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _mismatch("an object", value, path)
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    fields, lower_case = _fields(kind)
    for name, item in value.items():
        field = fields.get(name) or lower_case.get(name.lower())
        if field is None or (name not in fields and (field.attribute in known or field.written in value)):
            extra[name] = item
        else:
            try:
                known[field.attribute] = field.fit(item, f"{path}.{name}")
            except RecordError:
                if not field.may_be_kept or not isinstance(item, LEAF):
                    raise
                known[field.attribute], extra[name] = None, Kept(item)
    return kind(**known, extra=Extra(extra) if extra else None)


class _Field(NamedTuple):
    """A declared field.

    Attributes:
        attribute: Its attribute.
        written: Its name in documents.
        fit: Converts its values.
        may_be_kept: Whether a value that does not fit may go to ``extra``.
    """

    attribute: str
    written: str
    fit: Callable[[Any, str], Any]
    may_be_kept: bool


@cache
def _fields(kind: type[Record]) -> tuple[dict[str, _Field], dict[str, _Field]]:
    """Return the fields by name, and by name in lower case."""
    hints = get_type_hints(kind)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    fields = {
        written: _Field(
            attribute,
            written,
            _lazy_fitter(hints[attribute]),
            may_be_kept=written not in kind.required and _is_scalar(hints[attribute]),
        )
        for written, attribute in names
        if attribute != "extra"
    }
    return fields, {written.lower(): field for written, field in fields.items()}


def _is_scalar(kind: Any) -> bool:
    return any(option in (str, int, float, bool, bytes) for option in _options(kind))


def _lazy_fitter(kind: Any) -> Callable[[Any, str], Any]:
    return lambda value, path: _fitter(kind)(value, path)  # lazy, because a step contains steps


def _fit_list(value: Any, kind: Any, path: str) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise _mismatch("a list", value, path)
    fitted = _fitter(kind)
    items = [fitted(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if any(item is None for item in items):
        raise _mismatch("no null", None, path)
    return items


def _fit_text(value: Any, path: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, int | float):
        return json.dumps(value)
    raise _mismatch("a string", value, path)


def _fit_int(value: Any, path: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    whole = _as_int(value) if isinstance(value, str | float) else None
    if whole is None:
        raise _mismatch("a whole number", value, path)
    return whole


def _as_int(value: float | str) -> int | None:
    """Return the integer that a number such as ``12.0``, or a string, stands for; or ``None``."""
    text = value.text if isinstance(value, Literal) else str(value)
    try:
        exact = Decimal("NaN" if "_" in text else text)
        whole = abs(exact) < 2**64 and exact == exact.to_integral_value()
    except ArithmeticError:
        return None
    return int(exact) if whole else None


def _int_or_text(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_NUMBER else text


def _fit_number(value: Any, path: str) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = inf
        if abs(number) != inf or type(value) is float:
            return number
        raise RecordError(f"{path}: the number does not fit into 64 bits")
    raise _mismatch("a number", value, path)


def _fit_bool(value: Any, path: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    words = {0: False, 1: True, "true": True, "false": False, "0": False, "1": True}
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, str | int | float) and word in words:
        return words[word]
    raise _mismatch("true or false", value, path)


def _fit_bytes(value: Any, path: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _mismatch("base64", value, path)
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise RecordError(f"{path}: expected base64: {error}") from error


def _fit_raw(value: Any, path: str) -> msgspec.Raw | None:  # noqa: ARG001
    return None if value is None else msgspec.Raw(json_text(value))


def _fit_anything(value: Any, path: str) -> Any:  # noqa: ARG001
    return value


def _as_written(value: Any) -> msgspec.Raw:
    """Encode a number as it was written in the document; the encoder does not know this type."""
    if not isinstance(value, Literal):
        raise NotImplementedError(f"cannot encode {type(value)} as JSON")
    return msgspec.Raw(value.text)


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    str: _fit_text,
    int: _fit_int,
    float: _fit_number,
    bool: _fit_bool,
    bytes: _fit_bytes,
    msgspec.Raw: _fit_raw,
    Any: _fit_anything,
}


def _mismatch(expected: str, value: Any, path: str) -> RecordError:
    return RecordError(f"{path}: expected {expected}, found {json.dumps(value)[:80]}")
