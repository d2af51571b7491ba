"""The wire: one request over HTTP and its answer, within limits of time and size. Nothing here tries again.

The only module beside ``fake`` that knows the HTTP library (docs/decisions/0003-http-client.md).
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from wats_extract.errors import ConfigurationError
from wats_extract.http.connections import Connections, ConnectTimeout, Received

Transport: TypeAlias = httpx2.BaseTransport
"""What carries requests; tests put a function in the place of the network."""

CONNECT_SECONDS = 15.0
"""A server that is there accepts a connection much sooner than it answers."""

ANSWER_TIMEOUTS = 5
"""How many times ``timeout`` a whole answer may take, if its bytes come in drops: that would never end."""

SLOWEST_RATE = 16 * 1024
"""Bytes a second above which an answer is slow, and no drip: large ones over thin lines may take longer."""

LARGEST_ANSWER = 256 * 2**20
"""Bytes, inflated. A full report with its attachments has tens of megabytes; 1 MB of gzip may hold 1 GB."""

REDIRECTS = 5
"""As many in a row are followed."""

LONGEST_REASON = 200
"""Characters of a foreign error's message, which may hold all that was received."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_FOREIGN = (
    *(httpx2.HTTPError, httpx2.InvalidURL, httpx2.CookieConflict, RuntimeError, UnicodeError),
    *(OSError, HTTPException, zlib.error),
)
"""Whatever the HTTP library may raise for a request, whose stream errors are runtime errors; and what the
straight way may."""

_REDIRECTS = (301, 302, 303, 307, 308)

_UNTRUSTED = (
    "If the server's certificate comes from a private CA, name that CA's PEM file in source.ca_file. "
    "Otherwise somebody may stand between here and the server; the token was not sent."
)
_ELSEWHERE = "Give source.url the address at which the server really answers; the token goes to no other."
_PROXY = "Look at source.proxy, or at HTTPS_PROXY and NO_PROXY in the environment."


class WireError(Exception):
    """There is no usable answer.

    Attributes:
        code: An error code, such as ``TIMEOUT``.
        message: What happened.
        hint: What to do about it, where the code does not say it.
        status: The answer's status, where there was one.
        hopeless: Whether no request to this server will fare better.
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", status: int | None = None, hopeless: bool = False
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.hint, self.status, self.hopeless = code, message, hint, status, hopeless


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came, the body inflated."""

    status: int
    body: bytes = field(repr=False)
    content_type: str
    retry_after: str | None
    hang_up: Callable[[], None]
    """Closes its connection: the rest of an answer that was cut off would be taken for the next one."""


