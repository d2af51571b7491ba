"""Send one HTTP request over the network. The only module that imports the HTTP library, pyreqwest.

A transport is a callable that takes a :class:`Request` and returns a :class:`Response`. Production uses
:class:`HttpTransport`; tests pass a function. See docs/decisions/0003-http-client.md.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    ConnectTimeoutError,
    DecodeError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestError,
    RequestPanicError,
    RequestTimeoutError,
)
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import SyncStreamRequest
from pyreqwest.response import SyncResponse, SyncResponseBodyReader

from wats_extract.errors import ConfigurationError
from wats_extract.http.addresses import is_loopback

CONNECT_SECONDS = 15.0
"""The longest wait for a connection: a running server accepts one much sooner than it responds."""

RESPONSE_TIMEOUTS = 5
"""How many times ``timeout`` a response may take, redirects included: a drip would keep it open forever."""

IDLE_SECONDS = 30.0
"""Idle connections are closed after this time: firewalls on the way may drop them silently."""

LONGEST_REASON = 200
"""Characters kept of an error message of the HTTP library, which may quote the URL."""

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

_HEADERS = ("content-disposition", "content-encoding", "content-type", "date", "location", "retry-after")

_GZIP = ("gzip", "x-gzip")

_PIECE = 2**20
"""Bytes of a body that are copied at a time. Smaller buffers stay in the heap and fragment it."""

_FOREIGN = (PyreqwestError, RuntimeError, ValueError, OSError)
"""What pyreqwest raises: its own errors, and Python's for malformed values, closed clients and forks."""

_UNTRUSTED = (
    "If the server's certificate comes from a private CA, name that CA's PEM file in source.ca_file. "
    "Otherwise somebody may be intercepting the connection. The token was not sent."
)
_PROXY = "Check source.proxy, or HTTPS_PROXY and NO_PROXY in the environment."
_FORKED = (
    "Start worker processes with spawn or forkserver, as in multiprocessing.get_context('spawn'), or make "
    "no request before the fork."
)


class TransportError(Exception):
    """A request got no usable response.

    Attributes:
        code: An error code, such as ``TIMEOUT``.
        message: What happened.
        hint: What to do about it; empty if the code's usual hint fits.
        status: The response's status, or ``None`` if there was no response.
        permanent: Whether every request to this server will fail in the same way.
        final: Whether the same request will fail in the same way.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        permanent: bool = False,
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.hint, self.status = code, message, hint, status
        self.permanent, self.final = permanent, final


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. Its ``repr`` shows neither the token nor the body.

    Attributes:
        method: ``GET``, ``POST`` or ``DELETE``.
        url: The absolute URL.
        headers: All headers but ``Authorization``.
        authorization: The ``Authorization`` header, or empty.
        body: The body, or ``None``.
        seconds: Seconds that the whole response may take; at most, and by default, five times the timeout.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: str = field(default="", repr=False)
    body: bytes | None = field(default=None, repr=False)
    seconds: float = inf


@dataclass(frozen=True, slots=True)
class Response:
    """The response to one request, which may be a redirect or an error.

    Attributes:
        status: The HTTP status.
        headers: The headers that matter here, by lower-case name; of repeated headers the first.
        body: The body, inflated. A body above the limit of size is cut off one byte above it.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


Transport: TypeAlias = Callable[[Request], Response]
"""Sends one request, follows no redirects and raises :class:`TransportError`."""


