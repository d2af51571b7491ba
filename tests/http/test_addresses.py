"""Which hosts are this machine, and which hosts are refused because parsers of URLs read them differently."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wats_extract.errors import ConfigurationError
from wats_extract.http.addresses import is_host, is_loopback
from wats_extract.http.client import Client, Connection
from wats_extract.http.transport import HttpTransport, Request, TransportError
from wats_extract.pipeline.source import Source, connection

TOKEN = "dG9rZW46dG9rZW4="
RESPONSE = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"2026.1"'
LOOPBACKS = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "::1",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "::ffff:127.0.0.1",
    "::ffff:7f00:2",
]
ELSEWHERE = [
    "",
    "wats.example.com",
    "localhost.example.com",
    "127.0.0.1.example.com",
    "128.0.0.1",
    "10.0.0.5",
    "0.0.0.0",
    "::",
    "::2",
    "fd00::5:1234",
    "::ffff:10.0.0.5",
    "127.1",
    "2130706433",
]


@pytest.mark.parametrize("host", LOOPBACKS)
def test_every_spelling_of_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)
    assert is_host(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_other_host_is_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f.1",
        "1.2.3.4.5",
        "example.0x",
        "ex%61mple.com",
        "plänt.example.com",
        "\uff11\uff12\uff17.0.0.1",
        "a\\b",
        "a b",
        "a\tb",
        "a..b",
        "-a",
        "fe80::1%eth0",
        "",
    ],
)
def test_a_host_that_parsers_read_differently_is_refused(host: str) -> None:
    assert not is_host(host)
    shown = f"[{host}]" if ":" in host else host
    with pytest.raises(ConfigurationError) as refused:
        connection(f"https://{shown}/x", TOKEN, environ={}, allow_http=True)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("host", ["wats", "my_host", "a-b.example.com.", "xn--plnt-loa.eu", "10.0.0.5"])
def test_a_usual_host_is_accepted(host: str) -> None:
    assert is_host(host)
    assert Source(url=f"https://{host}:8443").url == f"https://{host}:8443"


@contextmanager
def listening(family: socket.AddressFamily, host: str) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers every request with a version; yields its port and the heads of its requests."""
    heads: list[bytes] = []
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        server.listen()

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    heads.append(taken.recv(65536))
                    taken.sendall(
                        b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"2026.1"'
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heads
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize(
    ("family", "bound", "host"),
    [
        (socket.AF_INET6, "::1", "[::1]"),
        (socket.AF_INET6, "::1", "[0:0:0:0:0:0:0:1]"),
        (socket.AF_INET, "127.0.0.2", "127.0.0.2"),
        (socket.AF_INET, "127.0.0.1", "[::ffff:127.0.0.1]"),
        (socket.AF_INET, "127.0.0.1", "localhost"),
    ],
)
def test_a_server_on_this_machine_gets_the_token_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, bound: str, host: str
) -> None:
    with listening(socket.AF_INET, "127.0.0.1") as (proxy, seen), listening(family, bound) as (port, heads):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        source = connection(f"http://{host}:{port}", TOKEN, environ={})
        assert source.requests_per_minute is None
        with Client(Connection(source.url, TOKEN, timeout=5.0)) as client:
            assert client.get("App/Version", decode=lambda reply: reply.body) == b'"2026.1"'
    assert f"basic {TOKEN}".encode().lower() in heads[0].lower()
    assert seen == []


def test_an_ipv6_address_is_never_taken_for_a_host_and_a_port() -> None:
    source = connection("https://[fd00::5:1234]", TOKEN, environ={})
    assert source.url == source.identity == "https://[fd00::5:1234]"
    with listening(socket.AF_INET, "127.0.0.1") as (_, seen):
        transport = HttpTransport(timeout=0.5, largest=1000, connections=1)
        with pytest.raises(TransportError):  # nobody has this address
            transport(Request("GET", f"{source.url}/api/App/Version", {}, f"Basic {TOKEN}"))
        transport.close()
    assert seen == []
