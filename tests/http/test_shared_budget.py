"""One budget for all processes with the same token: simulated, with real processes and with damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import TOKEN
from tests.simulation import Server, Simulation, most_in_a_minute, persistent

from wats_extract.fake.app import App
from wats_extract.http.budget import SlidingWindow
from wats_extract.http.client import Client, Connection
from wats_extract.http.shared_budget import SharedBudget, file_name, folder
from wats_extract.http.throttle import Throttle

URL = "https://acme.wats.com"


def shared(
    place: Path, note: Callable[[str], None] = lambda message: None, token: str = TOKEN
) -> SharedBudget:
    return SharedBudget(place, url=URL, token=token, note=note)


def one(throttle: Throttle) -> None:
    with throttle.slot():
        pass


# ── several processes in simulated time ────────────────────────────────────────────────────────


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("counting", ["sliding", pytest.param("fixed", marks=pytest.mark.long)])
def test_processes_share_one_budget_and_none_starves(tmp_path: Path, processes: int, counting: str) -> None:
    simulation = Simulation()
    server = Server(simulation, counting=counting)
    throttles = [simulation.throttle(max_in_flight=5, shared=shared(tmp_path)) for _ in range(processes)]
    done = [0] * processes

    def work(number: int) -> None:
        done[number % processes] += persistent(server, throttles[number % processes], until=1200)

    simulation.run(5 * processes, work)
    assert server.refused == 0
    assert server.most_in_a_minute <= 500
    assert server.done >= 0.98 * 20 * 500
    assert min(done) > 0.5 * sum(done) / processes


def test_after_one_process_ends_the_others_get_the_whole_budget(tmp_path: Path) -> None:
    simulation = Simulation()
    server = Server(simulation)
    throttles = [simulation.throttle(max_in_flight=5, shared=shared(tmp_path)) for _ in range(2)]
    simulation.run(10, lambda number: persistent(server, throttles[number % 2], until=(300, 900)[number % 2]))
    assert server.refused == 0
    assert sum(instant > 360 for instant, _ in server.arrivals) >= 0.98 * 9 * 500


def test_the_smallest_budget_holds_while_its_process_sends_requests(tmp_path: Path) -> None:
    simulation = Simulation()
    server = Server(simulation)
    large, small = (
        simulation.throttle(max_in_flight=5, requests_per_minute=budget, shared=shared(tmp_path))
        for budget in (500, 100)
    )
    own: list[float] = []

    def work(number: int) -> None:
        if number % 2:
            persistent(server, large, until=1200)
        while simulation.now < 600:
            server.ask(small)
            own.append(simulation.now)

    simulation.run(10, work)
    arrivals = [instant for instant, _ in server.arrivals]
    assert most_in_a_minute(instant for instant in arrivals if 62 < instant < 600) <= 100
    assert len(own) > 200
    assert most_in_a_minute(instant for instant in arrivals if instant > 700) > 490


def test_a_pause_holds_for_all_processes(tmp_path: Path) -> None:
    now = [100.0]
    announced: list[tuple[str, float]] = []

    def wait(seconds: float) -> None:
        now[0] += seconds

    def announce(reason: str, seconds: float) -> None:
        announced.append((reason, round(seconds)))

    first, second = (
        Throttle(
            requests_per_minute=500,
            max_in_flight=1,
            clock=lambda: now[0],
            wait=wait,
            announce=announce,
            shared=shared(tmp_path),
        )
        for _ in range(2)
    )
    first.pause(30)
    one(second)
    assert announced == [("the server asked for a pause", 30)]


# ── real processes ──────────────────────────────────────────────────────────────────────────────

ASKING = """
import sys, threading, time, urllib.request
from pathlib import Path
from wats_extract.http.shared_budget import SharedBudget
from wats_extract.http.throttle import Throttle

url, token, folder, seconds = sys.argv[1:]
shared = SharedBudget(Path(folder), url=url, token=token, note=print)
throttle = Throttle(requests_per_minute=100, max_in_flight=4, shared=shared, minute=2.0)
asked = urllib.request.Request(url + "/api/App/Version", headers={"Authorization": "Basic " + token})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
end = time.monotonic() + float(seconds)
def work():
    while time.monotonic() < end:
        with throttle.slot():
            opener.open(asked).read()
        done.append(1)
