"""Runs a pipeline that is killed, interrupted and repeated, and compares its tables at the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
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

from tests import forked
from tests.chaos import at_step
from tests.chaos.figures import Figures
from tests.chaos.world import TOKEN, World
from tests.forked import INTERPRETER, Process
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

HANGS_AFTER = 120.0
"""Seconds after which a process that has not ended counts as hung."""

KILLED = {1, at_step.KILL} if os.name == "nt" else {-at_step.KILL}
"""Exit codes of killed processes. On Windows the killer chooses."""

PROMPT = 5.0
"""Seconds that an interrupted run may take to end. Two are promised on a machine that is not busy."""

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
    """A process that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code in KILLED

    @property
    def report(self) -> dict[str, Any]:
        """The JSON object that ``--json`` printed."""
        report: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return report


class Trial:
    """A pipeline file and its destination.

    Args:
        world: The server.
        folder: Existing folder for the file and the destination.
        kind: Type of the destination.
        figures: Counts what happens.
        chunk_size: Number of reports per commit.
        more: Further lines of the pipeline file.
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

    def start(self, *arguments: str, teardown: bool = False) -> Process:
        """Start ``python ARGUMENTS``; see `forked.start`."""
        env = os.environ | INTERPRETER | {"WATS_TOKEN": TOKEN}
        return forked.start(*arguments, folder=self.folder, env=env, teardown=teardown)

    def wats(self, command: str, *, teardown: bool = False) -> Process:
        """Start ``wats-extract COMMAND FILE``."""
        arguments = (command, str(self.file), "--json", "--quiet")
        return self.start("-m", "wats_extract", *arguments, teardown=teardown)

    def ended(self, process: Process) -> Ended:
        """Wait for a process to end. No process may print a traceback."""
        out, err = process.communicate(timeout=HANGS_AFTER)
        assert "Traceback" not in err, err
        return Ended(process.returncode, out, err)

    @contextmanager
    def requesting_nothing_twice(self) -> Iterator[None]:
        """Check that no document is requested whose current version was already committed."""
        before = len(self.world.requested_documents())
        yield
        requested = self.world.requested_documents()[before:]
        twice = [uuid for uuid in requested if self.committed.get(uuid, -1) == self.world.version(uuid)]
        self.figures.add("documents requested twice", self.kind, len(twice))
        assert not twice, (
            f"{self.kind}: {len(twice)} of {len(requested)} documents were committed before, e.g. {twice[0]}"
        )

    def run(self) -> Ended:
        """Run the pipeline to its end, in a process."""
        with self.requesting_nothing_twice():
            return self.ended(self.wats("run"))

    def run_here(self, command: Callable[[Job, Client], RunReport] = execute) -> RunReport:
        """Run the pipeline in this process, with as many attempts as usual but without backoff."""
        pipeline = load(self.file, catalogue=RESOURCES, environ={"WATS_TOKEN": TOKEN})
        connection = Connection(self.world.url, TOKEN, requests_per_minute=None, timeout=1.0)
        with self.requesting_nothing_twice(), Client(connection, policy=IMPATIENT) as client:
            return command(job_of(pipeline, Overrides()), client)

    # ── disturbances ──

    def kill_at_random(self, chance: random.Random, *, changing: bool = False) -> bool:
        """Kill a run at a random time; false if it ended before."""
        with self.requesting_nothing_twice():
            process = self.wats("run")
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0.0, 1.5))
            else:
                self.wait_for_a_request(process)
                delay = chance.uniform(0.0, 0.8)
                time.sleep(delay / 2)
                if changing:
                    self.world.change()
                time.sleep(delay / 2)
            process.kill()
            ended = self.ended(process)
        return self._survived(ended, "at a random time")

    def kill_at_a_step(self, step: str, number: int) -> bool:
        """Kill a run when it reaches a step of a commit for the ``number``th time; false if it never does."""
        with self.requesting_nothing_twice():
            process = self.start(at_step.__file__, str(self.file), step, str(number))
            ended = self.ended(process)
        return self._survived(ended, "at a named step")

    def interrupt(self, number: signal.Signals, delay: float) -> bool:
        """Send a signal to a run some seconds after its first request; false if it ended before."""
        with self.requesting_nothing_twice():
            process = self.wats("run", teardown=True)
            self.wait_for_a_request(process)
            time.sleep(delay)
            begun = time.monotonic()
            process.send_signal(number)
            ended = self.ended(process)
            took = time.monotonic() - begun
        if ended.code not in (128 + number, -number):
            assert ended.code in (0, 3), ended
            return False
        self.figures.maximum("slowest end after an interrupt, ms", self.kind, round(1000 * took))
        assert took < PROMPT, f"it took {took:.1f} s to end"
        assert ended.code == 128 + number
        assert ended.report["status"] == "interrupted"
        assert "next run resumes" in ended.err, ended.err
        self.figures.add("interrupts survived", f"{self.kind}, {number.name}")
        self.check()
        return True

    def steps(self) -> Counter[str]:
        """Run to the end and count the steps of all commits by name."""
        with self.requesting_nothing_twice():
            ended = self.ended(self.start(at_step.__file__, str(self.file)))
        assert ended.code in (0, 3), ended
        return Counter(ended.out.splitlines())

    def wait_for_a_request(self, process: Process) -> None:
        """Wait until a process makes a request, or ends."""
        before = self.world.app.total
        while self.world.app.total == before and process.poll() is None:
            time.sleep(0.002)

    def _survived(self, ended: Ended, where: str) -> bool:
        if ended.killed:
            self.figures.add("kills survived", f"{self.kind}, {where}")
            self.check()
        elif ended.code == 1 and "close the program that has it open" in ended.err:
            self.figures.add("runs refused because a reader had the file open", self.kind)
        else:
            assert ended.code in (0, 3), ended
        return ended.killed

    # ── tables ──

    def check(self) -> None:
        """Check that a killed run left only whole reports, and remember which ones are committed."""
        if not self.place.exists():
            return
        tables = self._readable()
        if "reports" not in tables:
            return
        reports = tables["reports"]
        assert reports["uuid"].is_unique().all(), "a report is there twice"
        steps = tables["steps"]
        assert not steps.join(reports, left_on="report_uuid", right_on="uuid", how="anti").height
        counts = dict(steps.group_by("report_uuid").len().rows())
        for uuid, version in reports.select("uuid", "time_stamp").iter_rows():
            wanted = self.world.steps(uuid, version)
            assert wanted in (None, counts.get(uuid, 0)), f"steps of {uuid} are missing"
        self.committed = dict(reports.select("uuid", "time_stamp").iter_rows())

    def _readable(self) -> dict[str, pl.DataFrame]:
        """All tables as the next run finds them. They must be readable before it opens them, too."""
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
        """Tables by name, read as other programs read them."""
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

    def finish(self, *, runs: int = 8) -> None:
        """Run until everything is loaded; then check the tables, and that no temporary file is left."""
        self.world.show_everything()
        for _ in range(runs):
            ended = self.run()
            if ended.code == 3 and self.missing():
                ended = self.ended(self.wats("retry"))
            if ended.code == 0 or (ended.code == 3 and not self.missing()):
                break
            self.figures.add("runs ended early and repeated", f"exit {ended.code}")
            assert ended.code in (3, 5), ended
        else:
            raise AssertionError(f"not complete after {runs} runs: {ended}")
        self.run()  # a pass that was resumed after a kill does not look back at what has changed since
        self.check()
        assert not [path for path in self.folder.rglob("*") if _is_left_over(path)]
        assert "running" not in self.tables(of=(RUNS,))[RUNS.name]["status"]
        self.compare()

    def missing(self) -> set[str]:
        """The keys of open failures, without those of reports that were deleted on the server."""
        return self.open_failures() - self.world.deleted

    def open_failures(self) -> set[str]:
        """The keys of all open failures."""
        failures = self.tables(of=(FAILURES,))[FAILURES.name]
        return set(failures.filter(pl.col("status") == "open")["key"])

    def compare(self) -> None:
        """Compare each table with that of an undisturbed run."""
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
        """Rows without stamps, and without reports that were deleted: a run does not remove them."""
        rows = rows.drop([stamp.name for stamp in STAMPS])
        if not self.world.deleted:
            return rows
        return rows.filter(~pl.col(table.owner).cast(pl.String).is_in(list(self.world.deleted)))


def _frame(connection: duckdb.DuckDBPyConnection, name: str) -> pl.DataFrame:
    frame = pl.from_arrow(connection.sql(f'FROM "{name}"').to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _is_left_over(path: Path) -> bool:
    return path.suffix in (".tmp", ".new", ".wal", ".holder")


class Reader:
    """A thread that keeps reading the tables while runs write them.

    Args:
        trial: Owner of the tables.
        only_arrivals: Whether no row is ever replaced. Where rows are replaced, a scan of Parquet files
            during a commit may see an item twice or not at all; that is counted.
    """

    def __init__(self, trial: Trial, *, only_arrivals: bool) -> None:
        self._trial, self._only_arrivals = trial, only_arrivals
        self._scan = self._scan_files if trial.kind == "parquet" else self._scan_database
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
                self._scan()
        except BaseException as problem:
            self._problem = problem

    def _scan_files(self) -> None:
        for name, keys in _KEYS.items():
            folder = self._trial.place / name
            if list(folder.glob("*.parquet")):
                self._check(name, pl.scan_parquet(folder / "*.parquet").select(keys).collect())

    def _scan_database(self) -> None:
        """Read the DuckDB file, unless a run has it open: DuckDB allows one or the other."""
        if not self._trial.place.exists():
            return
        try:
            tables = self._trial.tables(of=_READ)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            self._trial.figures.add("readers refused by a lock", self._trial.kind)
            return
        for name, keys in _KEYS.items():
            if name in tables:
                self._check(name, tables[name].select(keys))
        if "steps" in tables:
            orphans = tables["steps"].join(
                tables["reports"], left_on="report_uuid", right_on="uuid", how="anti"
            )
            assert not orphans.height, "a reader saw half a commit"

    def _check(self, name: str, rows: pl.DataFrame) -> None:
        self._trial.figures.add("scans by a concurrent reader", self._trial.kind)
        twice = rows.n_unique() < rows.height
        if self._only_arrivals:
            assert not twice, f"a reader saw rows of {name} twice"
            assert rows.height >= self._most[name], f"a reader saw rows of {name} disappear"
            self._most[name] = rows.height
        elif self._trial.kind == "parquet":
            self._trial.figures.add("scans that saw an item in two versions", self._trial.kind, twice)
        else:
            assert not twice, f"a reader saw rows of {name} twice"


_KEYS = {"reports": ["uuid"], "steps": ["report_uuid", "step_index"]}
_READ = [table for table in TABLES if table.name in _KEYS]
_REST = {"parquet": 0.02, "duckdb": 0.25}
"""Seconds between two scans. No run can start while a DuckDB file is being read."""
