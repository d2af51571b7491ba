"""The token shows nowhere but in the request header, whatever a server does with it.

Every command runs with a marker for a token, against a server that echoes it in every spelling; then all
that was printed and all that was written is searched.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from tests.cli.conftest import Desk, Said, desk_in
from wats_extract.cli.app import COMMANDS
from wats_extract.errors import RequestError, ServerUnreachable, TokenRefused
from wats_extract.fake.app import App
from wats_extract.fake.exchange import Request, Response
from wats_extract.fake.plant.data import Plant
from wats_extract.fake.server import serve

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
"""Also a long piece of it is too much."""

ESCAPE = "\\u001b]0;owned\\u0007\\u001b[2J"


def leaks(text: str | bytes) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return [part for part in PARTS if part in text]


class Echoing(App):
    """A server that shows the token it was sent, in errors of the first reports, and in data if asked to."""

    def __init__(self, *args: Any, in_data: bool = False, **options: Any) -> None:
        super().__init__(*args, token=MARKER, **options)
        self.in_data = in_data
        self._spelled = dict(zip(self.plant.uuids(), ECHOES.values(), strict=False))

    @contextmanager
    def answering(self, request: Request) -> Iterator[Response]:
        with super().answering(request) as answer:
            yield self._echoed(request, answer)

    def _echoed(self, request: Request, answer: Response) -> Response:
        uuid = request.path.rpartition("/")[2]
        spelling = self._spelled.get(uuid)
        if answer.status == 401:
            return replace(answer, body=f"who is {request.headers['authorization']}?".encode())
        if "Wsjf" in request.path and spelling:
            return self._failed(list(self._spelled).index(uuid), answer, spelling)
        if self.in_data:
            comment = f'"comment":"{MARKER} {ESCAPE}"'.encode()
            return replace(answer, body=answer.body.replace(b'"comment":null', comment))
        return answer

    def _failed(self, number: int, answer: Response, spelling: str) -> Response:
        body = f'{{"Message":"you are {spelling} {ESCAPE}", "path": "/x/{spelling}"}}'.encode()
        match number % 3:
            case 0:
                return replace(answer, status=403, body=body, headers={"X-Echo": spelling})
            case 1:
                return replace(answer, status=404, body=f"<title>{spelling}</title>".encode())
            case _:
                return replace(answer, body=b'{"type": "T", "id": {"' + spelling.encode() + b'": 1}}')


@pytest.fixture
def serving(desk: Desk) -> Iterator[Any]:
    with ExitStack() as stack:

        def start(**options: Any) -> Echoing:
            app = Echoing(Plant(24), gzip=False, **options)
            desk.env["WATS_URL"] = stack.enter_context(serve(app)).url
            return app

        yield start


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = desk_in(tmp_path)
    desk.env["WATS_TOKEN"] = MARKER
    return desk


def written(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Every file as it is, and every table as text."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
        if path.suffix == ".parquet":
            yield str(path), str(pl.read_parquet(path).to_dicts())
        if path.suffix == ".duckdb":
            with duckdb.connect(path, read_only=True) as tables:
                for (name,) in tables.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                    yield name, str(tables.execute(f'FROM "{name}"').fetchall())


def assert_nothing_shown(said: Said, *command: str) -> None:
    assert not leaks(said.out), command
    assert not leaks(said.err), command


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


def test_every_command_runs() -> None:
    assert {command[0] for command in SCRIPT} == set(COMMANDS) - {"demo-server"}, (
        "that one has no token of ours"
    )


@pytest.mark.parametrize(("kind", "traceback"), [("duckdb", ""), ("parquet", "1")])
def test_no_command_shows_or_writes_the_token(desk: Desk, serving: Any, kind: str, traceback: str) -> None:
    app = serving()
    desk.env["WATS_EXTRACT_TRACEBACK"] = traceback
    path = "data/wats.duckdb" if kind == "duckdb" else "data/wats"
    desk.pipeline(kind=kind, path=path, more=LENIENT)
    desk.pipeline("wrong.yaml", source=f", tokem: {MARKER}", more="max_failures: lots")
    (desk.folder / "wrong.yaml").write_text(
        (desk.folder / "wrong.yaml").read_text(encoding="utf-8").replace("${WATS_TOKEN:-}", MARKER),
        encoding="utf-8",
    )
    codes = {}
    for command in SCRIPT if kind == "duckdb" else SCRIPT[3:15]:
        said = desk.wats(*command)
        codes[command] = said.code
        assert_nothing_shown(said, *command)
        assert "this is a bug" not in said.err, said.err
    assert codes["run", "p.yaml"] == 0
    assert app.total > 30
    (desk.folder / "wrong.yaml").unlink()
    for place, content in written(desk.folder):
        assert not leaks(content), place
    failed = failures(desk, kind)
    assert len(failed) == len(ECHOES)
    assert all("***" in row["payload"] for row in failed)


def failures(desk: Desk, kind: str) -> list[dict[str, Any]]:
    if kind == "parquet":
        return pl.read_parquet(desk.folder / "data/wats/_wats_failures/*.parquet").to_dicts()
    with duckdb.connect(desk.folder / "data/wats.duckdb", read_only=True) as tables:
        found = tables.sql("FROM _wats_failures").to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def test_no_error_shows_it_either(desk: Desk, serving: Any) -> None:
    serving()
    desk.pipeline(more=LENIENT)
    url = desk.env["WATS_URL"]
    for name, value in {
        "WATS_TOKEN": f"{MARKER[:-1]}x",
        "WATS_URL": f"https://user:{MARKER}@example.com",
        "WATS_EXTRACT_TRACEBACK": "1",
    }.items():
        env = desk.env | {name: value}
        said = Desk(desk.folder, env).wats("run", "p.yaml", "--json")
        assert_nothing_shown(said, name)
    desk.env |= {"WATS_URL": "http://127.0.0.1:9", "WATS_EXTRACT_TRACEBACK": "1"}
    assert_nothing_shown(desk.wats("run", "p.yaml"), "nobody there")
    desk.env["WATS_URL"] = url
    for fault in (
        f"RuntimeError('no way, ' + {MARKER!r})",
        f"OSError({ECHOES['URL']!r})",
        f"KeyError({ECHOES['base64']!r})",
    ):
        said = broken_inside(desk, fault)
        assert said.code == 1
        assert "Traceback" in said.err
        assert_nothing_shown(said, fault)


def broken_inside(desk: Desk, fault: str) -> Said:
    """Run with a bug in the middle of it."""
    script = (
        "from wats_extract import runner\n"
        f"def broken(*args, **kwargs): raise {fault}\n"
        "runner._Run.extract = broken\n"
        "from wats_extract.cli import main\n"
        "main(['run', 'p.yaml', '--json'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=desk.folder,
        env=desk.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    return desk.finished(process)


def test_data_stays_data_and_is_masked_on_the_screen(desk: Desk, serving: Any) -> None:
    """A comment that holds the token is the server's data: it lands as it is. No screen shows it."""
    serving(in_data=True)
    desk.pipeline(more=LENIENT)
    for command in (
        ("preview", "p.yaml", "report_headers"),
        ("run", "p.yaml"),
        ("failures", "p.yaml"),
        ("status", "p.yaml"),
        ("verify", "p.yaml"),
    ):
        assert_nothing_shown(desk.wats(*command), *command)  # and no escape code: the desk looks for them
    with duckdb.connect(desk.folder / "data/wats.duckdb", read_only=True) as tables:
        comments = tables.execute("SELECT DISTINCT comment FROM report_headers").fetchall()
        book = [
            str(tables.execute(f"FROM {name}").fetchall())
            for name in ("_wats_failures", "_wats_runs", "_wats_state", "_wats_coverage")
        ]
    assert (f"{MARKER} \x1b]0;owned\x07\x1b[2J",) in comments
    assert not leaks("".join(book))


