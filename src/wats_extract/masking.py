"""What a text must not hold when it is shown or kept: secrets, by value, and commands to a terminal."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

MASK = "***"

SHORTEST = 8
"""Characters from which a secret's other spellings are looked for; less is found in too many places."""


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Letters that make a terminal do something, or text run the other way: only line breaks and tabs may."""


class Mask:
    """Replaces secrets in a text. Its ``repr`` shows none.

    Found are: the secret itself, each of its characters plain or escaped as JSON, a URL or HTML do (``%2B``,
    ``&#43;``); base64 of it, also inside of something longer; and what it is base64 of.

    Args:
        secrets: Empty ones are left out.
    """

    def __init__(self, *secrets: str) -> None:
        spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_escaped, longest_first)), re.IGNORECASE)
        self.longest = max(map(len, secrets), default=0)

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(MASK, text) if self.longest else text

    def __repr__(self) -> str:
        return "<Mask>"


def harmless(text: str) -> str:
    """The text with its control characters spelled out."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def credentials(address: str) -> tuple[str, ...]:
    """What nobody may see of a web address: its password, alone and with the user as headers have them."""
    parts = urlsplit(address)
    password = unquote(parts.password or "")
    return (password, f"{unquote(parts.username or '')}:{password}") if password else ()


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) >= SHORTEST:
        for packed in (*_within_base64(secret.encode()), _unpacked(secret)):
            if len(packed) >= SHORTEST:
                yield packed
                yield packed.translate({ord("+"): "-", ord("/"): "_"})


def _within_base64(secret: bytes) -> Iterator[str]:
    """What all base64 of texts with the secret in them have in common, by where in the text it begins."""
    for before in range(3):
        packed = b64encode(bytes(before) + secret).decode()
        first, end = -(-8 * before // 6), 8 * (before + len(secret)) // 6
        yield packed[first:end]


def _unpacked(secret: str) -> str:
    """The text that the secret is base64 of, such as ``user:password``, or nothing."""
    try:
        text = b64decode(secret.rstrip("=") + "=" * (-len(secret.rstrip("=")) % 4), validate=True).decode(
            "ascii"
        )
    except ValueError:
        return ""
    return text if text.isprintable() else ""


def _escaped(text: str) -> str:
    body = text.rstrip("=")
    padding = "".join(f"(?:{_letter(letter)})?" for letter in text[len(body) :])
    return "".join(map(_letter, body or text)) + (padding if body else "")


def _letter(letter: str) -> str:
    code = ord(letter)
    backslash = "" if letter.isalnum() else r"\\*"
    return (
        rf"(?:{backslash}{re.escape(letter)}|\\+u{code:04x}|%(?:25)*{code:02x}|&#(?:0*{code}|x0*{code:x});)"
    )
