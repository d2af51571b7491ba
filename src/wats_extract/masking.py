"""Remove secrets and terminal control characters from texts that are shown or stored."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

MASK = "***"
"""What replaces a secret."""

SHORTEST = 8
"""The shortest secret, in characters, that is masked in base64 too; a shorter one would match by chance."""

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # all but tabs and line breaks
    "\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c"  # these reverse the direction of text, or break lines
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f"  # no width
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"  # tags, which spell out hidden text
)
"""Characters that control a terminal, or that a reader does not see."""


class Mask:
    """Replaces secrets in texts by ``***``. Its ``repr`` shows none of them.

    It finds the secret itself, with any of its characters escaped as in JSON, URLs or HTML (``%2B``,
    ``&#43;``); its base64, also as a part of a longer text's base64; and the text whose base64 it is.

    Args:
        secrets: The secrets; empty ones are ignored.

    Attributes:
        longest: The length of the longest secret.
    """

    def __init__(self, *secrets: str) -> None:
        spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern, longest_first)), re.IGNORECASE)
        self.longest = max(map(len, secrets), default=0)

    def __call__(self, text: str) -> str:
        """The text with its secrets replaced."""
        return self._pattern.sub(MASK, text) if self.longest else text

    def __repr__(self) -> str:
        return "<Mask>"


def harmless(text: str) -> str:
    """The text with its control characters escaped, as in ``ascii()``."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def credentials(address: str) -> tuple[str, ...]:
    """The secrets in a URL: its password, alone and as ``user:password``, which headers send in base64."""
    parts = urlsplit(address)
    password = unquote(parts.password or "")
    return (password, f"{unquote(parts.username or '')}:{password}") if password else ()


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) >= SHORTEST:
        for encoded in (*_within_base64(secret.encode()), _decoded(secret)):
            if len(encoded) >= SHORTEST:
                yield encoded
                yield encoded.translate({ord("+"): "-", ord("/"): "_"})


def _within_base64(secret: bytes) -> Iterator[str]:
    """The base64 that every text with the secret in it has in common, for each of the three alignments."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode()
        first, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        yield encoded[first:end]


def _decoded(secret: str) -> str:
    """The text whose base64 the secret is, such as ``user:password``; empty if there is none."""
    try:
        text = b64decode(secret.rstrip("=") + "=" * (-len(secret.rstrip("=")) % 4), validate=True).decode(
            "ascii"
        )
    except ValueError:
        return ""
    return text if text.isprintable() else ""


def _pattern(text: str) -> str:
    body = text.rstrip("=")
    padding = "".join(f"(?:{_character(character)})?" for character in text[len(body) :])
    return "".join(map(_character, body or text)) + (padding if body else "")


def _character(character: str) -> str:
    """A pattern for a character: itself, or escaped as in JSON, URLs or HTML."""
    code = ord(character)
    backslash = "" if character.isalnum() else r"\\*"
    plain, json = f"{backslash}{re.escape(character)}", rf"\\+u{code:04x}"
    return rf"(?:{plain}|{json}|%(?:25)*{code:02x}|&#(?:0*{code}|x0*{code:x});)"
