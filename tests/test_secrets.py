"""The token appears nowhere but in the request header, whatever a server does with it.

Every command runs with a marker as its token, against a server that echoes the marker in every encoding. Then
everything that was printed and written is searched for it.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import polars as pl
import pytest
from rich.console import Console
from rich.traceback import Traceback

import wats_extract as wx
from tests.command_line import CommandLine, Finished
from tests.extraction import Extraction
from wats_extract.cli.app import COMMANDS
from wats_extract.errors import RequestError, ServerUnreachable, TokenRefused
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve as fake_server

MARKER = "bWFya2Vy+b2YtYQ/c2VjcmV0dG9rZW4="
ECHOES = {
    "plain": MARKER,
    "URL": quote(MARKER, safe=""),
    "JSON": MARKER.replace("+", "\\u002B").replace("/", "\\/"),
    "HTML": MARKER.replace("+", "&#43;").replace("=", "&#61;"),
    "base64": base64.b64encode(MARKER.encode()).decode(),
    "header in base64": base64.b64encode(f"Basic {MARKER}".encode()).decode(),
}
PARTS = [MARKER[:12], MARKER[-16:-1], *ECHOES.values()]
"""Texts that nothing may show: the token in every encoding, and long pieces of it."""

ESCAPE = "\\u001b]0;owned\\u0007\\u001b[2J"
"""Terminal control codes, as JSON spells them."""


def leaks(text: str | bytes) -> list[str]:
    """The parts of the token that a text shows."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return [part for part in PARTS if part in text]


class EchoServer(App):
    """A server that repeats the token it was sent, in errors about the first reports or in data."""

    def __init__(self, *args: Any, in_data: bool = False, **options: Any) -> None:
        super().__init__(*args, token=MARKER, **options)
        self.in_data = in_data
        self._spelled = dict(zip(self.plant.uuids(), ECHOES.values(), strict=False))

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        with super().answering(request) as response:
            yield self._echo(request, response)

    def _echo(self, request: Request, response: Response) -> Response:
        uuid = request.path.rpartition("/")[2]
        spelling = self._spelled.get(uuid)
        if response.status == 401:
            return replace(response, body=f"who is {request.headers['authorization']}?".encode())
        if "Wsjf" in request.path and spelling:
            return self._fail(list(self._spelled).index(uuid), response, spelling)
        if self.in_data:
            comment = f'"comment":"{MARKER} {ESCAPE}"'.encode()
            return replace(response, body=response.body.replace(b'"comment":null', comment))
        return response

    def _fail(self, number: int, response: Response, spelling: str) -> Response:
        body = f'{{"Message":"you are {spelling} {ESCAPE}", "path": "/x/{spelling}"}}'.encode()
        match number % 3:
            case 0:
                return replace(response, status=403, body=body, headers={"X-Echo": spelling})
            case 1:
                return replace(response, status=404, body=f"<title>{spelling}</title>".encode())
            case _:
                return replace(response, body=b'{"type": "T", "id": {"' + spelling.encode() + b'": 1}}')


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    with CommandLine.inside(tmp_path, token=MARKER) as made:
        yield made


def serve(command_line: CommandLine, **options: Any) -> EchoServer:
    app = EchoServer(Plant(24), gzip=False, **options)
    command_line.serve(app)
    return app


def written(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Every file as bytes and every table as text, each with its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), str(pl.read_parquet(path).to_dicts())
        if path.suffix == ".duckdb":
            with duckdb.connect(path, read_only=True) as tables:
                for (name,) in tables.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                    yield name, str(tables.execute(f'FROM "{name}"').fetchall())


def assert_shows_nothing(ended: Finished, *command: str) -> None:
    assert not leaks(ended.out), command
    assert not leaks(ended.err), command


LENIENT = "max_failures: 100\nstop_at_failures: 100%"
SCRIPT = (
    ("check", "p.yaml"),
    ("plan", "p.yaml"),
    ("preview", "p.yaml", "reports"),
    ("run", "p.yaml"),
    ("run", "p.yaml", "--full-refresh", "--json"),
    ("run", "p.yaml", "--full-refresh", "-q"),
    ("status", "p.yaml"),
    ("failures", "p.yaml"),
    ("failures", "p.yaml", "--all", "--format", "json"),
    ("failures", "p.yaml", "--format", "csv"),
    ("retry", "p.yaml"),
    ("retry", "p.yaml", "--json"),
    ("backfill", "p.yaml", "--from", "2000-01-01", "--to", "2100-01-01"),
    ("state", "p.yaml", "show"),
    ("state", "p.yaml", "export"),
    ("state", "p.yaml", "set", "reports", '{"time_stamp": 1}', "--yes"),
    ("state", "p.yaml", "clear", "--yes"),
    ("verify", "p.yaml"),
    ("resources",),
    ("resources", "reports"),
    ("json-schema",),
    ("init", "new"),
    ("run", "wrong.yaml", "--json"),
    ("run", "p.yaml", "--only", MARKER),
    ("run", "p.yaml", MARKER),
)


