"""Matrices as coloured cells, and the tree of a clustering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import altair as alt
import numpy as np
from numpy.typing import ArrayLike

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.charts.drawing import NARROW, SMALL, Plot, Row, data, in_both_widths
from kaggle_tools.report.theme import DARK_TEXT_BELOW, LIGHT, N_STEPS, STEPS

if TYPE_CHECKING:  # it compiles; who draws a tree has one already
    from kaggle_tools.similarity import Tree

_LEAST_ROW = 13  # pixels that a row's name needs


def heatmap(
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    form: str = ".2f",
    low: float | None = None,
    high: float | None = None,
    row_title: str = "",
    column_title: str = "",
    shades: ArrayLike | None = None,
    tip: Callable[[int, int], str] | None = None,
    small: bool = False,
) -> Chart:
    """A matrix in nine steps of one colour, values written into the cells where they are large enough.

    Args:
        values: (R, C); NaN leaves a cell empty.
        rows: (R,) names from top to bottom.
        columns: (C,) names from left to right.
        form: Of values in cells and tooltips.
        low: Value of the palest step; None: the smallest.
        high: Value of the darkest step; None: the largest.
        row_title: What rows are.
        column_title: What columns are.
        shades: (R, C) what the colours show where it is not the values, such as a confusion's share of its row.
        tip: Words for the tooltip of cell (i, j); None: names and value.
        small: One of several side by side.
    """
    matrix = np.asarray(values, np.float64)
    steps, (low, high) = _steps(np.asarray(matrix if shades is None else shades, np.float64), low, high)
    cells: list[Row] = []
    for i, j in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
        text = format(matrix[i, j] if not form.endswith("d") else int(matrix[i, j]), form)
        words = tip(int(i), int(j)) if tip else f"{rows[i]} × {columns[j]}\n{text}"
        cells.append({"r": int(i), "c": int(j), "step": int(steps[i, j]), "text": text, "tip": words})
    names_px = 7 * max(map(len, rows), default=0)

    def side(width: int) -> float:
        """Pixels across a cell."""
        return (width - min(_limit(width), names_px) - 20) / max(len(columns), 1)

    widest = max((len(cell["text"]) for cell in cells), default=0)

    def draw(width: int) -> Plot:
        cell_px = side(width)
        fits = all(len(name) * 7 <= cell_px for name in columns)
        angle = 0 if fits else -45 if cell_px >= 18 else -90
        size = round(min(12.0, max(8.0, cell_px - 1)))
        x = alt.X("c:O", axis=_axis(columns, column_title, width, angle=angle, orient="top", size=size))
        y = alt.Y("r:O", axis=_axis(rows, row_title, width, angle=0, orient="left"))
        tint = alt.Color(
            "step:O", scale=alt.Scale(domain=list(range(N_STEPS)), range=list(STEPS)), legend=None
        )  # fmt: skip
        base = alt.Chart().encode(x=x, y=y)
        layers: list[alt.Chart] = [
            base.mark_rect(stroke=LIGHT["paper"], strokeWidth=1 if cell_px > 12 else 0.4).encode(
                color=tint, description="tip:N"
            )
        ]
        if widest * 7 + 2 <= cell_px:
            ink = alt.condition(f"datum.step < {DARK_TEXT_BELOW}", alt.value(LIGHT["ink"]), alt.value(LIGHT["on-step"]))
            layers.append(base.mark_text(fontSize=12, aria=False).encode(text="text:N", color=ink))
        return alt.layer(*layers, data=data(cells))

    def height(width: int) -> int:
        return round(len(rows) * min(max(side(width), _LEAST_ROW), 44 if small else 34))

    return in_both_widths(draw, height, small=small)


def dendrogram(tree: Tree, names: Sequence[str], *, title: str = "") -> Chart:
    """The tree of a clustering: leaves at the left from top to bottom, joints at the distance where they join.

    Args:
        tree: As `kaggle_tools.similarity.cluster` gives it.
        names: (K,) names, in the order in which they were clustered.
        title: What the distances are.
    """
    leaves = [names[i] for i in tree.order]
    corners: list[Row] = [
        {"joint": k, "corner": corner, "x": x, "y": y}
        for k, link in enumerate(tree.links)
        for corner, (x, y) in enumerate(
            [
                (link.left_height, link.left),
                (link.height, link.left),
                (link.height, link.right),
                (link.right_height, link.right),
            ]
        )
    ]
    joints: list[Row] = [
        {"x": link.height, "y": (link.left + link.right) / 2, "tip": f"joined at {link.height:.3g}"}
        for link in tree.links
    ]

    def draw(width: int) -> Plot:
        labels = alt.Axis(
            values=list(range(len(leaves))), labelExpr=_lookup(leaves, "datum.value"), grid=False, title=None,
            labelLimit=_limit(width), labelColor=LIGHT["ink"], labelPadding=8,
        )  # fmt: skip
        y = alt.Y("y:Q", scale=alt.Scale(domain=[len(leaves) - 0.5, -0.5], nice=False), axis=labels)
        x = alt.X("x:Q", title=title, axis=alt.Axis(tickCount=4 if width == NARROW else 7))
        line = alt.Chart(data(corners)).mark_line(
            strokeWidth=1.75, color=LIGHT["series-1"], aria=False, strokeJoin="round"
        )
        dot = alt.Chart(data(joints)).mark_point(filled=True, size=30, opacity=1, color=LIGHT["series-1"])
        return alt.layer(
            line.encode(x=x, y=y, detail="joint:N", order="corner:Q"), dot.encode(x=x, y=y, description="tip:N")
        )

    return in_both_widths(draw, 26 * len(leaves))


def _steps(
    shades: np.ndarray[tuple[int, ...], np.dtype[np.float64]], low: float | None, high: float | None
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], tuple[float, float]]:
    """(R, C) in [0, N_STEPS): the step of each cell, and the bounds."""
    finite = shades[np.isfinite(shades)]
    bottom = float(finite.min()) if low is None and finite.size else low or 0.0
    top = float(finite.max()) if high is None and finite.size else high or 0.0
    share = (np.nan_to_num(shades, nan=bottom) - bottom) / ((top - bottom) or 1.0)
    return np.clip((share * N_STEPS).astype(np.int64), 0, N_STEPS - 1), (bottom, top)


def _axis(
    names: Sequence[str], title: str, width: int, *, angle: int, orient: Literal["top", "left"], size: int = 12
) -> alt.Axis:
    # Places, not names, are the scale's domain: two models may have the same name on a foreign board.
    return alt.Axis(
        title=title or None,
        titleAngle=0 if orient == "left" and len(title) <= 3 else alt.Undefined,
        orient=orient,
        labelExpr=_lookup(names, "datum.value"),
        labelAngle=angle,
        labelAlign="left" if angle else alt.Undefined,
        labelBaseline="middle" if angle == -90 else alt.Undefined,
        labelLimit=_limit(width),
        labelOverlap=len(names) > 30,
        labelFontSize=size,
        labelPadding=6,
    )


def _limit(width: int) -> int:
    return {SMALL: 78, NARROW: 96}.get(width, 190)


def _lookup(names: Sequence[str], index: str) -> str:
    import json

    return f"{json.dumps(list(names))}[{index}]"