def test_files_have_the_permissions_that_the_user_wants(desk: Desk, serving: Any) -> None:
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    serving()
    desk.pipeline(more=LENIENT)
    before = os.umask(0o077)
    try:
        assert desk.wats("run", "p.yaml", "-q").code == 0
        assert desk.wats("init", "new").code == 0
    finally:
        os.umask(before)
    made = [path for path in desk.folder.rglob("*") if path.name != "p.yaml"]
    assert len(made) > 3
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in made} == {
        path.name: "0o0" for path in made
    }


# ── Python ──────────────────────────────────────────────────────────────────────────────────────


def shown_with_locals(error: BaseException) -> str:
    """What a notebook shows that shows the variables of every function, too."""
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


@pytest.mark.parametrize(
    ("route", "kind"),
    [
        ("refused", TokenRefused),
        ("nobody", ServerUnreachable),
        ("broken", RequestError),
    ],
)
def test_no_object_and_no_traceback_shows_it(
    serving: Any, desk: Desk, route: str, kind: type[Exception]
) -> None:
    app = serving()
    url = desk.env["WATS_URL"] if route != "nobody" else "http://127.0.0.1:9"
    token = [f"{MARKER[:-1]}x" if route == "refused" else MARKER]
    with wx.connect(url, token=token[0], timeout=1) as wats:
        assert not leaks(repr(wats) + str(wats))
        if route == "broken":
            outcomes = list(wats.fetch_each("reports", app.plant.uuids()))
            assert not leaks(repr(outcomes))
            return
        with pytest.raises(kind) as told:
            list(wats.stream("report_headers"))
    text = shown_with_locals(told.value)
    assert "wats_extract" in text
    shown = [line for line in text.splitlines() if leaks(line) and "token = [" not in line]
    assert shown == []
