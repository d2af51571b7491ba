"""One answer as HTTP/1.1 sends it, read from a connection that stays open: its head, then its body.

The standard library reads heads as those of e-mails, which takes half the time of a request.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from http.client import HTTPException

_PIECE = 64 * 1024
"""Bytes that are received at a time."""

_LONGEST_HEAD = 64 * 1024
"""Bytes of a head, or of a line between the pieces of a body."""

_MOST_HEADS = 10
"""Heads that may come before the one that counts, of answers that are none yet (``100 Continue``)."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?: .*)?")
_DECIMAL, _HEXADECIMAL = re.compile("[0-9]{1,18}"), re.compile("[0-9A-Fa-f]{1,16}")
_WITHOUT_BODY = (204, 304)


class CutOff(HTTPException):
    """The connection ended before the answer did."""


class HttpAnswer:
    """An answer whose head has come.

    Args:
        sock: The connection, with nothing of another answer in it.

    Attributes:
        status: Its status.
        headers: By name, in lower case; of several with one name the first.

    Raises:
        TimeoutError: no byte came for too long.
        OSError: the connection broke.
        HTTPException: what came is no HTTP, or was cut off.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""
        self._whole = False
        self.status, self.headers, self._last = self._head()

    @property
    def over(self) -> bool:
        """Whether its connection can be used again.

        It came whole, nothing came behind it, and the server did not say that it is the last one.
        """
        return self._whole and not self._last and not self._rest

    def parts(self) -> Iterator[bytes]:
        """The body as it comes, still encoded. Raises as the whole does."""
        coding = self.headers.get("transfer-encoding", "").strip().lower()
        length = self.headers.get("content-length")
        if self.status in _WITHOUT_BODY:
            pass
        elif coding == "chunked":
            yield from self._chunked()
        elif coding:
            raise HTTPException(f"it comes in an unknown transfer coding ({coding})")
        elif length is None:
            self._last = True
            while part := self._piece():
                yield part
        else:
            yield from self._exactly(_whole_number(length, _DECIMAL, 10))
        self._whole = True

    # ── the head ──

    def _head(self) -> tuple[int, dict[str, str], bool]:
        """Status, headers, and whether the connection is at its end behind the answer."""
        for _ in range(_MOST_HEADS):
            first, *lines = self._lines_of_head()
            status_line = _STATUS_LINE.fullmatch(first)
            if status_line is None:
                raise HTTPException("what came is no HTTP")
            status = int(status_line[2])
            if status >= 200:
                headers: dict[str, str] = {}
                for line in lines:
                    name, _, value = line.partition(":")
                    headers.setdefault(name.lower(), value.strip())
                said = headers.get("connection", "").lower()
                return status, headers, "close" in said or (status_line[1] == "0" and "keep" not in said)
        raise HTTPException("it begins again and again")

    def _lines_of_head(self) -> list[str]:
        while (end := _END_OF_HEAD.search(self._rest)) is None:
            self._receive_more("in the answer's head" if self._rest else "before the answer")
        head, self._rest = self._rest[: end.start()], self._rest[end.end() :]
        # not splitlines() of the text: to that, half of an Å in UTF-8 is the end of a line
        return [line.removesuffix(b"\r").decode("latin-1") for line in head.split(b"\n")]

    # ── the body ──

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            part = self._piece(size)
            if not part:
                raise CutOff(f"{size} bytes of the answer are missing")
            size -= len(part)
            yield part

    def _chunked(self) -> Iterator[bytes]:
        while size := _whole_number(self._line().partition(";")[0], _HEXADECIMAL, 16):
            yield from self._exactly(size)
            if self._line():
                raise HTTPException("a piece of the answer is longer than it says")
        while self._line():  # headers behind the body, which nobody reads
            continue

    def _line(self) -> str:
        while (end := self._rest.find(b"\n")) < 0:
            self._receive_more("in the answer's body")
        line, self._rest = self._rest[:end], self._rest[end + 1 :]
        return line.decode("latin-1").strip()

    # ── bytes ──

    def _piece(self, most: int = _PIECE) -> bytes:
        """Some bytes of what has come, or comes next; none at the end of the connection."""
        piece = self._rest or self._sock.recv(_PIECE)
        self._rest = piece[most:]
        return piece[:most]

    def _receive_more(self, where: str) -> None:
        if len(self._rest) > _LONGEST_HEAD:
            raise HTTPException(f"what comes {where} has no end")
        piece = self._sock.recv(_PIECE)
        if not piece:
            raise CutOff(f"the connection ended {where}")
        self._rest += piece


def _whole_number(text: str, digits: re.Pattern[str], base: int) -> int:
    text = text.strip()
    if not digits.fullmatch(text):
        raise HTTPException("a length in the answer is no number")
    return int(text, base)
