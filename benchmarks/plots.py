"""Draws the results as SVG."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import altair as alt

from benchmarks.contestants import DESTINATIONS
from benchmarks.parts import PARTS
from benchmarks.rows import megabytes, wall
from benchmarks.samples import Samples

WIDTH = 440
KINDS = {
    "wats-extract": "#0b6e99",
    "downloads and parses only": "#b9b9b9",
    "another extractor": "#d98c3f",
}
PLACES = dict(zip(DESTINATIONS, ("#0b6e99", "#d98c3f"), strict=True))
TARGET_MEGABYTES = 250
SECONDS = [0.1, 1, 10, 100, 1000]


def write(samples: Samples, folder: Path) -> None:
    """Write the plots of all parts that were run."""
    for part, chart in (
        ("reports", bars(samples, "reports", "Full reports per second")),
        ("headers", bars(samples, "headers", "Headers per second")),
        ("header-scale", curves(samples, "header-scale", "headers")),
        ("report-scale", curves(samples, "report-scale", "full reports")),
    ):
        if samples.sizes(part):
            _save(chart, folder / f"{part}.svg")


def _save(chart: alt.TopLevelMixin, path: Path) -> None:
    styled = chart.configure(
        background="white",
        font="Helvetica, Arial, sans-serif",
        padding=12,
        title=alt.TitleConfig(anchor="start"),
        view=alt.ViewConfig(stroke=None),
    )
    styled.save(path)


def bars(samples: Samples, part: str, title: str) -> alt.LayerChart:
    """Items per second: one bar per contestant, the fastest on top."""
    kinds = {each.name: each.kind for each in _part(part).contestants}
    rates = [
        {"name": name, "kind": kinds[name], "rate": some[0].size / median(map(wall, some))}
        for name in samples.contestants(part)
        if (some := samples.of(part, name))
    ]
    rates.sort(key=lambda rate: -rate["rate"])
    shown = {kind: colour for kind, colour in KINDS.items() if kind in {rate["kind"] for rate in rates}}
    base = alt.Chart(alt.Data(values=rates)).encode(
        x=alt.X("rate:Q", axis=None),
        y=alt.Y(
            "name:N",
            sort=[rate["name"] for rate in rates],
            axis=alt.Axis(title=None, ticks=False, domain=False, labelLimit=200),
        ),
    )
    colour = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(shown), range=list(shown.values())),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    text = base.mark_text(align="left", dx=4).encode(text=alt.Text("rate:Q", format=",.0f"))
    return (base.mark_bar().encode(color=colour) + text).properties(width=WIDTH, title=title)


def curves(samples: Samples, part: str, items: str) -> alt.HConcatChart:
    """Time and memory by number of items."""
    return alt.hconcat(_time(samples, part, items), _memory(samples, part, items))


def _time(samples: Samples, part: str, items: str) -> alt.LayerChart:
    seconds = alt.Y(
        "seconds:Q", scale=alt.Scale(type="log"), axis=alt.Axis(title=None, values=SECONDS, format="~g")
    )
    return _lines(samples, part, seconds).properties(title=f"Seconds by number of {items}")


def _memory(samples: Samples, part: str, items: str) -> alt.LayerChart:
    most = max([TARGET_MEGABYTES, *(megabytes(sample) for sample in samples.all if sample.part == part)])
    axis = alt.Axis(title=None, tickCount=5)
    memory = alt.Y("megabytes:Q", scale=alt.Scale(domain=[0, most], nice=True), axis=axis)
    target = alt.Chart(alt.Data(values=[{"most": TARGET_MEGABYTES}])).encode(y="most:Q")
    rule = target.mark_rule(strokeDash=[4, 4], color="gray")
    label = target.mark_text(align="left", dy=-6, color="gray").encode(
        x=alt.value(4), text=alt.value(f"target: {TARGET_MEGABYTES} MB")
    )
    chart = _lines(samples, part, memory) + rule + label
    return chart.properties(title=f"Peak memory in MB by number of {items}")


def _lines(samples: Samples, part: str, y: alt.Y) -> alt.LayerChart:
    points = [
        {
            "size": size,
            "place": place,
            "seconds": median(map(wall, some)),
            "megabytes": median(map(megabytes, some)),
        }
        for size in samples.sizes(part)
        for place in PLACES
        if (some := samples.of(part, f"wats-extract, {place}", size))
    ]
    axis = alt.Axis(title=None, values=samples.sizes(part), format="~s", grid=False)
    base = alt.Chart(alt.Data(values=points), width=WIDTH / 1.6, height=170).encode(
        x=alt.X("size:Q", scale=alt.Scale(type="log"), axis=axis),
        y=y,
        color=alt.Color(
            "place:N",
            scale=alt.Scale(domain=list(PLACES), range=list(PLACES.values())),
            legend=alt.Legend(title=None, orient="bottom"),
        ),
    )
    return base.mark_line() + base.mark_point(filled=True, size=50, opacity=1)


def _part(name: str) -> Any:
    return next(part for part in PARTS if part.name == name)
