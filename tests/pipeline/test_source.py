from __future__ import annotations

import copy
import os
import pickle
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from wats_extract.errors import ConfigurationError, RequestError
from wats_extract.http.client import Client, Connection
from wats_extract.http.retry import RetryPolicy
from wats_extract.pipeline.source import Demo, Source, connection, environment, source_of, variable

NOW = datetime(2026, 3, 31, 15, 30, 20, tzinfo=UTC)
SECRET = "aGVsbG86c2VjcmV0LW1hcmtlcg=="


# ── the source ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_", "normal"),
    [
        ("https://acme.wats.com", "https://acme.wats.com"),
        ("https://acme.wats.com/", "https://acme.wats.com"),
        ("https://acme.wats.com/api", "https://acme.wats.com"),
        ("https://acme.wats.com/API/", "https://acme.wats.com"),
        ("https://Acme.wats.com//", "https://acme.wats.com"),
        ("  https://acme.wats.com ", "https://acme.wats.com"),
        ("https://plant:8443/wats/api/", "https://plant:8443/wats"),
        ("https://plant/my-api", "https://plant/my-api"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080/api", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("demo", "demo"),
        ("demo?reports=500&seed=7", "demo?reports=500&seed=7"),
    ],
)
def test_an_address_is_normalised(given_: str, normal: str) -> None:
    assert Source(url=given_).url == normal


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "neither WATS_URL nor PYWATS_SERVER_URL is set"),
        ('"https://acme.wats.com"', "without quotation marks"),
        ("'demo'", "without quotation marks"),
        ("acme.wats.com", "should begin with https://"),
        ("acme.wats.com:443", "should begin with https://"),
        ("ftp://acme.wats.com", "should begin with https://"),
        ("https://", "should begin with https://"),
        ("Demo", "or be 'demo'"),
        ("http://acme.wats.com", "allow_http: true"),
        ("http://10.0.0.5", "allow_http: true"),
        ("http://127.0.0.1.example.com", "allow_http: true"),
        (f"https://me:{SECRET}@acme.wats.com", "user name or password"),
        (f"https://me:{SECRET}/@acme.wats.com", "is not a web address"),
        (f"https://acme.wats.com?token={SECRET}", "the address alone"),
        ("https://acme.wats.com/#/reports", "the address alone"),
        ("https://[acme", "is not a web address"),
        ("https://acme:port", "is not a web address"),
    ],
)
def test_a_wrong_address_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as refused:
        connection(url or None, environ={"WATS_URL": " "} if not url else {})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("demo?size=5", "'reports' and 'seed', not 'size'"),
        ("demo?reports=many", "should be a whole number"),
        ("demo?seed=-1", "should be a whole number"),
    ],
)
def test_a_wrong_demo_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        source_of({"url": url})


@pytest.mark.parametrize("url", ["demo", "demo?reports=5", " demo "])
def test_a_connection_is_never_to_the_demo(url: str) -> None:
    for given, environ in ((url, {}), (None, {"WATS_URL": url}), (None, {"PYWATS_SERVER_URL": url})):
        with pytest.raises(ConfigurationError, match="embedded demo server") as refused:
            connection(given, environ=environ)
        assert "wats_extract.demo()" in refused.value.hint


@pytest.mark.parametrize("environ", [{}, {"WATS_URL": ""}, {"WATS_URL": " ", "PYWATS_SERVER_URL": "\t"}])
def test_a_connection_without_an_address_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="there is no server to connect to") as refused:
        connection(environ=environ | {"WATS_TOKEN": SECRET})
    assert "wats_extract.demo()" in refused.value.hint


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://acme.wats.com", "HTTPS://ACME.wats.com:443/api/", True),
        ("https://acme.wats.com/Wats/", "https://acme.wats.com/wats", True),
        ("http://127.0.0.1", "http://127.0.0.1:80", True),
        ("http://[::1]:80", "http://[::1]", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001", False),
        ("https://acme.wats.com", "https://acme.wats.com:444", False),
        ("http://127.0.0.1:443", "https://127.0.0.1", False),
        ("https://acme.wats.com", "https://acme.wats.com/wats", False),
        ("https://acme.wats.com", "https://other.wats.com", False),
        ("demo", "demo?reports=5&seed=7", True),
        ("demo", "https://demo", False),
    ],
)
def test_the_identity_of_a_server(one: str, other: str, same: bool) -> None:
    first, second = (Source.model_validate({"url": url}).identity for url in (one, other))
    assert (first == second) is same


