"""From the bytes of a JSON record to a typed one: quickly where it fits, patiently where it does not.

The quick way is msgspec into declared structs that accept no unknown field. What they refuse is read
again the patient way: keys in any case, numbers as text and text as numbers where nothing is lost,
``NaN`` tokens, a byte order mark; unknown fields are kept in ``extra``. Only what neither way can
read without changing its meaning is a :class:`~wats_extract.errors.RecordError`. Of a key that stands
twice in an object both ways take the last, as JSON parsers do.
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
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from wats_extract.errors import RecordError, Unreadable

R = TypeVar("R", bound="Record")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises where it refuses a text: no JSON or another type, no UTF-8, nested too deeply."""

_TOO_DEEP = "it is nested too deeply to be read"
_LONGEST_NUMBER = 4000
"""Digits; Python refuses to read whole numbers that are a little longer."""


class Extra(dict[str, Any]):
    """Fields that are not declared; a type of its own, so that nothing in a document is taken for it."""


class Literal(float):
    """A number with a fraction or an exponent, and how it is written: as texts, 1.10 and 1.1 differ."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Literal:
        """The number that a text spells."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True, rename={"extra": " extra"}):
    """A JSON object with declared fields; every field may be missing or null.

    Attributes:
        extra: Fields that are not declared, by their name in the document.
    """

    extra: Extra | None = None


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[R]) -> R:
    """One record.

    Raises:
        Unreadable: the bytes are not JSON.
        RecordError: they are, and do not fit.
    """
    try:
        return decoder.decode(raw)
    except REFUSED:
        record: R | None = fit(loads(bytes(raw), exact=True), decoder.type)
    if record is None:
        raise RecordError("$: expected an object, found null")
    return record


def loads(raw: bytes, *, exact: bool = False) -> Any:
    """JSON as .NET and its neighbours write it: with a byte order mark, or with ``NaN``.

    Args:
        raw: The bytes.
        exact: Keep how numbers are written: those with a fraction become a :class:`Literal`; ``NaN``,
            ``Infinity`` and whole numbers of thousands of digits become text.

    Raises:
        Unreadable: the bytes are not JSON.
        RecordError: they are nested too deeply.
    """
    ways: dict[str, Any] = {"parse_float": Literal, "parse_constant": str, "parse_int": _whole_or_text}
    try:
        return json.loads(raw.decode("utf-8-sig"), **(ways if exact else {}))
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error
    except ValueError as error:
        raise Unreadable(str(error)) from error


