"""Charts of reports: arrays and names in, Vega-Lite specifications out, in the colours of `kaggle_tools.report.theme`.

    chart = heatmap(matrix, names, names)
    to_svg(chart.wide)                     # a file of its own; `Figure(chart, "…")` puts it on a page

Every chart comes in one width for screens and, where that would be too small to read there, a second one for phones.
"""

from kaggle_tools.report.blocks import Chart
from kaggle_tools.report.charts.bars import bars, dots, intervals
from kaggle_tools.report.charts.curves import calibration, histogram, lines
from kaggle_tools.report.charts.matrix import dendrogram, heatmap
from kaggle_tools.report.charts.points import scatter
from kaggle_tools.report.svg import to_png, to_svg

__all__ = [
    "Chart",
    "bars",
    "calibration",
    "dendrogram",
    "dots",
    "heatmap",
    "histogram",
    "intervals",
    "lines",
    "scatter",
    "to_png",
    "to_svg",
]
