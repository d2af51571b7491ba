"""Answers as servers send them, byte by byte, over a real pair of sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException

import pytest

from wats_extract.http.http_answer import CutOff, HttpAnswer

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;name=value\r\nlo\r\n0\r\n\r\n"


@contextlib.contextmanager
def sent(answer: bytes, *, piece: int = 1 << 20, close: bool = True) -> Iterator[socket.socket]:
    """A connection on which an answer comes, piece by piece."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        for at in range(0, len(answer), piece):
            theirs.sendall(answer[at : at + piece])
        if close:
            theirs.close()

    with ours, theirs:
        ours.settimeout(10)
        sender = threading.Thread(target=send)
        sender.start()
        yield ours
        sender.join()


def body(answer: HttpAnswer) -> bytes:
    return b"".join(answer.parts())


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize("answer", [PLAIN, CHUNKED], ids=["with a length", "in chunks"])
def test_an_answer_in_pieces_of_any_size(answer: bytes, piece: int) -> None:
    with sent(answer, piece=piece, close=False) as connection:
        found = HttpAnswer(connection)
        assert (found.status, found.over) == (200, False)
        assert body(found) == b"hello"
        assert found.over, "the connection can be used again"


def test_headers_have_names_in_lower_case_and_of_several_the_first_counts() -> None:
    head = b"HTTP/1.1 200\r\nRETRY-AFTER:  3 \r\nX: a:b\r\nx: c\r\nA: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    with sent(head) as connection:
        found = HttpAnswer(connection)
    assert found.headers == {"retry-after": "3", "x": "a:b", "a": "café", "content-length": "0"}


def test_letters_beyond_ascii_end_no_line() -> None:
    head = "HTTP/1.1 200 OK\r\nX-File: Å\x85Content-Length: 9\x0b.pdf\r\nContent-Length: 2\r\n\r\nok"
    with sent(head.encode(), close=False) as connection:
        found = HttpAnswer(connection)
        assert list(found.headers) == ["x-file", "content-length"]
        assert body(found) == b"ok"


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
    ],
)
def test_whether_a_connection_can_be_used_again(head: bytes, again: bool) -> None:
    with sent(head + b"ok", close=False) as connection:
        found = HttpAnswer(connection)
        assert body(found) == b"ok"
        assert found.over is again


def test_a_connection_with_more_than_the_answer_is_not_used_again() -> None:
    with sent(PLAIN + b"HTTP/1.1 200 OK", close=False) as connection:
        found = HttpAnswer(connection)
        assert body(found) == b"hello"
        assert not found.over


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body(status: int) -> None:
    with sent(b"HTTP/1.1 %d X\r\n\r\n" % status, close=False) as connection:
        found = HttpAnswer(connection)
        assert body(found) == b""
        assert found.over


def test_an_answer_to_the_end_of_the_connection() -> None:
    with sent(b"HTTP/1.1 200 OK\r\n\r\nall that comes", piece=5) as connection:
        found = HttpAnswer(connection)
        assert body(found) == b"all that comes"
        assert not found.over


def test_chunks_may_be_followed_by_headers() -> None:
    answer = CHUNKED.removesuffix(b"\r\n") + b"Digest: abc\r\n\r\n"
    with sent(answer, close=False) as connection:
        found = HttpAnswer(connection)
        assert body(found) == b"hello"
        assert found.over


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "ended before the answer"),
        (PLAIN[:30], "the connection ended in the answer's head"),
        (PLAIN[:-2], "2 bytes of the answer are missing"),
        (CHUNKED[: CHUNKED.index(b"el")], "2 bytes of the answer are missing"),
        (CHUNKED[:-2], "the connection ended in the answer's body"),
    ],
)
def test_an_answer_that_is_cut_off(answer: bytes, message: str) -> None:
    with sent(answer) as connection, pytest.raises(CutOff, match=message):
        body(HttpAnswer(connection))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "no HTTP"),
        (b"HTTP/2 200\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "again and again"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "head has no end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "no number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", "unknown transfer coding"),
        (CHUNKED.replace(b"3\r\nhel", b"2\r\nhel"), "longer than it says"),
        (CHUNKED.replace(b"2;", b"0x2;"), "no number"),
        (CHUNKED[: CHUNKED.index(b"2;")] + b"0" * 200_000, "body has no end"),
    ],
)
def test_what_is_no_answer(answer: bytes, message: str) -> None:
    with sent(answer, close=False) as connection, pytest.raises(HTTPException, match=message):
        body(HttpAnswer(connection))