def test_the_script_has_every_command_that_takes_a_token() -> None:
    assert {command[0] for command in SCRIPT} == set(COMMANDS) - {"demo-server"}


@pytest.mark.parametrize(("kind", "traceback"), [("duckdb", ""), ("parquet", "1")])
def test_no_command_prints_or_writes_the_token(command_line: CommandLine, kind: str, traceback: str) -> None:
    app = serve(command_line)
    folder = command_line.folder
    command_line.env["WATS_EXTRACT_TRACEBACK"] = traceback
    path = "data/wats.duckdb" if kind == "duckdb" else "data/wats"
    command_line.pipeline(kind=kind, path=path, more=LENIENT)
    command_line.pipeline("wrong.yaml", source=f", tokem: {MARKER}", more="max_failures: lots")
    (folder / "wrong.yaml").write_text(
        (folder / "wrong.yaml").read_text(encoding="utf-8").replace("${WATS_TOKEN:-}", MARKER),
        encoding="utf-8",
    )
    codes = {}
    for command in SCRIPT if kind == "duckdb" else SCRIPT[3:15]:
        ended = command_line.wats(*command)
        codes[command] = ended.code
        assert_shows_nothing(ended, *command)
        assert "this is a bug" not in ended.err, ended.err
    assert codes["run", "p.yaml"] == 0
    assert app.total > 30
    (folder / "wrong.yaml").unlink()
    for place, content in written(folder):
        assert not leaks(content), place
    failed = failures(folder, kind)
    assert len(failed) == len(ECHOES)
    assert all("***" in row["payload"] for row in failed)


def failures(folder: Path, kind: str) -> list[dict[str, Any]]:
    if kind == "parquet":
        return pl.read_parquet(folder / "data/wats/_wats_failures/*.parquet").to_dicts()
    with duckdb.connect(folder / "data/wats.duckdb", read_only=True) as tables:
        found = tables.sql("FROM _wats_failures").to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def test_no_error_message_shows_the_token(command_line: CommandLine) -> None:
    serve(command_line)
    command_line.pipeline(more=LENIENT)
    url = command_line.env["WATS_URL"]
    for name, value in {
        "WATS_TOKEN": f"{MARKER[:-1]}x",
        "WATS_URL": f"https://user:{MARKER}@example.com",
        "WATS_EXTRACT_TRACEBACK": "1",
    }.items():
        other = CommandLine(command_line.folder, command_line.env | {name: value})
        assert_shows_nothing(other.wats("run", "p.yaml", "--json"), name)
    command_line.env |= {"WATS_URL": "http://127.0.0.1:9", "WATS_EXTRACT_TRACEBACK": "1"}
    command_line.pipeline(more=LENIENT, path="data/unreachable.duckdb")
    unreachable = run_python(command_line, "from tests.retrying import retry_at_once; retry_at_once()")
    assert unreachable.code == 5
    assert_shows_nothing(unreachable, "no server listens")
    command_line.env["WATS_URL"] = url
    command_line.pipeline(more=LENIENT)
    for fault in (
        f"RuntimeError('no way, ' + {MARKER!r})",
        f"OSError({ECHOES['URL']!r})",
        f"KeyError({ECHOES['base64']!r})",
    ):
        ended = run_with_a_bug(command_line, fault)
        assert ended.code == 1
        assert "Traceback" in ended.err
        assert fault.partition("(")[0] in ended.err
        assert_shows_nothing(ended, fault)


def run_with_a_bug(command_line: CommandLine, fault: str) -> Finished:
    """Run the pipeline into a destination that raises an unexpected error."""
    code = (
        "from wats_extract.destinations.duckdb import DuckDB\n"
        f"def broken(*args, **kwargs): raise {fault}\n"
        "DuckDB.prepare = broken\n"
    )
    return run_python(command_line, code)


def run_python(command_line: CommandLine, code: str) -> Finished:
    """Run the pipeline in a process that runs some code first."""
    return command_line.python(
        f"{code}\nfrom wats_extract.cli import main\nmain(['run', 'p.yaml', '--json'])"
    )


