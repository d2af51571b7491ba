"""TLS and proxies on loopback: certificates are verified; a private CA and a proxy can be configured."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.cli.conftest import Desk, desk_in
from tests.conftest import TOKEN
from tests.http.clients import raw_server

from wats_extract.errors import ConfigurationError, RequestError, ServerUnreachable
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.flow import Reply
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import HttpTransport, Request, TransportError
from wats_extract.pipeline.source import Source, connection

SECRET = "pr0xy+p@ss/w0rd"


@dataclass
class Safe:
    """An embedded server behind TLS, and the CA that issued its certificate."""

    app: App
    url: str
    ca: trustme.CA
    ca_file: Path


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[Safe]:
    ca = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    with encrypted(ca.issue_cert("127.0.0.1", "wats.example.com")) as (app, url):
        yield Safe(app, url, ca, ca_file)


@contextmanager
def encrypted(certificate: trustme.LeafCert) -> Iterator[tuple[App, str]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    app = App(Plant(5), token=TOKEN)
    with serve(app) as server:
        unwrapped = server.get_request

        def wrapped() -> Any:
            plain, address = unwrapped()
            plain.settimeout(10)
            with suppress(ssl.SSLError):  # the client refuses the certificate
                plain = context.wrap_socket(plain, server_side=True)
            plain.settimeout(None)
            return plain, address

        server.get_request = wrapped  # type: ignore[method-assign]
        yield app, server.url.replace("http:", "https:")


def version(reply: Reply) -> str:
    return reply.body.decode()


def ask(url: str, **given: Any) -> str:
    with Client(Connection(url, TOKEN, timeout=5.0, **given)) as client:
        return client.get("App/Version", decode=version)


def test_a_certificate_of_an_unknown_ca_is_refused_at_once_and_no_token_is_sent(safe: Safe) -> None:
    with pytest.raises(ServerUnreachable) as raised:
        ask(safe.url)
    assert safe.app.total == 0
    assert raised.value.attempts == 1
    assert raised.value.exit_code == 2
    assert raised.value.message.startswith("the certificate of 127.0.0.1 is not trusted: ")
    assert "source.ca_file" in raised.value.hint


def test_a_private_ca_is_trusted_if_it_is_configured(safe: Safe) -> None:
    assert "2026" in ask(safe.url, ca_file=safe.ca_file)
    assert safe.app.total == 1


def test_a_certificate_for_another_name_is_refused(safe: Safe, tmp_path: Path) -> None:
    with encrypted(safe.ca.issue_cert("other.example.com")) as (app, url):
        with pytest.raises(ServerUnreachable) as raised:
            ask(url, ca_file=safe.ca_file)
        assert "not valid for '127.0.0.1'" in raised.value.message
        assert raised.value.exit_code == 2
        assert app.total == 0


def test_a_certificate_of_another_private_ca_is_refused(safe: Safe, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(ServerUnreachable, match="is not trusted"):
        ask(safe.url, ca_file=other)
    assert safe.app.total == 0


def test_ssl_cert_file_names_the_ca(safe: Safe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.ca_file))
    assert "2026" in ask(safe.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.ca_file.with_name("missing.pem")))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        ask(safe.url)


def test_an_expired_certificate_is_refused(safe: Safe) -> None:
    certificate = safe.ca.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    with encrypted(certificate) as (app, url):
        with pytest.raises(ServerUnreachable, match=r"is not trusted: certificate expired") as raised:
            ask(url, ca_file=safe.ca_file)
        assert raised.value.exit_code == 2
        assert app.total == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only there the store is a file")
def test_without_any_ca_certificates_only_https_fails(
    safe: Safe, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, url = server()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    assert "2026" in ask(url)
    assert "2026" in ask(safe.url, ca_file=safe.ca_file)
    with pytest.raises(ConfigurationError, match="no CA certificate can be read from the system's store"):
        ask(safe.url)


@pytest.mark.parametrize(
    ("written", "message"), [(None, "cannot be read"), ("no certificate", "holds no certificate in PEM form")]
)
def test_a_ca_file_without_a_certificate_is_refused_before_any_request(
    tmp_path: Path, written: str | None, message: str
) -> None:
    file = tmp_path / "ca.pem"
    if written is not None:
        file.write_text(written, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"ca_file: {message}"):
        connection("https://wats.example.com", TOKEN, environ={}, ca_file=str(file))
    with pytest.raises(ConfigurationError, match="no CA certificate can be read from"):
        Client(Connection("https://wats.example.com", TOKEN, ca_file=file))


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


class Proxy:
    """A proxy that tunnels every CONNECT to one address, and records the request heads."""

    def __init__(self, target: tuple[str, int], *, wants: str = "") -> None:
        self.heads: list[str] = []
        self._target, self._wants = target, wants
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                return
            head += more
        self.heads.append(head.decode())
        if self._wants and f"proxy-authorization: {self._wants}".lower() not in head.decode().lower():
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        server = socket.create_connection(self._target)
        self._open.append(server)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxied(safe: Safe) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(**options: Any) -> Proxy:
            proxy = Proxy(("127.0.0.1", int(safe.url.rpartition(":")[2])), **options)
            stack.callback(proxy.close)
            return proxy

        yield start


VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables for proxies in upper or lower case; all others are unset."""

    def change(**variables: str) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    ("variables", "used"),
    [
        ({"HTTPS_PROXY": "http://PROXY"}, True),
        ({"https_proxy": "PROXY"}, True),
        ({"ALL_PROXY": "http://PROXY"}, True),
        ({"HTTP_PROXY": "http://PROXY"}, False),
        ({"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "example.com"}, False),
        ({"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "other.com, .example.com"}, False),
        ({"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "wats.example.com:4443"}, False),
        ({"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "*"}, False),
        ({"HTTPS_PROXY": "http://PROXY", "NO_PROXY": "ats.example.com,example.org"}, True),
        ({}, False),
    ],
)
def test_the_environment_chooses_the_proxy(
    safe: Safe, proxied: Any, environment: Callable[..., None], variables: dict[str, str], used: bool
) -> None:
    proxy = proxied()
    environment(
        **{
            name: value.replace("PROXY", proxy.address) if name != "NO_PROXY" else value
            for name, value in variables.items()
        }
    )
    transport = HttpTransport(timeout=5, largest=1000, connections=1, ca_file=safe.ca_file)
    request = Request("GET", "https://wats.example.com:4443/api/App/Version", {}, f"Basic {TOKEN}")
    try:
        if used:
            assert transport(request).status == 200
        else:
            with pytest.raises(TransportError):  # there is no such server
                transport(request)
    finally:
        transport.close()
    assert bool(proxy.heads) is used


def test_a_redirect_chooses_its_own_proxy(safe: Safe, proxied: Any, environment: Callable[..., None]) -> None:
    proxy = proxied()
    environment(HTTPS_PROXY=f"http://{proxy.address}")

    def answer(head: bytes) -> bytes:
        location = b"https://wats.example.com/api/App/Version"
        return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"

    with raw_server(answer) as (url, heads):
        place = Connection(url, TOKEN, timeout=5.0, ca_file=safe.ca_file)
        with Client(place, stopping=Hurried()) as client, pytest.raises(RequestError, match="HTTP 401"):
            client.get("App/Version", decode=version)
    assert len(heads) == len(proxy.heads) == 1
    assert TOKEN.encode() in heads[0]
    assert [request.status for request in safe.app.requests] == [401]


@pytest.mark.parametrize(
    "address", [f"http://me:{SECRET[:5]}@[", f"http://me:{SECRET[:5]}@a b", f"gopher://me:{SECRET[:5]}@a"]
)
def test_an_invalid_proxy_in_the_environment_is_a_configuration_error(
    safe: Safe, environment: Callable[..., None], address: str
) -> None:
    environment(HTTPS_PROXY=address)
    with pytest.raises(ConfigurationError, match="the proxy cannot be used") as raised:
        ask("https://wats.example.com", ca_file=safe.ca_file)
    assert "HTTPS_PROXY" in raised.value.hint
    assert SECRET[:5] not in str(raised.value)


def test_a_proxy_tunnels_and_never_sees_the_token(safe: Safe, proxied: Any) -> None:
    proxy = proxied()
    url = "https://wats.example.com"
    assert "2026" in ask(url, ca_file=safe.ca_file, proxy=f"http://{proxy.address}")
    [head] = proxy.heads
    assert head.startswith("CONNECT wats.example.com:443 ")
    assert TOKEN not in head
    assert safe.app.total == 1


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(
    safe: Safe, proxied: Any, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    proxy = proxied()
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{proxy.address}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "2026" in ask("https://wats.example.com", ca_file=safe.ca_file)
    assert len(proxy.heads) == 1
    _, url = server()
    assert "2026" in ask(url)
    assert "2026" in ask(safe.url, ca_file=safe.ca_file)
    assert len(proxy.heads) == 1


def test_the_password_of_a_proxy_is_sent_and_never_shown(safe: Safe, proxied: Any) -> None:
    packed = base64.b64encode(f"me:{SECRET}".encode()).decode()
    proxy = proxied(wants=f"Basic {packed}")
    quoted = "pr0xy%2Bp%40ss%2Fw0rd"
    address = f"http://me:{quoted}@{proxy.address}"
    source = Source(url="https://wats.example.com", token=TOKEN, ca_file=safe.ca_file, proxy=address)  # type: ignore[arg-type]
    assert "2026" in ask(source.url, ca_file=safe.ca_file, proxy=address)
    place = Connection(source.url, TOKEN, proxy=address)
    with Client(place) as client:
        shown = repr(source) + repr(place) + repr(client) + client.mask(f"{SECRET} {quoted} {packed}")
    for spelling in (SECRET, quoted, packed):
        assert spelling not in shown


def test_a_proxy_that_refuses_is_reported(safe: Safe, proxied: Any) -> None:
    proxy = proxied(wants="Basic other")
    place = Connection(
        "https://wats.example.com",
        TOKEN,
        ca_file=safe.ca_file,
        proxy=f"http://me:{SECRET[:5]}@{proxy.address}",
    )
    with Client(place, stopping=Hurried()) as client, pytest.raises(ServerUnreachable) as raised:
        client.get("App/Version", decode=version)
    assert "the proxy refused to connect (407" in raised.value.message
    assert raised.value.code == "CONNECTION_ERROR"
    assert raised.value.exit_code == 2
    assert raised.value.attempts == 1
    assert safe.app.total == 0


class Hurried(threading.Event):
    """An event whose waits return at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0)


@pytest.mark.parametrize(
    "proxy", ["proxy.example.com:3128", f"socks5://me:{SECRET}@host", f"http://me:{SECRET}@[", "x"]
)
def test_an_invalid_proxy_url_is_refused_and_not_shown(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy: should be an address such as") as raised:
        connection("https://wats.example.com", TOKEN, environ={}, proxy=proxy)
    assert SECRET not in str(raised.value)


# ── the command line ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = desk_in(tmp_path)
    desk.env["WATS_TOKEN"] = TOKEN
    return desk


def test_ca_file_and_proxy_in_a_pipeline_file(desk: Desk, safe: Safe, proxied: Any) -> None:
    proxy = proxied()
    desk.env["PROXY"] = f"http://{proxy.address}"
    more = ", ca_file: ca.pem, proxy: '${PROXY}'"
    said = desk.wats("run", desk.pipeline(url="https://wats.example.com", source=more), "-q")
    assert (said.code, said.err) == (0, "")
    assert safe.app.total > 5
    assert proxy.heads

    untrusted = desk.wats(
        "run", desk.pipeline("q.yaml", url=safe.url, source=", proxy: ''", path="q.duckdb"), "--json"
    )
    assert untrusted.code == 2
    assert json.loads(untrusted.out)["status"] == "refused"
    assert "the certificate of 127.0.0.1 is not trusted" in untrusted.err
    assert "ca_file" in untrusted.err

    missing = desk.wats("check", desk.pipeline("r.yaml", url=safe.url, source=", ca_file: missing.pem"))
    assert missing.code == 2
    assert "r.yaml:3: source.ca_file: cannot be read" in missing.err