class HttpTransport:
    """Sends requests over a pool of HTTP/1.1 connections. Thread-safe.

    Certificates are verified against the CAs of the operating system (or of ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR``), and against ``ca_file`` if it is given. Proxies come from ``proxy``, otherwise from
    the environment (``HTTPS_PROXY``, ``NO_PROXY``). The environment's proxies are never used for requests
    to this machine itself, because the proxy would see the token in plain text.

    pyreqwest's clients are made by the first request, because they do not survive a fork.

    Args:
        timeout: Seconds without a byte after which a request fails.
        largest: Bytes of a body, inflated, after which the rest is not read.
        connections: The most idle connections to keep.
        ca_file: A private CA's certificate, in PEM.
        proxy: The proxy's URL; may hold a user and a password.

    Raises:
        ConfigurationError: ``ca_file`` holds no certificate.
    """

    def __init__(
        self,
        *,
        timeout: float,
        largest: int,
        connections: int,
        ca_file: Path | None = None,
        proxy: str = "",
    ) -> None:
        self._timeout, self._largest, self._connections = timeout, largest, connections
        self._ca_file, self._proxy = ca_file, proxy
        self._private_ca = _certificates(ca_file, ca_file) if ca_file else b""
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False
        self._by_route: dict[tuple[str, str], SyncClient] = {}
        self._by_origin: dict[tuple[str, str], SyncClient] = {}

    def __call__(self, request: Request) -> Response:
        """Send a request and read the response.

        Raises:
            TransportError: there was no complete response.
            ConfigurationError: a CA certificate or a proxy cannot be used, or this process was forked from
                one that had made requests.
        """
        began = time.monotonic()
        longest = max(0.0, min(request.seconds, RESPONSE_TIMEOUTS * self._timeout))
        try:
            with self._prepared(request, longest) as response:
                _refuse_ambiguous(response)
                status = response.status
                headers = {
                    name: value for name in _HEADERS if (value := response.get_header(name)) is not None
                }
                body = self._body(response.body_reader)
        except _FOREIGN as error:
            host = urlsplit(request.url).hostname or ""
            late = time.monotonic() - began >= longest
            # `from None`: messages and frames of the HTTP library may hold the token.
            raise translated(error, host=host, timeout=self._timeout, late=late) from None
        if body and headers.get("content-encoding", "").strip().lower() in _GZIP:
            del headers["content-encoding"]
            body = inflated(body, self._largest + 1)
        return Response(status, headers, body)

    def close(self) -> None:
        """Close all connections. Requests in flight fail at once."""
        with self._lock:
            self._closed = True
            clients = list(self._by_route.values())
        if self._process == os.getpid():  # closing an inherited client would wait for threads left behind
            for client in clients:
                client.close()

    def _prepared(self, request: Request, longest: float) -> SyncStreamRequest:
        builder = self._client(request.url).request(request.method, request.url).headers(request.headers)
        builder = builder.header("Accept-Encoding", "gzip").timeout(timedelta(seconds=longest))
        if request.authorization:
            builder = builder.header("Authorization", request.authorization, is_sensitive=True)
        if request.body is not None:
            builder = builder.body_bytes(request.body)
        # Up to this limit pyreqwest reads the body together with the head. Only that can be ended by closing
        # the client; what is read later blocks until it times out.
        return builder.streamed_read_buffer_limit(self._largest + 1).build_streamed()

    def _body(self, reader: SyncResponseBodyReader) -> bytes:
        """The body as far as it was read with the head: all of it, or one byte above the limit of size."""
        parts: list[bytes] = []
        left = self._largest + 1
        while left:
            asked = min(left, _PIECE)
            part = reader.read(asked)
            parts.append(part.to_bytes() if part else b"")
            left -= len(parts[-1])
            if len(parts[-1]) < asked:  # only at the end; a further read would release the GIL for nothing
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # ── one client per scheme and proxy ──

    def _client(self, url: str) -> SyncClient:
        """The client for a URL."""
        if self._by_route and self._process != os.getpid():
            # An inherited client would wait for threads that the fork left behind, longer than any timeout.
            raise _forked()
        parts = urlsplit(url)
        client = self._by_origin.get((parts.scheme, parts.netloc))
        return client or self._added(parts)

    def _added(self, parts: SplitResult) -> SyncClient:
        with self._lock:
            if self._closed:
                raise TransportError("CONNECTION_ERROR", "the client is closed")
            route = parts.scheme, self._proxy or _environment_proxy(parts)
            if route not in self._by_route:
                self._process = os.getpid()
                self._by_route[route] = self._built(*route)
            client = self._by_origin[parts.scheme, parts.netloc] = self._by_route[route]
            return client

    def _built(self, scheme: str, proxy: str) -> SyncClient:
        builder = (
            SyncClientBuilder()
            .user_agent("wats-extract")
            .gzip(False)  # it would remove the Content-Length that contradicts a Transfer-Encoding
            .brotli(False)
            .zstd(False)
            .deflate(False)
            .follow_redirects(False)
            .referer(False)
            .read_timeout(timedelta(seconds=self._timeout))
            .connect_timeout(timedelta(seconds=min(self._timeout, CONNECT_SECONDS)))
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
            .pool_max_idle_per_host(self._connections)
            .no_proxy()
        )
        if proxy:
            builder = builder.proxy(_proxy_builder(proxy))
        elif scheme == "http":
            # This client never speaks TLS; without the option it cannot be built where no CAs are installed.
            builder = builder.danger_accept_invalid_certs(True)
        if self._private_ca:
            builder = builder.add_root_certificate_pem(self._private_ca)
        elif scheme == "https" and (named := os.environ.get("SSL_CERT_FILE")):
            # pyreqwest ignores a file that it cannot read.
            _certificates(Path(named), f"SSL_CERT_FILE ({named})")
        try:
            return builder.build()
        except BuilderError as error:
            raise _no_certificate(self._ca_file or "the system's store", _reason(error)) from None
        except RuntimeError as error:
            if "fork" not in str(error):
                raise
            raise _forked() from None


def _refuse_ambiguous(response: SyncResponse) -> None:
    """Refuse a response whose end another program on the way may see elsewhere.

    What lies between the two ends would be taken for the response to another request. The HTTP library
    refuses lengths that contradict each other.
    """
    if response.status < 200:
        raise TransportError(
            "INVALID_RESPONSE",
            f"the server switches to another protocol (HTTP {response.status}), which was not requested",
            status=response.status,
        )
    transfer = ", ".join(response.get_header_all("transfer-encoding")).strip().lower()
    if transfer and (transfer != "chunked" or response.get_header("content-length") is not None):
        raise TransportError(
            "INVALID_RESPONSE",
            "the response's end is ambiguous (Transfer-Encoding together with Content-Length, or unknown)",
            status=response.status,
        )