def json_text(value: Any) -> str:
    """What a document held, as a compact JSON text.

    Raises:
        RecordError: it holds what no UTF-8 text can (half a surrogate pair), or is nested too deeply.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_as_written).decode("utf-8")
    except UnicodeError as error:
        raise RecordError(f"a text is not Unicode: {error}") from error
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error


def is_unicode(text: str) -> bool:
    """Whether a text can be written at all: JSON may escape half a surrogate pair, which is no character."""
    return text.isascii() or not _SURROGATE.search(text)


_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNS = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{},]', re.DOTALL)


def pieces(text: bytes) -> list[bytes]:
    """The items of a JSON list, or the fields of an object, as they stand; however deep or odd they are.

    Raises:
        Unreadable: it is neither, or it is cut off.
    """
    text = text.removeprefix(BYTE_ORDER_MARK).strip()
    found: list[bytes] = []
    depth, begin = 0, 1
    for sign in _SIGNS.finditer(text if text[:1] in (b"[", b"{") else b""):
        kind = sign[0]
        depth += (kind in b"[{") - (kind in b"]}")
        if kind == b'"':
            break
        if (depth, kind) == (1, b",") or depth == 0:
            found.append(text[begin : sign.start()].strip())
            begin = sign.end()
        if depth == 0:
            break
    if depth or begin != len(text) or not found:
        raise Unreadable("it is cut off, or not JSON")
    return found if found != [b""] else []


def fit(value: Any, kind: Any, path: str = "$") -> Any:
    """A decoded JSON value as ``kind``: a record, a list of them, or a scalar.

    Raises:
        RecordError: it does not fit; the message says where.
    """
    try:
        return _fitter(kind)(value, path)
    except RecursionError as error:
        raise RecordError(_TOO_DEEP) from error


@cache
def _fitter(kind: Any) -> Callable[[Any, str], Any]:
    """What turns a value into ``kind``."""
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
        raise _misfit("an object", value, path)
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    fields, lower_case = _fields(kind)
    for name, item in value.items():
        field = fields.get(name) or lower_case.get(name.lower())
        if field is None or (name not in fields and (field.attribute in known or field.written in value)):
            extra[name] = item
        else:
            known[field.attribute] = field.fit(item, f"{path}.{name}")
    return kind(**known, extra=Extra(extra) if extra else None)


class _Field(NamedTuple):
    """A declared field: its name in documents, and how it is fitted."""

    attribute: str
    written: str
    fit: Callable[[Any, str], Any]


@cache
def _fields(kind: type[Record]) -> tuple[dict[str, _Field], dict[str, _Field]]:
    """The fields by name, and by name in lower case."""
    hints = get_type_hints(kind)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    fields = {
        written: _Field(attribute, written, _lazy_fitter(hints[attribute]))
        for written, attribute in names
        if attribute != "extra"
    }
    return fields, {written.lower(): field for written, field in fields.items()}


def _lazy_fitter(kind: Any) -> Callable[[Any, str], Any]:
    return lambda value, path: _fitter(kind)(value, path)  # lazily: a step contains steps


def _fit_list(value: Any, kind: Any, path: str) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise _misfit("a list", value, path)
    fitted = _fitter(kind)
    items = [fitted(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if any(item is None for item in items):
        raise _misfit("no null", None, path)
    return items


def _fit_text(value: Any, path: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Literal):
        return value.text
    if isinstance(value, int | float):
        return json.dumps(value)
    raise _misfit("a text", value, path)


def _fit_whole_number(value: Any, path: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    whole = _whole(value) if isinstance(value, str | float) else None
    if whole is None:
        raise _misfit("a whole number", value, path)
    return whole


def _whole(value: float | str) -> int | None:
    """The whole number that ``12.0`` or a text is, or ``None``."""
    text = value.text if isinstance(value, Literal) else str(value)
    try:
        exact = Decimal("NaN" if "_" in text else text)
        whole = abs(exact) < 2**64 and exact == exact.to_integral_value()
    except ArithmeticError:
        return None
    return int(exact) if whole else None


def _whole_or_text(text: str) -> int | str:
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
        raise RecordError(f"{path}: a number beyond 64 bits")
    raise _misfit("a number", value, path)


def _fit_truth(value: Any, path: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    words = {0: False, 1: True, "true": True, "false": False, "0": False, "1": True}
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, str | int | float) and word in words:
        return words[word]
    raise _misfit("true or false", value, path)


def _fit_bytes(value: Any, path: str) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _misfit("base64", value, path)
    try:
        return base64.b64decode(value, validate=True)
    except ValueError as error:
        raise RecordError(f"{path}: expected base64: {error}") from error


def _fit_raw(value: Any, path: str) -> msgspec.Raw | None:  # noqa: ARG001
    return None if value is None else msgspec.Raw(json_text(value))


def _fit_anything(value: Any, path: str) -> Any:  # noqa: ARG001
    return value


def _as_written(value: Any) -> msgspec.Raw:
    """What the encoder of JSON does not know: a number as it stood in the document."""
    if not isinstance(value, Literal):
        raise NotImplementedError(f"no JSON for {type(value)}")
    return msgspec.Raw(value.text)


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    str: _fit_text,
    int: _fit_whole_number,
    float: _fit_number,
    bool: _fit_truth,
    bytes: _fit_bytes,
    msgspec.Raw: _fit_raw,
    Any: _fit_anything,
}


def _misfit(expected: str, value: Any, path: str) -> RecordError:
    return RecordError(f"{path}: expected {expected}, found {json.dumps(value)[:80]}")
