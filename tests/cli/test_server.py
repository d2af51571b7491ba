"""Which server a command reads: never the demo by accident, and never another one than its destination's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.command_line import SECRET, CommandLine
from tests.forked import INTERPRETER

from wats_extract.errors import ConfigurationError
from wats_extract.fake.app import App
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve
from wats_extract.frontends import pipelines
from wats_extract.pipeline.loading import load
from wats_extract.pipeline.opening import destination_of
from wats_extract.resources.catalogue import RESOURCES

from .conftest import Desk, Said, Serving

PLACES = {"duckdb": "../data/wats.duckdb", "parquet": "../data/wats"}
KINDS = list(PLACES)
RANGE = ["--from", "2000-01-01", "--to", "2100-01-01"]
COMMANDS = {
    "run": [],
    "plan": [],
    "check": [],
    "retry": [],
    "verify": [],
    "backfill": RANGE,
    "preview": ["report_headers"],
}
"""The commands that read a server, with the words that they need after the file."""

LOADING = {**{name: words for name, words in COMMANDS.items() if name != "preview"}, "repair": ["--repair"]}


@pytest.fixture
def project(desk: Desk) -> Desk:
    """A folder with a folder of pipelines, whose commands start in a folder with an ``.env`` of its own."""
    (desk.folder / "pipelines").mkdir()
    (desk.folder / "elsewhere").mkdir()
    (desk.folder / "elsewhere" / ".env").write_text("WATS_URL=demo\n", encoding="utf-8")
    for name in ("WATS_URL", "WATS_TOKEN"):
        desk.env.pop(name, None)
    return CommandLine(desk.folder / "elsewhere", desk.env)


def pipeline(project: Desk, kind: str, *, source: str = "", url: str = "${WATS_URL}") -> str:
    """Write ``pipelines/p.yaml``, and return its path from the folder where commands start."""
    CommandLine(project.folder.parent, {}).pipeline(
        "pipelines/p.yaml",
        url=url,
        source=source,
        kind=kind,
        path=PLACES[kind],
        resources="[{name: report_headers}, {name: reports, chunk_size: 10}]",
    )
    return "../pipelines/p.yaml"


def place(project: Desk, kind: str) -> Path:
    return project.folder.parent / "data" / Path(PLACES[kind]).name


def call(project: Desk, command: str, file: str, *words: str) -> Said:
    name = "verify" if command == "repair" else command
    return project.wats(name, file, *{**COMMANDS, **LOADING}[command], *words)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(file: Path, kind: str) -> dict[str, int]:
    """The number of rows of each table."""
    loaded = load(file, catalogue=RESOURCES, environ={}, offline=True)
    destination = destination_of(loaded)
    destination.open(read_only=True)
    try:
        return destination.count(
            table for name in ("report_headers", "reports") for table in RESOURCES[name].tables
        )
    finally:
        destination.close()


# ── no run falls back to the demo ───────────────────────────────────────────────────────────────


LOST = {
    "unset, and in the .env of the current folder only": {},
    "empty": {"WATS_URL": ""},
    "whitespace": {"WATS_URL": " \t"},
    "empty, with a token": {"WATS_URL": "", "WATS_TOKEN": SECRET},
    "both names empty": {"WATS_URL": "", "PYWATS_SERVER_URL": ""},
    "the demo in pyWATS's variable": {"PYWATS_SERVER_URL": "demo"},
}
QUOTED = {"quotes": {"WATS_URL": "''"}, "a quoted demo": {"WATS_URL": '"demo"'}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_falls_back_to_the_demo(project: Desk, command: str, kind: str) -> None:
    for url in ("${WATS_URL}", "${WATS_URL:-demo}"):
        file = pipeline(project, kind, url=url)
        for name, environ in (LOST | QUOTED).items():
            said = call(CommandLine(project.folder, project.env | environ), command, file)
            assert said.code == 2, name
            assert "source.url" in said.err, name
            assert ("--demo" in said.err) is (name in LOST), name
    assert not place(project, kind).parent.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_demo_is_read_only_if_it_is_asked_for(project: Desk, command: str, kind: str) -> None:
    file = pipeline(project, kind)
    asked = CommandLine(project.folder, project.env | {"WATS_URL": "demo?reports=20"})
    code = 3 if command == "verify" else 0  # nothing is loaded yet
    assert call(asked, command, file).code == code
    assert call(asked, command, file, "--demo").code == code
    for token in ("WATS_TOKEN", "PYWATS_API_TOKEN"):
        said = call(CommandLine(project.folder, asked.env | {token: SECRET}), command, file, "--demo")
        assert said.code == 2
        assert "a token is set" in said.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_variable_leaves_the_production_data_alone(project: Desk, serving: Serving, kind: str) -> None:
    serving(20)
    file = pipeline(project, kind)
    assert project.wats("run", file, "-q").code == 0
    before = files(project.folder.parent)
    del project.env["WATS_URL"]
    for command in LOADING:
        assert call(project, command, file).code == 2
    del project.env["WATS_TOKEN"]
    for command in LOADING:
        assert call(project, command, file).code == 2
        refused = call(project, command, file, "--demo")
        assert refused.code == 2
        assert "belongs to the server http://127.0.0.1:" in refused.err
        assert "reads demo" in refused.err
    after = files(project.folder.parent)
    assert {name for name in before if before[name] != after.get(name)} <= locks(before)
    assert "succeeded" in project.wats("status", file).out


def locks(found: dict[str, bytes]) -> set[str]:
    return {name for name in found if ".lock" in name}


@pytest.fixture
def bare(project: Desk) -> Desk:
    """Commands with the environment of ``env -i``."""
    return CommandLine(project.folder, dict(INTERPRETER))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no env")
@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_without_an_environment_reads_the_env_file_above_the_pipeline(
    project: Desk, serving: Serving, kind: str
) -> None:
    serving(20)
    file = pipeline(project, kind)
    command = ["env", "-i", sys.executable, "-m", "wats_extract.cli", "run", file, "--json", "-q"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)

    lost = run()
    assert lost.returncode == 2
    assert "--demo" in lost.stderr
    assert not place(project, kind).exists()
    url = project.env["WATS_URL"]
    (project.folder.parent / ".env").write_text(
        f"WATS_URL=\"{url}\"\nWATS_TOKEN='{SECRET}'\n", encoding="utf-8"
    )
    found = run()
    result = json.loads(found.stdout)
    assert (found.returncode, result["resources"]["reports"]["items"]) == (0, 20)
    assert (result["server"], result["destination"]) == (url, str(place(project, kind)))
    assert place(project, kind).exists()
    assert not (project.folder / "data").exists()


# ── a destination belongs to one server ─────────────────────────────────────────────────────────


@pytest.fixture
def other() -> Iterator[tuple[App, str]]:
    """A second server, on the same host and another port."""
    app = App(Plant(30, seed=2), token=SECRET)
    with serve(app) as server:
        yield app, server.url


@pytest.mark.parametrize("kind", KINDS)
def test_a_destination_belongs_to_one_server(
    project: Desk, serving: Serving, other: tuple[App, str], kind: str
) -> None:
    serving(20)
    file = pipeline(project, kind)
    assert project.wats("run", file, "-q").code == 0
    first, (app, second) = project.env["WATS_URL"], other
    loaded = rows(project.folder / file, kind)
    project.read(second)
    for command in LOADING:
        said = call(project, command, file, *([] if command == "check" else ["--json"]))
        assert said.code == 2, command
        assert f"belongs to the server {first}" in said.err
        assert f"reads {second}" in said.err
        if command != "check":
            refused = json.loads(said.out)
            assert (refused["status"], refused["server"]) == ("refused", second)
            assert refused["destination"] == str(place(project, kind))
    assert app.total == 0
    refused = project.wats("state", file, "clear", "--yes")
    assert (refused.code, first in refused.err) == (2, True)
    assert call(project, "preview", file).code == 0
    assert f"from {first} into {place(project, kind)}" in project.wats("status", file).out
    assert rows(project.folder / file, kind) == loaded

    moved = pipeline(project, kind, source=f", id: '{first}'")
    result = json.loads(project.wats("run", moved, "--json").out)
    assert (result["server"], result["status"]) == (first, "succeeded")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_loads_nothing_does_not_claim_the_destination(
    project: Desk, serving: Serving, other: tuple[App, str], kind: str
) -> None:
    serving(20)
    file = pipeline(project, kind)
    refusing = CommandLine(project.folder, project.env | {"WATS_TOKEN": "b3RoZXItdG9rZW4"})
    assert refusing.wats("run", file, "-q").code == 2
    project.read(other[1])
    result = json.loads(project.wats("run", file, "--json").out)
    assert (result["status"], result["resources"]["reports"]["items"]) == ("succeeded", 30)


@pytest.mark.parametrize("kind", KINDS)
def test_the_demo_is_one_server_whatever_its_port(project: Desk, kind: str) -> None:
    project.env["WATS_URL"] = "demo?reports=20"
    file = pipeline(project, kind)
    first, second = (json.loads(project.wats("run", file, "--json").out) for _ in range(2))
    assert (first["server"], first["resources"]["reports"]["items"]) == ("demo", 20)
    assert (second["server"], second["resources"]["reports"]["items"]) == ("demo", 0)
    del project.env["WATS_URL"]
    for words in (["status", file], ["failures", file], ["state", file], ["state", file, "export"]):
        assert project.wats(*words).code == 0
    assert "from the embedded demo server into" in project.wats("status", file).out
    assert project.wats("state", file, "set", "reports", '{"time_stamp": 1}', "--yes").code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_json_object_and_summary_names_server_and_destination(
    project: Desk, serving: Serving, kind: str
) -> None:
    serving(20)
    file = pipeline(project, kind)
    named = project.env["WATS_URL"], str(place(project, kind))
    for command in ("plan", "run", "retry", "verify", "backfill", "repair"):
        result = json.loads(call(project, command, file, "--json").out)
        assert (result["server"], result["destination"]) == named, command
        assert f"from {named[0]} into {named[1]}\n" in call(project, command, file).out, command


@pytest.mark.parametrize("name", ["run", "plan", "verify", "retry", "backfill"])
def test_the_functions_refuse_and_read_the_demo_like_the_commands(
    project: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in ("WATS_URL", "WATS_TOKEN", "PYWATS_SERVER_URL", "PYWATS_API_TOKEN"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.chdir(project.folder)
    file = pipeline(project, "duckdb", url="${WATS_URL:-demo?reports=20}")
    times = {"since": "2000-01-01", "until": "2100-01-01"} if name == "backfill" else {}
    function = getattr(pipelines, name)
    with pytest.raises(ConfigurationError, match="--demo"):
        function(file, **times)
    assert not place(project, "duckdb").exists()
    done = function(file, demo=True, **times)
    assert (done.server, done.destination) == ("demo", str(place(project, "duckdb")))
