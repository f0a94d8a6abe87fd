"""A `Page` as one HTML string."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_tools.files import write_atomically
from kaggle_tools.report.blocks import FILTER_FROM, Page
from kaggle_tools.report.svg import inline
from kaggle_tools.report.theme import stylesheet

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(page: Page) -> str:
    """The page with its style, script and charts in it. Charts are drawn here: some tens of milliseconds each."""
    from markupsafe import Markup

    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    html: str = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            page=page,
            style=Markup(stylesheet((_TEMPLATES / "page.css").read_text(encoding="utf-8"))),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            anchors=_anchors([section.title for section in page.sections]),
            filter_from=FILTER_FROM,
        )
    )
    # A lone surrogate, as a broken JSON escape leaves it, cannot be written as UTF-8.
    return html.encode("utf-8", "replace").decode("utf-8")


def write_page(page: Page, path: Path | str) -> None:
    """Render the page into a file, whole or not at all.

    Raises:
        UserError: The folder cannot be written to.
    """
    html = render_page(page)
    with write_atomically(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["rich"] = _rich
    environment.filters["paragraphs"] = lambda text: [part for part in re.split(r"\n\s*\n", text.strip()) if part]
    environment.filters["drawn"] = _drawn
    environment.tests["of"] = lambda block, kind: type(block).__name__ == kind
    return environment


def _rich(text: str) -> Markup:
    """Escaped text, `words between backticks` as code."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without a partner is a character like any other
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


def _drawn(spec: dict[str, object]) -> Markup:
    from markupsafe import Markup

    return Markup(inline(spec))


def _anchors(titles: list[str]) -> list[str]:
    """A unique fragment for each title."""
    found: list[str] = []
    for title in titles:
        plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        found.append(plain if plain not in found else f"{plain}-{len(found)}")
    return found
