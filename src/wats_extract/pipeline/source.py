"""Where the data comes from and how gently it is asked; how people write durations, moments and shares.

The address and the token come from ``WATS_URL`` and ``WATS_TOKEN``, else from pyWATS's names for them,
else the embedded demo server serves. A ``.env`` file adds to the environment and never overrides it.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import duration
from wats_extract.masking import credentials

DEMO = "demo"
REQUESTS_PER_MINUTE = 500
"""What a WATS server allows one token; pyWATS assumes the same."""

ALIASES = {"WATS_URL": "PYWATS_SERVER_URL", "WATS_TOKEN": "PYWATS_API_TOKEN"}
"""pyWATS's names, which serve where ours are not set."""


# ── the environment ─────────────────────────────────────────────────────────────────────────────


def environment(*folders: Path) -> dict[str, str]:
    """The process's environment over the ``.env`` files of these folders; the first folder wins.

    ``os.environ`` itself is not changed.

    Raises:
        ConfigurationError: if a ``.env`` file cannot be read.
    """
    merged: dict[str, str] = {}
    for folder in reversed(folders):
        merged |= _dot_env(folder / ".env")
    return merged | dict(os.environ)


def _dot_env(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{path} cannot be read as UTF-8 text", hint="Save it as UTF-8.") from None
    # A token may hold a `$`, so values are taken as they stand.
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def variable(name: str, environ: Mapping[str, str]) -> str | None:
    """A variable's value; ``WATS_URL`` and ``WATS_TOKEN`` fall back to pyWATS's names for them."""
    return environ.get(name) or environ.get(ALIASES.get(name, name)) or environ.get(name)


# ── values as people write them ─────────────────────────────────────────────────────────────────


# ── the source ──────────────────────────────────────────────────────────────────────────────────


class Settings(BaseModel):
    """A frozen model that knows its keys and never shows what it was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_text(cls, given: object) -> object:
        """``since: ${SINCE:-}`` means the default; an empty address is no wish for the demo, though."""
        if not isinstance(given, Mapping):
            return given
        return {name: value for name, value in given.items() if value != "" or name == "url"}


def _no_truth_value(value: object) -> object:
    # To pydantic `true` is the number 1.
    if isinstance(value, bool):
        raise ValueError("should be a whole number")
    return value


WHOLE = BeforeValidator(_no_truth_value)
"""Stands behind the bounds of an ``int`` field, so that the JSON Schema has them."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The embedded server that is asked for: how many reports it has, and from which seed."""

    reports: int | None = None
    seed: int | None = None


def _default_rate(validated: dict[str, Any]) -> int | None:
    """WATS's own limit; none for the demo, nor for a server on this machine, such as ``demo-server``."""
    url = validated.get("url", DEMO)
    here = _is_demo(url) or _is_loopback(urlsplit(url).hostname or "")
    return None if here else REQUESTS_PER_MINUTE


class Source(Settings):
    """A WATS server, and how gently it is asked."""

    # Before `url`, whose check reads it.
    allow_http: bool = Field(
        default=False,
        description="Allow http, without encryption, to another machine.",
    )
    url: str = Field(
        default=DEMO,
        description="The server's address, such as https://example.wats.com; 'demo' starts the embedded "
        "server, 'demo?reports=500&seed=7' one of another size.",
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="The API token, from the environment: ${WATS_TOKEN}. Never written in the file.",
    )
    requests_per_minute: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default_factory=_default_rate,
        description="Shared by every resource of the run and by processes with the same token. "
        "Default 500; without limit for the demo server and for a server on this machine.",
    )
    max_in_flight: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(
        default=10, description="Requests at the same time."
    )
    max_requests: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None, description="Stop cleanly after so many requests; the next run goes on."
    )
    timeout: Annotated[float, BeforeValidator(duration), WithJsonSchema({"type": ["number", "string"]})] = (
        Field(
            default=120.0,
            description="How long the server may be silent before a request is given up: 120s, 2m or a "
            "number of seconds. A whole answer may take five times as long.",
        )
    )
    ca_file: Path | None = Field(
        default=None,
        description="The certificate, in PEM, of the private CA that the server's certificate comes from; "
        "default: the CAs that this machine trusts, or those in SSL_CERT_FILE.",
    )
    proxy: SecretStr = Field(
        default=SecretStr(""),
        description="The proxy, such as http://proxy.example.com:3128; with a password from the environment: "
        "${WATS_PROXY}. Default: HTTPS_PROXY and NO_PROXY of the environment.",
    )

    @field_validator("url")
    @classmethod
    def _normalise(cls, url: str, info: ValidationInfo) -> str:
        if _is_demo(url):
            _demo(url)
            return url
        return _address(url, allow_http=bool(info.data.get("allow_http")))

    @field_validator("token")
    @classmethod
    def _bare(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip().removeprefix("Basic ").strip()
        if not re.fullmatch(r"[!-~]*", text):
            raise ValueError("holds a blank, a line break or a letter that no token has; copy it again")
        return SecretStr(text)

    @field_validator("ca_file")
    @classmethod
    def _certificates(cls, file: Path | None) -> Path | None:
        if file is None:
            return None
        try:
            file = file.expanduser()
            ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from None
        except (OSError, RuntimeError) as error:
            raise ValueError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
        return file

    @field_validator("proxy")
    @classmethod
    def _proxy_address(cls, proxy: SecretStr) -> SecretStr:
        if proxy.get_secret_value() and not _is_proxy(proxy.get_secret_value()):
            raise ValueError(
                "should be an address such as http://proxy.example.com:3128, a password in it percent-encoded"
            )
        return proxy

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may be shown nowhere."""
        return (self.token.get_secret_value(), *credentials(self.proxy.get_secret_value()))

    @property
    def demo(self) -> Demo | None:
        """The embedded server that serves, or ``None`` where a real one does."""
        return _demo(self.url) if _is_demo(self.url) else None

    def usable_token(self) -> str:
        """The token as it goes into the ``Authorization`` header after ``Basic``; empty for the demo.

        Raises:
            ConfigurationError: if a real server is asked and there is no token.
        """
        token = "" if self.demo else self.token.get_secret_value()
        if not token and not self.demo:
            raise ConfigurationError(
                f"there is no token for {self.url}",
                hint="Set WATS_TOKEN in the environment, or in a .env file beside the pipeline file.",
            )
        return token


def connection(
    url: str | None = None,
    token: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **limits: Any,
) -> Source:
    """The source to read from: what is given, else what the environment says, else the demo server.

    Args:
        url: The server's address, or ``demo``; else ``WATS_URL``, else ``PYWATS_SERVER_URL``.
        token: The API token; else ``WATS_TOKEN``, else ``PYWATS_API_TOKEN``.
        environ: The environment; by default the process's, with the ``.env`` file of the current folder.
        limits: Other fields of :class:`Source`, such as ``requests_per_minute``.

    Raises:
        ConfigurationError: if one of these is wrong; the message never holds the token.
    """
    environ = environment(Path.cwd()) if environ is None else environ
    url = url or variable("WATS_URL", environ) or DEMO
    token = variable("WATS_TOKEN", environ) if token is None else token
    try:
        return Source.model_validate({"url": url, "token": token or "", **limits})
    except ValidationError as error:
        problems = [f"{each['loc'][0]}: {plain(each)}" for each in told(error)]
    raise ConfigurationError("; ".join(problems))


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


def _is_demo(url: str) -> bool:
    return url == DEMO or url.startswith(f"{DEMO}?")


def _demo(url: str) -> Demo:
    given = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    for name, value in given.items():
        if name not in ("reports", "seed"):
            raise ValueError(f"the demo server takes 'reports' and 'seed', not {name!r}")
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise ValueError(f"the demo server's {name!r} should be a whole number, as in demo?{name}=500")
    return Demo(**{name: int(value) for name, value in given.items()})


def _address(text: str, *, allow_http: bool) -> str:
    """The address without ``/api``; a ``ValueError`` never repeats it, for it may hold a password."""
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        raise ValueError("is no web address; write it like https://example.wats.com") from None
    if problem := _wrong_with(parts, text, allow_http=allow_http):
        raise ValueError(problem)
    path = re.sub(r"(/api)?/*$", "", parts.path.rstrip("/"), flags=re.IGNORECASE)
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def _wrong_with(parts: SplitResult, text: str, *, allow_http: bool) -> str:
    if not text.strip():
        return "is empty; write the server's address, or demo"
    if "@" in text:
        return "holds a user name or password; give the address alone, and a token in WATS_TOKEN"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "should begin with https://, as in https://example.wats.com (or be 'demo')"
    if parts.query or parts.fragment:
        return "should be the address alone, without what follows '?' or '#'"
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        return "sends the token unencrypted; write https://, or add allow_http: true if you must"
    return ""


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    alone = not (parts.path.strip("/") or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and alone


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ── pydantic's findings in plain words ──────────────────────────────────────────────────────────

_PLAIN = {
    "missing": "is missing",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "is too large",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text; put it in quotes",
    "list_type": "should be a list, such as [first, second] or lines that begin with '- '",
    "tuple_type": "should be a list, such as [first, second] or lines that begin with '- '",
    "model_type": "should hold keys and values, on lines of their own",
    "model_attributes_type": "should hold keys and values, on lines of their own",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
    "value_error": "{error}",
    "literal_error": "should be {expected}",
    "path_type": "should be a path; put it in quotes",
    "string_pattern_mismatch": "should be letters, digits and _, and begin with no digit",
}


def told(error: ValidationError) -> list[ErrorDetails]:
    """The findings that a user can do something about."""
    found = error.errors(include_url=False, include_input=False)
    return [each for each in found if each["type"] != "default_factory_not_called"]


def plain(error: ErrorDetails) -> str:
    """One finding in plain words, without the value."""
    if error["type"] == "extra_forbidden":
        return "is no setting"
    return _PLAIN.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
