"""TLS on loopback: certificates are verified, a private CA and a proxy can be configured."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.cli.conftest import Desk, desk_in
from tests.conftest import TOKEN

from wats_extract.errors import ConfigurationError, ServerUnreachable
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.flow import Reply
from wats_extract.http.client import Client, Connection
from wats_extract.pipeline.source import Source, connection

SECRET = "pr0xy+p@ss/w0rd"


@dataclass
class Safe:
    """An embedded server behind TLS, and who vouches for it."""

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


def test_a_certificate_from_nobody_known_is_refused_at_once_and_no_token_is_sent(safe: Safe) -> None:
    with pytest.raises(ServerUnreachable) as told:
        ask(safe.url)
    assert safe.app.total == 0
    assert told.value.attempts == 1
    assert told.value.exit_code == 5
    assert told.value.message.startswith("the certificate of 127.0.0.1 is not trusted: ")
    assert "source.ca_file" in told.value.hint


def test_a_private_ca_is_trusted_where_it_is_named(safe: Safe) -> None:
    assert "2026" in ask(safe.url, ca_file=safe.ca_file)
    assert safe.app.total == 1


def test_a_certificate_for_another_name_is_refused(safe: Safe, tmp_path: Path) -> None:
    with encrypted(safe.ca.issue_cert("other.example.com")) as (app, url):
        with pytest.raises(ServerUnreachable) as told:
            ask(url, ca_file=safe.ca_file)
        assert "not valid for '127.0.0.1'" in told.value.message
        assert app.total == 0


def test_another_private_ca_does_not_vouch(safe: Safe, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(ServerUnreachable, match="is not trusted"):
        ask(safe.url, ca_file=other)
    assert safe.app.total == 0


def test_the_environment_can_name_the_ca(safe: Safe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.ca_file))
    assert "2026" in ask(safe.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(safe.ca_file.with_name("missing.pem")))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        ask(safe.url)


@pytest.mark.parametrize(
    ("written", "told"), [(None, "cannot be read"), ("no certificate", "holds no certificate in PEM form")]
)
def test_a_ca_file_that_is_none_is_refused_before_any_request(
    tmp_path: Path, written: str | None, told: str
) -> None:
    file = tmp_path / "ca.pem"
    if written is not None:
        file.write_text(written, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"ca_file: {told}"):
        connection("https://wats.example.com", TOKEN, environ={}, ca_file=str(file))
    with pytest.raises(ConfigurationError, match="no CA certificate can be read from"):
        Client(Connection("https://wats.example.com", TOKEN, ca_file=file))


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


class Proxy:
    """Tunnels every CONNECT to one address, whatever name is asked for; notes what it was told."""

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


def test_a_proxy_tunnels_and_never_sees_the_token(safe: Safe, proxied: Any) -> None:
    proxy = proxied()
    url = "https://wats.example.com"
    assert "2026" in ask(url, ca_file=safe.ca_file, proxy=f"http://{proxy.address}")
    [head] = proxy.heads
    assert head.startswith("CONNECT wats.example.com:443 ")
    assert TOKEN not in head
    assert safe.app.total == 1


def test_the_environments_proxy_serves_but_not_on_the_way_to_this_machine(
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


def test_a_proxys_password_is_used_and_shown_nowhere(safe: Safe, proxied: Any) -> None:
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


def test_a_proxy_that_refuses_is_named(safe: Safe, proxied: Any) -> None:
    proxy = proxied(wants="Basic other")
    place = Connection(
        "https://wats.example.com",
        TOKEN,
        ca_file=safe.ca_file,
        proxy=f"http://me:{SECRET[:5]}@{proxy.address}",
    )
    with Client(place, stopping=Hurried()) as client, pytest.raises(ServerUnreachable) as told:
        client.get("App/Version", decode=version)
    assert "the proxy refused to connect (407" in told.value.message
    assert told.value.code == "CONNECTION_ERROR"
    assert safe.app.total == 0


class Hurried(threading.Event):
    """An event for which nobody waits."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0)


@pytest.mark.parametrize(
    "proxy", ["proxy.example.com:3128", f"socks5://me:{SECRET}@host", f"http://me:{SECRET}@[", "x"]
)
def test_an_address_that_is_no_proxy_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy: should be an address such as") as told:
        connection("https://wats.example.com", TOKEN, environ={}, proxy=proxy)
    assert SECRET not in str(told.value)


# ── the command line ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = desk_in(tmp_path)
    desk.env["WATS_TOKEN"] = TOKEN
    return desk


def test_a_pipeline_file_names_ca_and_proxy(desk: Desk, safe: Safe, proxied: Any) -> None:
    proxy = proxied()
    desk.env["PROXY"] = f"http://{proxy.address}"
    more = ", ca_file: ca.pem, proxy: '${PROXY}'"
    said = desk.wats("run", desk.pipeline(url="https://wats.example.com", source=more), "-q")
    assert (said.code, said.err) == (0, "")
    assert safe.app.total > 5
    assert proxy.heads

    untrusted = desk.wats("run", desk.pipeline("q.yaml", url=safe.url, source=", proxy: ''"), "--json")
    assert untrusted.code == 5
    assert "the certificate of 127.0.0.1 is not trusted" in untrusted.err
    assert "ca_file" in untrusted.err

    missing = desk.wats("check", desk.pipeline("r.yaml", url=safe.url, source=", ca_file: missing.pem"))
    assert missing.code == 2
    assert "r.yaml:3: source.ca_file: cannot be read" in missing.err