def inflated(body: bytes, most: int) -> bytes:
    """The first member of a gzip file, inflated; its beginning if it is longer than ``most``.

    Raises:
        TransportError: it is broken or cut off.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = inflater.decompress(body, most)
    except zlib.error as error:
        reason = str(error).rpartition(": ")[2]
    else:
        if inflater.eof or len(found) >= most:
            return found
        reason = "its end is missing"
    raise TransportError("INVALID_RESPONSE", f"the response's compression is broken ({reason})")


def translated(error: Exception, *, host: str, timeout: float, late: bool) -> TransportError:
    """The error for one of pyreqwest's.

    Args:
        error: What pyreqwest raised.
        host: The server that the request was for.
        timeout: Seconds without a byte that were allowed.
        late: Whether the whole response had taken too long.
    """
    reason = _reason(error)
    if refused := _refused_certificate(error, host):
        return TransportError(
            "CONNECTION_ERROR",
            f"the certificate of {host} is not trusted: {refused}",
            hint=_UNTRUSTED,
            permanent=True,
        )
    if refused := _refusing_proxy(error):
        return TransportError(
            "CONNECTION_ERROR",
            f"the proxy refused to connect ({refused})",
            hint=_PROXY,
            permanent=refused.startswith("407"),  # it wants a password
        )
    match error:
        case ConnectTimeoutError() if _CONNECTING in _causes(error):
            return TransportError("TIMEOUT", f"no connection within {min(timeout, CONNECT_SECONDS):g} s")
        case RequestTimeoutError() | TimeoutError() if not late:
            return TransportError("TIMEOUT", f"no response within {timeout:g} s")
        case RequestTimeoutError() | TimeoutError():
            return TransportError("TIMEOUT", f"no complete response within {RESPONSE_TIMEOUTS * timeout:g} s")
        case DecodeError():
            return TransportError("CONNECTION_ERROR", f"the response broke off or is not HTTP ({reason})")
        case RequestPanicError():
            return TransportError("UNKNOWN_ERROR", f"the HTTP library failed ({reason})")
        case RequestError() | OSError():
            return TransportError("CONNECTION_ERROR", f"the connection failed ({reason})")
        case _:
            return TransportError("UNKNOWN_ERROR", f"the request cannot be sent ({reason})")


def _environment_proxy(parts: SplitResult) -> str:
    """The proxy that the environment names for a URL, or empty."""
    if is_loopback(parts.hostname or ""):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxy_builder(proxy: str) -> ProxyBuilder:
    try:
        if urlsplit(proxy).scheme not in _PROXY_SCHEMES:  # pyreqwest would connect without a proxy
            raise ValueError(f"its URL should begin with one of {', '.join(_PROXY_SCHEMES)}")
        return ProxyBuilder.all(proxy)
    except ValueError as error:
        raise ConfigurationError(f"the proxy cannot be used: {error}", hint=_PROXY) from None


def _certificates(file: Path, place: object) -> bytes:
    """The certificates in a PEM file; ``place`` names it in the error if there are none."""
    try:
        ssl.create_default_context(cafile=file)
        return file.read_bytes()
    except OSError as error:
        raise _no_certificate(place, error.strerror or str(error)) from None


def _no_certificate(place: object, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"no CA certificate can be read from {place}: {reason}",
        hint="It should be a text file with -----BEGIN CERTIFICATE----- in it (PEM).",
    )


def _forked() -> ConfigurationError:
    return ConfigurationError(
        "this process was forked from one that had made HTTP requests; it cannot make any itself",
        hint=_FORKED,
    )


# ── what pyreqwest's errors say: the causes are texts of the libraries below it ──

_CONNECTING = "client error (Connect)"
_CERTIFICATE = "invalid peer certificate: "
_TUNNEL = "tunnel error: "


def _causes(error: Exception) -> list[str]:
    """The messages of an error and its causes, the innermost last."""
    found = error.details["causes"] if isinstance(error, DetailedPyreqwestError) else None
    return [cause["message"] for cause in found or ()]


def _reason(error: Exception) -> str:
    message = error.message if isinstance(error, PyreqwestError) else str(error)
    return ([message or type(error).__name__, *_causes(error)])[-1][:LONGEST_REASON]


def _refused_certificate(error: Exception, host: str) -> str:
    """Why a certificate was refused, or empty."""
    why = _cause(error, _CERTIFICATE)
    if why.startswith("certificate not valid for name"):
        return f"it is not valid for {host!r}"
    return "nobody known issued it" if why == "UnknownIssuer" else why[:LONGEST_REASON]


def _refusing_proxy(error: Exception) -> str:
    """Why a proxy opened no tunnel, or empty."""
    why = _cause(error, _TUNNEL)
    return f"407 {why}" if why == "proxy authorization required" else why


def _cause(error: Exception, beginning: str) -> str:
    """What follows the beginning of a cause, or empty."""
    found = (cause.removeprefix(beginning) for cause in _causes(error) if cause.startswith(beginning))
    return next(found, "")
