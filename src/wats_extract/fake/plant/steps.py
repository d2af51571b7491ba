"""Step trees as templates, compiled to JSON text with slots for times and values.

The functions of this module (`numeric`, `sequence`, `loop`, …) define a program, and `Program` compiles it. A
passed run is rendered by filling the slots. Any other run is rendered step by step, which is slower.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import msgspec

Result = Literal["P", "F", "E", "T"]

_NOISE = 4096
_source = random.Random(20260105)
_SCORES = [2.2 * (_source.random() + _source.random() - 1.0) for _ in range(2 * _NOISE)]
_TIMES = [f"{0.0201 + 3.1 * _source.random() ** 4:.7f}".rstrip("0") for _ in range(2 * _NOISE)]


def quoted(value: object) -> str:
    """A value as compact JSON text."""
    return msgspec.json.encode(value).decode()


def number(value: float) -> str:
    """A double as WATS formats it: at most 15 significant digits, as in `500.0` and `4.55E-05`."""
    text = f"{value:.15G}"
    return text if "." in text or "E" in text else text + ".0"


# ------------------------------------------------------------ defining a program


@dataclass(frozen=True, slots=True)
class Measurement:
    """A numeric, string or boolean measurement, as three parts of JSON with status and value between them.

    A passed number is `mean` plus or minus up to 2.2 `sigma`, a failed one is `bad`. Strings are `good` or
    `wrong`, as JSON.
    """

    block: Literal["numericMeas", "stringMeas", "booleanMeas"]
    parts: tuple[str, str, str]
    mean: float = 0.0
    sigma: float = 0.0
    bad: float = 0.0
    good: str = ""
    wrong: str = ""
    can_fail: bool = True

    def text(self, status: str, value: str) -> str:
        """The measurement as JSON."""
        before, between, after = self.parts
        return f"{before}{status}{between}{value}{after}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a program. A step with `steps` is a sequence call.

    `loop` and `tail` are JSON members. `role` marks a step that the scenario refers to.
    """

    name: str
    kind: str
    measurements: tuple[Measurement, ...] = ()
    steps: tuple[Step, ...] = ()
    tail: str = ""
    status: Literal["P", "D", "S"] = "P"
    loop: str = ""
    group: Literal["S", "M", "C"] = "M"
    role: str = ""


def numeric(
    name: str | None,
    unit: str,
    mean: float,
    sigma: float,
    limits: tuple[str, float | None, float | None] | None = None,
) -> Measurement:
    """A numeric measurement. `limits` are operator, low and high. A single limit is always the low one."""
    op, low, high = limits or ("LOG", None, None)
    written = ",".join(
        f'"{k}":{"null" if v is None else number(v)}' for k, v in (("highLimit", high), ("lowLimit", low))
    )
    before = f'{{"compOp":"{op}","name":{quoted(name)},"status":"'
    parts = (before, f'","unit":{quoted(unit)},"value":', f",{written}}}")
    bad = mean if low is None else _violation(op, low, high)
    return Measurement("numericMeas", parts, mean, sigma, bad, can_fail=op != "LOG")


def string(name: str | None, op: str, good: str, limit: str | None) -> Measurement:
    """A string measurement. `op` may have any case, as real clients send it."""
    parts = (
        f'{{"compOp":"{op}","name":{quoted(name)},"status":"',
        '","value":',
        f',"limit":{quoted(limit)}}}',
    )
    return Measurement("stringMeas", parts, good=quoted(good), wrong='"?"', can_fail=op.upper() != "LOG")


def boolean(name: str | None = None) -> Measurement:
    """A boolean measurement. Its status is its value."""
    return Measurement("booleanMeas", (f'{{"name":{quoted(name)},"status":"', '"', "}"))


def check(name: str, *measurements: Measurement, role: str = "") -> Step:
    """A test step. Its type depends on the kind and the number of its measurements."""
    kind = {"numericMeas": "NLT", "stringMeas": "SVT", "booleanMeas": "PFT"}[measurements[0].block]
    return Step(name, f"ET_M{kind}" if len(measurements) > 1 else f"ET_{kind}", measurements, role=role)


def action(name: str, kind: str = "ET_A", *, status: Literal["P", "D", "S"] = "D", **blocks: object) -> Step:
    """A step without measurements. `blocks` are further JSON members, such as `callExe={"exitCode": 0.0}`."""
    tail = "".join(f',"{key}":{quoted(value)}' for key, value in blocks.items())
    return Step(name, kind, tail=tail, status=status)


def sequence(name: str, *steps: Step, path: str = "Main.seq", version: str | None = "1.0.0") -> Step:
    """A sequence call."""
    call = {"path": path, "name": name, "version": version}
    return Step(name, "SequenceCall", steps=steps, tail=f',"seqCall":{quoted(call)}')


def loop(step: Step, count: int, *, summary: bool) -> tuple[Step, ...]:
    """A loop header and `count` iterations, as siblings. With `summary` the header has measurements."""
    ends = f'"num":{count},"endingIndex":{count},"passed":{count},"failed":0'
    nulls = '"num":null,"endingIndex":null,"passed":null,"failed":null'
    header = replace(step, loop=f'"loop":{{"idx":null,{ends}}},', role="loop")
    return (
        header if summary else replace(header, measurements=()),
        *(replace(step, loop=f'"loop":{{"idx":{i},{nulls}}},', role="loop") for i in range(count)),
    )


