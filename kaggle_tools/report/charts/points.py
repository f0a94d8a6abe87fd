"""One figure against another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.charts.drawing import NARROW, Plot, Row, data, in_both_widths
from kaggle_tools.report.theme import LIGHT

_LETTER, _LINE = 6.2, 13  # pixels of a label
_SIDES: dict[str, dict[str, Any]] = {
    "right": {"align": "left", "dx": 9},
    "left": {"align": "right", "dx": -9},
    "above": {"align": "center", "dy": -13},
    "below": {"align": "center", "dy": 14},
}


def scatter(
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    *,
    x_title: str,
    y_title: str,
    form: str = ".4f",
    line: tuple[float, float] | None = None,
    strong: Sequence[str] = (),
    height: int = 340,
) -> Chart:
    """Named points, with a straight line where there is one.

    Args:
        x: (N,) finite.
        y: (N,) finite.
        names: (N,) of the points.
        x_title: Of the axis.
        y_title: Of the axis.
        form: Of values in tooltips.
        line: Slope and intercept of a line through the picture, such as a fit.
        strong: Names in full colour; empty: all.
        height: Of the plot in pixels.
    """
    rows: list[Row] = [
        {"x": a, "y": b, "name": name, "strong": not strong or name in strong,
         "tip": f"{name}\n{x_title} {a:{form}}\n{y_title} {b:{form}}"}
        for a, b, name in zip(x, y, names, strict=True)
    ]  # fmt: skip
    ends = [{"x": end, "y": line[0] * end + line[1]} for end in (min(x), max(x))] if line else []

    def draw(width: int) -> Plot:
        ticks = 4 if width == NARROW else 7
        across = alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False, padding=24), axis=alt.Axis(tickCount=ticks))
        up = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=16), axis=alt.Axis(tickCount=6))
        tint = alt.condition("datum.strong", alt.value(LIGHT["series-1"]), alt.value(LIGHT["pale"]))
        base = alt.Chart(data(rows)).encode(x=across, y=up)
        point = base.mark_point(filled=True, size=85, opacity=1, stroke=LIGHT["paper"], strokeWidth=1.5)
        layers = [point.encode(color=tint, description="tip:N")]
        if ends:
            fit = alt.Chart(data(ends)).mark_line(strokeDash=[4, 3], color=LIGHT["soft"], strokeWidth=1.25, aria=False)
            layers.insert(0, fit.encode(x=across, y=up))
        for side, found in _labels(x, y, names, width - 70, height).items():
            label = alt.Chart(data([rows[i] for i in found])).encode(x=across, y=up, text="name:N")
            style = {"fontSize": 11, "aria": False, **_SIDES[side]}
            halo = label.mark_text(stroke=LIGHT["paper"], fill=LIGHT["paper"], strokeWidth=3.5, **style)
            layers += [halo, label.mark_text(**style)]
        return alt.layer(*layers)

    return in_both_widths(draw, height)


def _labels(
    x: Sequence[float], y: Sequence[float], names: Sequence[str], width: int, height: int
) -> dict[str, list[int]]:
    """Side → points labelled there. A label that would lie over something is left out: the tooltip has it."""
    across, up = _pixels(x, width, 24), height - _pixels(y, height, 16)
    taken = [(a - 6, b - 6, a + 6, b + 6) for a, b in zip(across, up, strict=True)]
    found: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        half, (a, b) = len(name) * _LETTER / 2, (across[i], up[i])
        middles = {"right": (a + 9 + half, b), "left": (a - 9 - half, b), "above": (a, b - 14), "below": (a, b + 14)}
        for side, (u, v) in middles.items():
            box = (u - half, v - _LINE / 2, u + half, v + _LINE / 2)
            if box[0] >= 0 and box[2] <= width and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.setdefault(side, []).append(i)
                break
    return found


def _pixels(values: Sequence[float], size: int, padding: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Where the scale puts values: their range within `size`, `padding` left free on both sides."""
    array = np.asarray(values, np.float64)
    low, high = array.min(), array.max()
    shares = (array - low) / (high - low) if high > low else np.full(len(array), 0.5)
    return np.asarray(padding + shares * (size - 2 * padding))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
