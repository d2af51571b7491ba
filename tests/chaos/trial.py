"""One destination under fire: the command line as a process, killed, interrupted, run again, compared."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars.testing import assert_frame_equal

from tests.chaos import at_step
from tests.chaos.figures import Figures
from tests.chaos.world import TOKEN, World
from tests.retrying import IMPATIENT
from wats_extract.destinations.parquet.folder import Parquet
from wats_extract.engine.job import Job, RunReport
from wats_extract.engine.run import execute
from wats_extract.http.client import Client, Connection
from wats_extract.pipeline.job import Overrides, job_of
from wats_extract.pipeline.loading import load
from wats_extract.resources.catalogue import RESOURCES
from wats_extract.state.tables import FAILURES, RUNS
from wats_extract.tables import STAMPS, Table

KINDS = ("duckdb", "parquet")
NAMES = ("report_headers", "reports", "products", "levels", "uut_reports")
TABLES = tuple(table for name in NAMES for table in RESOURCES[name].tables)
SRC = Path(__file__).resolve().parents[2] / "src"

PATIENCE = 120.0
"""Seconds after which a process that should have ended has hung."""

KILLED = {1, at_step.KILL} if os.name == "nt" else {-at_step.KILL}
"""Exit codes of killed processes; Windows lets the killer choose."""

PROMPT = 5.0
"""Seconds that an interrupted run may take to end. Two are promised, to a machine that has time for it."""

PIPELINE = """\
version: 1
name: chaos
source: {{url: "{url}", token: "${{WATS_TOKEN}}", timeout: 2s, requests_per_minute: 100000}}
destination: {{type: {kind}, path: '{path}'}}
resources:
  - {{name: report_headers, expand: [subUnits, miscInfo, assets, attachments]}}
  - {{name: reports, chunk_size: {chunk_size}, attachments: content, keep_raw: true}}
  - {{name: products, write_disposition: replace}}
  - {{name: levels}}
  - {{name: uut_reports, write_disposition: replace}}
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code in KILLED

    @property
    def report(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        told: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return told


class Trial:
    """A pipeline file and its destination, against a world.

    Args:
        world: The server.
        folder: For the file and the destination; must exist.
        kind: Of the destination.
        figures: Counts what is done.
        chunk_size: Reports that are committed together.
        more: What else the pipeline file says.
    """

    def __init__(
        self, world: World, folder: Path, kind: str, figures: Figures, *, chunk_size: int = 5, more: str = ""
    ) -> None:
        self.world, self.folder, self.kind, self.figures = world, folder, kind, figures
        self.place = folder / ("wats.duckdb" if kind == "duckdb" else "wats")
        self.file = folder / "chaos.yaml"
        place = self.place.as_posix()
        self.file.write_text(
            PIPELINE.format(url=world.url, kind=kind, path=place, chunk_size=chunk_size) + more,
            encoding="utf-8",
        )
        self.committed: dict[str, int] = {}

    # ── processes ──

    def start(self, *command: str, token: str = TOKEN) -> subprocess.Popen[str]:
        """Run Python with these arguments; its output is short enough for a pipe."""
        paths = (str(SRC), str(SRC.parent))
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=os.environ | {"WATS_TOKEN": token, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def wats(self, command: str, *options: str) -> subprocess.Popen[str]:
        """Start ``wats-extract COMMAND FILE``."""
        return self.start("-m", "wats_extract", command, str(self.file), "--json", "--quiet", *options)

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for its end; whatever happened, nobody is shown a traceback, and nothing is asked twice."""
        out, err = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in err, err
        return Ended(process.returncode, out, err)

    @contextmanager
    def asking_nothing_twice(self) -> Iterator[None]:
        """Whatever runs within asks for no document that had landed, in the version that the server has."""
        before = len(self.world.documents_asked())
        yield
        asked = self.world.documents_asked()[before:]
        twice = [uuid for uuid in asked if self.committed.get(uuid, -1) == self.world.version(uuid)]
        self.figures.add("documents asked for twice", self.kind, len(twice))
        assert not twice, (
            f"{self.kind}: {len(twice)} of {len(asked)} documents had landed, such as {twice[0]}"
        )

    def run(self, *options: str) -> Ended:
        """The command, to its end."""
        with self.asking_nothing_twice():
            return self.ended(self.wats("run", *options))

    def run_here(self, command: Callable[[Job, Client], RunReport] = execute) -> RunReport:
        """The command in this process, as patient as usual, but without the waiting."""
        pipeline = load(self.file, catalogue=RESOURCES, environ={"WATS_TOKEN": TOKEN})
        connection = Connection(self.world.url, TOKEN, requests_per_minute=None, timeout=1.0)
        with self.asking_nothing_twice(), Client(connection, policy=IMPATIENT) as client:
            return command(job_of(pipeline, Overrides()), client)

    # ── blows ──

    def kill_at_an_instant(self, chance: random.Random, *, moving: bool = False) -> bool:
        """Kill a run somewhere; false where it was quicker."""
        with self.asking_nothing_twice():
            process = self.wats("run")
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0.0, 1.5))
            else:
                self.wait_for_a_request(process)
                delay = chance.uniform(0.0, 0.8)
                time.sleep(delay / 2)
                if moving:
                    self.world.move()
                time.sleep(delay / 2)
            process.kill()
            ended = self.ended(process)
        return self._survived(ended, "at a random instant")

    def kill_at_a_step(self, step: str, number: int) -> bool:
        """Kill a run in the middle of a commit; false where it never got there."""
        with self.asking_nothing_twice():
            process = self.start(at_step.__file__, str(self.file), step, str(number))
            ended = self.ended(process)
        return self._survived(ended, "at a named step")

    def interrupt(self, number: signal.Signals, delay: float) -> bool:
        """Interrupt a run; false where it was quicker."""
        with self.asking_nothing_twice():
            process = self.wats("run")
            self.wait_for_a_request(process)
            time.sleep(delay)
            asked = time.monotonic()
            process.send_signal(number)
            ended = self.ended(process)
            took = time.monotonic() - asked
        if ended.code not in (128 + number, -number):
            assert ended.code in (0, 3), ended
            return False
        self.figures.most("slowest end after an interrupt, ms", self.kind, round(1000 * took))
        assert took < PROMPT, f"it took {took:.1f} s to end"
        assert ended.code == 128 + number
        assert ended.report["status"] == "interrupted"
        assert "next run goes on" in ended.err, ended.err
        self.figures.add("interrupts survived", f"{self.kind}, {number.name}")
        self.look()
        return True

    def steps(self) -> Counter[str]:
        """Run to the end, and count the steps of commits by name."""
        with self.asking_nothing_twice():
            ended = self.ended(self.start(at_step.__file__, str(self.file)))
        assert ended.code in (0, 3), ended
        return Counter(ended.out.splitlines())

    def wait_for_a_request(self, process: subprocess.Popen[str]) -> None:
        """Wait until the process asks the server for something, or ends."""
        before = self.world.app.total
        while self.world.app.total == before and process.poll() is None:
            time.sleep(0.002)

    def _survived(self, ended: Ended, where: str) -> bool:
        if ended.killed:
            self.figures.add("kills survived", f"{self.kind}, {where}")
            self.look()
        elif ended.code == 1 and "close the program that has it open" in ended.err:
            self.figures.add("runs that a reader kept out", self.kind)
        else:
            assert ended.code in (0, 3), ended
        return ended.killed

    # ── what there is ──

    def look(self) -> None:
        """Look at what a killed run has left: whole chunks only; remember what had landed."""
        if not self.place.exists():
            return
        tables = self._readable()
        if "reports" not in tables:
            return
        reports = tables["reports"]
        assert reports["uuid"].is_unique().all(), "a report twice"
        steps = tables["steps"]
        assert not steps.join(reports, left_on="report_uuid", right_on="uuid", how="anti").height
        counts = dict(steps.group_by("report_uuid").len().rows())
        for uuid, version in reports.select("uuid", "time_stamp").iter_rows():
            wanted = self.world.steps(uuid, version)
            assert wanted in (None, counts.get(uuid, 0)), f"half a report: {uuid}"
        self.committed = dict(reports.select("uuid", "time_stamp").iter_rows())

    def _readable(self) -> dict[str, pl.DataFrame]:
        """All tables, as the next run finds them; others must be able to read what is there as it is."""
        if self.kind == "duckdb":
            return self.tables()
        self.tables()
        copy = Path(shutil.copytree(self.place, self.folder / "copy"))
        parquet = Parquet(copy)
        parquet.open()
        parquet.close()
        try:
            return self.tables(copy)
        finally:
            shutil.rmtree(copy)

    def tables(self, place: Path | None = None, *, of: Iterable[Table] = TABLES) -> dict[str, pl.DataFrame]:
        """Tables by name, those of all resources or others, as everybody reads them."""
        place = place or self.place
        if self.kind == "parquet":
            return {
                table.name: pl.scan_parquet(place / table.name / "*.parquet").collect()
                for table in of
                if list((place / table.name).glob("*.parquet"))
            }
        with duckdb.connect(place, read_only=True) as connection:
            present = {
                name for (name,) in connection.sql("SELECT table_name FROM duckdb_tables()").fetchall()
            }
            names = [table.name for table in of if table.name in present]
            return {name: _frame(connection, name) for name in names}

    # ── the end ──

    def finish(self, *, patience: int = 8) -> None:
        """Run until all has landed; nothing stays behind, and the tables are those of an undisturbed run."""
        self.world.settle()
        for _ in range(patience):
            ended = self.run()
            if ended.code == 3 and self.open_failures() - self.world.gone:
                ended = self.ended(self.wats("retry"))
            if ended.code == 0 or (ended.code == 3 and not self.open_failures() - self.world.gone):
                break
            self.figures.add("runs ended early, and run again", f"exit {ended.code}")
            assert ended.code in (3, 5), ended
        else:
            raise AssertionError(f"not done after {patience} runs: {ended}")
        self.run()  # a full pass that goes on after a kill does not go back to what has changed since
        self.look()
        assert not [path for path in self.folder.rglob("*") if _is_left_over(path)]
        assert "running" not in self.tables(of=(RUNS,))[RUNS.name]["status"]
        self.compare()

    def open_failures(self) -> set[str]:
        """The keys of open failures."""
        failures = self.tables(of=(FAILURES,))[FAILURES.name]
        return set(failures.filter(pl.col("status") == "open")["key"])

    def compare(self) -> None:
        """Compare each table with that of a run that nobody disturbed."""
        self.world.faults.mend()
        folder = self.folder / "undisturbed"
        folder.mkdir()
        other = Trial(self.world, folder, self.kind, self.figures, chunk_size=200)
        report = other.run_here()
        assert report.exit_code == 0, report
        found, wanted = self.tables(), other.tables()
        for table in TABLES:
            self._compare(table, found[table.name], wanted[table.name])
        shutil.rmtree(folder)

    def _compare(self, table: Table, found: pl.DataFrame, wanted: pl.DataFrame) -> None:
        found, wanted = (self._comparable(table, rows) for rows in (found, wanted))
        keys = list(table.key)
        lost = wanted.join(found, on=keys, how="anti").height
        extra = found.join(wanted, on=keys, how="anti").height
        doubled = found.height - found.select(keys).n_unique()
        self.figures.add("rows compared", self.kind, wanted.height)
        self.figures.add("rows lost", self.kind, lost)
        self.figures.add("rows doubled", self.kind, doubled)
        assert (lost, extra, doubled) == (0, 0, 0), f"{table.name}: lost, extra, doubled"
        assert_frame_equal(found.sort(keys), wanted.sort(keys))

    def _comparable(self, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Without the stamps, and without the reports that were deleted: what had landed of them stays."""
        own = rows.drop([stamp.name for stamp in STAMPS])
        return (
            own.filter(~pl.col(table.owner).cast(pl.String).is_in(list(self.world.gone)))
            if self.world.gone
            else own
        )


def _frame(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(connection.sql(f'FROM "{name}"').to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _is_left_over(path: Path) -> bool:
    return path.suffix in (".tmp", ".new", ".wal", ".holder")


class Reader:
    """Somebody who reads the tables all the time, while others write and publish them.

    Args:
        trial: What is read.
        steady: Whether rows only arrive. Where some are replaced, a scan of Parquet files that falls into a
            commit may see an item twice, or not at all; that is counted.
    """

    def __init__(self, trial: Trial, *, steady: bool) -> None:
        self._trial, self._steady = trial, steady
        self._look = self._at_files if trial.kind == "parquet" else self._at_database
        self._most = dict.fromkeys(_KEYS, 0)
        self._done = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _read(self) -> None:
        try:
            while not self._done.wait(_REST[self._trial.kind]):
                self._look()
        except BaseException as problem:
            self._problem = problem

    def _at_files(self) -> None:
        for name, keys in _KEYS.items():
            folder = self._trial.place / name
            if list(folder.glob("*.parquet")):
                self._see(name, pl.scan_parquet(folder / "*.parquet").select(keys).collect())

    def _at_database(self) -> None:
        """DuckDB lets nobody read while a run has the file open, and lets no run in while somebody reads."""
        if not self._trial.place.exists():
            return
        try:
            tables = self._trial.tables(of=_READ)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            self._trial.figures.add("readers turned away", self._trial.kind)
            return
        for name, keys in _KEYS.items():
            if name in tables:
                self._see(name, tables[name].select(keys))
        if "steps" in tables:
            orphans = tables["steps"].join(
                tables["reports"], left_on="report_uuid", right_on="uuid", how="anti"
            )
            assert not orphans.height, "a reader saw half a commit"

    def _see(self, name: str, rows: pl.DataFrame) -> None:
        self._trial.figures.add("scans by a reader meanwhile", self._trial.kind)
        twice = rows.n_unique() < rows.height
        if self._steady:
            assert not twice, f"a reader saw rows of {name} twice"
            assert rows.height >= self._most[name], f"a reader saw rows of {name} go"
            self._most[name] = rows.height
        elif self._trial.kind == "parquet":
            self._trial.figures.add("scans that saw an item in two versions", self._trial.kind, twice)
        else:
            assert not twice, f"a reader saw rows of {name} twice"


_KEYS = {"reports": ["uuid"], "steps": ["report_uuid", "step_index"]}
_READ = [table for table in TABLES if table.name in _KEYS]
_REST = {"parquet": 0.02, "duckdb": 0.25}
"""Seconds between two looks; while one looks into a DuckDB file, no run can begin."""