def grouped(group: Literal["S", "M", "C"], *steps: Step) -> tuple[Step, ...]:
    """The steps, moved to the setup (S), main (M) or cleanup (C) group."""
    return tuple(replace(step, group=group, steps=grouped(group, *step.steps)) for step in steps)


def _violation(op: str, low: float, high: float | None) -> float:
    """A value that fails `op`: beyond a limit, or for "outside" operators between the limits."""
    if high is None:
        span = max(abs(low) * 0.1, 0.001)
        return {"GE": low - span, "GT": low - span, "NE": low}.get(op, low + span)
    return low + (high - low) * (0.5 if op[0] == "L" else 1.2)


# ------------------------------------------------------------ the compiled form


@dataclass(frozen=True, slots=True)
class Leaf:
    """A compiled step without children. Its numeric values start at slot `first` of the program."""

    id: int
    step: Step
    path: str
    head: str
    first: int

    @property
    def name(self) -> str:
        """The step's name."""
        return self.step.name

    def values(self, slots: Sequence[str], *, failed: bool = False) -> Iterator[tuple[str, str]]:
        """Status and value text of each measurement. In a failed step, the first that can fail fails."""
        slot, failing = self.first, failed
        for each in self.step.measurements:
            bad = failing and each.can_fail
            failing = failing and not bad
            value = each.wrong if bad else each.good
            if each.block == "numericMeas":
                value, slot = number(each.bad) if bad else slots[slot], slot + 1
            yield "F" if bad else "P", value

    def text(
        self, status: str, time: str, values: Iterator[tuple[str, str]] | None, *, extra: str = ""
    ) -> str:
        """The step as JSON, without measurements if `values` is None. `F`, `E`, `T` caused the failure."""
        caused = "true" if status in "FET" else "false"
        text = f'{self.head}"{status}",{extra}"totTime":{time},"causedUUTFailure":{caused}'
        if values is not None and self.step.measurements:
            measured = ",".join(
                m.text(*value) for m, value in zip(self.step.measurements, values, strict=True)
            )
            text += f',"{self.step.measurements[0].block}":[{measured}]'
        return f"{text}{self.step.tail}}}"


