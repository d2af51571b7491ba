"""Text output: tables, messages, numbers. No other module of the command line writes to stdout or stderr.

On a terminal, tables are cut to its width and some words are coloured. In pipes and files, columns are as
wide as their content and there are no colours.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from wats_extract.errors import WatsExtractError
from wats_extract.masking import SHORTEST, Mask, harmless

TRACEBACK = "WATS_EXTRACT_TRACEBACK"
"""Environment variable that adds the traceback to the message about a bug."""

GAP = 3
"""Spaces between two columns."""

MIN_WIDTH = 20
"""Characters that a column keeps when it shrinks."""

_UNLIMITED_WIDTH = 100_000

_secrets: set[str] = set()
_mask = Mask()


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────


def hide(secret: str) -> None:
    """Mask a secret in all output from now on. Short words such as ``demo`` are not masked."""
    global _mask
    if len(secret) >= SHORTEST:
        _secrets.add(secret)
        _mask = Mask(*_secrets)


def masked(text: str) -> str:
    """Mask secrets and escape control characters, which may come from the server's data."""
    return harmless(_mask(text))


def on_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can show progress bars."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> Console:
    """Return a Rich console; it has no colours and no width limit if the stream is not a terminal."""
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else _UNLIMITED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


# ── results, on stdout ──────────────────────────────────────────────────────────────────────────


def say(text: str = "", style: str = "") -> None:
    """Print a line of prose, wrapped to the terminal's width."""
    console(sys.stdout).print(Text(masked(text), style=style))


def say_unwrapped(text: str, style: str = "") -> None:
    """Print a line that the user may copy, such as a command. It is never wrapped."""
    console(sys.stdout).print(Text(masked(text), style=style), soft_wrap=True)


def facts(texts: Mapping[str, str]) -> None:
    """Print names with a text each; long texts are wrapped and indented."""
    indent = max(map(len, texts)) + 2
    room = max(console(sys.stdout).width - indent, MIN_WIDTH)
    for name, text in texts.items():
        lines = wrap(masked(text), room, break_long_words=False, break_on_hyphens=False)
        say_unwrapped(f"{name + ':':<{indent}}" + f"\n{'':{indent}}".join(lines))


def heading(text: str) -> None:
    """Print a heading with an empty line above."""
    say()
    say(text, "bold underline")


def write(text: str) -> None:
    """Write text for other programs unchanged; on a terminal, escape control characters."""
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def json_line(value: Any) -> None:
    """Write a value as one line of JSON."""
    write(json.dumps(value, default=str) + "\n")


def mark(*, good: bool) -> str:
    """Return ``✓`` or ``✗``, or ``ok`` and ``FAILED`` if stdout cannot encode them."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok" if good else "FAILED"
    return "✓" if good else "✗"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: The heading.
        right: Whether the cells are aligned to the right, as numbers are.
        shrinks: Whether cells are cut off with … if the terminal is too narrow.
        optional: Whether the column is left out if the columns that shrink would get too narrow.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    optional: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns, one line per row.

    If a terminal is too narrow for the columns that cannot be left out, it wraps the lines itself.

    Args:
        columns: The columns.
        rows: The cells of each row. A row with fewer cells is a heading for the rows below it.
    """
    cells = [[Text(column.title, style="bold") for column in columns]]
    cells += [[_cell(value) for value in row] for row in rows]
    aligned = [row for row in cells if len(row) == len(columns)]
    out = console(sys.stdout)
    widths = _fitted(
        columns, [max(each.cell_len for each in column) for column in zip(*aligned, strict=True)], out
    )
    for row in cells:
        if len(row) < len(columns):
            heading(row[0].plain)
            continue
        parts = [_aligned(row[index], columns[index], width) for index, width in widths.items()]
        line = Text(" " * GAP).join(parts)
        line.rstrip()
        out.print(line, soft_wrap=True)


def _cell(value: object) -> Text:
    text = "" if value is None else masked(str(value))
    return Text(" ".join(text.split()))


def _fitted(columns: Sequence[Column], widths: Sequence[int], out: Console) -> dict[int, int]:
    """Choose the columns that fit, and the width of each, by column index."""
    fitted = dict(enumerate(widths))
    shrinking = sorted((each for each in fitted if columns[each].shrinks), key=lambda each: widths[each])
    least = fitted | {each: min(widths[each], MIN_WIDTH) for each in shrinking}
    for index in reversed(range(len(columns))):
        if columns[index].optional and _line_width(least) > out.width:
            del fitted[index], least[index]
    if _line_width(least) > out.width:
        return fitted
    left = out.width - _line_width(
        {each: 0 if columns[each].shrinks else width for each, width in fitted.items()}
    )
    shrinking = [each for each in shrinking if each in fitted]
    for place, index in enumerate(shrinking):
        fitted[index] = min(fitted[index], left // (len(shrinking) - place))
        left -= fitted[index]
    return fitted


def _line_width(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _aligned(cell: Text, column: Column, width: int) -> Text:
    cell.truncate(width, overflow="ellipsis")
    cell.pad_left(width - cell.cell_len) if column.right else cell.pad_right(width - cell.cell_len)
    return cell


# ── problems, on stderr ─────────────────────────────────────────────────────────────────────────


def error(what: WatsExtractError) -> None:
    """Print an error and its hint."""
    problem("Error", what.message, hint=what.hint)


def problem(label: str, text: str, *, hint: str = "") -> None:
    """Print a label and a text. Further lines, and the hint, are indented."""
    sys.stdout.flush()
    first, *more = masked(text).splitlines() or [""]
    indent = " " * (len(label) + 2)
    lines = [first, *(line if line.startswith(" ") else indent + line for line in more)]
    lines += [f"  {line}" for line in masked(hint).splitlines()]
    style = "bold red" if label == "Error" else "bold yellow"
    console(sys.stderr).print(Text.assemble((f"{label}: ", style), "\n".join(lines)), soft_wrap=True)


def relay(text: str) -> None:
    """Print the message of another library, masked."""
    sys.stderr.write(masked(text))


def bug(what: Exception) -> None:
    """Print an unexpected exception; its traceback only if ``WATS_EXTRACT_TRACEBACK`` is set."""
    with_traceback = os.environ.get(TRACEBACK, "") not in ("", "0")
    if with_traceback:
        sys.stderr.write(masked("".join(traceback.format_exception(what))))
    more = "" if with_traceback else f" Set {TRACEBACK}=1 to see the traceback."
    problem(
        "Error",
        f"this is a bug in wats-extract: {type(what).__name__}: {what}",
        hint=f"Committed data is kept. Please report the bug with the command and this message.{more}",
    )


# ── numbers, times and words ────────────────────────────────────────────────────────────────────


def number(value: float) -> str:
    """Format ``1234`` as ``1,234``."""
    return f"{value:,.0f}"


def size(count: int) -> str:
    """Format a number of bytes, such as ``1.4 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def seconds(value: float) -> str:
    """Format a duration: ``0.5 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def timestamp(value: datetime | None) -> str:
    """Format a time in UTC, to the second; ``None`` is empty."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def pairs(values: Mapping[str, object]) -> str:
    """Format a mapping as ``a 1, b 2``. Of ``True``, only the name is shown; empty values are left out."""
    texts = [
        name if value is True else f"{name} {value}" for name, value in values.items() if value or value == 0
    ]
    return ", ".join(texts)


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: ``1 failure``, ``2 failures``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def quoted(*words: str) -> str:
    """Join words for a shell, with quotes around those that contain spaces."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)
