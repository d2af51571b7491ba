"""Scenarios that disturb an extraction, let it finish, and compare every table."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos import on_full_disk
from tests.chaos.figures import Figures
from tests.chaos.trial import KINDS, Reader, Trial
from tests.chaos.world import CountedFaults, World
from tests.shred.test_bad_input import DOCUMENTS, key
from wats_extract.engine.run import retry
from wats_extract.fake.app import App
from wats_extract.fake.faults import BROKEN_KINDS
from wats_extract.fake.faults import TRANSIENT_KINDS as FAULTS

SHORT_FAULTS = tuple(kind for kind in FAULTS if kind not in ("429-long", "429-far"))
"""Faults that cost a process seconds. The others make it wait for a minute each time."""

WORST_RATE = 0.2
"""Share of requests that fail."""

POSIX = sys.platform != "win32"
"""Windows has neither signals nor limits on the size of files."""


@dataclass(frozen=True)
class Scenario:
    """A named function that gets a seed, an empty folder and the figures to add to."""

    name: str
    play: Callable[[int, Path, Figures], None]


# ── kills ──


def random_kills(
    seed: int,
    folder: Path,
    figures: Figures,
    *,
    kind: str,
    kills: int,
    changing: bool = False,
    rate: float = 0.0,
) -> None:
    """Kill runs at random times, while reports arrive or also change; then let one finish.

    Args:
        seed: Seed of everything random.
        folder: An empty folder.
        figures: Counts what happens.
        kind: Type of the destination.
        kills: How many runs to kill.
        changing: Whether reports change, appear late and are deleted; otherwise they only arrive.
        rate: Share of requests that fail.
    """
    chance = random.Random(seed)
    with _world(seed, figures, rate=rate) as world:
        trial = Trial(world, folder, kind, figures)
        with Reader(trial, only_arrivals=not changing):
            survived = 0
            while survived < kills:
                survived += trial.kill_at_random(chance, changing=changing)
                world.change() if changing else world.grow()
        trial.finish()


def step_kills(seed: int, folder: Path, figures: Figures, *, kind: str, steps: Iterable[str]) -> None:
    """Kill one run at each step of a commit; then let one finish."""
    chance = random.Random(seed)
    with _world(seed, figures, reports=30) as world:
        trial = Trial(world, folder, kind, figures)
        for step in steps:
            if not trial.kill_at_a_step(step, chance.randint(1, 2)):
                world.change()
                if not trial.kill_at_a_step(step, 1):
                    _kill_the_first_run(world, folder / "first runs", kind, figures, step)
            world.change()
        trial.finish()


def _kill_the_first_run(world: World, folder: Path, kind: str, figures: Figures, step: str) -> None:
    """Kill the first run into a new destination: only its commits have so many files."""
    place = folder / step.replace(" ", "-")
    place.mkdir(parents=True)
    trial = Trial(world, place, kind, figures)
    assert trial.kill_at_a_step(step, 1), f"no run reaches {step!r}"
    trial.finish()


def steps_of(kind: str, folder: Path) -> Counter[str]:
    """Count how often a run reaches each step of a commit."""
    folder.mkdir(parents=True)
    with World(1, reports=30) as world:
        return Trial(world, folder, kind, Figures()).steps()


def interrupts(seed: int, folder: Path, figures: Figures, *, kind: str, times: int) -> None:
    """Interrupt runs at random times by SIGINT and SIGTERM, also while the server stalls."""
    chance = random.Random(seed)
    with _world(seed, figures, rate=0.05, latency=0.01) as world:
        trial = Trial(world, folder, kind, figures)
        done = 0
        while done < times:
            number = (signal.SIGINT, signal.SIGTERM)[done % 2]
            done += trial.interrupt(number, chance.uniform(0.0, 0.5))
            world.grow()
        trial.finish()


# ── server failures ──


def faults(seed: int, folder: Path, figures: Figures, *, kind: str, faults: tuple[str, ...]) -> None:
    """Let one request in five fail, during a first run and during an incremental one."""
    with _world(seed, figures, rate=WORST_RATE, faults=faults, reports=40) as world:
        trial = Trial(world, folder, kind, figures)
        _run_until_complete(trial, figures)
        world.change()
        world.show_everything()
        _run_until_complete(trial, figures)
        trial.compare()


def _run_until_complete(trial: Trial, figures: Figures) -> None:
    """Run until two runs were complete: a resumed pass does not look back at changes made since it began."""
    complete = 0
    for _ in range(8):
        report = trial.run_here()
        if report.exit_code == 3 and trial.missing():
            report = trial.run_here(retry)
        ended = report.exit_code in (0, 3) and not trial.missing()
        complete += ended
        if complete == 2:
            return
        if not ended:
            figures.add("runs ended early and repeated", f"exit {report.exit_code}")
            assert report.exit_code in (3, 5), report
    raise AssertionError(report)


def broken_documents(seed: int, folder: Path, figures: Figures, *, kind: str) -> None:
    """Serve one report of each broken kind: all are recorded as failures, and loaded once they are mended."""
    with _world(seed, figures) as world:
        broken = dict(zip(world.plant.uuids()[5::6], BROKEN_KINDS, strict=False))
        world.app.faults = world.faults = CountedFaults(broken=broken)
        world.faults.settle(len(world.plant), world.plant.uuid)
        trial = Trial(world, folder, kind, figures)
        report = trial.run_here()
        assert (report.exit_code, trial.open_failures()) == (3, set(broken)), report
        figures.add("bad documents tried", kind, len(broken))
        world.faults.mend()
        assert trial.run_here(retry).exit_code == 0
        trial.finish()


def odd_documents(seed: int, folder: Path, figures: Figures, *, kind: str, kills: int) -> None:
    """Serve every known kind of odd document, and kill some runs: each is loaded or recorded as a failure."""
    chance = random.Random(seed)
    with _world(seed, figures) as world:
        odd = {key(number): bad for number, bad in enumerate(DOCUMENTS.values())}
        for uuid, bad in odd.items():
            raw = bad.text if isinstance(bad.text, bytes) else bad.text.encode()
            world.receive(uuid, raw.replace(b"UUID", uuid.encode()))
        trial = Trial(world, folder, kind, figures, more="stop_at_failures: 100%")
        survived = 0
        while survived < kills:
            survived += trial.kill_at_random(chance)
            world.grow()
        assert trial.run().code == 3
        trial.check()
        failed, landed = trial.open_failures(), set(trial.committed)
        assert not failed & landed
        assert failed | landed == set(world.plant.uuids())
        assert failed <= set(odd)
        sure = {uuid for uuid, bad in odd.items() if bad.message and not bad.either}
        assert sure <= failed, sure - failed
        assert {uuid for uuid, bad in odd.items() if not bad.message} <= landed
        figures.add("bad documents tried", kind, len(odd))


def restarts(seed: int, folder: Path, figures: Figures, *, kind: str, times: int) -> None:
    """Restart the server in the middle of runs."""
    chance = random.Random(seed)
    with _world(seed, figures, latency=0.02) as world:
        trial = Trial(world, folder, kind, figures)
        for _ in range(times):
            with trial.requesting_nothing_twice():
                process = trial.wats("run")
                trial.wait_for_a_request(process)
                time.sleep(chance.uniform(0.0, 0.3))
                world.down()
                time.sleep(0.2)
                world.up()
                ended = trial.ended(process)
            assert ended.code in (0, 3), ended
            figures.add("server restarts survived", kind)
            trial.check()
            world.change()
        trial.finish()


def out_of_reach(seed: int, folder: Path, figures: Figures, *, kind: str) -> None:
    """Stop the server, start it with another token, then with the right one."""
    with _world(seed, figures, latency=0.02) as world:
        trial = Trial(world, folder, kind, figures)
        process = trial.wats("run")
        trial.wait_for_a_request(process)
        time.sleep(0.3)
        world.down()
        ended = trial.ended(process)
        assert ended.code == 5, ended
        assert ended.report["status"] == "unreachable"
        assert "out of reach" in ended.err
        trial.check()

        ours, world.app = world.app, App(world.plant, token="b3RoZXI")
        world.up()
        ended = trial.run()
        assert (ended.code, world.app.total) == (2, 1), ended
        world.down()
        world.app = ours
        world.up()
        figures.add("outages survived", kind)
        trial.finish()


def full_disk(seed: int, folder: Path, figures: Figures, *, kind: str) -> None:
    """Let the disk be full again and again, each time a little later."""
    with _world(seed, figures, reports=40) as world:
        trial = Trial(world, folder, kind, figures)
        for size in (3_000, 30_000, 600_000):
            with trial.requesting_nothing_twice():
                ended = trial.ended(trial.start(on_full_disk.__file__, str(size), str(trial.file)))
            assert ended.code in (0, 1), ended
            if ended.code:
                assert "free some disk space" in ended.err, ended.err
                figures.add("full disks survived", kind)
            trial.check()
        trial.finish()


# ── all scenarios ──


@contextmanager
def _world(
    seed: int,
    figures: Figures,
    *,
    rate: float = 0.0,
    faults: tuple[str, ...] = SHORT_FAULTS,
    **options: object,
) -> Iterator[World]:
    counted = CountedFaults(rate=rate, kinds=faults, retry_after=0, delay=0.05, seed=seed)
    with World(seed, faults=counted, **options) as world:
        yield world
    for kind, count in counted.counts.items():
        figures.add("faults injected", kind, count)


def all_scenarios(seed: int, kills: int, folder: Path) -> list[Scenario]:
    """All scenarios, with at least this many kills at random times."""
    each = -(-kills // (10 * len(KINDS)))
    found = []
    for kind in KINDS:
        for number in range(10):
            changing, rate = number % 2 == 1, (0.0, 0.0, 0.0, 0.05)[number % 4]
            how = ", reports change" * changing + f", {rate:.0%} of requests fail" * bool(rate)
            play = partial(random_kills, kind=kind, kills=each, changing=changing, rate=rate)
            found.append(Scenario(f"{kind}: {each} kills at random times{how}", play))
        names = list(steps_of(kind, folder / f"{kind} steps"))
        for part in range(0, len(names), 10):
            some = names[part : part + 10]
            found.append(
                Scenario(
                    f"{kind}: kills at the commit steps {some[0]!r} to {some[-1]!r}",
                    partial(step_kills, kind=kind, steps=some),
                )
            )
        if POSIX:
            found += [
                Scenario(f"{kind}: SIGINT and SIGTERM", partial(interrupts, kind=kind, times=10)),
                Scenario(f"{kind}: full disks", partial(full_disk, kind=kind)),
            ]
        found += [
            Scenario(f"{kind}: 20% of requests fail in any way", partial(faults, kind=kind, faults=FAULTS)),
            Scenario(f"{kind}: broken documents", partial(broken_documents, kind=kind)),
            Scenario(f"{kind}: odd documents", partial(odd_documents, kind=kind, kills=3)),
            Scenario(f"{kind}: server restarts", partial(restarts, kind=kind, times=5)),
            Scenario(f"{kind}: server down, token refused", partial(out_of_reach, kind=kind)),
        ]
    for number, fault in enumerate(FAULTS):
        kind = KINDS[number % len(KINDS)]
        play = partial(faults, kind=kind, faults=(fault,))
        found.append(Scenario(f"{kind}: 20% of requests fail by {fault}", play))
    return found