@dataclass(frozen=True, slots=True)
class Branch:
    """A compiled sequence call. The ids of its descendants are `id + 1` to `last`."""

    id: int
    last: int
    head: str
    tail: str
    children: tuple[Leaf | Branch, ...]

    def text(self, status: str, time: str, children: Sequence[str]) -> str:
        """The sequence as JSON."""
        steps = ",".join(children)
        head = f'{self.head}"{status}","totTime":{time},"causedUUTFailure":false'
        return f'{head},"steps":[{steps}]{self.tail}}}'


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        result: The result.
        cause: The step that caused the failure; None if the run passed.
        stops: The run skips the remaining tests after the first failure.
        error: Error code and message of the failed step, as JSON members.
        measured: The measurements are present; data retention may have deleted them.
    """

    result: Result = "P"
    cause: Leaf | None = None
    stops: bool = False
    error: str = ""
    measured: bool = True


PASSED = Outcome()


class Program:
    """A compiled step tree.

    Attributes:
        root: The tree.
        leaves: The steps without children, in document order.
        causes: The leaves at which a run may fail.
    """

    def __init__(self, root: Step) -> None:
        self.leaves: list[Leaf] = []
        self._numeric: list[Measurement] = []
        self._ids = 0
        self.root = self._branch(root, "")
        self.causes = [leaf for leaf in self.leaves if _can_cause(leaf.step)]
        self._scales = [(each.mean, each.sigma) for each in self._numeric]
        self._sizes: dict[tuple[Result, int, bool, bool], int] = {}

    def __len__(self) -> int:
        """The number of steps."""
        return self._ids

    def leaf_with_role(self, role: str) -> Leaf | None:
        """The first leaf with the role `weak`, `drift`, `odd` or `attach`."""
        return next((leaf for leaf in self.leaves if leaf.step.role == role), None)

    def render(
        self, outcome: Outcome, *, noise: int, drift: float = 0.0, odd: bool = False, attached: str = ""
    ) -> str:
        """The tree as JSON.

        Args:
            outcome: The outcome of the run.
            noise: Selects the random part of values and times. The same number gives the same text.
            drift: Added to the value of the step with the role `drift`, in its unit.
            odd: The value of the step with the role `odd` is the string `"NaN"`.
            attached: The attachment, as JSON, of the step with the role `attach`. Empty leaves the step out.
        """
        values = self._values(noise, drift, odd=odd)
        times = _TIMES[noise % _NOISE :][: self._ids]
        step = self._attaching(times, attached) if attached else ""
        if outcome.result == "P" and outcome.measured:
            return self._passed([*times, *values, step and "," + step])
        return _Run(outcome, times, values, step).branch(self.root)

    def size(self, outcome: Outcome) -> int:
        """The approximate size of the tree in bytes, cached per kind of outcome."""
        cause = outcome.cause.id if outcome.cause else 0
        kind = (outcome.result, cause, outcome.stops, outcome.measured)
        if kind not in self._sizes:
            self._sizes[kind] = len(self.render(outcome, noise=0).encode())
        return self._sizes[kind]

    def _values(self, noise: int, drift: float, *, odd: bool) -> list[str]:
        start = noise // _NOISE % _NOISE
        scores = _SCORES[start : start + len(self._scales)]
        shift = (noise >> 24 & 255) / 400 - 0.32
        values = [
            f"{mean + sigma * (z + shift):.15G}"
            for (mean, sigma), z in zip(self._scales, scores, strict=False)
        ]
        if drift and (leaf := self.drifting):
            mean, sigma = self._scales[leaf.first]
            values[leaf.first] = number(mean + drift + 0.3 * sigma * scores[leaf.first])
        if odd and (leaf := self._odd):
            values[leaf.first] = '"NaN"'
        return values

    @cached_property
    def drifting(self) -> Leaf | None:
        """The leaf with the drifting measurement."""
        return self.leaf_with_role("drift")

    @cached_property
    def _odd(self) -> Leaf | None:
        return self.leaf_with_role("odd")

    def _attaching(self, times: Sequence[str], attached: str) -> str:
        leaf = self.leaves[-1]
        return leaf.text("D", times[leaf.id - 1], None)[:-1] + f',"attachment":{attached}}}'

    # -------------------------------------------------------- passed runs

    def _passed(self, slots: list[str]) -> str:
        constants, order = self._skeleton
        text = constants.copy()
        text[1::2] = map(slots.__getitem__, order)
        return "".join(text)

    @cached_property
    def _skeleton(self) -> tuple[list[str], list[int]]:
        """The text of a passed run, split at its slots, and the slot at each split.

        The tree is rendered once with placeholders and split at them. The comma before the attachment step
        belongs to its slot, because the step may be absent.
        """
        placeholders = [f"\x00{slot}\x00" for slot in range(self._ids + len(self._scales) + 1)]
        run = _Run(PASSED, placeholders[: self._ids], placeholders[self._ids : -1], placeholders[-1])
        text = run.branch(self.root).replace("," + placeholders[-1], placeholders[-1]).split("\x00")
        return text, [int(slot) for slot in text[1::2]]

    # -------------------------------------------------------- compiling

    def _branch(self, step: Step, above: str) -> Branch:
        number, head = self._numbered(step)
        path = f"{above}¶{step.name}" if above else step.name
        children = tuple(
            self._branch(each, path) if each.steps else self._leaf(each, path) for each in step.steps
        )
        return Branch(number, self._ids, head, step.tail, children)

    def _leaf(self, step: Step, above: str) -> Leaf:
        number, head = self._numbered(step)
        leaf = Leaf(number, step, f"{above}¶{step.name}", head, len(self._numeric))
        self._numeric.extend(each for each in step.measurements if each.block == "numericMeas")
        self.leaves.append(leaf)
        return leaf

    def _numbered(self, step: Step) -> tuple[int, str]:
        self._ids += 1
        head = f'{{"id":{self._ids},"group":"{step.group}","stepType":{quoted(step.kind)},{step.loop}'
        return self._ids, f'{head}"name":{quoted(step.name)},"status":'


def _can_cause(step: Step) -> bool:
    return step.group == "M" and step.role != "loop" and any(each.can_fail for each in step.measurements)


class _Run:
    """Renders the tree of a run step by step: failed, skipped and unreached steps."""

    def __init__(self, outcome: Outcome, times: Sequence[str], values: Sequence[str], attaching: str) -> None:
        self._outcome, self._times, self._slots, self._attaching = outcome, times, values, attaching
        self._cause = outcome.cause.id if outcome.cause else 0

    def branch(self, branch: Branch) -> str:
        """The sequence as JSON, up to the step at which the run was terminated."""
        inside = branch.id < self._cause <= branch.last
        children = (each for each in branch.children if self._outcome.result != "T" or each.id <= self._cause)
        texts = (self.branch(each) if isinstance(each, Branch) else self._leaf(each) for each in children)
        status = self._outcome.result if inside else "P"
        return branch.text(status, self._times[branch.id - 1], [text for text in texts if text])

    def _leaf(self, leaf: Leaf) -> str:
        result, time = self._outcome.result, self._times[leaf.id - 1]
        if leaf.step.role == "attach":
            return self._attaching
        if leaf.id == self._cause:
            values = (
                leaf.values(self._slots, failed=True) if result == "F" and self._outcome.measured else None
            )
            return leaf.text(result, time, values, extra=self._outcome.error)
        if self._skipped(leaf):
            return leaf.text("S", "0.0", None)
        return leaf.text(leaf.step.status, time, leaf.values(self._slots) if self._outcome.measured else None)

    def _skipped(self, leaf: Leaf) -> bool:
        stopped = self._outcome.stops and leaf.step.group == "M" and leaf.id > self._cause
        return leaf.step.status == "S" or (stopped and bool(leaf.step.measurements))
