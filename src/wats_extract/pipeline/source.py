"""The WATS server to read from: its address, the token, and the limits for requests.

Address and token come from ``WATS_URL`` and ``WATS_TOKEN``, or from pyWATS's variables if those are not set.
An empty variable counts as not set. Nothing falls back to the embedded demo server: without an address there
is an error.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from dotenv import dotenv_values
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from wats_extract.errors import ConfigurationError
from wats_extract.filters.instants import duration
from wats_extract.http.addresses import is_host, is_loopback
from wats_extract.masking import credentials
from wats_extract.pipeline.settings import WHOLE, Settings, findings_of, from_file, in_plain_words, is_quoted

DEMO = "demo"
REQUESTS_PER_MINUTE = 500
"""The rate that a WATS server allows per token; pyWATS assumes the same."""

ALIASES = {"WATS_URL": "PYWATS_SERVER_URL", "WATS_TOKEN": "PYWATS_API_TOKEN"}
"""pyWATS's variables, which are used if ours are not set."""

UNSET = "neither WATS_URL nor PYWATS_SERVER_URL is set, or they are empty"

TIMEOUTS = (0.001, 86_400.0)
"""The shortest and the longest timeout, in seconds. A longer one is a mistake, and would overflow clocks."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


# ── the environment ─────────────────────────────────────────────────────────────────────────────


def environment(folder: Path) -> dict[str, str]:
    """The variables of the process, completed from the first ``.env`` file in a folder or above it.

    A ``.env`` file never overrides the address or the token of the process, whether our variables or pyWATS's
    set them. ``os.environ`` itself does not change.

    Raises:
        ConfigurationError: the ``.env`` file cannot be read.
    """
    process, found = dict(os.environ), _dot_env_above(folder)
    for name, alias in ALIASES.items():
        pair = (name, alias)
        if variable(name, process) is not None:
            found = {each: value for each, value in found.items() if each not in pair}
        elif variable(name, found) is not None:
            process = {each: value for each, value in process.items() if each not in pair}
    return found | process


def _dot_env_above(folder: Path) -> dict[str, str]:
    folder = Path(os.path.realpath(folder))
    for each in (folder, *folder.parents):
        if os.path.isfile(each / ".env"):  # noqa: PTH113 - unlike Path.is_file, it never raises
            return _dot_env(each / ".env")
    return {}


def _dot_env(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"{path} cannot be read as UTF-8 text", hint="Save it as UTF-8.") from None
    # A token may contain a `$`, so values are not expanded.
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def variable(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable, or ``None`` if it is not set.

    ``WATS_URL`` and ``WATS_TOKEN`` fall back to pyWATS's variables; an empty or blank value of these counts
    as not set.
    """
    if name not in ALIASES:
        return environ.get(name)
    values = (environ.get(each, "") for each in (name, ALIASES[name]))
    return next((value for value in values if value.strip()), None)


# ── the source ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Demo:
    """The embedded server: how many reports it has, and the seed that generates them."""

    reports: int | None = None
    seed: int | None = None


def _default_rate(validated: dict[str, Any]) -> int | None:
    """WATS's own limit; no limit for the demo and for a server on this machine, such as ``demo-server``."""
    url = validated.get("url", "")
    here = is_demo(url) or is_loopback(urlsplit(url).hostname or "")
    return None if here else REQUESTS_PER_MINUTE


def _timeout(written: object) -> float:
    seconds = duration(written)
    if not TIMEOUTS[0] <= seconds <= TIMEOUTS[1]:
        raise ValueError("should be between 1ms and 24h")
    return seconds


_TIMEOUT_SCHEMA = {"type": ["number", "string"], "minimum": TIMEOUTS[0], "maximum": TIMEOUTS[1]}


