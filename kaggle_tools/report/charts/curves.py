"""Curves: anything over anything, distributions, and how far probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
from numpy.typing import ArrayLike

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.charts.drawing import NARROW, SMALL, Plot, Row, data, in_both_widths, series
from kaggle_tools.report.theme import LIGHT


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str = "",
    y_title: str = "",
    form: str = ".4g",
    zero: bool = False,
    step: bool = False,
    height: int = 280,
) -> Chart:
    """One line for each name, a colour each (six at most are told apart).

    Args:
        curves: Name → (x, y) of the same length.
        x_title: Of the axis.
        y_title: Of the axis.
        form: Of values in tooltips.
        zero: Whether the y axis begins at zero.
        step: Draw steps, such as the best score so far.
        height: Of the plot in pixels.
    """
    names = list(curves)
    rows: list[Row] = [
        {"name": name, "x": float(x), "y": float(y), "tip": f"{name}\n{x:{form}}: {y:{form}}"}
        for name, (xs, ys) in curves.items()
        for x, y in zip(xs, ys, strict=True)
    ]

    def draw(width: int) -> Plot:
        ticks = 4 if width == NARROW else 8
        base = alt.Chart().encode(
            x=alt.X(
                "x:Q",
                title=x_title,
                scale=alt.Scale(zero=False, nice=False),
                axis=alt.Axis(grid=False, tickCount=ticks),
            ),
            y=alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=zero), axis=alt.Axis(tickCount=5)),
            color=_tint(names, width),
        )
        line = base.mark_line(strokeWidth=2.25, interpolate="step-after" if step else "linear", aria=False)
        point = base.mark_point(filled=True, size=36, opacity=1).encode(description="tip:N")
        return alt.layer(line, point, data=data(rows)) if len(rows) <= 200 else alt.layer(line, data=data(rows))

    return in_both_widths(draw, height)


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, ArrayLike],
    *,
    x_title: str = "",
    y_title: str = "share of rows",
    height: int = 220,
) -> Chart:
    """Distributions over the same bins, as shares so that sets of different size compare.

    Args:
        edges: (B + 1,) bounds of the bins.
        counts: Name → (B,) rows in each bin.
        x_title: What is binned.
        y_title: Of the axis.
        height: Of the plot in pixels.
    """
    names = list(counts)
    rows: list[Row] = []
    for name, found in counts.items():
        n = np.asarray(found, np.float64)
        share = n / (n.sum() or 1.0)
        for b, value in enumerate(share):
            tip = f"{name}\n{edges[b]:,.0f} to {edges[b + 1]:,.0f}: {value:.1%}, {n[b]:,.0f} rows"
            rows.append({"name": name, "from": edges[b], "to": edges[b + 1], "share": value, "tip": tip})

    def draw(width: int) -> Plot:
        scale = alt.Scale(domain=[edges[0], edges[-1]], nice=False)
        x = alt.X(
            "from:Q", title=x_title, scale=scale, axis=alt.Axis(grid=False, tickCount=4 if width == NARROW else 9)
        )
        y = alt.Y("share:Q", title=y_title, stack=None, axis=alt.Axis(format=".0%", tickCount=4))
        bins = alt.Chart(data(rows)).encode(x=x, x2="to:Q", y=y, y2=alt.datum(0))
        if len(names) == 1:
            single: alt.Chart = bins.mark_rect(color=LIGHT["series-1"], stroke=LIGHT["paper"])
            return single.encode(description="tip:N")
        plain = _tint(names, None)
        filled = bins.mark_rect(opacity=0.2, aria=False).encode(color=plain)
        steps = alt.Chart(data(_outline(rows, names))).mark_line(interpolate="step-after", strokeWidth=2, aria=False)
        target = bins.mark_rect(opacity=0).encode(description="tip:N", color=plain)
        layered: alt.LayerChart = alt.layer(
            filled, steps.encode(x=x, y=y, color=_tint(names, width)), target
        ).resolve_legend(color="independent")
        return layered

    return in_both_widths(draw, height)


def calibration(
    confidence: Sequence[float],
    accuracy: Sequence[float],
    rows: Sequence[int],
    *,
    low: Sequence[float] = (),
    high: Sequence[float] = (),
) -> Chart:
    """How often a model is right where it says it is this sure; the diagonal is what it should be. Small.

    Args:
        confidence: (B,) mean probability of the predicted class in each bin, ascending.
        accuracy: (B,) share of these rows that are right.
        rows: (B,) how many they are: the points' sizes.
        low: (B,) lower ends of 95 % intervals of `accuracy`; may be empty.
        high: (B,) upper ends.
    """
    points: list[Row] = []
    for b, (said, right, n) in enumerate(zip(confidence, accuracy, rows, strict=True)):
        tip = f"says {said:.1%}\nis right {right:.1%}\n{n:,} rows"
        points.append({"x": said, "y": right, "n": n, "tip": tip, "order": b})
        if low:
            points[-1] |= {"low": low[b], "high": high[b]}

    def draw(width: int) -> Plot:
        axis = alt.Axis(format=".0%", tickCount=3 if width == SMALL else 5)
        x = alt.X("x:Q", title="says", scale=alt.Scale(domain=[0, 1]), axis=axis)
        y = alt.Y("y:Q", title="is right", scale=alt.Scale(domain=[0, 1]), axis=axis)
        ideal = alt.Chart(data([{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(
            strokeDash=[4, 3], strokeWidth=1.25, color=LIGHT["soft"], aria=False
        )
        base = alt.Chart(data(points))
        band = base.mark_area(opacity=0.2, color=LIGHT["series-1"], aria=False)
        line = base.mark_line(color=LIGHT["series-1"], strokeWidth=2, aria=False)
        point = base.mark_point(filled=True, color=LIGHT["series-1"], opacity=1)
        size = alt.Size("n:Q", scale=alt.Scale(range=[14, 150]), legend=None)
        layers = [ideal.encode(x=x, y=y), line.encode(x=x, y=y), point.encode(x=x, y=y, size=size, description="tip:N")]
        if low:
            layers.insert(1, band.encode(x=x, y=alt.Y("low:Q", title="is right"), y2="high:Q"))
        return alt.layer(*layers)

    return in_both_widths(draw, 190, small=True)


def _tint(names: Sequence[str], width: int | None) -> alt.Color:
    """A colour for each name; with a legend where there are several and `width` says how wide it may be."""
    shown = None
    if width is not None and len(names) > 1:
        longest = min(240, 7 * max(map(len, names))) + 40
        shown = alt.Legend(columns=max(1, min(len(names), width // longest)))
    scale = alt.Scale(domain=list(names), range=[series(i) for i in range(len(names))])
    return alt.Color("name:N", scale=scale, legend=shown)


def _outline(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The steps of each distribution, closed at its right end."""
    found: list[Row] = []
    for name in names:
        own = [row for row in rows if row["name"] == name]
        found += [{"name": name, "from": row["from"], "share": row["share"]} for row in own]
        found.append({"name": name, "from": own[-1]["to"], "share": own[-1]["share"]})
    return found
