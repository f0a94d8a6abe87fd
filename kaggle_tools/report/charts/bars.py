"""A value for each name, from top to bottom: bars, intervals, and the folds behind a mean."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.charts.drawing import NARROW, Plot, Row, colour, data, in_both_widths
from kaggle_tools.report.theme import LIGHT

_ROW = 26  # pixels


def bars(
    names: Sequence[str],
    values: Sequence[float],
    *,
    form: str = ".3f",
    title: str = "",
    strong: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Chart:
    """Bars from zero with their values beside them.

    Args:
        names: (N,) one for each bar, in the order shown.
        values: (N,) finite.
        form: Of the values, as Python's `format` takes it.
        title: Of the axis.
        strong: Names that are drawn in full colour; empty: all.
        notes: (N,) more words for the tooltips.
    """
    rows = [
        {
            "name": name,
            "value": value,
            "text": format(value, form),
            "tip": _tip(name, f"{format(value, form)} {title}".strip(), notes[i] if notes else ""),
            "strong": not strong or name in strong,
        }
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    ]
    low, high = min([0.0, *values]), max([0.0, *values])
    room = (high - low or 1.0) * 0.01

    def draw(width: int) -> Plot:
        # Texts stand beyond the bars' ends: room for them in proportion to the width.
        text = room * (22 if width == NARROW else 10)
        domain = [low - (text if low < 0 else 0), high + (text if high > 0 else room)]
        y = _names_axis(width, names)
        bar = (
            alt.Chart()
            .mark_bar(height={"band": 0.68}, cornerRadiusEnd=2)
            .encode(
                x=alt.X("value:Q", scale=alt.Scale(domain=domain, nice=False), axis=None),
                y=y,
                color=alt.condition("datum.strong", colour("series-1"), colour("pale")),
                description="tip:N",
            )
        )
        base = alt.Chart().encode(x="value:Q", y=y, text="text:N")
        right = base.transform_filter("datum.value >= 0").mark_text(align="left", dx=6, aria=False)
        left = base.transform_filter("datum.value < 0").mark_text(align="right", dx=-6, aria=False)
        layers = [bar, right, left] if low < 0 else [bar, right]
        return alt.layer(*layers, data=data(rows))

    return in_both_widths(draw, _ROW * len(rows))


def intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    form: str = ".4f",
    title: str = "",
    reference: float | None = None,
    strong: Sequence[str] = (),
) -> Chart:
    """A point with its interval for each name.

    Args:
        names: (N,) in the order shown.
        values: (N,) the points.
        low: (N,) lower ends.
        high: (N,) upper ends.
        form: Of the values in tooltips.
        title: Of the axis.
        reference: Where a vertical line is drawn, such as 0 for gains.
        strong: Names in full colour; empty: all.
    """
    rows = [
        {
            "name": name, "value": value, "low": a, "high": b, "strong": not strong or name in strong,
            "tip": _tip(name, f"{format(value, form)} [{format(a, form)}, {format(b, form)}]"),
        }
        for name, value, a, b in zip(names, values, low, high, strict=True)
    ]  # fmt: skip

    def draw(width: int) -> Plot:
        tint = alt.condition("datum.strong", colour("series-1"), colour("pale"))
        y = _names_axis(width, names)
        x = alt.X("value:Q", title=title, scale=alt.Scale(zero=reference == 0, nice=True), axis=_values_axis(width))
        base = alt.Chart().encode(y=y, color=tint, description="tip:N")
        whisker = base.mark_rule(strokeWidth=3, strokeCap="round").encode(x=alt.X("low:Q", title=title), x2="high:Q")
        point = base.mark_point(filled=True, size=90, opacity=1, stroke=LIGHT["paper"], strokeWidth=1.5).encode(x=x)
        return alt.layer(*_reference(reference), whisker, point, data=data(rows))

    return in_both_widths(draw, _ROW * len(rows))


def dots(
    names: Sequence[str],
    groups: Sequence[Sequence[float]],
    values: Sequence[float],
    *,
    form: str = ".4f",
    title: str = "",
) -> Chart:
    """The members of each group as dots, its overall value as an upright line: scores of folds and of all rows.

    Args:
        names: (N,) in the order shown.
        groups: (N,) lists of any length.
        values: (N,) overall values.
        form: Of values in tooltips.
        title: Of the axis.
    """
    members: list[Row] = [
        {"name": name, "value": value, "tip": f"{name}, fold {i}: {format(value, form)}"}
        for name, group in zip(names, groups, strict=True)
        for i, value in enumerate(group)
    ]
    whole: list[Row] = [
        {"name": n, "value": v, "tip": f"{n}: {format(v, form)}"} for n, v in zip(names, values, strict=True)
    ]
    spans = [{"name": n, "low": min(g), "high": max(g)} for n, g in zip(names, groups, strict=True) if g]

    def draw(width: int) -> Plot:
        y = _names_axis(width, names)
        x = alt.X("value:Q", title=title, scale=alt.Scale(zero=False), axis=_values_axis(width))
        span = alt.Chart(data(spans)).mark_rule(strokeWidth=6, strokeCap="round", color=LIGHT["grid"], aria=False)
        dot = alt.Chart(data(members)).mark_point(filled=True, size=30, color=LIGHT["soft"], opacity=0.7)
        tick = alt.Chart(data(whole)).mark_tick(thickness=3.5, size=18, color=LIGHT["series-1"], opacity=1)
        return alt.layer(
            span.encode(x=alt.X("low:Q", title=title), x2="high:Q", y=y),
            tick.encode(x=x, y=y, description="tip:N"),
            dot.encode(x=x, y=y, description="tip:N"),
        )

    return in_both_widths(draw, _ROW * len(names))


def _names_axis(width: int, names: Sequence[str]) -> alt.Y:
    axis = alt.Axis(title=None, labelLimit=110 if width == NARROW else 220, labelPadding=8)
    return alt.Y("name:N", sort=list(names), axis=axis)


def _values_axis(width: int) -> alt.Axis:
    return alt.Axis(tickCount=4 if width == NARROW else 7)


def _reference(value: float | None) -> list[alt.Chart]:
    if value is None:
        return []
    rule = alt.Chart(data([{"at": value}])).mark_rule(strokeDash=[4, 3], color=LIGHT["soft"], aria=False)
    return [rule.encode(x="at:Q")]


def _tip(name: str, *parts: str) -> str:
    return "\n".join([name, *(part for part in parts if part)])
