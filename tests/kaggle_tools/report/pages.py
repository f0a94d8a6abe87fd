"""A page with every kind of block, and texts that try to break out of it."""

from functools import cache

import numpy as np

from kaggle_tools.report import (
    Cell,
    Column,
    Details,
    Fact,
    Facts,
    Figure,
    Gallery,
    Heading,
    Note,
    Page,
    Prose,
    Section,
    Table,
)
from kaggle_tools.report.charts import (
    bars,
    calibration,
    dendrogram,
    dots,
    heatmap,
    histogram,
    intervals,
    lines,
    scatter,
)
from kaggle_tools.similarity import cluster

EVIL = '<script>document.title="broken"</script>'
EMOJI = "👻 a ghost & \"quotes\" 'n' <b>bold</b>"
NAMES = [EVIL, EMOJI, "roberta-large", "a name that is far longer than any axis has room for, really far longer"]


def table(n_rows=12):
    rows = tuple(
        (Cell(f"row {i}" if i else EVIL), Cell(f"{(i * 7) % 12 / 10:.1f}", (i * 7) % 12 / 10), Cell(EMOJI))
        for i in range(n_rows)
    )
    return Table("Numbers & words", (Column("name"), Column("value", "number"), Column("text", "long")), rows)


@cache
def charts():
    values = [0.9, 0.8, 0.7, -0.1]
    low, high = [v - 0.1 for v in values], [v + 0.1 for v in values]
    agreement = np.array([[1, 0.9, 0.5, 0.4], [0.9, 1, 0.6, 0.3], [0.5, 0.6, 1, 0.2], [0.4, 0.3, 0.2, 1]])
    return {
        "bars": bars(NAMES, values),
        "intervals": intervals(NAMES, values, low, high, reference=0.0),
        "dots": dots(NAMES, [[v - 0.01, v + 0.02] for v in values], values),
        "heatmap": heatmap(agreement, NAMES, NAMES),
        "small heatmap": heatmap(agreement, NAMES, NAMES, small=True),
        "dendrogram": dendrogram(cluster("agreement", agreement), NAMES),
        "lines": lines({EVIL: ([1, 2, 3], [0.3, 0.2, 0.1]), EMOJI: ([1, 2, 3], [0.5, 0.4, 0.2])}),
        "histogram": histogram([0, 1, 2, 3], {"train": [5, 3, 1], "test": [1, 2, 3]}),
        "single histogram": histogram([0, 1, 2, 3], {"train": [5, 3, 1]}),
        "calibration": calibration([0.3, 0.9], [0.2, 0.95], [10, 90], low=[0.1, 0.9], high=[0.4, 1.0]),
        "scatter": scatter([1, 2, 3, 4], [1, 2, 2.5, 4], NAMES, x_title="ours", y_title="board", line=(1.0, 0.0)),
    }  # fmt: skip


def page():
    drawn = charts()
    large = tuple(Figure(chart, f"Figure {EVIL}", data=table(3)) for name, chart in drawn.items() if chart.narrow)
    small = tuple(Figure(chart, f"Small {name}", alt=EMOJI) for name, chart in drawn.items() if not chart.narrow)
    return Page(
        EVIL,
        kicker="A test",
        lead=f"Text with `code` and {EMOJI}.",
        facts=(Fact("runs", "5"), Fact("gain", "+0.1", "real", "good"), Fact("loss", "-0.1", "", "bad")),
        sections=(
            Section("Words", (Prose(f"{EVIL}\n\nSecond."), Heading(EVIL), Note(EMOJI), Note(EVIL, "warning"))),
            Section("Words", (Facts((Fact(EVIL, EVIL, EVIL),)), table(), Details(EVIL, (table(3),)))),
            Section("Pictures", (*large, Gallery(small)), lead=EVIL),
        ),
        footer=EMOJI,
    )
