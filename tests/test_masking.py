"""Masking finds secrets in every encoding, and leaves other texts alone."""

from __future__ import annotations

import base64
import html
import json
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wats_extract.masking import Mask, credentials, harmless

SECRET = "c2VjcmV0+bWFya2Vy/dG9rZW4="
SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="&<>\"'"), min_size=8, max_size=40
)
ECHOES = {
    "plain": lambda secret: secret,
    "URL": lambda secret: quote(secret, safe=""),
    "URL twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "every character in the URL": lambda secret: "".join(f"%{ord(letter):02X}" for letter in secret),
    "JSON": json.dumps,
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)),
    "JSON of .NET": lambda secret: secret.replace("+", "\\u002B").replace("/", "\\/").replace("&", "\\u0026"),
    "HTML": html.escape,
    "HTML of .NET": lambda secret: secret.replace("+", "&#43;").replace("=", "&#x3D;"),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 of the header": lambda secret: base64.b64encode(f"Basic {secret}".encode()).decode(),
    "base64 inside": lambda secret: base64.b64encode(f"u:{secret}; and more".encode()).decode(),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(f"x{secret}".encode()).decode().rstrip("="),
    "base64 in a URL": lambda secret: quote(base64.b64encode(secret.encode()).decode(), safe=""),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@given(secret=SECRETS, before=st.sampled_from(["", "a", "Basic ", '"']))
@settings(database=None, deadline=None, max_examples=40)
def test_every_encoding_is_masked(echo, secret: str, before: str) -> None:  # type: ignore[no-untyped-def]
    masked = Mask(secret)(f"{before}{echo(secret)} end")
    assert "***" in masked
    assert secret not in masked
    middle = echo(secret)[6:-6]
    assert len(middle) < 8 or middle not in masked  # a few characters may match by chance


def test_the_text_behind_a_base64_token_is_masked_too() -> None:
    token = base64.b64encode(b"robot:pass+word").decode()
    assert Mask(token)("you are robot:pass+word") == "you are ***"
    assert Mask(token.rstrip("="))("you are robot:pass%2Bword") == "you are ***"


def test_base64_without_padding_is_masked() -> None:
    assert Mask(SECRET)(f"<{SECRET.rstrip('=')}>") == "<***>"
    assert Mask("========")("a ======== b") == "a *** b"


def test_several_secrets_and_none() -> None:
    assert Mask("first-one", "", "second-one")("first-one and second-one") == "*** and ***"
    for nothing in (Mask(), Mask(""), Mask("")):
        assert nothing("anything") == "anything"


def test_a_short_secret_is_masked_verbatim_only() -> None:
    mask = Mask("demo")
    assert mask("the demo%20of it") == "the ***%20of it"
    assert mask(base64.b64encode(b"demo").decode()) == base64.b64encode(b"demo").decode()


@given(st.text(max_size=60))
@settings(database=None, max_examples=60)
def test_other_texts_are_unchanged(text: str) -> None:
    assert Mask(SECRET, "another secret")(text) == text


def test_the_repr_of_a_mask_shows_no_secret() -> None:
    assert SECRET not in repr(Mask(SECRET)) + str(Mask(SECRET))


def test_the_credentials_in_a_url() -> None:
    assert credentials("http://me:a%20b@proxy:3128") == ("a b", "me:a b")
    assert credentials("http://proxy:3128") == credentials("") == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\tof it", "two\nlines\tof it"),
        ("back\rforth", "back\\rforth"),
        ("\x9b31m \x7f \x00", "\\x9b31m \\x7f \\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("ad\u200bm\u200din\ufeff\u2060", "ad\\u200bm\\u200din\\ufeff\\u2060"),
        ("soft\xadhyphen", "soft\\xadhyphen"),
        ("\U000e0068\U000e0069", "\\U000e0068\\U000e0069"),
        ("a\ufe0f\U000e0101", "a\\ufe0f\\U000e0101"),
        ("Gdańsk \N{SLICE OF PIZZA} 日本", "Gdańsk \N{SLICE OF PIZZA} 日本"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert harmless(text) == shown
    assert harmless(shown) == shown


def test_every_character_that_controls_or_formats_text_is_escaped() -> None:
    formats = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf")]
    shown = {unicodedata.name(each, repr(each)).split()[0] for each in formats if harmless(each) == each}
    # these have a shape of their own, such as the sign before an Arabic number
    assert shown == {repr("\t"), repr("\n"), "ARABIC", "SYRIAC", "KAITHI", "EGYPTIAN"}
