"""Self-contained HTML pages: plain frozen data in, one string out that needs no network, no server and no plug-in.

    page = Page("Spooky authors", sections=(Section("Runs", (Table("Scores", columns, rows), figure)),))
    write_page(page, Path("report.html"))

Charts are drawn by Vega-Lite into inline SVG; the stylesheet recolours them for light and dark. The only script sorts
and filters tables, shows tooltips and switches the theme; a content security policy with its hash lets nothing else
run.
Knows nothing of runs, submissions or files; `sections` and the commands say what a page holds.
"""

from kaggle_tools.report.blocks import (
    Block,
    Cell,
    Chart,
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
from kaggle_tools.report.page import render_page, write_page

__all__ = [
    "Block",
    "Cell",
    "Chart",
    "Column",
    "Details",
    "Fact",
    "Facts",
    "Figure",
    "Gallery",
    "Heading",
    "Note",
    "Page",
    "Prose",
    "Section",
    "Table",
    "render_page",
    "write_page",
]
