"""What a page is made of. All text is plain text: it is escaped where it is shown, whatever it holds.

In running text (`Prose`, `Note`, captions, leads) `words between backticks` are shown as code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["", "good", "bad", "quiet"]


@dataclass(frozen=True)
class Prose:
    """Running text; an empty line begins a paragraph."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Note:
    """A sentence that stands out.

    Attributes:
        text: What to say.
        kind: ``hint`` (something is not there yet, and what would make it), ``warning`` (something is wrong) or
            ``finding`` (what the figures below say).
    """

    text: str
    kind: Literal["hint", "warning", "finding"] = "hint"


@dataclass(frozen=True)
class Fact:
    """A number worth its size: label, value, and a few words below it."""

    label: str
    value: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Facts:
    """Numbers side by side."""

    items: tuple[Fact, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its heading.
        kind: ``number`` is set right and sorted by value, the greatest first; ``long`` is text that may
            take several lines; ``code`` is set in a fixed width.
        help: What the heading means, shown when it is pointed at.
    """

    name: str
    kind: Literal["text", "number", "long", "code"] = "text"
    help: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: As shown.
        sort: What the column is sorted by; None: by the text. A missing number is shown as an empty text.
        bar: Length in [0, 1] of a bar behind the text.
        tone: How it is coloured.
        strong: Set bold: the best of its column.
    """

    text: str
    sort: float | None = None
    bar: float | None = None
    tone: Tone = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table that sorts by each column and, from `FILTER_FROM` rows on, filters by words.

    Attributes:
        caption: What it shows; read out first.
        columns: The first one names the row.
        rows: Each as long as `columns`.
        note: Small print below it.
        sorted_by: Column that the rows are sorted by already, for the arrow in its heading; -1 for none.
        descending: Which way.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    sorted_by: int = -1
    descending: bool = True


FILTER_FROM = 8


@dataclass(frozen=True)
class Chart:
    """A drawing as Vega-Lite specifications; `kaggle_tools.report.charts` makes them.

    Attributes:
        wide: For screens.
        narrow: The same for phones; None where the first one is small enough.
    """

    wide: Mapping[str, Any]
    narrow: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Figure:
    """A chart with words around it.

    Attributes:
        chart: As one of `kaggle_tools.report.charts` draws it.
        caption: Title: what is shown, better what it says.
        alt: The same for those who cannot see it; None: the caption.
        note: How to read it, small print below.
        data: Its numbers as a table, folded away.
    """

    chart: Chart
    caption: str
    alt: str | None = None
    note: str = ""
    data: Table | None = None


@dataclass(frozen=True)
class Gallery:
    """Small figures side by side, as many in a row as there is room for."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Details:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: tuple[Block, ...]
    open: bool = False


Block = Prose | Heading | Note | Facts | Table | Figure | Gallery | Details


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in the contents.

    Attributes:
        title: Heading.
        blocks: What is in it.
        lead: A sentence or two below the heading.
    """

    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Largest heading and title of the window.
        sections: From top to bottom.
        kicker: A few words above the title.
        lead: A paragraph below it.
        facts: Its most important numbers.
        footer: Last line: who made it and when.
    """

    title: str
    sections: Sequence[Section]
    kicker: str = ""
    lead: str = ""
    facts: tuple[Fact, ...] = ()
    footer: str = ""
    language: str = "en"
