"""Lets the contestants of a part do their job, in turns, and keeps what it took."""

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
    """Runs parts.

    Attributes:
        quick: Whether to take the small sizes.
        rounds: Rounds of what has several of them, if not as it is declared.
        with_peers: Whether others than wats-extract take part.
        told: Is told what runs next, before each start.
        load: Processes that wanted a core in the minute before: what else goes on blurs every figure.
        samples: What was measured so far.
        absent: Part and contestant that could not do it → why.
    """

    quick: bool = False
    rounds: int | None = None
    with_peers: bool = True
    told: Callable[[str], None] = lambda what: None
    load: float = 0.0
    samples: Samples = field(default_factory=Samples)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)

    def sizes(self, part: Part) -> Mapping[int, int]:
        """Sizes → rounds."""
        sizes = part.quick if self.quick else part.sizes
        return {size: self.rounds if self.rounds and n > 1 else n for size, n in sizes.items()}

    def contestants(self, part: Part) -> list[Contestant]:
        """Who takes part, as far as it is known yet."""
        return [
            each
            for each in part.contestants
            if (part.name, each.name) not in self.absent and (self.with_peers or not each.needs)
        ]

    def starts(self, part: Part) -> int:
        """How many starts a part has."""
        return sum(self.sizes(part).values()) * len(self.contestants(part))

    def run(self, part: Part) -> None:
        """Run one part: in each round every contestant at every size."""
        sizes = self.sizes(part)
        with ExitStack() as stack:
            servers = {
                size: stack.enter_context(measure.serving(size, *part.options))
                for size in (sizes if part.served else ())
            }
            for turn in range(max(sizes.values())):
                for size in [size for size, rounds in sizes.items() if turn < rounds]:
                    for contestant in self.contestants(part):
                        self.told(f"{part.name}: {contestant.name}, {size:,}")
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
    """Let a contestant do its job once, in a folder that is empty."""
    with tempfile.TemporaryDirectory() as folder:
        command = contestant.command(Job(server.url if server else "", size, Path(folder)))
        if contestant.twice:
            measure.run(command)
        requests, refused = server.requests() if server else (0, 0)
        took = measure.run(command, cores=contestant.cores)
        requests_after, refused_after = server.requests() if server else (0, 0)
    sample = Sample(
        part.name, contestant.name, size, took, requests_after - requests, refused_after - refused
    )
    expected = 0 if contestant.twice else size
    if sample.items not in (None, expected):
        raise measure.ChildFailed(f"{sample.items:,} of {expected:,} arrived")
    return sample
