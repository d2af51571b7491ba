"""Tokens, routes, compression, rate limit and request log of the app, and the HTTP server."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest

from wats_extract.fake.app import ROUTES, App
from wats_extract.fake.faults import Faults
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.routes.traps import PATHS
from wats_extract.fake.server import serve, serve_forever

Connect = Callable[..., httpx2.Client]
VERSION = "/api/App/Version"


def test_token_must_match_exactly(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, token="aGVsbG86d29ybGQ="), token="aGVsbG86d29ybGQ=")
    assert client.get(VERSION).json() == "2026.1.5.324"
    for wrong in ("Basic AGVSBG86D29YBGQ=", "Bearer aGVsbG86d29ybGQ=", "aGVsbG86d29ybGQ=", ""):
        response = client.get(VERSION, headers={"Authorization": wrong})
        assert response.status_code == 401
        assert not response.headers["Content-Type"].startswith("application/json")


def test_unknown_routes_are_404(client: httpx2.Client) -> None:
    for path in ("/", "/api", "/api/Auth", "/api/Report/Wsjf", "/api/App/Version/5"):
        assert client.get(path).status_code == 404
    assert client.post(VERSION).status_code == 404
    assert client.get("/API/APP/version/").status_code == 200


def test_processes_by_kind(client: httpx2.Client) -> None:
    def names(**flags: str) -> list[str]:
        return [each["name"] for each in client.get("/api/App/Processes", params=flags).json()]

    assert names() == ["ICT", "Functional test", "Burn in", "Packing", "Repair"]
    assert names(includeRepairOperations="true") == ["Repair"]
    assert names(INCLUDETESTOPERATIONS="true", includeInactiveProcesses="true")[-1] == "Final test (old)"
    processes = client.get("/api/App/Processes").json()
    assert {"description" in each for each in processes} == {True, False}


def test_large_responses_are_compressed_if_the_client_accepts_gzip(plant: Plant, connect: Connect) -> None:
    path = f"/api/Report/Wsjf/{plant.uuids()[0]}"
    client = connect(App(plant))
    assert client.get(path).headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "identity"}).headers
    assert "Content-Encoding" not in client.get(VERSION).headers
    assert "Content-Encoding" not in connect(App(plant, gzip=False)).get(path).headers
    with client.stream("GET", path) as response:
        assert gzip.decompress(b"".join(response.iter_raw())).startswith(b'{"type":"T","id":"')


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("how", ["seconds", "date", "none"])
def test_rate_limit_uses_a_sliding_window(plant: Plant, connect: Connect, how: str) -> None:
    clock = Clock()
    client = connect(App(plant, requests_per_minute=3, retry_after=how, clock=clock))
    for _ in range(3):
        assert client.get(VERSION).status_code == 200
        clock.now += 10
    response = client.get(VERSION)
    assert response.status_code == 429
    if how == "seconds":
        assert 30 <= int(response.headers["Retry-After"]) <= 31
    elif how == "date":
        assert parsedate_to_datetime(response.headers["Retry-After"]).timestamp() > time.time() + 25
    else:
        assert "Retry-After" not in response.headers
    clock.now += 31
    assert client.get(VERSION).status_code == 200
    assert client.get(VERSION).status_code == 429


def test_requests_are_logged(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    client = connect(app)
    client.get(VERSION)
    client.get("/api/report/query/header", params={"$top": "1"})
    client.get(f"/api/Report/Wsjf/{plant.uuids()[0]}")
    client.get("/nowhere")
    assert [(each.method, each.status) for each in app.requests] == [("GET", 200)] * 3 + [("GET", 404)]
    assert app.requests[1].path == "/api/report/query/header"
    assert app.requests[1].query == "%24top=1"
    assert app.total == 4
    assert app.per_route["/api/Report/Query/Header"] == 1
    assert app.per_route["/api/Report/Wsjf/{}"] == 1
    assert app.per_route[""] == 1


def test_public_routes_are_in_the_specification(openapi: dict[str, Any]) -> None:
    known = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in openapi["paths"].items()
        for method in methods
    }
    public = {(route.method, route.path) for route in ROUTES if "/internal/" not in route.path}
    assert public <= known
    queries = {path for method, path in known if path.startswith("/api/App/")}
    assert {path for _, path in public} >= queries
    not_served = {"/api/BarcodeIdentifiers/IdentifyBarcode", "/api/Export/{}"}
    assert {path for method, path in known if method == "GET"} - {path for _, path in public} == not_served


@pytest.mark.parametrize("path", PATHS)
def test_gets_that_change_data_are_listed_as_state_changes(plant: Plant, connect: Connect, path: str) -> None:
    app = App(plant)
    client = connect(app)
    assert client.get(path.replace("{}", "x").lower()).status_code == 200
    (logged,) = app.state_changes
    assert logged.path == path.replace("{}", "x").lower()


def test_unsafe_methods_are_listed_as_state_changes(plant: Plant, connect: Connect) -> None:
    app = App(plant)
    client = connect(app)
    client.get(VERSION)
    client.get("/nowhere")
    assert not app.state_changes
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        client.request(method, "/api/Product")
    client.post("/api/Export/Certificate", headers={"Authorization": "no"})
    assert [each.method for each in app.state_changes] == ["POST", "PUT", "DELETE", "PATCH", "POST"]


def test_high_water_is_the_peak_of_concurrent_requests(plant: Plant, connect: Connect) -> None:
    app = App(plant, latency=0.1)
    client = connect(app)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: client.get(VERSION), range(12)))
    assert 3 <= app.high_water <= 6
    assert app.total == 12


# ------------------------------------------------------------ the server


def test_connection_is_kept_alive(plant: Plant) -> None:
    with serve(App(plant)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line, line.makefile("rb") as reader:
            for _ in range(3):
                line.sendall(
                    f"GET {VERSION} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic demo\r\n\r\n".encode()
                )
                assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
                while reader.readline() != b"\r\n":
                    continue
                assert reader.read(14) == b'"2026.1.5.324"'
            line.sendall(f"GET {VERSION} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            assert b"401" in reader.readline()
            reader.read()


def test_malformed_request_closes_the_connection(plant: Plant) -> None:
    with serve(App(plant)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"hello\r\n\r\n")
            assert line.recv(100) == b""


def test_stop_is_quick_while_responses_stall(plant: Plant) -> None:
    app = App(plant, faults=Faults(rate=1.0, kinds=("stall",)))
    with serve(app) as server:
        client = httpx2.Client(base_url=server.url, headers={"Authorization": "Basic demo"}, timeout=5)
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(client.get, VERSION) for _ in range(3)]
            while app.total < 3:
                time.sleep(0.01)
            begun = time.perf_counter()
            server.stop()
            assert time.perf_counter() - begun < 1
            assert all(isinstance(each.exception(), httpx2.TransportError) for each in waiting)
    with pytest.raises(httpx2.ConnectError):
        client.get(VERSION)
    client.close()


def test_port_can_be_reused(plant: Plant) -> None:
    with serve(App(plant)) as server:
        port = server.server_address[1]
        httpx2.get(server.url + VERSION, headers={"Authorization": "Basic demo"})
    with serve(App(plant), port=port) as server:
        assert server.url.endswith(f":{port}")
        assert httpx2.get(server.url + VERSION).status_code == 401


def test_port_in_use_is_an_error(plant: Plant) -> None:
    with (
        serve(App(plant)) as server,
        pytest.raises(OSError, match=r".+"),
        serve(App(plant), server.server_address[1]),
    ):
        pass


def test_serve_forever_reports_its_address(plant: Plant) -> None:
    found: list[str] = []
    ready = threading.Event()

    def on_ready(url: str) -> None:
        found.append(url)
        ready.set()

    threading.Thread(target=serve_forever, args=(App(plant), 0, on_ready), daemon=True).start()
    assert ready.wait(5)
    assert httpx2.get(found[0] + VERSION, headers={"Authorization": "Basic demo"}).status_code == 200
