"""Pages: nothing breaks out of them, nothing is fetched, headings and names are in order."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.report import Cell, Column, Page, Prose, Section, Table, render_page, write_page
from kaggle_tools.report.theme import DARK, DARK_TEXT_BELOW, LIGHT, N_STEPS
from tests.kaggle_tools.report.pages import EMOJI, EVIL, page

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.texts, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def html():
    return render_page(page())


@pytest.fixture(scope="module")
def elements(html):
    parser = Elements()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser


def test_text_stays_text(elements):
    assert [tag for tag, _ in elements.found].count("script") == 1
    assert not [tag for tag, _ in elements.found if tag == "b"]
    assert sum(EVIL in text for text in elements.texts) >= 10
    assert any(EMOJI in text for text in elements.texts)


def test_nothing_is_fetched(html, elements):
    assert not re.findall(r"(?:https?:)?//[a-z0-9]", html)
    for _, attributes in elements.found:
        assert attributes.get("href", "#").startswith(("#", "data:"))
        assert "src" not in attributes
    assert "url(" not in html.replace("url(#", "")
    assert "@import" not in html


def test_only_our_script_may_run(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy.replace("&#39;", "'")


def test_headings_descend_one_level_at_a_time(elements):
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_ids_are_unique_and_references_resolve(elements):
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in elements.found:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    clips = [attributes["clip-path"] for _, attributes in elements.found if "clip-path" in attributes]
    assert all(re.fullmatch(r"url\(#(.+)\)", clip)[1] in ids for clip in clips)


def test_figures_and_tables_can_be_heard(elements):
    drawings = [attributes for _, attributes in elements.found if attributes.get("role") == "img"]
    assert drawings
    assert all(attributes["aria-label"] for attributes in drawings)
    tags = [tag for tag, _ in elements.found]
    assert tags.count("caption") == tags.count("table")
    assert {attributes["scope"] for tag, attributes in elements.found if tag == "th"} == {"col", "row"}
    assert {"header", "nav", "main", "footer"} <= set(tags)


def test_sorted_column_says_so():
    table = Table("c", (Column("a"), Column("b", "number")), ((Cell("x"), Cell("1")),), sorted_by=1)
    html = render_page(Page("t", (Section("s", (table,)),)))
    assert re.search(r'aria-sort="descending">b<', html)


@pytest.mark.parametrize("text", ["`open", "a `b` c `d", "\ud83d lone surrogate", "\x00\x07 bell", ""])
def test_any_text_can_be_shown(text):
    assert "</html>" in render_page(Page(text or "t", (Section(text, (Prose(text),)),), footer=text))


def test_code_is_set_apart():
    assert "<code>cli &lt;x&gt;</code>" in render_page(Page("t", (Section("s", (Prose("run `cli <x>`"),)),)))


def test_page_is_written_whole_or_not_at_all(tmp_path):
    write_page(page(), tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8").endswith("</html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_page(Page("t", ()), tmp_path / "file" / "page.html")


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read(palette):
    for text in ("ink", "soft", "accent", "good", "bad"):
        for ground in ("paper", "raised", "sunken", "wash"):
            assert contrast(palette[text], palette[ground]) >= 4.5, (text, ground)
    for step in range(N_STEPS):
        text = palette["ink" if step < DARK_TEXT_BELOW else "on-step"]
        assert contrast(text, palette[f"step-{step}"]) >= 4.5, step
    for i in range(1, 7):
        assert contrast(palette[f"series-{i}"], palette["paper"]) >= 3, i


def test_each_colour_has_one_role():
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT.keys() == DARK.keys()
