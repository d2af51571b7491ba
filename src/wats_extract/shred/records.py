"""From the bytes of a JSON record to a typed one: quickly where it fits, patiently where it does not.

The quick way is msgspec into declared structs that accept no unknown field. What they refuse is read
again the patient way: keys in any case, numbers as text and text as numbers where nothing is lost,
``NaN`` tokens, a byte order mark; unknown fields are kept in ``extra``. Only what neither way can
read without changing its meaning is a :class:`~wats_extract.errors.RecordError`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from wats_extract.errors import RecordError, Unreadable

R = TypeVar("R", bound="Record")


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True, rename={"extra": " extra"}):
    """A JSON object with declared fields; every field may be missing or null.

    Attributes:
        extra: Fields that are not declared, by their name in the document.
    """

    extra: dict[str, Any] | None = None


def read(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[R]) -> R:
    """One record.

    Raises:
        Unreadable: the bytes are not JSON.
        RecordError: they are, and do not fit.
    """
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:  # also every ValidationError
        record: R = fit(loads(bytes(raw)), decoder.type)
        return record
    except RecursionError as error:
        raise RecordError("it is nested too deeply to be read") from error


def loads(raw: bytes) -> Any:
    """JSON as .NET and its neighbours write it: with a byte order mark, or with ``NaN``.

    Raises:
        Unreadable: the bytes are not JSON.
        RecordError: they are nested too deeply.
    """
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except RecursionError as error:
        raise RecordError("it is nested too deeply to be read") from error
    except ValueError as error:
        raise Unreadable(str(error)) from error


def fit(value: Any, kind: Any, path: str = "$") -> Any:
    """A decoded JSON value as ``kind``: a record, a list of them, or a scalar.

    Raises:
        RecordError: it does not fit; the message says where.
    """
    try:
        return _fitter(kind)(value, path)
    except RecursionError as error:
        raise RecordError("it is nested too deeply to be read") from error


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
        if field is None or (name not in fields and field[0] in known):
            extra[name] = item
        else:
            known[field[0]] = field[1](item, f"{path}.{name}")
    return kind(**known, extra=extra or None)


@cache
def _fields(kind: type[Record]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attribute and fitter by the field's name, and by its name in lower case."""
    hints = get_type_hints(kind)
    names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    fields = {
        written: (attribute, _lazy_fitter(hints[attribute]))
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
    if isinstance(value, int | float):
        return json.dumps(value)
    raise _misfit("a text", value, path)


def _fit_whole_number(value: Any, path: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _misfit("a whole number", value, path) from None
    raise _misfit("a whole number", value, path)


def _fit_number(value: Any, path: str) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _misfit("a number", value, path)


def _fit_truth(value: Any, path: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    words = {0: False, 1: True, "true": True, "false": False, "0": False, "1": True}
    word = value.lower() if isinstance(value, str) else value
    if isinstance(word, str | int | float) and word in words:
        return words[word]
    raise _misfit("true or false", value, path)


def _fit_raw(value: Any, path: str) -> msgspec.Raw | None:  # noqa: ARG001
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return None if value is None else msgspec.Raw(text.encode("utf-8"))


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    str: _fit_text,
    int: _fit_whole_number,
    float: _fit_number,
    bool: _fit_truth,
    msgspec.Raw: _fit_raw,
}


def _misfit(expected: str, value: Any, path: str) -> RecordError:
    return RecordError(f"{path}: expected {expected}, found {json.dumps(value)[:80]}")