class Source(Settings):
    """A WATS server, and the limits for requests to it."""

    # Declared before `url`, because the check of `url` reads it.
    allow_http: bool = Field(
        default=False,
        description="Allow http, which is not encrypted, to another machine.",
    )
    url: str = Field(
        default="",
        description="The server's address, such as https://example.wats.com; default: WATS_URL of the "
        "environment. 'demo' starts the embedded server, 'demo?reports=500&seed=7' one with other reports.",
    )
    id: Annotated[str, Field(max_length=200)] = Field(
        default="",
        description="Identifies the server if it is reached under several addresses, such as plant-a. A "
        "destination belongs to one server. Default: scheme, host, port and path of url.",
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="The API token, from the environment: ${WATS_TOKEN}. Never write it in the file.",
    )
    requests_per_minute: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default_factory=_default_rate,
        description="Requests per minute, shared by all resources of the run and by all processes on this "
        "machine that use the same token. Default: 500; unlimited for the demo server and for a server on "
        "this machine.",
    )
    max_in_flight: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(
        default=10, description="Concurrent requests."
    )
    max_requests: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        default=None, description="Stop cleanly after this many requests; the next run goes on."
    )
    timeout: Annotated[float, BeforeValidator(_timeout), WithJsonSchema(_TIMEOUT_SCHEMA)] = Field(
        default=120.0,
        description="How long to wait for data from the server before a request fails: 120s, 2m or a number "
        "of seconds, at most 24h. A whole response may take five times as long.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="A PEM file with the certificate of the private CA that signed the server's certificate; "
        "default: the CAs that this machine trusts, or those in SSL_CERT_FILE.",
    )
    proxy: SecretStr = Field(
        default=SecretStr(""),
        description="The proxy, such as http://proxy.example.com:3128; if it has a password, from the "
        "environment: ${WATS_PROXY}. Default: HTTPS_PROXY and NO_PROXY of the environment.",
    )

    @field_validator("url")
    @classmethod
    def _normalise(cls, url: str, info: ValidationInfo) -> str:
        url = url.strip()
        if is_demo(url):
            _demo(url)
            return url
        if not url:
            return ""
        return _address(url, allow_http=bool(info.data.get("allow_http")))

    @field_validator("id")
    @classmethod
    def _not_the_demo(cls, identity: str) -> str:
        if not re.fullmatch(r"[!-~]*", identity):
            raise ValueError("should be a word without blanks, such as plant-a")
        if is_demo(identity):
            raise ValueError("demo stands for the embedded server; choose another word, such as plant-a")
        return identity

    @field_validator("token")
    @classmethod
    def _bare(cls, token: SecretStr) -> SecretStr:
        whole = token.get_secret_value().strip()
        text = whole.removeprefix("Basic ").strip()
        if is_quoted(whole) or is_quoted(text):
            raise ValueError("is in quotation marks; remove them where it is set, as in WATS_TOKEN=abc")
        if not re.fullmatch(r"[!-~]*", text):
            raise ValueError("contains a blank, a line break or a letter that no token has; copy it again")
        return SecretStr(text)

    @field_validator("ca_file")
    @classmethod
    def _certificates(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        if file is None:
            return None
        try:
            file = from_file(file, info)
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
                "should be an address such as http://proxy.example.com:3128, with a password percent-encoded"
            )
        return proxy

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle everything but secrets: a pickle may end up in a file or in a message queue."""
        state = super().__getstate__()
        hidden = {"token": SecretStr("")} | ({"proxy": SecretStr("")} if self._has_password else {})
        return state | {"__dict__": state["__dict__"] | hidden}

    @property
    def _has_password(self) -> bool:
        return bool(credentials(self.proxy.get_secret_value()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not be shown anywhere."""
        return (self.token.get_secret_value(), *credentials(self.proxy.get_secret_value()))

    @property
    def demo(self) -> Demo | None:
        """The embedded server, or ``None`` for a real server."""
        return _demo(self.url) if is_demo(self.url) else None

    @property
    def identity(self) -> str:
        """Identifies the server that a destination and its cursors belong to; empty without a server.

        It is ``demo`` for the embedded server, else ``id``, else the address in lower case, without a default
        port and a trailing slash.
        """
        return DEMO if self.demo else self.id or _identity(self.url)

    def usable_token(self) -> str:
        """The token that follows ``Basic`` in the ``Authorization`` header; empty for the demo.

        Raises:
            ConfigurationError: there is no server, or the server is a real one and there is no token.
        """
        if not self.url:
            raise ConfigurationError(f"there is no server to read from: {UNSET}")
        token = "" if self.demo else self.token.get_secret_value()
        if not token and not self.demo:
            raise ConfigurationError(
                f"there is no token for {self.url}",
                hint="Set WATS_TOKEN in the environment, or in a .env file in the folder or above it.",
            )
        return token


