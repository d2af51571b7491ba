"""The base of the pipeline file's models, and pydantic's findings in plain words."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails


class Settings(BaseModel):
    """A frozen model that refuses unknown keys and never shows its values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_text(cls, given: object) -> object:
        """Drop empty values, so that ``since: ${SINCE:-}`` means the default."""
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value != ""}


def from_file(path: Path, info: ValidationInfo) -> Path:
    """The absolute path of a path in a pipeline file, which is relative to the folder of the file.

    Without the context ``folder``, as in :func:`wats_extract.connect`, the path stays as it is.

    Raises:
        ValueError: it is not what its author meant: it has a control character or is still in quotes.
        RuntimeError: it begins with ``~``, and there is no such home folder.
    """
    _refuse_slips(str(path))
    folder = (info.context or {}).get("folder")
    path = path.expanduser()
    return path if folder is None else Path(os.path.normpath(folder / path))


ESCAPED = "a backslash in double quotes begins an escape; use single quotes, or / in paths"
"""Explains how a path such as ``"data\\new"`` gets a line break."""


def _refuse_slips(path: str) -> None:
    control = next((each for each in path if unicodedata.category(each) in ("Cc", "Zl", "Zp")), "")
    if control:
        raise ValueError(f"contains the control character {control!a}; {ESCAPED}")
    if is_quoted(path):
        raise ValueError("is in quotation marks that belong to the value; remove them where the value is set")


def is_quoted(text: str) -> bool:
    """Whether a text begins or ends with a quotation mark, which ``docker --env-file`` and ``set`` keep."""
    return bool(text) and not _QUOTES.isdisjoint((text[0], text[-1]))


_QUOTES = frozenset("\"'`´“”„‟‘’‚‛«»‹›")


def _refuse_truth_value(value: object) -> object:
    # Pydantic accepts `true` as the number 1.
    if isinstance(value, bool):
        raise ValueError("should be a whole number")
    return value


WHOLE = BeforeValidator(_refuse_truth_value)
"""Annotates an ``int`` field after its bounds, so that the JSON Schema has them."""


_PLAIN = {
    "missing": "is missing",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text; put it in quotes",
    "list_type": "should be a list, such as [first, second] or lines that begin with '- '",
    "tuple_type": "should be a list, such as [first, second] or lines that begin with '- '",
    "model_type": "should hold keys and values, on lines of their own",
    "model_attributes_type": "should hold keys and values, on lines of their own",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
    "value_error": "{error}",
    "literal_error": "should be {expected}",
    "path_type": "should be a path; put it in quotes",
    "string_pattern_mismatch": "should be letters, digits and _, and not begin with a digit",
}


def findings_of(error: ValidationError) -> list[ErrorDetails]:
    """The findings that a user can act on."""
    found = error.errors(include_url=False, include_input=False)
    return [each for each in found if each["type"] != "default_factory_not_called"]


def in_plain_words(error: ErrorDetails) -> str:
    """A finding in plain words, without the value."""
    if error["type"] == "extra_forbidden":
        return "is not a known setting"
    return _PLAIN.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
