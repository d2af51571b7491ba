"""The server's own message in an error response."""

from __future__ import annotations

import time

import pytest
from tests.conftest import TOKEN

from wats_extract.errors import RequestError
from wats_extract.flow import Reply
from wats_extract.http.error_responses import CODES, HINTS, ErrorResponses, server_message
from wats_extract.masking import Mask

PAGE = "<!DOCTYPE html><html><head><title>Please sign in</title></head></html>"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"Message":"No such report."}', "No such report."),
        ('{"message": "a \\"b\\" c"}', 'a "b" c'),
        ('{"Message":"\\u00fcber"}', "über"),
        ('{"title":"Bad","detail":"x","errors":{"a":["b"]}}', "Bad"),
        ('{"error":"invalid_token"}', "invalid_token"),
        ('"a bare string"', "a bare string"),
        ("root -> step X -> : rule", "root -> step X -> : rule"),
        (PAGE, "Please sign in"),
        ("<html><body>nothing", "an HTML page"),
        ("<html><title>\n 502 \n</title>", "502"),
        ('{"Message":"bad \\x escape"}', "bad \\x escape"),
        ("", ""),
        ("z" * 1000, "z" * 300),
    ],
)
def test_the_message_is_found_in_every_shape_of_error_body(body: str, message: str) -> None:
    assert server_message(body) == message


def unreadable(body: bytes, **headers: str) -> RequestError:
    """The error for a response with status 200 that cannot be decoded."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = Reply(200, body, "/api/Asset", "application/json", names)
    return ErrorResponses(Mask()).unreadable(reply, "expected a list of objects, found something")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (PAGE.encode(), "a login page came instead of data: Please sign in"),
        (
            b'<html><title>Corp</title><input type="password"></html>',
            "a login page came instead of data: Corp",
        ),
        (b'\xef\xbb\xbf <?xml version="1.0"?><html><title>x</title>', "an HTML page came instead of data: x"),
        (b"<HTML><body>Service Unavailable", "an HTML page came instead of data: an HTML page"),
    ],
)
def test_a_page_is_named_with_a_hint_at_the_url_and_the_proxy(body: bytes, message: str) -> None:
    error = unreadable(body)
    assert (error.code, error.message) == ("INVALID_RESPONSE", message)
    assert "source.url" in error.hint
    assert "source.proxy" in error.hint


@pytest.mark.parametrize(
    ("error", "encoding"),
    [
        (unreadable("[]".encode("utf-16")), "UTF-16"),
        (unreadable("[]".encode("utf-16-be")), "UTF-16"),
        (unreadable('{"a":1}'.encode("utf-16-le")), "UTF-16"),
        (unreadable("[]".encode("utf-32")), "UTF-32"),
        (unreadable(b"\x8b\x02\x80[]\x03", content_encoding="br"), "br"),
    ],
)
def test_an_encoding_that_was_not_requested_is_named(error: RequestError, encoding: str) -> None:
    assert error.message == f"the response is encoded in {encoding}, which was not requested"
    assert "gzip and UTF-8" in error.hint


def test_the_text_of_an_error_object_is_shown() -> None:
    expected = "expected a list of objects, found something"
    assert unreadable(b'{"Message":"No upstream."}').message == f"{expected}: No upstream."
    assert unreadable(b'{"value":[]}', content_encoding="identity").message == expected


def test_every_code_has_a_hint() -> None:
    assert set(CODES.values()) < set(HINTS)


@pytest.mark.parametrize(
    "part", ["<!---->", "<!-- -->\n", "<!--", "<?xml?>", "<?xml ", " ", "\n<!-->", "<", '{"message":"', '"\\']
)
def test_no_body_takes_long_to_classify(part: str) -> None:
    body = (part * 2_000_000)[:8_000_000].encode()
    began = time.monotonic()
    ErrorResponses(Mask(TOKEN)).unreadable(Reply(200, body, "/api/Thing"), "it is not JSON")
    assert time.monotonic() - began < 5
