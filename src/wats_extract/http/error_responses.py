"""Turn error responses and broken connections into ``RequestError``: codes, messages and hints.

The texts of these errors hold no secrets, whatever the server echoes.
"""

from __future__ import annotations

import json
import re

from wats_extract.errors import CannotConnect, RequestError, ServerUnreachable, TokenRefused
from wats_extract.flow import Reply
from wats_extract.http.transport import TransportError
from wats_extract.masking import Mask, harmless

PAYLOAD_CHARACTERS = 2000
"""How much of a response that cannot be used is kept."""

LONGEST_MESSAGE = 300
"""Characters of the server's own message that are shown."""

CODES = {
    204: "NOT_FOUND",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "TIMEOUT",
    410: "NOT_FOUND",
    429: "RATE_LIMITED",
    504: "TIMEOUT",
}
"""Error codes by HTTP status; all others are ``API_ERROR``."""

HINTS = {
    "UNAUTHORIZED": "Set WATS_TOKEN to a valid token (WATS: Control panel, Users, Tokens).",
    "FORBIDDEN": "The token's role or level does not give access to this; ask the WATS administrator.",
    "NOT_FOUND": "It was deleted on the server, or this version of the server has no such route.",
    "RATE_LIMITED": "Lower requests_per_minute, or give the pipeline a token of its own.",
    "TIMEOUT": "Raise source.timeout, or retry when the server is less busy.",
    "CONNECTION_ERROR": "Check the network and the server, then run again.",
    "API_ERROR": "The server failed to serve this one; retry later, or report it to the WATS administrator.",
    "INVALID_RESPONSE": "Something other than WATS may be responding, such as a proxy or a login page.",
    "UNKNOWN_ERROR": "Please report this with the versions that wats-extract check shows.",
}
_REFUSED_HINT = "The server does not accept this request; check filter, expand and the other options."

_PAGE_HINT = (
    "A proxy, or another site at this address, responds instead of WATS. Check source.url (WATS_URL), and "
    "source.proxy or HTTPS_PROXY."
)
_ENCODING_HINT = (
    "Only gzip and UTF-8 are requested. Something on the way, such as a proxy, changes responses; have it "
    "pass them on unchanged."
)
_HTML = re.compile(
    # Possessive: without it, a body of comments would be tried in exponentially many ways.
    rb"(?:\xef\xbb\xbf)?\s*+(?:(?:<\?xml[^>]*+>|(?><!--.*?-->))\s*+)*+<(?:!doctype\s+html|html|head|body|title)\b",
    re.IGNORECASE | re.DOTALL,
)
_LOGIN = re.compile(
    rb"type\s*=\s*[\"']?password|(?:log|sign)[ -]?(?:in|on)\b|single sign|authenticat", re.IGNORECASE
)
_PAGE_BYTES = 100_000
"""The beginning of a body in which a page of HTML is recognised."""
_UNICODE = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"{\0", "UTF-16"),
    (b"[\0", "UTF-16"),
    (b"\0{", "UTF-16"),
    (b"\0[", "UTF-16"),
)
"""The beginnings of texts in other encodings than UTF-8, with and without a byte order mark."""


