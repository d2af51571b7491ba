"""The server's own message in an error response."""

from __future__ import annotations

import pytest

from wats_extract.http.error_responses import CODES, HINTS, server_message

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


def test_every_code_has_a_hint() -> None:
    assert set(CODES.values()) < set(HINTS)
