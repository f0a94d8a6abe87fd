"""What all charts share: fonts, axes, colours and the two widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.theme import LIGHT, SERIES

WIDE, NARROW, SMALL = 760, 340, 270  # pixels: the column of a page, a phone, one of several side by side

Row = dict[str, Any]
Plot = alt.Chart | alt.LayerChart | alt.FacetChart


def in_both_widths(draw: Callable[[int], Plot], height: int | Callable[[int], int], *, small: bool = False) -> Chart:
    """The chart that `draw` gives for a width in pixels; `height` is that of the plot, without axes."""
    of = height if callable(height) else lambda _: height
    if small:
        return Chart(finish(draw(SMALL), SMALL, of(SMALL)))
    return Chart(finish(draw(WIDE), WIDE, of(WIDE)), finish(draw(NARROW), NARROW, of(NARROW)))


def data(rows: Sequence[Row]) -> alt.Data:
    """Rows as inline data."""
    return alt.InlineData(values=list(rows))


def colour(role: str) -> alt.Value[Any]:
    """A role of the theme as a constant."""
    return alt.value(LIGHT[role])


def series(index: int) -> str:
    """The colour of the i-th of several things."""
    return SERIES[index % len(SERIES)]


def finish(plot: Plot, width: int, height: int) -> dict[str, Any]:
    """The specification with its size and our style. The width is that of the whole drawing, axes included."""
    sized = plot.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"), padding=2
    )
    spec: dict[str, Any] = sized.to_dict()
    spec["config"] = _CONFIG
    spec["background"] = None
    return spec


_TEXT: dict[str, Any] = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
_CONFIG: dict[str, Any] = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "labelColor": LIGHT["soft"],
        "titleColor": LIGHT["soft"],
        "gridColor": LIGHT["grid"],
        "domainColor": LIGHT["line"],
        "tickColor": LIGHT["line"],
        "tickSize": 4,
        "labelPadding": 5,
        "titlePadding": 9,
        "labelFlush": False,
        "domain": False,
    },
    "axisX": {"ticks": False},
    "axisY": {"ticks": False},
    "axisBand": {"grid": False, "labelColor": LIGHT["ink"]},
    "legend": {
        **_TEXT,
        "labelColor": LIGHT["ink"],
        "titleColor": LIGHT["soft"],
        "orient": "top",
        "symbolSize": 120,
        "symbolStrokeWidth": 3,
        "title": None,
        "padding": 0,
        "offset": 10,
        "labelLimit": 240,
    },
    "text": {"color": LIGHT["ink"], "fontSize": 12},
    "bar": {"color": LIGHT["series-1"]},
    "rule": {"color": LIGHT["soft"]},
}