class Wire:
    """Connections to one server. Thread-safe.

    Certificates are verified, against the system's CAs or, where it is named, against ``ca_file`` alone.
    The environment's proxies (``HTTPS_PROXY``, ``NO_PROXY``) serve where none is given, but never on the
    way to this machine itself: that would carry the token out in plain text.

    Args:
        url: The server's address.
        token: Goes verbatim behind ``Authorization: Basic``, to this server and to no other.
        timeout: Seconds of silence after which a request is given up.
        connections: The most that are open.
        largest: Bytes that an answer may have, inflated.
        ca_file: The CA's certificate in PEM.
        proxy: The proxy's address; may hold a user and a password.
        transport: Instead of the network, for tests.
        clock: Seconds that only go up.

    Raises:
        ConfigurationError: a certificate file or a proxy cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        timeout: float,
        connections: int,
        largest: int = LARGEST_ANSWER,
        ca_file: Path | None = None,
        proxy: str = "",
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.longest = ANSWER_TIMEOUTS * timeout
        self._timeout, self._largest, self._clock = timeout, largest, clock
        self._host = urlsplit(url).hostname or ""
        self._authorized = bool(token)
        self._url, self._ca_file, self._proxy, self._transport = url.rstrip("/"), ca_file, proxy, transport
        self._most = connections
        self._headers = {"Accept-Encoding": "gzip", "User-Agent": "wats-extract"}
        if token:
            self._headers["Authorization"] = f"Basic {token}"
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._straight: Connections | None = None
        if transport or proxy or _has_proxy(url):
            self._http()
        else:
            self._straight = self._connections()

    def _http(self) -> httpx2.Client:
        """The HTTP library's client; it takes memory and time, and most runs need none."""
        with self._lock:
            if self._client is None:
                try:
                    self._client = httpx2.Client(
                        base_url=self._url,
                        headers=self._headers,
                        timeout=httpx2.Timeout(self._timeout, connect=min(self._timeout, CONNECT_SECONDS)),
                        limits=httpx2.Limits(
                            max_connections=self._most,
                            max_keepalive_connections=self._most,
                            keepalive_expiry=30.0,
                        ),
                        verify=_trusted(self._ca_file),
                        proxy=self._proxy or None,
                        trust_env=self._host not in _LOOPBACK,
                        transport=self._transport,
                    )
                except (ValueError, ImportError, httpx2.InvalidURL) as error:
                    raise ConfigurationError(f"the proxy cannot be used: {error}", hint=_PROXY) from None
            return self._client

    def _connections(self) -> Connections:
        return Connections(
            self._url,
            context=_trusted(self._ca_file) if self._url.startswith("https:") else None,
            timeout=self._timeout,
            connect_timeout=min(self._timeout, CONNECT_SECONDS),
            headers=self._headers,
            clock=self._clock,
        )

    def close(self) -> None:
        """Close the connections."""
        if self._client:
            self._client.close()
        if self._straight:
            self._straight.close()

    def ask(
        self,
        url: str,
        *,
        accept: str,
        body: Mapping[str, str | int | bool] | None = None,
        method: str = "",
        check: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Send one request, by POST where there is a body, and read the whole answer.

        ``method`` says another one. Internal routes are told where they are linked from, as they want it.

        ``check`` is called while the answer comes in, and may raise to stop.

        Raises:
            WireError: there is no whole answer; the errors of the HTTP library are translated here.
        """
        begun = self._clock()
        method = method or ("GET" if body is None else "POST")
        headers = {"Accept": accept}
        if url.startswith("/api/internal/"):
            headers["Referer"] = f"{self._url}/"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, separators=(",", ":")).encode()
        try:
            answer = self._asked_straight(method, url, headers, content, begun, check)
            if answer is None:
                request = self._http().build_request(method, url, content=content, headers=headers)
                with closing(self._followed(request)) as response:
                    answer = Answer(
                        response.status_code,
                        self._whole(response.iter_bytes(), response.status_code, begun, check),
                        response.headers.get("content-type", ""),
                        response.headers.get("retry-after"),
                        _closing(response),
                    )
        except _FOREIGN as error:
            # Without its chain: foreign messages and their frames may hold the token.
            raise self._translated(error) from None
        return answer

    def _asked_straight(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        begun: float,
        check: Callable[[], None],
    ) -> Answer | None:
        """The answer by a connection of our own; ``None`` where it takes more than that."""
        if self._straight is None:
            return None
        with closing(self._straight.ask(method, url, headers=headers, body=content)) as received:
            if received.status in _REDIRECTS:
                return None
            return Answer(
                received.status,
                self._whole(_inflated(received, self._largest), received.status, begun, check),
                received.header("content-type") or "",
                received.header("retry-after"),
                received.hang_up,
            )

    def _whole(self, pieces: Iterable[bytes], status: int, begun: float, check: Callable[[], None]) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in pieces:
            size += len(part)
            if size > self._largest:
                raise WireError(
                    "INVALID_RESPONSE",
                    f"the answer has more than {self._largest / 1e6:,.0f} MB when inflated",
                    status=status,
                )
            if self._clock() > begun + self.longest + size / SLOWEST_RATE:
                raise WireError("TIMEOUT", f"no whole answer within {self.longest:g} s", status=status)
            parts.append(part)
            check()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # ── redirects ──

    def _followed(self, request: httpx2.Request) -> httpx2.Response:
        """The answer after redirects; the HTTP library drops the token on the way to another host."""
        for _ in range(REDIRECTS + 1):
            response = self._http().send(request, stream=True)
            following = response.next_request
            if following is None:
                self._refuse_sign_in(request, response)
                return response
            response.close()
            self._refuse_unsafe(request, following, response.status_code)
            request = following
        raise WireError(
            "API_ERROR",
            f"the server redirects without end, at last to {_place(request)}",
            hint=_ELSEWHERE,
            status=response.status_code,
        )

    def _refuse_unsafe(self, request: httpx2.Request, following: httpx2.Request, status: int) -> None:
        near = (self._host, *_LOOPBACK) if request.url.scheme == "http" else ()
        if following.url.scheme != "https" and following.url.host not in near:
            why = "without encryption"
        elif following.method != "GET" and following.url.origin != request.url.origin:
            why = "with what was asked, which goes to no other host"
        else:
            return
        raise WireError(
            "API_ERROR",
            f"the server redirects to {_place(following)}, {why}; that is not followed",
            hint=_ELSEWHERE,
            status=status,
        )

    def _refuse_sign_in(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """What another host says of a token that it never saw is no word on the token."""
        if self._authorized and "authorization" not in request.headers and response.status_code in (401, 403):
            response.close()
            raise WireError(
                "API_ERROR",
                f"the server redirects to {_place(request)}, which answers HTTP {response.status_code}",
                hint=_ELSEWHERE,
                status=response.status_code,
            )

    # ── errors ──

    def _translated(self, error: Exception) -> WireError:
        """The error for one of the HTTP library."""
        reason = (str(error) or type(error).__name__)[:LONGEST_REASON]
        if refused := _refused_certificate(error):
            return WireError(
                "CONNECTION_ERROR",
                f"the certificate of {self._host} is not trusted: {refused}",
                hint=_UNTRUSTED,
                hopeless=True,
            )
        match error:
            case httpx2.ConnectTimeout() | ConnectTimeout():
                return WireError("TIMEOUT", f"no connection within {min(self._timeout, CONNECT_SECONDS):g} s")
            case httpx2.TimeoutException() | TimeoutError():
                return WireError("TIMEOUT", f"no answer within {self._timeout:g} s")
            case httpx2.DecodingError() | zlib.error():
                return WireError("INVALID_RESPONSE", f"the answer's compression is broken ({reason})")
            case httpx2.ProxyError():
                return WireError(
                    "CONNECTION_ERROR", f"the proxy lets nothing through ({reason})", hint=_PROXY
                )
            case httpx2.HTTPError() | OSError() | HTTPException():
                return WireError("CONNECTION_ERROR", f"no connection, or it broke ({reason})")
            case _:
                return WireError("UNKNOWN_ERROR", f"it cannot be asked for ({reason})")


def _inflated(received: Received, largest: int) -> Iterator[bytes]:
    """The body as it comes, inflated where it is compressed, and never much more than ``largest``."""
    parts = received.parts()
    if (received.header("content-encoding") or "").strip().lower() not in ("gzip", "x-gzip"):
        yield from parts
        return
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    for part in parts:
        while part:
            yield inflater.decompress(part, largest + 1)
            part = inflater.unconsumed_tail or inflater.unused_data
            if inflater.eof and part:  # several compressed texts, one behind the other
                inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    if not inflater.eof:
        raise zlib.error("it is cut off")


def _has_proxy(url: str) -> bool:
    """Whether the environment names a proxy on the way to a server; never on the way to this machine."""
    place = urlsplit(url)
    if place.hostname in _LOOPBACK:
        return False
    proxies = getproxies()
    return bool(proxies.get(place.scheme) or proxies.get("all")) and not proxy_bypass(place.hostname or "")


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """What certificates are verified against.

    Raises:
        ConfigurationError: a file that is named, by ``ca_file`` or by ``SSL_CERT_FILE``, cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file) if ca_file else httpx2.create_ssl_context()
    except OSError as error:
        place = ca_file or "the file or folder that SSL_CERT_FILE or SSL_CERT_DIR names"
        raise ConfigurationError(
            f"no CA certificate can be read from {place}: {error.strerror or error}",
            hint="It should be a text file with -----BEGIN CERTIFICATE----- in it (PEM).",
        ) from None


def _refused_certificate(error: BaseException | None) -> str:
    """Why a certificate was refused, where that is what the error comes from."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or str(error)
        error = error.__cause__ or error.__context__
    return ""


def _closing(response: httpx2.Response) -> Callable[[], None]:
    stream = response.extensions.get("network_stream")
    return stream.close if stream is not None else lambda: None


def _place(request: httpx2.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}"
