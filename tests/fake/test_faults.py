"""Every fault over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from itertools import pairwise

import httpx2
import pytest

from wats_extract.fake.app import App
from wats_extract.fake.exchange import Response
from wats_extract.fake.faults import BROKEN_KINDS, KINDS, Faults
from wats_extract.fake.plant.data import Plant

Connect = Callable[..., httpx2.Client]
HEADERS = "/api/Report/Query/Header"


def always(kind: str, **options: object) -> Faults:
    return Faults(rate=1.0, kinds=(kind,), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["500", "502", "503", "504"])
def test_server_errors(plant: Plant, connect: Connect, kind: str) -> None:
    client = connect(App(plant, faults=always(kind)))
    assert client.get(HEADERS).status_code == int(kind)
    assert client.get("/api/App/Version").status_code == int(kind)


def test_too_many_requests(plant: Plant, connect: Connect) -> None:
    seconds = connect(App(plant, faults=always("429", retry_after=7))).get(HEADERS)
    date = connect(App(plant, faults=always("429-date", retry_after=7))).get(HEADERS)
    none = connect(App(plant, faults=always("429-none"))).get(HEADERS)
    assert {response.status_code for response in (seconds, date, none)} == {429}
    assert seconds.headers["Retry-After"] == "7"
    assert -2 < parsedate_to_datetime(date.headers["Retry-After"]).timestamp() - time.time() < 9
    assert "Retry-After" not in none.headers


def test_responses_that_are_not_json(plant: Plant, connect: Connect) -> None:
    page = connect(App(plant, faults=always("html"))).get(HEADERS)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html")
    assert connect(App(plant, faults=always("empty"))).get(HEADERS).content == b""
    cut = connect(App(plant, faults=always("truncated"))).get(HEADERS)
    assert cut.status_code == 200
    with pytest.raises(ValueError, match=r".+"):
        cut.json()


def test_excessive_retry_after(plant: Plant, connect: Connect) -> None:
    long = connect(App(plant, faults=always("429-long"))).get(HEADERS)
    far = connect(App(plant, faults=always("429-far"))).get(HEADERS)
    assert long.headers["Retry-After"] == "99999"
    assert parsedate_to_datetime(far.headers["Retry-After"]).timestamp() - time.time() > 9 * 365 * 86_400


def test_responses_in_a_wrong_encoding(plant: Plant, connect: Connect) -> None:
    wide = connect(App(plant, faults=always("encoding"))).get(HEADERS)
    assert wide.headers["Content-Type"] == "application/json; charset=utf-8"
    assert wide.content.startswith((b"\xff\xfe", b"\xfe\xff"))
    with pytest.raises(httpx2.DecodingError):
        connect(App(plant, faults=always("no-gzip"))).get(HEADERS)
    half = connect(App(plant, faults=always("half-gzip"))).get(HEADERS)
    whole = connect(App(plant)).get(HEADERS)
    assert whole.content.startswith(half.content)
    assert half.content != whole.content


def test_gzip_bomb_inflates_to_a_gigabyte(plant: Plant, connect: Connect) -> None:
    with connect(App(plant, faults=always("bomb"))).stream("GET", HEADERS) as response:
        assert int(response.headers["Content-Length"]) < 2_000_000
        assert sum(map(len, response.iter_bytes())) == 2**30


def test_content_length_of_half_the_body(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("cut")))
    response = client.get(HEADERS, headers={"Accept-Encoding": "identity"})
    assert len(response.content) == int(response.headers["Content-Length"])
    with pytest.raises(ValueError, match=r".+"):
        response.json()


@pytest.mark.long
def test_head_drips_byte_by_byte(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("drip-status")), timeout=1.0)
    begun = time.perf_counter()
    with client.stream("GET", "/api/App/Version") as response:
        assert response.status_code == 200
        assert time.perf_counter() - begun > 0.5


def test_body_drips_byte_by_byte(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("drip")), timeout=1.0)
    begun = time.perf_counter()
    assert client.get("/api/App/Version").json()
    assert time.perf_counter() - begun > 0.5


@pytest.mark.parametrize("packed", ["gzip", "identity"])
@pytest.mark.parametrize("kind", ["short", "drop"])
def test_broken_connections(plant: Plant, connect: Connect, kind: str, packed: str) -> None:
    client = connect(App(plant, faults=always(kind)))
    with pytest.raises(httpx2.RemoteProtocolError):
        client.get(HEADERS, headers={"Accept-Encoding": packed})


def test_reset_connections(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("reset")))
    with pytest.raises(httpx2.ReadError):
        client.get(HEADERS)


def test_slow_responses(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("slow", delay=0.2)))
    begun = time.perf_counter()
    assert client.get(HEADERS).status_code == 200
    assert time.perf_counter() - begun >= 0.2


def test_stalled_response_ends_with_the_client_timeout(plant: Plant, connect: Connect) -> None:
    client = connect(App(plant, faults=always("stall")), timeout=0.2)
    with pytest.raises(httpx2.ReadTimeout):
        client.get(HEADERS)


def test_kinds_are_complete_and_applicable() -> None:
    assert set(KINDS) == {
        "500", "502", "503", "504", "429", "429-date", "429-none", "429-long", "429-far",
        "html", "empty", "truncated", "encoding", "short", "cut", "drop", "reset", "slow", "stall",
        "drip", "drip-status", "drip-header", "drip-chunk", "drip-trailer",
        "no-gzip", "half-gzip", "bomb", "other-encoding", "object", "message", "problem", "envelope",
        "null-list",
    }  # fmt: skip
    for kind in KINDS:
        assert isinstance(Faults().spoil(kind, Response(200, b"[1,2,3]")), Response)


def test_faults_occur_at_their_rate_and_are_reproducible() -> None:
    faults, same = (Faults(rate=0.2, kinds=("500", "drop"), seed=5) for _ in range(2))
    drawn = [faults.draw() for _ in range(2000)]
    assert drawn == [same.draw() for _ in range(2000)]
    assert 300 < sum(each is not None for each in drawn) < 500
    assert any(one and other for one, other in pairwise(drawn))


# ------------------------------------------------------------ broken reports


@pytest.mark.parametrize("kind", BROKEN_KINDS)
def test_report_can_be_permanently_broken(plant: Plant, connect: Connect, kind: str) -> None:
    uuid, fine = plant.uuids()[:2]
    app = App(plant, faults=Faults(broken={uuid.upper(): kind}))
    client = connect(app)
    for _ in range(2):
        check_broken(client, f"/api/Report/Wsjf/{uuid}", kind)
    assert client.get(f"/api/Report/Wsjf/{fine}").json() == plant.document(fine)
    app.faults.mend()
    assert client.get(f"/api/Report/Wsjf/{uuid}").json() == plant.document(uuid)


WRONG_BODIES = {
    "null": "null",
    "object": "{}",
    "empty": "",
    "message": r'\{"Message":".+"\}',
    "problem": r'\{"type":"about:blank","title":.+\}',
    "envelope": r'\{"value":\[\{"type":.+\}\]\}',
}


def check_broken(client: httpx2.Client, address: str, kind: str) -> None:
    if kind == "drop":
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(address)
        return
    response = client.get(address)
    if kind in ("404", "500", "403"):
        assert response.status_code == int(kind)
    elif kind in ("garbage", "truncated", "html"):
        assert response.status_code == 200
        with pytest.raises(ValueError, match=r".+"):
            response.json()
    elif kind in WRONG_BODIES:
        assert response.status_code == 200
        assert re.fullmatch(WRONG_BODIES[kind], response.text)
    elif kind == "grown":
        assert (response.json()["id"], len(response.json()["root"]["steps"])) == (address[-36:], 20_000)
    elif kind == "another":
        assert response.json()["id"] not in address
    else:
        assert b'"value":{"x":1}' in response.content
        assert response.json()["type"] == "T"


def test_wrong_type_makes_a_repair_a_string(plant: Plant, connect: Connect) -> None:
    uuid = next(row["uuid"] for row in plant.headers() if row["reportType"] == "R")
    client = connect(App(plant, faults=Faults(broken={uuid: "wrong-type"})))
    assert client.get(f"/api/Report/Wsjf/{uuid}").json() == "report"


def test_broken_reports_by_count_or_number(plant: Plant) -> None:
    counted = App(plant, faults=Faults(broken=10, broken_kinds=("500", "garbage"))).faults.broken
    assert sorted(counted.values()) == ["500"] * 5 + ["garbage"] * 5
    assert set(counted) <= set(plant.uuids())
    numbered = App(plant, faults=Faults(broken={3: "null"})).faults.broken
    assert numbered == {plant.uuid(3): "null"}


# ------------------------------------------------------------ the command line


def test_parse() -> None:
    faults = Faults.parse(
        "rate=100%, kinds=500+429, broken=4, broken-kind=garbage, retry-after=3, delay=0.1s, seed=9"
    )
    assert faults.draw() in ("500", "429")
    app = App(Plant(40), faults=faults)
    assert list(app.faults.broken.values()) == ["garbage"] * 4
    assert Faults.parse("").draw() is None
    assert Faults.parse("rate=0.5").draw() in (None, "429", "500", "503", "drop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rats=5%", "unknown fault setting 'rats'; the settings are: rate, kinds, broken, broken-kind"),
        ("rate=often", "rate must be a share such as 5% or 0.05, not 'often'"),
        ("rate=120%", "rate must be between 0% and 100%, not 120%"),
        ("kinds=500+boom", "unknown fault 'boom'; the faults are: 429, 429-date"),
        ("broken=some", "broken must be a whole number"),
        ("broken=1,broken-kind=short", "unknown fault 'short'; the faults are: 404, 500, 403, garbage"),
        ("delay=long", "delay must be a number of seconds"),
    ],
)
def test_parse_error_lists_the_valid_values(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults.parse(text)