class ErrorResponses:
    """Makes errors of what went wrong with a request, without secrets in their texts.

    Args:
        secrets: Finds the secrets of the connection.
    """

    def __init__(self, secrets: Mask) -> None:
        self._secrets = secrets

    def mask(self, text: str) -> str:
        """The text without secrets, however they are spelled, and without control characters."""
        return harmless(self._secrets(text))

    def excerpt(self, body: bytes) -> str:
        """The beginning of a body as text without secrets; bytes that are not UTF-8 are replaced."""
        length = 4 * PAYLOAD_CHARACTERS + 8 * self._secrets.longest  # all of a secret that begins in it
        return self.mask(body[:length].decode("utf-8", errors="replace"))[:PAYLOAD_CHARACTERS]

    def refusal(self, reply: Reply, *, retry_after: float | None) -> RequestError:
        """The error for a response whose status is not 200.

        Args:
            reply: The response.
            retry_after: Seconds that the server asked to wait, or ``None``.
        """
        code = CODES.get(reply.status, "API_ERROR")
        said = server_message(self.excerpt(reply.body))
        message = f"HTTP {reply.status}" + (f": {said}" if said else "")
        refused = code == "API_ERROR" and reply.status < 500
        hint = _REFUSED_HINT if refused else HINTS[code]
        return self._of_reply(reply, code, message, hint=hint, retry_after=retry_after)

    def unreadable(self, reply: Reply, message: str) -> RequestError:
        """The error for a response with status 200 that cannot be decoded.

        Args:
            reply: The response.
            message: Why it cannot be decoded. A foreign encoding or an HTML page is reported instead, and the
                message of an error object is added.
        """
        hint = HINTS["INVALID_RESPONSE"]
        if encoding := _foreign_encoding(reply):
            message, hint = f"the response is encoded in {encoding}, which was not requested", _ENCODING_HINT
        elif _is_html(reply.body):
            title = server_message(self.excerpt(reply.body.removeprefix(b"\xef\xbb\xbf")))
            page = "a login page" if _LOGIN.search(reply.body[:_PAGE_BYTES]) else "an HTML page"
            message, hint = f"{page} came instead of data: {title}", _PAGE_HINT
        elif reply.body.lstrip()[:1] == b"{" and (said := _said(self.excerpt(reply.body))):
            message = f"{message}: {said}"
        return self._of_reply(reply, "INVALID_RESPONSE", message, hint=hint)

    def no_response(self, error: TransportError, url: str) -> RequestError:
        """The error for a request that got no usable response."""
        kind = CannotConnect if error.permanent else RequestError
        return kind(
            self.mask(error.message),
            code=error.code,
            url=self.mask(url),
            http_status=error.status,
            final=error.final,
            hint=error.hint or HINTS[error.code],
        )

    def unreachable(self, error: RequestError, host: str) -> ServerUnreachable:
        """The error for a server that does not respond at all, from the error of the last request."""
        return ServerUnreachable(
            f"{host} is out of reach: {error.message}",
            code=error.code,
            url=error.url,
            http_status=error.http_status,
            attempts=error.attempts,
            hint="What was committed stays; run the same command again later.",
        )

    def _of_reply(
        self, reply: Reply, code: str, message: str, *, hint: str, retry_after: float | None = None
    ) -> RequestError:
        kind = TokenRefused if code == "UNAUTHORIZED" else RequestError
        return kind(
            self.mask(message),
            code=code,
            url=self.mask(reply.url),
            http_status=reply.status,
            payload=self.excerpt(reply.body),
            retry_after=retry_after,
            hint=hint,
        )


def server_message(body: str) -> str:
    """The message in an error body of any of WATS's shapes (JSON, text, HTML), at most 300 characters."""
    body = body.strip()
    if said := _said(body):
        return said
    if body.startswith("<"):
        title = re.search(r"<title>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
        return (title.group(1).strip() if title else "an HTML page")[:LONGEST_MESSAGE]
    return body.strip('"')[:LONGEST_MESSAGE]


def _said(body: str) -> str:
    """The message of an error object; empty if it has none."""
    found = re.search(r'"(?:message|error|detail|title)"\s*:\s*"((?:[^"\\]|\\.)*)"', body, re.IGNORECASE)
    return _unescaped(found.group(1))[:LONGEST_MESSAGE] if found else ""


def _is_html(body: bytes) -> bool:
    return bool(_HTML.match(body[:_PAGE_BYTES]))


def _foreign_encoding(reply: Reply) -> str:
    """The compression or the character encoding of a response, if it is one that cannot be read.

    The transport removes ``Content-Encoding`` from responses that it has inflated.
    """
    compression = reply.headers.get("content-encoding", "").strip().lower()
    if compression not in ("", "identity"):
        return compression
    return next((name for beginning, name in _UNICODE if reply.body.startswith(beginning)), "")


def _unescaped(text: str) -> str:
    """The text of a JSON string; the argument itself if that is not valid."""
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text
