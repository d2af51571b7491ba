"""How things look as text. Nothing else of the command line writes to stdout or stderr.

On a terminal tables are cut to fit and a few words are coloured; anywhere else (pipes, files) columns are as
wide as what is in them, without colours. Light: rich is imported where something is shown.
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
from typing import TYPE_CHECKING, Any, TextIO

from wats_extract.errors import WatsExtractError
from wats_extract.masking import SHORTEST, Mask, harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

TRACEBACK = "WATS_EXTRACT_TRACEBACK"

GAP = 3
"""Blanks between two columns."""

LEAST_WIDTH = 20
"""Characters below which a column that shrinks says nothing any more."""

_ENDLESS = 100_000
"""The width where nobody looks: no line is ever broken."""

_STATUS = {2: "refused", 5: "unreachable", 6: "locked", 130: "interrupted"}
_hidden: set[str] = set()
_mask = Mask()


# ── streams and secrets ─────────────────────────────────────────────────────────────────────────


def prepare_streams() -> None:
    """Let no character end a command: what a stream cannot show becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            encoding = "utf-8" if os.name == "nt" else None
            reconfigure(encoding=encoding, errors="replace")


def hide(secret: str) -> None:
    """From now on nothing that is shown has it in it; words as short as ``demo`` are no secrets."""
    global _mask
    if len(secret) >= SHORTEST:
        _hidden.add(secret)
        _mask = Mask(*_hidden)


def masked(text: str) -> str:
    """The text without what is hidden, and without what would command the terminal: a server's data may."""
    return harmless(_mask(text))


def on_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at it, who can be shown something that moves."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(stream: TextIO) -> Console:
    """Rich's console on a stream; plain and endlessly wide where the stream is no terminal."""
    from rich.console import Console

    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        width=None if terminal else _ENDLESS,
        highlight=False,
        markup=False,
        emoji=False,
    )


# ── showing ─────────────────────────────────────────────────────────────────────────────────────


def say(text: str = "", style: str = "") -> None:
    """A line of prose on stdout."""
    from rich.text import Text

    console(sys.stdout).print(Text(masked(text), style=style))


def say_exactly(text: str, style: str = "") -> None:
    """A line to copy, such as a command: never broken, however narrow the terminal is."""
    from rich.text import Text

    console(sys.stdout).print(Text(masked(text), style=style), soft_wrap=True)


def facts(told: Mapping[str, str]) -> None:
    """Names and what is to be said of each; a long text goes on below where it began."""
    indent = max(map(len, told)) + 2
    room = max(console(sys.stdout).width - indent, LEAST_WIDTH)
    for name, text in told.items():
        lines = wrap(masked(text), room, break_long_words=False, break_on_hyphens=False)
        say_exactly(f"{name + ':':<{indent}}" + f"\n{'':{indent}}".join(lines))


def heading(text: str) -> None:
    """What comes next on stdout."""
    say()
    say(text, "bold underline")


def write(text: str) -> None:
    """Text for other programs on stdout, as it is; on a terminal it must do no harm."""
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def json_line(value: Any) -> None:
    """A JSON object as one line on stdout."""
    write(json.dumps(value, default=str) + "\n")


def mark(*, good: bool) -> str:
    """✓ or ✗, in letters where the stream has no such signs."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok" if good else "FAILED"
    return "✓" if good else "✗"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        right: Whether it stands at the right, as numbers do.
        shrinks: Whether it gives way, cut off with …, where a terminal is too narrow.
        spare: Whether it is left out where what shrinks would have no room otherwise.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    spare: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout, one line a row; a row of fewer cells is a heading of the next.

    A terminal that is too narrow even for what has to stay gets longer lines, and breaks them itself.
    """
    from rich.text import Text

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
    from rich.text import Text

    text = "" if value is None else masked(str(value))
    return Text(" ".join(text.split()))


def _fitted(columns: Sequence[Column], widths: Sequence[int], out: Console) -> dict[int, int]:
    """The columns that there is room for, and how wide each is."""
    wide = dict(enumerate(widths))
    shrinking = sorted((each for each in wide if columns[each].shrinks), key=lambda each: widths[each])
    least = wide | {each: min(widths[each], LEAST_WIDTH) for each in shrinking}
    for index in reversed(range(len(columns))):
        if columns[index].spare and _line_width(least) > out.width:
            del wide[index], least[index]
    if _line_width(least) > out.width:
        return wide
    left = out.width - _line_width(
        {each: 0 if columns[each].shrinks else width for each, width in wide.items()}
    )
    shrinking = [each for each in shrinking if each in wide]
    for place, index in enumerate(shrinking):
        wide[index] = min(wide[index], left // (len(shrinking) - place))
        left -= wide[index]
    return wide


def _line_width(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _aligned(cell: Text, column: Column, width: int) -> Text:
    cell.truncate(width, overflow="ellipsis")
    cell.pad_left(width - cell.cell_len) if column.right else cell.pad_right(width - cell.cell_len)
    return cell


# ── going wrong ─────────────────────────────────────────────────────────────────────────────────


def error(what: WatsExtractError) -> None:
    """An error in plain words on stderr, with what to do about it."""
    complain("Error", what.message, hint=what.hint)


def complain(label: str, text: str, *, hint: str = "") -> None:
    """A label and what is to be said, on stderr; further lines stand below the text."""
    from rich.text import Text

    sys.stdout.flush()
    first, *more = masked(text).splitlines() or [""]
    indent = " " * (len(label) + 2)
    lines = [first, *(line if line.startswith(" ") else indent + line for line in more)]
    lines += [f"  {line}" for line in masked(hint).splitlines()]
    style = "bold red" if label == "Error" else "bold yellow"
    console(sys.stderr).print(Text.assemble((f"{label}: ", style), "\n".join(lines)), soft_wrap=True)


def relay(text: str) -> None:
    """What another library says, on stderr."""
    sys.stderr.write(masked(text))


def bug(what: Exception) -> None:
    """An error of ours on stderr; the traceback only where it is asked for."""
    asked = os.environ.get(TRACEBACK, "") not in ("", "0")
    if asked:
        sys.stderr.write(masked("".join(traceback.format_exception(what))))
    more = "" if asked else f" Set {TRACEBACK}=1 to see where it came from."
    complain(
        "Error",
        f"this is a bug in wats-extract: {type(what).__name__}: {what}",
        hint=f"What was committed stays. Please report it, with the command and this message.{more}",
    )


def refusal(what: Exception, message: str = "") -> dict[str, Any]:
    """What ``--json`` prints where there is no report, with the keys of one."""
    from wats_extract.engine.job import RunReport

    status = _STATUS.get(getattr(what, "exit_code", 1), "failed")
    text = message or str(what) or type(what).__name__
    return RunReport("", "", status, message=masked(text)).to_json() | {"run_id": None}


# ── numbers and times ───────────────────────────────────────────────────────────────────────────


def number(value: float) -> str:
    """``1234`` as ``1,234``."""
    return f"{value:,.0f}"


def size(count: int) -> str:
    """Bytes as people say them: ``1.4 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def seconds(value: float) -> str:
    """``0.5 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else ""


def pairs(values: Mapping[str, object]) -> str:
    """``a 1, b 2``; what is true is named alone, what is empty is left out."""
    said = [
        name if value is True else f"{name} {value}" for name, value in values.items() if value or value == 0
    ]
    return ", ".join(said)


def several(count: int, what: str) -> str:
    """``1 failure``, ``2 failures``."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def shell(*words: str) -> str:
    """Words as they are typed: those with blanks in quotes."""
    return " ".join(f'"{word}"' if " " in word else word for word in words)
