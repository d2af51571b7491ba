"""What was measured: one sample for each time that a contestant did its job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.measure import Took


@dataclass(frozen=True, slots=True)
class Sample:
    """A contestant did its job once.

    Attributes:
        part: The part of the benchmark.
        contestant: Its name.
        size: Reports there were.
        took: What it took.
        requests: Requests that the server saw.
        refused: Those of them that it refused.
    """

    part: str
    contestant: str
    size: int
    took: Took
    requests: int = 0
    refused: int = 0

    @property
    def items(self) -> int | None:
        """The reports or headers that it has, by its own word."""
        said = self.took.said
        extracted = said.get("resources")
        return sum(each["items"] for each in extracted.values()) if extracted else said.get("items")

    @property
    def seconds(self) -> float:
        """Its own measure of time, without the start of the interpreter and imports."""
        return float(self.took.said.get("seconds", self.took.wall))


class Samples:
    """All samples of a run of the benchmark."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.all = list(samples)

    def of(self, part: str, contestant: str, size: int | None = None) -> list[Sample]:
        """A contestant's samples, round by round, of the largest size unless it is said."""
        found = [each for each in self.all if (each.part, each.contestant) == (part, contestant)]
        size = size or max((each.size for each in found), default=0)
        return [each for each in found if each.size == size]

    def contestants(self, part: str) -> list[str]:
        """Who has samples in a part, in order."""
        return list(dict.fromkeys(each.contestant for each in self.all if each.part == part))

    def sizes(self, part: str) -> list[int]:
        """The sizes of a part, in order."""
        return sorted({each.size for each in self.all if each.part == part})
