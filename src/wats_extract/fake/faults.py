"""`Faults`: errors to inject, at random into any response, or permanently into single reports."""

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
    "html", "empty", "truncated", "encoding", "short", "cut", "drop", "reset", "slow", "stall",
    "drip", "drip-status", "drip-header", "drip-chunk", "drip-trailer",
    "no-gzip", "half-gzip", "bomb", "other-encoding", "object", "message", "problem", "envelope", "null-list",
)  # fmt: skip
"""The faults of any request."""

TRANSIENT_KINDS = tuple(kind for kind in KINDS if kind != "bomb")
"""The faults that another attempt mends. A client need not fetch a response that is too large twice."""

BROKEN_KINDS = (
    "404", "500", "403", "garbage", "truncated", "wrong-type", "html", "drop", "null",
    "object", "message", "problem", "envelope", "empty", "another", "grown",
)  # fmt: skip
"""The faults of a single report."""

_EXCESSIVE_WAITS = {"long": (99_999, "seconds"), "far": (10 * 365 * 86_400, "date")}
"""`Retry-After` values that no client waits for: more than a day, and a date in ten years."""

_TITLES = {
    "500": "Internal Server Error",
    "502": "Bad Gateway",
    "503": "Service Unavailable",
    "504": "Gateway Timeout",
}


class Faults:
    """Chooses faults and applies them to responses. Thread-safe. `mend` ends all faults at run time.

    Args:
        rate: The share of requests with a fault, from 0 to 1.
        kinds: Kinds from `KINDS`, chosen with equal probability.
        broken: The broken reports: the number of them, or a kind by uuid or report number.
        broken_kinds: Kinds from `BROKEN_KINDS`, used in turn if `broken` is a number.
        retry_after: Seconds in the `Retry-After` of a 429.
        delay: Seconds before a slow response.
        seed: The seed of the random choices.

    Raises:
        ValueError: A kind is unknown, or the rate is outside 0 to 1.
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
            raise ValueError(f"rate must be between 0% and 100%, not {rate:.0%}")
        _check(kinds, KINDS)
        _check(broken_kinds if isinstance(broken, int) else tuple(broken.values()), BROKEN_KINDS)
        self._rate, self._kinds = rate, tuple(kinds)
        self._wanted, self._broken_kinds = broken, tuple(broken_kinds)
        self._retry_after, self._delay = retry_after, delay
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._broken: dict[str, str] = {}

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Parse a command-line value such as `rate=5%,kinds=500+429+drop,broken=10,broken-kind=500+garbage`.

        Raises:
            ValueError: A setting or value is invalid. The message lists the valid ones.
        """
        settings: dict[str, object] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            if name not in _SETTINGS:
                raise ValueError(f"unknown fault setting {name!r}; the settings are: {', '.join(_SETTINGS)}")
            keyword, parse = _SETTINGS[name]
            settings[keyword] = parse(name, value)
        return cls(**settings)  # type: ignore[arg-type]

    @property
    def broken(self) -> Mapping[str, str]:
        """The kind of fault of each broken report, by uuid."""
        with self._lock:
            return dict(self._broken)

    def settle(self, total: int, uuid: Callable[[int], str]) -> None:
        """Choose the broken reports among `total` reports, evenly spread if only their number is given."""
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
        """End all faults."""
        with self._lock:
            self._rate = 0.0
            self._broken = {}

    def draw(self) -> str | None:
        """The fault of the next request; None for none."""
        with self._lock:
            if self._kinds and self._rng.random() < self._rate:
                return self._rng.choice(self._kinds)
            return None

    def spoil(self, kind: str, response: Response) -> Response:
        """The response with a fault of this kind."""
        if kind in _TITLES:
            return _server_error(kind, html=len(response.body) % 2 == 0)
        if kind.startswith("429"):
            form = kind[4:] or "seconds"
            return too_many_requests(*_EXCESSIVE_WAITS.get(form, (self._retry_after, form)))
        if kind == "slow":
            return replace(response, delay=self._delay)
        return _SPOILED[kind](response)

    def spoil_report(self, uuid: str, response: Response) -> Response:
        """The response for a report, with the report's fault if it is broken."""
        with self._lock:
            kind = self._broken.get(uuid.strip("{} ").lower())
        return response if kind is None else _BROKEN[kind](response)


def too_many_requests(seconds: int, form: str) -> Response:
    """A 429 with `Retry-After` in `seconds`, as a `date`, or without it (`none`)."""
    response = message_response(429, "Too many requests. Please slow down.")
    if form == "none":
        return response
    value = str(seconds) if form == "seconds" else formatdate(time.time() + seconds, usegmt=True)
    return replace(response, headers={"Retry-After": value})


def _server_error(kind: str, *, html: bool) -> Response:
    return (
        page_response(int(kind), _TITLES[kind])
        if html
        else message_response(int(kind), "An error has occurred.")
    )