def test_data_is_stored_as_it_is_and_masked_on_the_screen(command_line: CommandLine) -> None:
    """A comment that contains the token is the server's data, so it is stored. No screen shows it."""
    serve(command_line, in_data=True)
    command_line.pipeline(more=LENIENT)
    for command in (
        ("preview", "p.yaml", "report_headers"),
        ("run", "p.yaml"),
        ("failures", "p.yaml"),
        ("status", "p.yaml"),
        ("verify", "p.yaml"),
    ):
        assert_shows_nothing(command_line.wats(*command), *command)
    with duckdb.connect(command_line.folder / "data/wats.duckdb", read_only=True) as tables:
        comments = tables.execute("SELECT DISTINCT comment FROM report_headers").fetchall()
        names = tables.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        bookkeeping = {
            name: str(tables.execute(f"FROM {name}").fetchall())
            for (name,) in names
            if name.startswith("_wats_")
        }
    assert (f"{MARKER} \x1b]0;owned\x07\x1b[2J",) in comments
    assert {"_wats_failures", "_wats_runs", "_wats_state"} <= bookkeeping.keys()
    assert not leaks("".join(bookkeeping.values()))


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
def test_files_are_created_with_the_users_umask(command_line: CommandLine) -> None:
    serve(command_line)
    command_line.pipeline(more=LENIENT)
    before = os.umask(0o077)
    try:
        for command in (["run", "p.yaml", "-q"], ["init", "new"]):
            assert command_line.finished(command_line.start(*command)).code == 0
    finally:
        os.umask(before)
    made = [path for path in command_line.folder.rglob("*") if path.name != "p.yaml"]
    assert len(made) > 3
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in made} == {
        path.name: "0o0" for path in made
    }


# ── Python ──────────────────────────────────────────────────────────────────────────────────────


def shown_with_locals(error: BaseException) -> str:
    """A traceback with the local variables of every function, as some notebooks show it."""
    out = io.StringIO()
    trace = Traceback.from_exception(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_string=10_000,
        locals_max_length=10_000,
        suppress=[__file__],
    )
    Console(file=out, width=10_000).print(trace)
    return out.getvalue()


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("refused token", TokenRefused),
        ("no server", ServerUnreachable),
        ("broken reports", RequestError),
    ],
)
def test_no_repr_and_no_traceback_shows_the_token(
    command_line: CommandLine, problem: str, kind: type[Exception]
) -> None:
    app = serve(command_line)
    url = command_line.env["WATS_URL"] if problem != "no server" else "http://127.0.0.1:9"
    token = [f"{MARKER[:-1]}x" if problem == "refused token" else MARKER]
    with wx.connect(url, token=token[0], timeout=1) as wats:
        assert not leaks(repr(wats) + str(wats))
        if problem == "broken reports":
            outcomes = list(wats.fetch_each("reports", app.plant.uuids()))
            assert not leaks(repr(outcomes))
            return
        with pytest.raises(kind) as raised:
            list(wats.stream("report_headers"))
    text = shown_with_locals(raised.value)
    assert "wats_extract" in text
    shown = [line for line in text.splitlines() if leaks(line) and "token = [" not in line]
    assert shown == []


WRONG_BODIES = {
    "message": ("application/json", '{"Message": "you are %s"}'),
    "problem": ("application/problem+json", '{"title": "Bad Gateway", "detail": "%s", "%s": 1}'),
    "envelope": ("application/json", '{"value": [{"id": "%s"}], "%s": "%s"}'),
    "list of errors": ("application/json", '[{"error": "%s"}]'),
    "sign-in page": ("text/html", "<html><title>Sign in, %s</title>%s</html>"),
    "text": ("text/plain", "%s"),
    "cut": ("application/json", '[{"uuid": "%s'),
    "another document": ("application/json", '{"type": "T", "id": "%s", "pn": "%s"}'),
}
"""Bodies with status 200 that are no data and repeat the token, as content type and text."""


class WrongBodies(App):
    """A server whose responses to some route are no data and repeat the token."""

    def __init__(self, *args: Any, route: str, kind: str, body: str) -> None:
        super().__init__(*args, token=MARKER)
        self._route, self._kind, self._body = route, kind, body

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        with super().answering(request) as response:
            if self._route in request.path:
                yield Response(200, self._body.encode(), self._kind)
            else:
                yield response


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("parquet", marks=pytest.mark.long)])
@pytest.mark.parametrize("route", ["Report/Query/Header", "Report/Wsjf"])
@pytest.mark.parametrize(("content_type", "text"), WRONG_BODIES.values(), ids=WRONG_BODIES)
def test_a_body_that_is_no_data_does_not_show_the_token(
    tmp_path: Path, kind: str, route: str, content_type: str, text: str
) -> None:
    for name, spelling in ECHOES.items():
        body = text.replace("%s", spelling)
        app = WrongBodies(Plant(2), route=route, kind=content_type, body=body)
        with fake_server(app) as server:
            extraction = Extraction(
                server.url, tmp_path / name, kind, names=["reports"], token=MARKER, stop_at_failures="100%"
            )
            report = extraction.run()
        assert report.exit_code not in (0, 1)
        assert not leaks(repr(report) + json.dumps(report.to_json()))
        for place, content in written(tmp_path / name):
            assert not leaks(content), place