def connection(
    url: str | None = None,
    token: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    **limits: Any,
) -> Source:
    """The server to read from: the arguments, else the environment. It is never the demo server.

    Args:
        url: The server's address; else ``WATS_URL``, else ``PYWATS_SERVER_URL``.
        token: The API token; else ``WATS_TOKEN``, else ``PYWATS_API_TOKEN``.
        environ: The environment; by default the process's, completed from the first ``.env`` file in the
            current folder or above it.
        limits: Other fields of :class:`Source`, such as ``requests_per_minute``.

    Raises:
        ConfigurationError: there is no address, it is the demo's, or one of these is wrong; the message never
            contains the token.
    """
    environ = environment(Path.cwd()) if environ is None else environ
    url = (url or variable("WATS_URL", environ) or "").strip()
    if not url:
        raise ConfigurationError(
            f"there is no server to connect to: {UNSET}",
            hint="Pass its address, or set WATS_URL. To try it without a server, use wats_extract.demo().",
        )
    if is_demo(url):
        raise ConfigurationError(
            f"connect() does not start the embedded demo server ({url})",
            hint="Use wats_extract.demo(), or give the address of a server.",
        )
    token = variable("WATS_TOKEN", environ) if token is None else token
    return source_of({"url": url, "token": token or "", **limits})


def source_of(given: Mapping[str, Any]) -> Source:
    """Check the fields of a source.

    Raises:
        ConfigurationError: one of them is wrong; the message never contains the token.
    """
    try:
        return Source.model_validate(given)
    except ValidationError as error:
        problems = [f"{each['loc'][0]}: {in_plain_words(each)}" for each in findings_of(error)]
    raise ConfigurationError("; ".join(problems))


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


def is_demo(url: str) -> bool:
    """Whether an address means the embedded server: ``demo``, or ``demo?reports=500&seed=7``."""
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
    """The address without ``/api``.

    Raises:
        ValueError: it is wrong; the message does not repeat it, because it may contain a password.
    """
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        raise ValueError("is not a web address such as https://example.wats.com") from None
    if problem := _wrong_with(parts, text, allow_http=allow_http):
        raise ValueError(problem)
    path = re.sub(r"(/api)?/*$", "", parts.path.rstrip("/"), flags=re.IGNORECASE)
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def _wrong_with(parts: SplitResult, text: str, *, allow_http: bool) -> str:
    if text[:1] in ("'", '"'):
        return "begins with a quotation mark; write the address without quotation marks"
    if re.search(r"[\x00-\x20\x7f\\]", text.strip()):
        return "contains a blank, a control character or a backslash"
    if "@" in text:
        return "contains a user name or password; write the address alone, and the token in WATS_TOKEN"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "should begin with https://, as in https://example.wats.com, or be 'demo'"
    if not is_host(parts.hostname):
        return "has a host that is neither a name of ASCII letters, digits and '-' nor an IP address"
    if parts.query or parts.fragment:
        return "should be the address alone, without '?' or '#' and the rest"
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        return "would send the token unencrypted; write https://, or add allow_http: true to accept that"
    return ""


def _identity(address: str) -> str:
    if not address:
        return ""
    parts = urlsplit(address.lower())
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    alone = not (parts.path.strip("/") or parts.query or parts.fragment)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and alone