def test_an_id_replaces_the_address_but_not_that_of_the_demo() -> None:
    assert Source(url="https://acme.wats.com:8443/Wats/").identity == "https://acme.wats.com:8443/wats"
    assert Source(url="https://acme.wats.com", id="plant-a").identity == "plant-a"
    assert Source(url="demo", id="plant-a").identity == "demo"
    assert Source().identity == ""


def test_plain_http_has_to_be_allowed() -> None:
    assert Source(url="http://plant.local", allow_http=True).url == "http://plant.local"


@pytest.mark.parametrize(
    ("url", "demo"),
    [
        ("demo", Demo()),
        ("demo?reports=500&seed=7", Demo(reports=500, seed=7)),
        ("https://demo.wats.com", None),
    ],
)
def test_the_demo_is_an_address(url: str, demo: Demo | None) -> None:
    assert Source(url=url).demo == demo


def test_only_a_real_server_has_a_rate_limit_by_default() -> None:
    assert Source(url="https://acme.wats.com").requests_per_minute == 500
    assert Source(url="demo").requests_per_minute is None
    assert Source(url="http://127.0.0.1:8000").requests_per_minute is None
    assert Source(url="demo", requests_per_minute=60).requests_per_minute == 60
    assert Source(url="https://acme.wats.com", requests_per_minute=None).requests_per_minute is None


@pytest.mark.parametrize(
    ("environ", "url", "token"),
    [
        ({"WATS_URL": "https://a"}, "https://a", ""),
        ({"WATS_URL": "https://a", "WATS_TOKEN": "t"}, "https://a", "t"),
        ({"PYWATS_SERVER_URL": "https://b/api", "PYWATS_API_TOKEN": "u"}, "https://b", "u"),
        ({"WATS_URL": "", "PYWATS_SERVER_URL": "https://b"}, "https://b", ""),
        ({"WATS_URL": "https://a", "PYWATS_SERVER_URL": "https://b"}, "https://a", ""),
    ],
)
def test_the_environment_gives_server_and_token(environ: dict[str, str], url: str, token: str) -> None:
    source = connection(environ=environ)
    assert (source.url, source.token.get_secret_value()) == (url, token)


def test_arguments_override_the_environment() -> None:
    source = connection(
        "https://c", "given", environ={"WATS_URL": "https://a", "WATS_TOKEN": "t"}, max_in_flight=3
    )
    assert (source.url, source.usable_token(), source.max_in_flight) == ("https://c", "given", 3)


def test_wrong_limits_are_refused_in_plain_words() -> None:
    with pytest.raises(
        ConfigurationError, match="max_in_flight: should be at least 1; timeout: should be a duration"
    ):
        connection("https://a", environ={}, max_in_flight=0, timeout="soon")


@pytest.mark.parametrize(
    "timeout", [1e300, 1e12, 10**400, float("inf"), float("nan"), -1, 0, 0.0, 1e-300, "1e9", "9" * 5000, True]
)
def test_a_timeout_that_no_request_can_have_is_refused(timeout: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout: should be "):
        connection("https://a", environ={}, timeout=timeout)


@pytest.mark.parametrize("timeout", [0.001, "1ms", "24h", 86_400])
def test_a_request_can_have_the_shortest_and_the_longest_timeout(timeout: float | str) -> None:
    seconds = connection("https://a", environ={}, timeout=timeout).timeout
    client = Client(Connection("http://127.0.0.1:9", timeout=seconds), policy=RetryPolicy(1))
    with client, pytest.raises(RequestError) as raised:
        client.get("App/Version", decode=repr)
    assert raised.value.code in ("CONNECTION_ERROR", "TIMEOUT")


@pytest.mark.parametrize("written", [SECRET, f" {SECRET}\n", f"Basic {SECRET}"])
def test_the_token_is_stripped_and_never_shown(written: str) -> None:
    source = Source(url="https://acme.wats.com", token=written)  # type: ignore[arg-type]
    assert source.usable_token() == SECRET
    for shown in (repr(source), str(source), str(source.model_dump()), source.model_dump_json()):
        assert SECRET not in shown


def test_a_wrong_token_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="token: contains a blank") as refused:
        connection("https://acme.wats.com", f"{SECRET} {SECRET}", environ={})
    assert SECRET not in str(refused.value)
    assert refused.value.__context__ is None
    with pytest.raises(ValidationError) as raised:
        Source(url=SECRET, token=f"{SECRET} x", timeout=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(raised.value)


def test_only_the_demo_needs_no_token() -> None:
    assert Source(url="demo", token=SECRET).usable_token() == ""  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"no token for https://acme\.wats\.com") as refused:
        Source(url="https://acme.wats.com").usable_token()
    assert "WATS_TOKEN" in refused.value.hint


