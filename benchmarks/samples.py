"""Samples: one for each run of a contestant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.measure import Usage


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a contestant.

    Attributes:
        part: Name of the part.
        contestant: Name of the contestant.
        size: Number of reports.
        usage: Time, memory and output.
        requests: Number of requests that the server received.
        refused: Number of requests that it refused.
    """

    part: str
    contestant: str
    size: int
    usage: Usage
    requests: int = 0
    refused: int = 0

    @property
    def items(self) -> int | None:
        """The number of reports or headers that it extracted, as it reports itself."""
        output = self.usage.output
        extracted = output.get("resources")
        return sum(each["items"] for each in extracted.values()) if extracted else output.get("items")

    @property
    def seconds(self) -> float:
        """Elapsed seconds as it reports them itself, without the start of the interpreter and imports."""
        return float(self.usage.output.get("seconds", self.usage.wall))


class Samples:
    """All samples of a benchmark run."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.all = list(samples)

    def of(self, part: str, contestant: str, size: int | None = None) -> list[Sample]:
        """A contestant's samples in the order of rounds; by default those of the largest size."""
        found = [each for each in self.all if (each.part, each.contestant) == (part, contestant)]
        size = size or max((each.size for each in found), default=0)
        return [each for each in found if each.size == size]

    def contestants(self, part: str) -> list[str]:
        """Names of the contestants with samples in a part, in order."""
        return list(dict.fromkeys(each.contestant for each in self.all if each.part == part))

    def sizes(self, part: str) -> list[int]:
        """The sizes of a part, in ascending order."""
        return sorted({each.size for each in self.all if each.part == part})