done = []
threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(done))
"""


def test_real_processes_share_a_budget_and_a_killed_one_leaves_nothing_behind(
    server: Callable[..., tuple[App, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wats_extract.fake.app._WINDOW", 2.0)  # a minute is two seconds in this test
    app, url = server(requests_per_minute=100)

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", ASKING, url, TOKEN, str(tmp_path), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    others = [start(6), start(6)]
    killed = start(60)
    deadline = time.monotonic() + 60
    while app.total < 150 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    done = [int(each.communicate(timeout=60)[0]) for each in others]
    statuses = [request.status for request in app.requests]
    assert statuses.count(200) == len(statuses), "a request was one too many"
    assert sum(done) >= 150
    assert min(done) >= 10


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def test_the_name_of_the_file_depends_on_server_and_token_and_reveals_neither() -> None:
    name = file_name(URL, TOKEN)
    assert name == file_name(f"{URL}/", TOKEN)
    assert len({name, file_name(URL, "other"), file_name("https://other.wats.com", TOKEN)}) == 3
    assert TOKEN not in name
    assert "acme" not in name


def test_no_file_holds_the_token_and_no_other_user_can_read_them(tmp_path: Path) -> None:
    place = tmp_path / "budgets"
    with Client(Connection(URL, TOKEN), budgets=place) as client:
        one(client._shared.throttle)
    files = list(place.iterdir())
    assert files
    for file in files:
        assert TOKEN not in file.name
        assert TOKEN.encode() not in file.read_bytes()
        assert os.name == "nt" or file.stat().st_mode & 0o077 == 0
    assert os.name == "nt" or place.stat().st_mode & 0o777 == 0o700


def test_without_a_budget_there_is_no_file(tmp_path: Path) -> None:
    place = tmp_path / "budgets"
    with Client(Connection(URL, TOKEN, requests_per_minute=None), budgets=place) as client:
        one(client._shared.throttle)
    assert not place.exists()


def test_every_user_has_a_folder_of_their_own() -> None:
    assert folder().is_absolute()
    assert os.name == "nt" or folder().name.endswith(str(os.getuid()))


@pytest.mark.skipif(os.name == "nt", reason="Windows has LOCALAPPDATA")
def test_the_folder_is_below_a_temporary_folder_that_exists_and_never_below_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    for named, expected in (
        (str(tmp_path / "temporary"), tmp_path / "temporary"),
        (str(tmp_path / "missing"), Path("/tmp")),
        ("temporary", Path("/tmp")),
    ):
        monkeypatch.setenv("TMPDIR", named)
        for each in ("TEMP", "TMP"):
            monkeypatch.delenv(each, raising=False)
        assert folder().parent == expected


DAMAGED: dict[str, Callable[[Path], Any]] = {
    "no window": lambda file: file.write_bytes(b"x" * 100),
    "half": lambda file: file.write_bytes(file.read_bytes()[:1000]),
    "a bit": lambda file: file.write_bytes(b"\x00" * 50 + file.read_bytes()[50:]),
    "too long": lambda file: file.write_bytes(file.read_bytes() * 2),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_replaced_and_reported_once(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    notes: list[str] = []
    mine = Throttle(requests_per_minute=50, max_in_flight=1, shared=shared(tmp_path, notes.append))
    for _ in range(20):
        one(mine)
    file = tmp_path / file_name(URL, TOKEN)
    for _ in range(2):
        damage(file)
        one(mine)
    assert len(notes) == 1
    assert "is replaced: " in notes[0]
    window = SlidingWindow()
    window.decode(file.read_bytes(), time.monotonic())
    assert window.take(time.monotonic(), budget=50, most=50) == 28, "the process kept its own counts"


def a_file(place: Path) -> None:
    place.write_text("no folder")


def a_link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to(place.parent / "elsewhere")


def open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


@pytest.mark.skipif(os.name == "nt", reason="POSIX's links and permissions")
@pytest.mark.parametrize("prepare", [a_file, a_link, open_to_all])
def test_a_process_that_cannot_use_the_folder_counts_alone_and_says_so_once(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    prepare(tmp_path / "budgets")
    simulation = Simulation()
    notes: list[str] = []
    throttle = simulation.throttle(shared=shared(tmp_path / "budgets", notes.append))
    server = Server(simulation)
    simulation.run(10, lambda _: persistent(server, throttle, until=300))
    assert server.done >= 0.98 * 5 * 500
    assert server.refused == 0
    assert len(notes) == 1
    assert "other processes with the same token are not counted" in notes[0]


def test_a_file_that_stays_locked_does_not_block_requests(tmp_path: Path) -> None:
    notes: list[str] = []
    throttle = Throttle(requests_per_minute=500, max_in_flight=1, shared=shared(tmp_path, notes.append))
    stopped, window = shared(tmp_path), SlidingWindow()
    done = threading.Event()
    with stopped.synchronised(window, time.monotonic()):
        begun = time.monotonic()
        thread = threading.Thread(target=lambda: (one(throttle), one(throttle), done.set()))
        thread.start()
        assert done.wait(10)
    thread.join()
    assert time.monotonic() - begun < 5
    assert len(notes) == 1
    assert "is locked" in notes[0]


@pytest.mark.parametrize("then", [0.0, 5.0, 59.0, 1e6, 1e6 - 30, 1e6 + 30, 1e9])
def test_no_file_makes_a_request_wait_longer_than_a_minute(tmp_path: Path, then: float) -> None:
    """The clock may have restarted since, or another machine may have written the file."""
    now = [1e6]
    old = Throttle(requests_per_minute=5, max_in_flight=1, clock=lambda: now[0], shared=shared(tmp_path))
    for _ in range(5):
        one(old)
    old.pause(60)
    now[0] = then

    def wait(seconds: float) -> None:
        now[0] += seconds

    new = Throttle(
        requests_per_minute=5, max_in_flight=1, clock=lambda: now[0], wait=wait, shared=shared(tmp_path)
    )
    one(new)
    assert now[0] - then < 62


def test_large_budgets_reserve_several_starts_per_write(tmp_path: Path) -> None:
    simulation = Simulation()
    server = Server(simulation, per_minute=60_000, seconds=0.005, way=0.01)
    throttle = simulation.throttle(requests_per_minute=60_000, max_in_flight=20, shared=shared(tmp_path))
    simulation.run(20, lambda _: persistent(server, throttle, until=70))
    assert server.refused == 0
    assert server.done > 60_000


def test_old_files_are_deleted(tmp_path: Path) -> None:
    one(Throttle(requests_per_minute=5, max_in_flight=1, shared=shared(tmp_path, token="old")))
    old = tmp_path / file_name(URL, "old")
    os.utime(old, (0, 0))
    one(Throttle(requests_per_minute=5, max_in_flight=1, shared=shared(tmp_path)))
    assert not old.exists()
    assert (tmp_path / file_name(URL, TOKEN)).exists()
