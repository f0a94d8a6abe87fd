"""A heatmap with its dendrogram, as PNG or SVG. Altair draws; no browser is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.similarity.clusters import Link
from kaggle_tools.similarity.measures import MEASURES

FORMATS = (".png", ".svg")

Matrix = Sequence[Sequence[float]]

_CELL, _TREE = 34, 90  # pixels: a cell's side, the dendrogram's height
_MOST_NUMBERS = 24  # models up to which each cell carries its number


def save_picture(names: Sequence[str], matrix: Matrix, links: Sequence[Link], by: str, path: Path) -> None:
    """Draw a matrix with the models in the order of `names`, which is that of the clustering.

    Raises:
        UserError: Another ending than those of `FORMATS`, or a folder that cannot be written to.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UserError(f"cannot draw '{path.name}'", expected=f"a file ending in {' or '.join(FORMATS)}")
    with write_atomically(path) as temporary:
        chart(names, matrix, links, by).save(str(temporary), format=kind[1:], scale_factor=2.0)


def chart(names: Sequence[str], matrix: Matrix, links: Sequence[Link], by: str) -> Any:
    """An altair chart: the dendrogram above its heatmap."""
    import altair as alt

    about, k = MEASURES[by], len(names)
    side = max(_CELL, 200 // k) * k if k <= _MOST_NUMBERS else 16 * k
    heat = _heatmap(alt, names, matrix, about.alike == "less", side)
    tree = _dendrogram(alt, links, k, side)
    title = alt.TitleParams(f"{about.title} of {k}", subtitle=about.description, anchor="start", offset=12)
    picture = alt.vconcat(tree, heat, spacing=4, title=title) if links else heat.properties(title=title)
    return picture.configure_view(stroke=None).configure_concat(spacing=4)


def _heatmap(alt: Any, names: Sequence[str], matrix: Matrix, less_is_alike: bool, side: int) -> Any:
    k = len(names)
    cells: list[dict[str, Any]] = [
        {"row": i, "column": j, "a": names[i], "b": names[j], "value": value if value == value else None}
        for i, line in enumerate(matrix)
        for j, value in enumerate(line)
    ]
    # The diagonal says nothing, and would take the whole scale of colours.
    inner = [c["value"] for c in cells if c["row"] != c["column"] and c["value"] is not None]
    low, high = (min(inner), max(inner)) if inner else (0.0, 1.0)
    labels = "[" + ", ".join(_quoted(name) for name in names) + "][datum.value]"
    place = {"scale": alt.Scale(domain=list(range(k)), paddingInner=0.04), "title": None}
    base = alt.Chart(alt.Data(values=cells)).encode(
        x=alt.X(
            "column:O",
            axis=alt.Axis(labelExpr=labels, labelAngle=-45, labelLimit=260, ticks=False, domain=False),
            **place,
        ),
        y=alt.Y("row:O", axis=alt.Axis(labelExpr=labels, labelLimit=260, ticks=False, domain=False), **place),
        tooltip=[alt.Tooltip("a:N"), alt.Tooltip("b:N"), alt.Tooltip("value:Q", format=".5f")],
    )
    colour = alt.Color(
        "value:Q",
        scale=alt.Scale(scheme="blues", domain=[low, high], clamp=True, reverse=less_is_alike),
        legend=alt.Legend(title=None, format=".3f", gradientLength=min(side, 160)),
    )
    heat = base.mark_rect(cornerRadius=3).encode(
        color=alt.condition("datum.row === datum.column || datum.value === null", alt.value("#e8e8ec"), colour)
    )
    if k > _MOST_NUMBERS:
        return heat.properties(width=side, height=side)
    middle = (low + high) / 2
    dark = f"datum.value {'<' if less_is_alike else '>'} {middle}"
    numbers = (
        base.transform_filter("datum.row !== datum.column && datum.value !== null")
        .mark_text(fontSize=10 if k <= 12 else 9)
        .encode(
            text=alt.Text("value:Q", format=".3f" if k <= 12 else ".2f"),
            color=alt.condition(dark, alt.value("white"), alt.value("#222")),
        )
    )
    return (heat + numbers).properties(width=side, height=side)


def _dendrogram(alt: Any, links: Sequence[Link], k: int, side: int) -> Any:
    points = []
    for number, link in enumerate(links):
        corners = (
            (link.left, link.left_height), (link.left, link.height),
            (link.right, link.height), (link.right, link.right_height),
        )  # fmt: skip
        points += [{"link": number, "corner": c, "x": x + 0.5, "y": y} for c, (x, y) in enumerate(corners)]
    return (
        alt.Chart(alt.Data(values=points))
        .mark_line(color="#5a6b85", strokeWidth=1.5, interpolate="linear")
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, k], nice=False, zero=False)),
            y=alt.Y("y:Q", axis=alt.Axis(title="distance", grid=False, tickCount=3), scale=alt.Scale(nice=False)),
            order="corner:O",
            detail="link:N",
        )
        .properties(width=side, height=_TREE)
    )


def _quoted(name: str) -> str:
    import json

    return json.dumps(name, ensure_ascii=False)
