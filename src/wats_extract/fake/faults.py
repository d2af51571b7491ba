"""What goes wrong: by chance on any request, or for good with single reports."""

from __future__ import annotations

import gzip
import random
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from functools import cache

from wats_extract.fake.exchange import Response, Sending, message_response, page_response

KINDS = (
    "429", "429-date", "429-none", "429-long", "429-far", "500", "502", "503", "504",
    "html", "empty", "truncated", "encoding", "short", "cut", "drop", "reset", "slow", "stall", "drip",
    "no-gzip", "half-gzip", "bomb",
)  # fmt: skip
"""What can happen to any request."""

BROKEN_KINDS = ("404", "500", "403", "garbage", "truncated", "wrong-type", "html", "drop", "null")
"""What can be wrong with a single report."""

_ABSURD = {"long": (99_999, "seconds"), "far": (10 * 365 * 86_400, "date")}
"""What a 429 may ask for that nobody waits for: a day and more, and a date in ten years."""

_TITLES = {
    "500": "Internal Server Error",
    "502": "Bad Gateway",
    "503": "Service Unavailable",
    "504": "Gateway Timeout",
}


class Faults:
    """Chooses faults and applies them. Thread-safe; `mend` ends them all at run time.

    Args:
        rate: share of requests that go wrong, from 0 to 1.
        kinds: of `KINDS`, each as likely as the others.
        broken: reports that are broken: a kind by uuid or by number of the report, or how many of them.
        broken_kinds: of `BROKEN_KINDS`; taken in turn when `broken` is a number.
        retry_after: seconds that a 429 asks for.
        delay: seconds that a slow answer takes.
        seed: of the chance.

    Raises:
        ValueError: a kind that doesn't exist, or a rate outside 0 to 1.
    """

    def __init__(
        self,
        *,
        rate: float = 0.0,
        kinds: Sequence[str] = ("429", "500", "503", "drop"),
        broken: Mapping[str | int, str] | int = 0,
        broken_kinds: Sequence[str] = ("500", "404", "garbage", "truncated", "wrong-type"),
        retry_after: int = 1,
        delay: float = 0.5,
        seed: int = 1,
    ) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"a rate lies between 0% and 100%, not at {rate:.0%}")
        _check(kinds, KINDS)
        _check(broken_kinds if isinstance(broken, int) else tuple(broken.values()), BROKEN_KINDS)
        self._rate, self._kinds, self._wanted, self._broken_kinds = (
            rate,
            tuple(kinds),
            broken,
            tuple(broken_kinds),
        )
        self._retry_after, self._delay = retry_after, delay
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._broken: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read a command line's word, such as `rate=5%,kinds=500+429+drop,broken=10,broken-kind=500+garbage`.

        Raises:
            ValueError: it can't be read; the message lists what can.
        """
        settings: dict[str, object] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            if name not in _SETTINGS:
                raise ValueError(f"unknown fault setting {name!r}; there are: {', '.join(_SETTINGS)}")
            keyword, read = _SETTINGS[name]
            settings[keyword] = read(name, value)
        return cls(**settings)  # type: ignore[arg-type]

    @property
    def broken(self) -> Mapping[str, str]:
        """The kind of what is wrong, by the report's uuid."""
        with self._lock:
            return dict(self._broken)

    def settle(self, total: int, uuid: Callable[[int], str]) -> None:
        """Decide which of `total` reports are broken, evenly spread if only counted."""
        wanted = self._wanted
        if isinstance(wanted, int):
            count = min(wanted, total)
            numbers = [(2 * k + 1) * total // (2 * count) for k in range(count)]
            wanted = {
                number: self._broken_kinds[k % len(self._broken_kinds)] for k, number in enumerate(numbers)
            }
        with self._lock:
            self._broken = {
                uuid(key) if isinstance(key, int) else key.lower(): kind for key, kind in wanted.items()
            }

    def mend(self) -> None:
        """From now on nothing goes wrong."""
        with self._lock:
            self._rate = 0.0
            self._broken = {}

    def draw(self) -> str | None:
        """The fault that strikes the next request, or None."""
        with self._lock:
            return (
                self._chance.choice(self._kinds)
                if self._kinds and self._chance.random() < self._rate
                else None
            )

    def spoil(self, kind: str, answer: Response) -> Response:
        """The answer after a fault of this kind."""
        if kind in _TITLES:
            return _failed(kind, html=len(answer.body) % 2 == 0)
        if kind.startswith("429"):
            how = kind[4:] or "seconds"
            return throttled(self._retry_after, how) if how not in _ABSURD else throttled(*_ABSURD[how])
        return _SPOILED[kind](replace(answer, delay=self._delay) if kind == "slow" else answer)

    def spoil_report(self, uuid: str, answer: Response) -> Response:
        """The answer for a report, which may be broken."""
        with self._lock:
            kind = self._broken.get(uuid.strip("{} ").lower())
        return answer if kind is None else _BROKEN[kind](answer)


def throttled(seconds: int, how: str) -> Response:
    """A 429 whose `Retry-After` counts `seconds`, names a `date`, or is missing (`none`)."""
    answer = message_response(429, "Too many requests. Please slow down.")
    if how == "none":
        return answer
    value = str(seconds) if how == "seconds" else formatdate(time.time() + seconds, usegmt=True)
    return replace(answer, headers={"Retry-After": value})


def _failed(kind: str, *, html: bool) -> Response:
    return (
        page_response(int(kind), _TITLES[kind])
        if html
        else message_response(int(kind), "An error has occurred.")
    )


def _cut_in_half(answer: Response) -> Response:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _half_zipped(answer: Response) -> Response:
    packed = gzip.compress(answer.body, 1, mtime=0)
    return _zipped(answer, packed[: len(packed) // 2])


def _zipped(answer: Response, body: bytes) -> Response:
    return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})


@cache
def _bomb() -> bytes:
    """A megabyte of gzip that holds a gigabyte of blanks: one piece over and over, for each stands alone."""
    blanks = b" " * 2**20
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.flush()
    checksum = 0
    for _ in range(1024):
        checksum = zlib.crc32(blanks, checksum)
    return gzip.compress(b"")[:10] + piece * 1024 + end + struct.pack("<II", checksum, 2**30)


def _wrong_type(answer: Response) -> Response:
    """A number that became an object; where there is no measurement, a string instead of the report."""
    body, found = re.subn(rb'"value":-?[0-9][^,}]*', b'"value":{"x":1}', answer.body, count=1)
    return replace(answer, body=body if found else b'"report"')


_SPOILED: Mapping[str, Callable[[Response], Response]] = {
    "html": lambda _: page_response(200, "Please sign in"),
    "empty": lambda answer: replace(answer, status=200, body=b""),
    "truncated": _cut_in_half,
    "encoding": lambda answer: replace(answer, body=answer.body.decode().encode("utf-16")),
    "short": lambda answer: replace(answer, sending=Sending.SHORT),
    "cut": lambda answer: replace(answer, sending=Sending.CUT),
    "drop": lambda answer: replace(answer, sending=Sending.DROP),
    "reset": lambda answer: replace(answer, sending=Sending.RESET),
    "slow": lambda answer: answer,
    "stall": lambda answer: replace(answer, sending=Sending.STALL),
    "drip": lambda answer: replace(answer, sending=Sending.DRIP),
    "no-gzip": lambda answer: _zipped(answer, answer.body),
    "half-gzip": _half_zipped,
    "bomb": lambda answer: _zipped(answer, _bomb()),
}
_BROKEN: Mapping[str, Callable[[Response], Response]] = {
    "404": lambda _: message_response(404, "Report was not found."),
    "500": lambda _: message_response(500, "An error has occurred."),
    "403": lambda _: page_response(403, "Forbidden"),
    "garbage": lambda answer: replace(answer, body=b'{"type":"T",\x00\xff not JSON at all'),
    "truncated": _cut_in_half,
    "wrong-type": _wrong_type,
    "html": lambda _: page_response(200, "Please sign in"),
    "drop": lambda answer: replace(answer, sending=Sending.DROP),
    "null": lambda answer: replace(answer, body=b"null"),
}


# ------------------------------------------------------------ the command line


def _check(given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [kind for kind in given if kind not in known]
    if unknown:
        raise ValueError(f"unknown fault {unknown[0]!r}; there are: {', '.join(known)}")


def _share(name: str, text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{name} is a share such as 5% or 0.05, not {text!r}") from None


def _count(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} is a whole number, not {text!r}")
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise ValueError(f"{name} is a number of seconds, not {text!r}") from None


def _words(_: str, text: str) -> tuple[str, ...]:
    return tuple(text.split("+"))


_SETTINGS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "rate": ("rate", _share),
    "kinds": ("kinds", _words),
    "broken": ("broken", _count),
    "broken-kind": ("broken_kinds", _words),
    "retry-after": ("retry_after", _count),
    "delay": ("delay", _seconds),
    "seed": ("seed", _count),
}