def _cut_in_half(response: Response) -> Response:
    return replace(response, body=response.body[: len(response.body) // 2])


def _half_compressed(response: Response) -> Response:
    compressed = gzip.compress(response.body, 1, mtime=0)
    return _compressed(response, compressed[: len(compressed) // 2])


def _compressed(response: Response, body: bytes) -> Response:
    return replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})


@cache
def _bomb() -> bytes:
    """A megabyte of gzip that inflates to a gigabyte of blanks: one independent deflate block, repeated."""
    blanks = b" " * 2**20
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.flush()
    checksum = 0
    for _ in range(1024):
        checksum = zlib.crc32(blanks, checksum)
    return gzip.compress(b"")[:10] + block * 1024 + end + struct.pack("<II", checksum, 2**30)


def _json(text: bytes, kind: str = "application/json; charset=utf-8") -> Response:
    """JSON with status 200 that is no data, without the headers of the response that it replaces."""
    return Response(200, text, kind)


_PROBLEM = (
    b'{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"The upstream server failed.",'
    b'"instance":"/gateway"}'
)
_WRONG_BODIES: Mapping[str, Callable[[Response], Response]] = {
    "object": lambda _: _json(b"{}"),
    "message": lambda _: _json(b'{"Message":"An error has occurred."}'),
    "problem": lambda _: _json(_PROBLEM, "application/problem+json"),
    "envelope": lambda response: _json(b'{"value":[%b]}' % _item(response.body)),
}
"""Bodies with status 200 that gateways return in place of data."""


def _item(body: bytes) -> bytes:
    """A JSON value for a list: the body itself, if it seems to be JSON."""
    return body if body[:1] in (b"{", b"[", b'"') else b""


def _another(response: Response) -> Response:
    """The document of another report."""
    other = b'"id":"00000000-0000-4000-8000-000000000000"'
    return replace(response, body=re.sub(rb'"id":"[^"]*"', other, response.body, count=1))


def _wrong_type(response: Response) -> Response:
    """A measurement value as an object; without a measurement, a string instead of the report."""
    body, found = re.subn(rb'"value":-?[0-9][^,}]*', b'"value":{"x":1}', response.body, count=1)
    return replace(response, body=body if found else b'"report"')


def _grown(response: Response) -> Response:
    """A small document whose steps would have 20 GB of paths."""
    root = b'{"name":"%b","steps":[{}%b]}' % (b"x" * 1_000_000, b",{}" * 19_999)
    pattern, grown = re.compile(rb'"id":("[^"]*").*', re.DOTALL), rb'"id":\1,"root":%b}' % root
    return replace(response, body=pattern.sub(grown, response.body, count=1))


_SPOILED: Mapping[str, Callable[[Response], Response]] = {
    "html": lambda _: page_response(200, "Please sign in"),
    "empty": lambda response: replace(response, status=200, body=b""),
    "truncated": _cut_in_half,
    "encoding": lambda response: replace(response, body=response.body.decode().encode("utf-16")),
    "short": lambda response: replace(response, sending=Sending.SHORT),
    "cut": lambda response: replace(response, sending=Sending.CUT),
    "drop": lambda response: replace(response, sending=Sending.DROP),
    "reset": lambda response: replace(response, sending=Sending.RESET),
    "stall": lambda response: replace(response, sending=Sending.STALL),
    "drip": lambda response: replace(response, sending=Sending.DRIP),
    "drip-status": lambda response: replace(response, sending=Sending.DRIP_STATUS),
    "drip-header": lambda response: replace(response, sending=Sending.DRIP_HEADER),
    "drip-chunk": lambda response: replace(response, sending=Sending.DRIP_CHUNK),
    "drip-trailer": lambda response: replace(response, sending=Sending.DRIP_TRAILER),
    "no-gzip": lambda response: _compressed(response, response.body),
    "half-gzip": _half_compressed,
    "bomb": lambda response: _compressed(response, _bomb()),
    "other-encoding": lambda response: replace(
        response, body=zlib.compress(response.body), headers={"Content-Encoding": "deflate"}
    ),
    "null-list": lambda response: _json(b"null") if response.body[:1] == b"[" else response,
    **_WRONG_BODIES,
}
_BROKEN: Mapping[str, Callable[[Response], Response]] = {
    "404": lambda _: message_response(404, "Report was not found."),
    "500": lambda _: message_response(500, "An error has occurred."),
    "403": lambda _: page_response(403, "Forbidden"),
    "garbage": lambda response: replace(response, body=b'{"type":"T",\x00\xff not JSON at all'),
    "truncated": _cut_in_half,
    "wrong-type": _wrong_type,
    "html": lambda _: page_response(200, "Please sign in"),
    "drop": lambda response: replace(response, sending=Sending.DROP),
    "null": lambda response: replace(response, body=b"null"),
    "empty": lambda _: _json(b""),
    "another": _another,
    "grown": _grown,
    **_WRONG_BODIES,
}


# ------------------------------------------------------------ the command line


def _check(given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [kind for kind in given if kind not in known]
    if unknown:
        raise ValueError(f"unknown fault {unknown[0]!r}; the faults are: {', '.join(known)}")


def _share(name: str, text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{name} must be a share such as 5% or 0.05, not {text!r}") from None


def _count(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def _seconds(name: str, text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, not {text!r}") from None


def _names(_: str, text: str) -> tuple[str, ...]:
    return tuple(text.split("+"))


_SETTINGS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "rate": ("rate", _share),
    "kinds": ("kinds", _names),
    "broken": ("broken", _count),
    "broken-kind": ("broken_kinds", _names),
    "retry-after": ("retry_after", _count),
    "delay": ("delay", _seconds),
    "seed": ("seed", _count),
}
