"""Runs the programs of a part in turn and collects samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measure
from benchmarks.contestants import Contestant, Job
from benchmarks.environments import NotInstalled, python
from benchmarks.parts import Part
from benchmarks.samples import Sample, Samples


@dataclass
class Race:
    """Runs parts and keeps their samples.

    Attributes:
        quick: Whether to use the small sizes.
        rounds: Replaces the number of rounds of parts that have several.
        with_peers: Whether tools other than wats-extract take part.
        on_start: Called with a description before each start.
        load: Load average of the minute before; other programs distort the figures.
        samples: Results so far.
        absent: Reasons by part and contestant, for those that could not take part.
    """

    quick: bool = False
    rounds: int | None = None
    with_peers: bool = True
    on_start: Callable[[str], None] = lambda name: None
    load: float = 0.0
    samples: Samples = field(default_factory=Samples)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)

    def sizes(self, part: Part) -> Mapping[int, int]:
        """Rounds by size."""
        sizes = part.quick if self.quick else part.sizes
        return {size: self.rounds if self.rounds and n > 1 else n for size, n in sizes.items()}

    def contestants(self, part: Part) -> list[Contestant]:
        """The contestants of a part that have not failed so far."""
        return [
            each
            for each in part.contestants
            if (part.name, each.name) not in self.absent and (self.with_peers or not each.needs)
        ]

    def starts(self, part: Part) -> int:
        """How many programs a part starts."""
        return sum(self.sizes(part).values()) * len(self.contestants(part))

    def run(self, part: Part) -> None:
        """Run one part: in each round, every contestant at every size."""
        sizes = self.sizes(part)
        with ExitStack() as stack:
            servers = {
                size: stack.enter_context(measure.serving(size, *part.options))
                for size in (sizes if part.served else ())
            }
            for turn in range(max(sizes.values())):
                for size in [size for size, rounds in sizes.items() if turn < rounds]:
                    for contestant in self.contestants(part):
                        self.on_start(f"{part.name}: {contestant.name}, {size:,}")
                        self._start(part, contestant, size, servers.get(size))

    def _start(self, part: Part, contestant: Contestant, size: int, server: measure.Server | None) -> None:
        try:
            if contestant.needs:
                python(contestant.needs)
            sample = _sample(part, contestant, size, server)
        except (NotInstalled, measure.ChildFailed) as problem:
            self.absent[part.name, contestant.name] = str(problem)
        else:
            self.samples.all.append(sample)


def _sample(part: Part, contestant: Contestant, size: int, server: measure.Server | None) -> Sample:
    """Run a contestant once, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = contestant.command(Job(server.url if server else "", size, Path(folder)))
        if contestant.twice:
            measure.run(command)
        requests, refused = server.requests() if server else (0, 0)
        usage = measure.run(command, cores=contestant.cores)
        requests_after, refused_after = server.requests() if server else (0, 0)
    sample = Sample(
        part.name, contestant.name, size, usage, requests_after - requests, refused_after - refused
    )
    expected = 0 if contestant.twice else size
    if sample.items not in (None, expected):
        raise measure.ChildFailed(f"it extracted {sample.items:,} of {expected:,} items")
    return sample