# ── the environment ─────────────────────────────────────────────────────────────────────────────


def test_an_env_file_never_overrides_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "near" / "empty"
    folder.mkdir(parents=True)
    (tmp_path / "near" / ".env").write_bytes("\ufeffA=near\r\nB=near\r\nQUOTED='a $b'\r\nEMPTY\r\n".encode())
    (tmp_path / ".env").write_text("A=far\nB=far\nC=far\n", encoding="utf-8")
    monkeypatch.setenv("A", "process")
    for name in ("B", "C", "QUOTED", "EMPTY"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    found = environment(folder)
    assert (found["A"], found["B"], found["QUOTED"]) == ("process", "near", "a $b")
    assert not {"C", "EMPTY"} & found.keys()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("process", "file", "url", "token"),
    [
        ({}, {"WATS_URL": "file", "WATS_TOKEN": "f"}, "file", "f"),
        ({}, {"PYWATS_SERVER_URL": "file", "PYWATS_API_TOKEN": "f"}, "file", "f"),
        ({"WATS_URL": "process"}, {"WATS_URL": "file", "WATS_TOKEN": "f"}, "process", "f"),
        ({"WATS_URL": "process"}, {"PYWATS_SERVER_URL": "file"}, "process", None),
        ({"PYWATS_SERVER_URL": "process"}, {"WATS_URL": "file"}, "process", None),
        ({"PYWATS_API_TOKEN": "p"}, {"WATS_TOKEN": "f"}, None, "p"),
        ({"WATS_URL": "", "WATS_TOKEN": " "}, {"WATS_URL": "file", "WATS_TOKEN": "f"}, "file", "f"),
        ({"WATS_URL": "", "PYWATS_SERVER_URL": ""}, {"PYWATS_SERVER_URL": "file"}, "file", None),
        ({"WATS_URL": "process", "WATS_TOKEN": "p"}, {"WATS_URL": "", "WATS_TOKEN": ""}, "process", "p"),
    ],
)
def test_the_environment_comes_before_an_env_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    process: dict[str, str],
    file: dict[str, str],
    url: str | None,
    token: str | None,
) -> None:
    for name in ("WATS_URL", "WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in process.items():
        monkeypatch.setenv(name, value)
    lines = "".join(f'{name}="{value}"\n' for name, value in file.items())
    (tmp_path / ".env").write_text(lines, encoding="utf-8")
    found = environment(tmp_path)
    assert (variable("WATS_URL", found), variable("WATS_TOKEN", found)) == (url, token)


def test_an_env_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"WATS_TOKEN={SECRET}ü".encode("utf-16"))
    with pytest.raises(ConfigurationError, match="cannot be read as UTF-8") as refused:
        environment(tmp_path)
    assert SECRET not in str(refused.value)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert variable("WATS_URL", {"WATS_URL": ""}) is None
    assert variable("WATS_URL", {"WATS_URL": " \t", "PYWATS_SERVER_URL": "\n"}) is None
    assert variable("WATS_URL", {"WATS_URL": "", "PYWATS_SERVER_URL": "x"}) == "x"
    assert variable("OTHER", {"OTHER": ""}) == ""
    assert variable("NAME", {}) is None


PROXY_PASSWORD = "pr0xy-p4ssword"


def test_a_pickle_holds_no_secret() -> None:
    proxy = f"http://me:{PROXY_PASSWORD}@proxy.example.com:3128"
    source = source_of({"url": "https://acme.wats.com", "token": SECRET, "proxy": proxy, "timeout": 7})
    place = Connection(source.url, SECRET, proxy=proxy, timeout=7.0)
    for settings in (source, place):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            packed = pickle.dumps(settings, protocol)
            assert SECRET.encode() not in packed
            assert PROXY_PASSWORD.encode() not in packed
            again = pickle.loads(packed)
            assert (again.url, again.timeout) == (settings.url, 7)
    with pytest.raises(ConfigurationError, match="there is no token"):
        pickle.loads(pickle.dumps(source)).usable_token()
    assert source.usable_token() == SECRET
    assert copy.deepcopy(source).usable_token() == SECRET


def test_a_pickle_keeps_a_proxy_without_a_password() -> None:
    proxy = "http://proxy.example.com:3128"
    source = source_of({"url": "https://acme.wats.com", "proxy": proxy})
    again = pickle.loads(pickle.dumps(source))
    assert again.proxy.get_secret_value() == proxy
    assert pickle.loads(pickle.dumps(Connection(source.url, proxy=proxy))).proxy == proxy
